"""Families of scores: how a task's predictions become a state per event, and how states become scores with intervals.

A state is an array with a row per test event, stored in records. Scores are functions of the states and of each event's
multiplicity: 1 for the score itself, bootstrap draws for its interval. So a record is enough to recompute every score,
to compare models on the same resamples, and to average runs. No torch needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from benchmark.contracts import PointBatch, Task
from benchmark.contracts.cells import CELL
from benchmark.metrics import association, multilabel, pions, reconstruction, response, segmentation, tracks
from benchmark.metrics.bootstrap import interval, multiplicities
from benchmark.metrics.few_events import MadeOf, Rule
from benchmark.metrics.paper_protocol import mean_over_batches
from benchmark.metrics.summary import macro, plain

OVERALL = "overall"
Sections = dict[str, dict[str, np.ndarray]]  # section -> score -> (R,) in "overall", (R, rows) elsewhere


class Column(NamedTuple):
    """A column of a table of results: the path of its score in a record's metrics."""

    title: str
    section: str
    row: str | None  # None in "overall"
    name: str


@dataclass(frozen=True)
class Linear:
    """Table scores that follow from few sums over events, for resampling thousands of runs at once."""

    features: Callable[[tuple[int, ...]], np.ndarray]  # shape of a state -> (cells, F) how its cells add up
    # sums (..., F) of resamples, and those of the whole split -> (section, score) -> values
    scores: Callable[[np.ndarray, np.ndarray], dict[tuple[str, str], np.ndarray]]


@dataclass(frozen=True)
class Family:
    """A family of scores."""

    sections: tuple[str, ...]  # of its scores, OVERALL the first
    shape: Callable[[Task], tuple[int, ...]]  # of an event's state
    dtype: str
    count: Callable[[np.ndarray, PointBatch, Task], np.ndarray]  # outputs, labelled batch -> (B, *shape)
    scores: Callable[[np.ndarray, np.ndarray], Sections]  # states (B, ...), times (R, B) -> scores
    rows: Callable[[str, Sequence[str]], tuple[str, ...]]  # section, classes -> labels of its rows
    extra: Callable[[np.ndarray, Task, np.ndarray], dict[str, Any]]  # states, units -> plain values beside the scores
    columns: Callable[[Sequence[str]], tuple[Column, ...]]  # classes -> of tables, besides the primary metric
    made_of: Callable[[np.ndarray], Mapping[str, Sequence[MadeOf]]]  # states -> section -> of each row
    truth: Callable[[np.ndarray], np.ndarray]  # states -> integers that do not depend on the predictions
    linear: Linear | None = None


def family(name: str) -> Family:
    """The family of a task's `metrics`."""
    return FAMILIES[name]


def report(
    metric_family: Family, states: np.ndarray, task: Task, rng: np.random.Generator, units: np.ndarray | None = None
) -> dict[str, Any]:  # fmt: skip
    """Scores of a test set as a record holds them: `{"value", "low", "high"}` each, null where undefined.

    Intervals are 95% percentile bootstraps over independent events, drawn by `rng`, where these are enough. units: (B,)
    number of the independent event of each state; by default each is one.
    """
    units = np.arange(len(states)) if units is None else units
    plain_scores = metric_family.scores(states, np.ones((1, len(states))))
    resamples = [metric_family.scores(states, times) for times in multiplicities(units, rng)]
    values = {s: {n: v[0] for n, v in section_scores.items()} for s, section_scores in plain_scores.items()}
    rule = Rule(metric_family.made_of(states), units)
    ends = {
        s: {
            n: np.where(rule.allows(s, n), interval(np.concatenate([d[s][n] for d in resamples])), np.nan)
            for n in section_scores
        }
        for s, section_scores in plain_scores.items()
    }
    return {
        **as_entries(metric_family, values, ends, task.classes),
        **metric_family.extra(states, task, units),
        "n_events": len(states),
        "n_independent": int(units.max()) + 1,
    }


def as_entries(
    metric_family: Family, values: Mapping[str, Mapping[str, Any]], ends: Mapping[str, Mapping[str, np.ndarray]],
    classes: Sequence[str],
) -> dict[str, Any]:  # fmt: skip
    """values: section -> score -> () or (rows,); ends: the same with a leading axis of lower and upper ends."""
    result: dict[str, Any] = {}
    for section, scores in values.items():

        def entry(name: str, *index: int, section: str = section) -> dict[str, float | None]:
            low, high = (end[index] for end in ends[section][name]) if name in ends.get(section, {}) else (np.nan,) * 2
            return {"value": plain(np.asarray(values[section][name])[index]), "low": plain(low), "high": plain(high)}

        if section == OVERALL:
            result[section] = {name: entry(name) for name in scores}
        else:
            rows = metric_family.rows(section, classes)
            result[section] = {row: {name: entry(name, i) for name in scores} for i, row in enumerate(rows)}
    return result


def softmax(scores: np.ndarray) -> np.ndarray:
    """(N, C) float64 probabilities of unnormalised scores."""
    exponentials: np.ndarray = np.exp(np.asarray(scores, np.float64) - np.max(scores, axis=1, keepdims=True))
    probabilities: np.ndarray = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities


def _confusion(outputs: np.ndarray, batch: PointBatch, task: Task) -> np.ndarray:
    offsets = np.asarray(batch.offsets) if task.level == "point" else None
    return segmentation.confusion(outputs, np.asarray(batch.target), offsets, ignore_index=task.ignore_index)


def _additive_scores(
    function: Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]], per_class: Sequence[str]
) -> Callable[[np.ndarray, np.ndarray], Sections]:
    """Scores of counts summed over events."""

    def scores(states: np.ndarray, times: np.ndarray) -> Sections:
        flat = np.asarray(states, np.float64).reshape(len(states), -1)
        sums = (times @ flat).reshape(len(times), *states.shape[1:])
        values = function(sums, flat.sum(axis=0).reshape(states.shape[1:]))
        parts: Sections = {OVERALL: {n: v for n, v in values.items() if n not in per_class}}
        parts["per_class"] = {n: values[n] for n in per_class}
        return parts

    return scores


def _f1_from_sums(sums: np.ndarray, whole: np.ndarray) -> dict[tuple[str, str], np.ndarray]:
    """F1 of each class and their macro mean from (..., 2C) sums: twice the hits, then truth and prediction together.

    whole: (..., 2C) sums over the whole test split, whose classes are those of the mean.
    """
    twice_hits, both = np.split(sums, 2, axis=-1)
    if both.size and both.min() > 0:  # fast path: every class occurs everywhere
        f1 = twice_hits / both
        return {(OVERALL, "macro_f1"): f1.mean(axis=-1), ("per_class", "f1"): f1}
    occurs = both > 0
    f1 = np.where(occurs, twice_hits / np.where(occurs, both, 1), np.nan)
    return {(OVERALL, "macro_f1"): macro(f1, np.split(whole, 2, axis=-1)[1] > 0), ("per_class", "f1"): f1}


def _confusion_features(shape: tuple[int, ...]) -> np.ndarray:
    n = shape[0]
    truth, predicted = np.divmod(np.arange(n * n), n)
    classes = np.arange(n)
    hits = (truth[:, None] == classes) & (predicted[:, None] == classes)
    both = 1 * (truth[:, None] == classes) + (predicted[:, None] == classes)
    return np.concatenate([2 * hits, both], axis=1)


def _multilabel_features(shape: tuple[int, ...]) -> np.ndarray:
    n, n_outcomes = shape[0] - 1, shape[1]
    row, outcome = np.divmod(np.arange(shape[0] * n_outcomes), n_outcomes)
    is_class = row[:, None] == np.arange(n)
    weights = np.array([2, 1, 1, 0])[outcome][:, None]  # weights: hits 2, false and missed 1
    return np.concatenate([2 * is_class * (outcome == 0)[:, None], is_class * weights], axis=1)


def _segmentation_extra(states: np.ndarray, task: Task, units: np.ndarray) -> dict[str, Any]:
    total = states.sum(axis=0)
    support = {c: total[i].sum().item() for i, c in enumerate(task.classes)}
    extra: dict[str, Any] = {"support": support, "confusion": total.tolist()}
    return {**extra, "paper_protocol": mean_over_batches(states)} if task.level == "point" else extra


def _f1_columns(classes: Sequence[str]) -> tuple[Column, ...]:
    return tuple(Column(f"F1 {c}", "per_class", c, "f1") for c in classes)


def _abs_eta(batch: PointBatch) -> np.ndarray:
    name = "cluster_eta" if "cluster_eta" in batch.event_info else "track_eta"
    absolute: np.ndarray = np.abs(np.asarray(batch.event_info[name]))
    return absolute


def _pions(outputs: np.ndarray, batch: PointBatch, task: Task) -> np.ndarray:
    energy_gev = 10.0 ** np.asarray(batch.label("log_true_energy"), np.float64)
    return pions.state(softmax(outputs), np.asarray(batch.target), energy_gev, _abs_eta(batch))


def _response(outputs: np.ndarray, batch: PointBatch, task: Task) -> np.ndarray:
    predicted, true = (10.0 ** np.asarray(v, np.float64) for v in (outputs[:, 0], batch.target))
    return response.state(predicted, true, np.asarray(batch.label("pion")).astype(int), _abs_eta(batch))


def _association(outputs: np.ndarray, batch: PointBatch, task: Task) -> np.ndarray:
    probabilities, target = softmax(outputs), np.asarray(batch.target)
    if not task.soft:
        probabilities, target = probabilities[:, 1:], (target == 1).astype(np.float32)[:, None]
    is_cell = np.asarray(batch.point_info["category"]) == CELL
    return association.state(probabilities, target, np.asarray(batch.energy), is_cell, np.asarray(batch.offsets))


def _reconstruction(outputs: np.ndarray, batch: PointBatch, task: Task) -> np.ndarray:
    return reconstruction.state(outputs[:, 0], np.asarray(batch.volumes.target), np.asarray(batch.volumes.hidden))


def _tracks(outputs: np.ndarray, batch: PointBatch, task: Task) -> np.ndarray:
    instance = np.asarray(batch.volumes.instance)
    if outputs.ndim == 2:
        predicted = tracks.dense(
            outputs, np.asarray(batch.volumes.voxel), np.asarray(batch.offsets), instance.shape[1:]
        )
    else:
        predicted = outputs[:, 1] > outputs[:, 0]
    return tracks.state(predicted, instance)


def _association_rows(section: str, classes: Sequence[str]) -> tuple[str, ...]:
    return tuple(classes) if len(classes) > 2 else ("focus",)


FAMILIES: dict[str, Family] = {
    "segmentation": Family(
        sections=(OVERALL, "per_class"),
        shape=lambda task: (task.n_outputs, task.n_outputs), dtype="int64", count=_confusion,
        scores=_additive_scores(segmentation.scores_from_counts, segmentation.PER_CLASS),
        rows=lambda section, classes: tuple(classes), extra=_segmentation_extra, columns=_f1_columns,
        made_of=segmentation.made_of, truth=segmentation.truth,
        linear=Linear(_confusion_features, _f1_from_sums),
    ),
    # of token probes; counts from `benchmark.evaluation.token_probe`
    "multilabel": Family(
        sections=(OVERALL, "per_class"),
        shape=lambda task: (task.n_outputs + 1, 4), dtype="int64", count=_confusion,
        scores=_additive_scores(multilabel.scores_from_counts, multilabel.PER_CLASS),
        rows=lambda section, classes: tuple(classes),
        extra=lambda states, task, units: multilabel.extra(states, task.classes), columns=_f1_columns,
        made_of=multilabel.made_of, truth=lambda states: np.zeros(0, np.int64),  # tokens are the model's own
        linear=Linear(_multilabel_features, _f1_from_sums),
    ),
    "pions": Family(
        sections=pions.SECTIONS,
        shape=lambda task: (len(pions.COLUMNS),), dtype="float32", count=_pions, scores=pions.scores,
        rows=lambda section, classes: pions.rows(section),
        extra=lambda states, task, units: {"details": pions.extra(states, units)},
        made_of=pions.made_of, truth=pions.truth,
        columns=lambda classes: (
            Column("rejection at 95%", OVERALL, None, "rejection_95"), Column("ROC AUC", OVERALL, None, "roc_auc"),
            Column("accuracy", OVERALL, None, "accuracy"),
            Column("rejection at 90%, |eta| < 0.7", "by_abs_eta", "0-0.7", "rejection_90"),
            Column("AUC 1-10 GeV", "by_energy", "1-10", "roc_auc"),
            Column("AUC 10-100 GeV", "by_energy", "10-100", "roc_auc"),
        ),
    ),
    "response": Family(
        sections=response.SECTIONS,
        shape=lambda task: (len(response.COLUMNS),), dtype="float32", count=_response, scores=response.scores,
        rows=lambda section, classes: response.rows(section),
        extra=lambda states, task, units: {"details": response.extra(states)},
        made_of=response.made_of, truth=response.truth,
        columns=lambda classes: (
            Column("median response", OVERALL, None, "median_response"),
            *(Column(f"IQR/(2 median) {c}", "per_class", c, "iqr_over_2median") for c in ("pi0", "pipm")),
            Column("IQR/(2 median) 1-10 GeV", "by_energy", "1-10", "iqr_over_2median"),
            Column("IQR/(2 median) 10-100 GeV", "by_energy", "10-100", "iqr_over_2median"),
            Column("MAE log10 E", OVERALL, None, "mae_log10"),
        ),
    ),
    "association": Family(
        sections=association.SECTIONS,
        shape=lambda task: (task.n_outputs if task.soft else 1, 2, 4), dtype="float32", count=_association,
        scores=association.scores, rows=_association_rows,
        extra=lambda states, task, units: {"details": association.extra(states)},
        made_of=association.made_of, truth=association.truth,
        columns=lambda classes: (
            Column("precision", OVERALL, None, "precision"), Column("recall", OVERALL, None, "recall"),
            Column("accuracy", OVERALL, None, "accuracy"),
            Column("majority accuracy", OVERALL, None, "majority_accuracy"),
            Column("F1 unweighted", OVERALL, None, "f1_unweighted"),
        ),
    ),
    "reconstruction": Family(
        sections=reconstruction.SECTIONS,
        shape=lambda task: (len(reconstruction.COLUMNS),), dtype="float32", count=_reconstruction,
        scores=reconstruction.scores, rows=lambda section, classes: reconstruction.rows(section),
        extra=lambda states, task, units: {"details": reconstruction.extra(states)},
        made_of=reconstruction.made_of, truth=reconstruction.truth,
        columns=lambda classes: (
            Column("skill background", OVERALL, None, "skill_background"),
            Column("MSE signal", OVERALL, None, "mse_signal"),
            Column("MSE background", OVERALL, None, "mse_background"), Column("MSE all", OVERALL, None, "mse_all"),
            Column("peak recovery", OVERALL, None, "peak_recovery"), Column("PSNR", OVERALL, None, "psnr"),
            Column("SSIM", OVERALL, None, "ssim"),
            Column("MSE signal, harmonic", "reference", "harmonic", "mse_signal"),
            Column("MSE signal, oracle token mean", "reference", "oracle_token_mean", "mse_signal"),
        ),
    ),
    "tracks": Family(
        sections=tracks.SECTIONS,
        shape=lambda task: (len(tracks.COLUMNS),), dtype="int64", count=_tracks,
        scores=tracks.scores, rows=lambda section, classes: tracks.rows(section),
        extra=lambda states, task, units: {"details": tracks.extra(states)},
        made_of=tracks.made_of, truth=tracks.truth,
        columns=lambda classes: (
            Column("precision", OVERALL, None, "precision"), Column("recall", OVERALL, None, "recall"),
            Column("track efficiency", OVERALL, None, "efficiency"), Column("object purity", OVERALL, None, "purity"),
            Column("separated (IoU >= 0.5)", OVERALL, None, "efficiency_iou"),
            *(Column(f"efficiency {row} voxels", "by_size", row, "efficiency") for row in tracks.rows("by_size")),
        ),
    ),
}  # fmt: skip
