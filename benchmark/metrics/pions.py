"""Charged against neutral pions: ROC, rejection at fixed efficiency, and scores at the threshold 0.5.

Charged pions (class 1) are the signal, neutral pions (class 0) the background. The rejection is 1/FPR at a fixed
efficiency for charged pions, as in ATLAS's table of pion classifiers; the formula 1 - FPR printed with that table
cannot give its numbers, which exceed 1. Two definitions of the rejection differ where the efficiency is no
exact number of events, so each has a name:

    rejection_90               step: the threshold is the k-th largest score of a charged pion, k = ceil(0.9 n);
                               scores at or above it are accepted.
    rejection_90_interpolated  FPR on the straight line between the two ROC vertices around the efficiency.

Without false positives the rejection is infinite; `extra` then gives a lower limit. Infinite resamples count, so an
interval has no upper end where false positives are few.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from benchmark.errors import BenchmarkError, unknown_name
from benchmark.metrics.few_events import MadeOf
from benchmark.metrics.summary import macro, ratio

Scores = dict[str, dict[str, np.ndarray]]  # section -> name -> (R,) or (R, rows)

CLASSES = ("pi0", "pipm")
COLUMNS = ("probability", "label", "energy_gev", "abs_eta")
DECADES_GEV = np.array([0.1, 1.0, 10.0, 100.0, 1000.0, 10000.0])
ABS_ETA = np.array([0.0, 0.7, 1.4, 3.0])
PERCENT = (90, 95)  # efficiencies for charged pions of the rejections
CUT = 0.5  # a charged pion where the probability exceeds it
SECTIONS = ("overall", "per_class", "by_abs_eta", "by_energy")
_BLOCK_ELEMENTS = 1 << 20  # multiplicities per block: 8 MiB


def state(scores: np.ndarray, target: np.ndarray, energy_gev: np.ndarray, abs_eta: np.ndarray) -> np.ndarray:
    """(B, 4) float32 per event, columns COLUMNS.

    scores: (B, 2) of neutral and charged pion. If all rows are probabilities (none negative, sums of 1) they are used
    as is; otherwise a softmax is applied. target: (B,) 0 or 1.
    energy_gev: (B,) true energy, GeV. abs_eta: (B,) |pseudorapidity|. Raises BenchmarkError for shapes that differ,
    values that are not finite, and targets other than 0 and 1.
    """
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 2 or scores.shape[1] != len(CLASSES):
        raise BenchmarkError(
            f"The scores have shape {scores.shape}. (events, 2), neutral and charged pion, was expected. Check what "
            f"the model's predict returns."
        )
    target = np.asarray(target)
    columns = columns_of(scores[:, 1], label=target, energy_gev=energy_gev, abs_eta=abs_eta)
    if not np.isfinite(scores).all():
        raise BenchmarkError(
            f"{int((~np.isfinite(scores)).any(axis=1).sum())} of {len(scores)} rows of scores are not finite. Finite "
            f"scores were expected. The training probably diverged: type for example --set optim.lr=1e-4."
        )
    wrong = (target != 0) & (target != 1)
    if wrong.any():
        raise BenchmarkError(
            f"A target is {target[wrong][0]}. 0 (neutral pion) or 1 (charged pion) was expected. Check the task's "
            f"labels."
        )
    columns[:, 0] = _probability(scores)
    return columns


def columns_of(first: np.ndarray, **others: np.ndarray) -> np.ndarray:
    """(B, 1 + len(others)) float32 of (B,) arrays. Raises BenchmarkError where lengths differ or `others` have NaN."""
    arrays = {name: np.asarray(values) for name, values in others.items()}
    for name, values in arrays.items():
        if values.shape != np.shape(first):
            raise BenchmarkError(
                f"There are predictions of shape {np.shape(first)} and {name} of shape {values.shape}. One value per "
                f"event was expected of each. Check what the model's predict returns."
            )
        if not np.isfinite(values).all():
            raise BenchmarkError(
                f"{int((~np.isfinite(values)).sum())} of {len(values)} values of {name} are not finite. Finite values "
                f"were expected. Check the data set."
            )
    return np.stack([np.asarray(first), *arrays.values()], axis=1).astype(np.float32)


def _probability(scores: np.ndarray) -> np.ndarray:
    """(B,) probability of a charged pion."""
    if (scores >= 0).all() and np.allclose(scores.sum(axis=1), 1, rtol=0, atol=1e-5):
        return np.asarray(scores[:, 1])
    margin = scores[:, 1] - scores[:, 0]
    small = np.exp(-np.abs(margin))  # for two classes softmax is a sigmoid; this form cannot overflow
    return np.asarray(np.where(margin >= 0, 1.0, small) / (1 + small))


def rows(section: str) -> tuple[str, ...]:
    """Labels of a section's rows; none of `overall`. Raises UnknownNameError."""
    labels: Mapping[str, tuple[str, ...]] = {
        "overall": (),
        "per_class": CLASSES,
        "by_abs_eta": bin_labels(ABS_ETA),
        "by_energy": bin_labels(DECADES_GEV),
    }
    if section not in labels:
        raise unknown_name("section", section, labels, "Choose one of them.")
    return labels[section]


def scores(state: np.ndarray, times: np.ndarray) -> Scores:
    """Every score of (B, 4) events that are each drawn times[r] times: section -> name -> (R,) or (R, rows).

    times: (R, B) integers; a row of ones gives the plain scores. Equal to scores of repeated rows. NaN where a score
    is undefined: without signal or background, or a rejection without false positives. Raises BenchmarkError for
    multiplicities of another shape.
    """
    values = np.asarray(state, dtype=np.float64)
    order = np.argsort(-values[:, 0], kind="stable")
    ranked = values[order]
    eta = in_bins(ranked[:, 3], ABS_ETA)
    energy = in_bins(ranked[:, 2], DECADES_GEV)

    def block(drawn: np.ndarray) -> Scores:
        drawn = drawn[:, order]
        at_cut, ranking = _scores_at_cut(ranked, drawn), _ranking_scores(ranked, drawn)
        by_energy = [_ranking_scores(ranked[in_bin], drawn[:, in_bin]) for in_bin in energy]
        accuracy = [_scores_at_cut(ranked[in_bin], drawn[:, in_bin])["accuracy"] for in_bin in energy]
        return {
            "overall": ranking | {name: value for name, value in at_cut.items() if value.ndim == 1},
            "per_class": {name.removesuffix("_of"): at_cut[name] for name in ("precision_of", "recall_of", "f1_of")},
            "by_abs_eta": _stack_bins([_ranking_scores(ranked[in_bin], drawn[:, in_bin]) for in_bin in eta]),
            "by_energy": _stack_bins(by_energy) | {"accuracy": np.stack(accuracy, axis=1)},
        }

    return blockwise(times, len(values), block)


def made_of(state: np.ndarray) -> dict[str, list[MadeOf]]:
    """What the scores of (B, 4) events are made of: both kinds of pions, in a bin those inside."""
    pipm = state[:, 1] == 1
    bins = {"by_abs_eta": in_bins(state[:, 3], ABS_ETA), "by_energy": in_bins(state[:, 2], DECADES_GEV)}
    both = MadeOf(np.ones(len(state), bool), (~pipm, pipm))
    return {
        "overall": [both],
        "per_class": [both, both],
        **{name: [MadeOf(row, (row & ~pipm, row & pipm)) for row in inside] for name, inside in bins.items()},
    }


def truth(state: np.ndarray) -> np.ndarray:
    """(B,) true classes: equal for all models on the same samples."""
    return np.asarray(state[:, 1].astype(np.int64))


def _stack_bins(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """(R, rows) scores of a section of bins."""
    return {name: np.stack([part[name] for part in parts], axis=1) for name in ("roc_auc", "rejection_90")}


def _scores_at_cut(values: np.ndarray, times: np.ndarray) -> dict[str, np.ndarray]:
    """Scores at CUT: (R,) each, and (R, 2) per class for names that end in `_of`."""
    signal, selected = values[:, 1] == 1, values[:, 0] > CUT
    outcomes = np.stack([signal & selected, ~signal & selected, signal & ~selected, ~signal & ~selected], axis=1)
    tp, fp, fn, tn = (times @ outcomes.astype(np.float64)).T  # (R,) each
    hits = np.stack([tn, tp], axis=1)  # (R, 2) per class
    predicted = np.stack([tn + fn, tp + fp], axis=1)
    truth = np.stack([tn + fp, tp + fn], axis=1)
    occurs = truth + predicted > 0
    n_true, n_selected = signal.sum(), selected.sum()
    classes = np.array([n_true < len(values) or n_selected < len(values), n_true > 0 or n_selected > 0])
    precision, recall = ratio(hits, predicted, occurs), ratio(hits, truth, occurs)
    f1 = ratio(2 * hits, truth + predicted, occurs)
    total = tp + fp + fn + tn
    return {
        "accuracy": ratio(tp + tn, total, total > 0),
        "f1_signal": f1[:, 1],
        "f1_background": f1[:, 0],
        "macro_f1": macro(f1, classes),
        "precision": precision[:, 1],
        "recall": recall[:, 1],
        "precision_of": precision,
        "recall_of": recall,
        "f1_of": f1,
    }


def _ranking_scores(values: np.ndarray, times: np.ndarray) -> dict[str, np.ndarray]:
    """(R,) scores of the ranking. values: (n, 4) by descending probability. times: (R, n)."""
    if not len(values):
        names = ("roc_auc", *(f"rejection_{p}{rule}" for p in PERCENT for rule in ("", "_interpolated")))
        return {name: np.full(len(times), np.nan) for name in names}
    signal, background = roc_vertices(values, times)
    n_signal, n_background = signal[:, -1], background[:, -1]
    both = (n_signal > 0) & (n_background > 0)
    steps = np.diff(background, axis=1, prepend=0.0)
    midpoints = signal - np.diff(signal, axis=1, prepend=0.0) / 2  # ties count one half
    result = {"roc_auc": ratio(np.einsum("rg,rg->r", steps, midpoints), n_signal * n_background, both)}
    for percent in PERCENT:
        for name, n_false in zip(("", "_interpolated"), _false_positives(signal, background, percent), strict=True):
            finite = ratio(n_background, n_false, both & (n_false > 0))
            result[f"rejection_{percent}{name}"] = np.where(both & (n_false == 0), np.inf, finite)
    return result


def roc_vertices(values: np.ndarray, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(R, G) accepted signal and (R, G) accepted background at each of G distinct thresholds, the highest first.

    values: (n, 4) rows of a state by descending probability, n > 0. times: (R, n) float64.
    """
    ends = np.flatnonzero(np.diff(values[:, 0], append=-np.inf))  # last row of each group of equal scores
    signal = np.cumsum(times * (values[:, 1] == 1), axis=1)[:, ends]
    return signal, np.cumsum(times, axis=1)[:, ends] - signal


def _false_positives(signal: np.ndarray, background: np.ndarray, percent: int) -> tuple[np.ndarray, np.ndarray]:
    """(R,) accepted background at an efficiency in percent: by the step rule, and on the line between vertices."""
    target = percent * signal[:, -1] / 100
    vertex = (signal < target[:, None]).sum(axis=1)[:, None]  # first vertex at the efficiency

    def accepted(counts: np.ndarray, index: np.ndarray) -> np.ndarray:
        chosen: np.ndarray = np.take_along_axis(counts, np.maximum(index, 0), axis=1)[:, 0]
        return np.where(index[:, 0] >= 0, chosen, 0.0)

    step, before = accepted(background, vertex), accepted(background, vertex - 1)
    signal_step, signal_before = accepted(signal, vertex), accepted(signal, vertex - 1)
    gain = np.where(signal_step > signal_before, signal_step - signal_before, 1.0)
    return step, before + (target - signal_before) / gain * (step - before)


def extra(state: np.ndarray, units: np.ndarray | None = None) -> dict[str, Any]:
    """Plain values beside the scores: counts, and the operating points of every part of the sample.

    An operating point states threshold, efficiency reached (above the nominal one, and more so with ties), false
    positives, and FPR. Without false positives, `rejection_at_least` is the lower limit on the rejection at 95%
    confidence, n / 3 for background of n independent events (zero of n excludes a rate above 3/n).

    units: (n,) number of the independent event of each sample; by default each is one.
    """
    values = np.asarray(state, dtype=np.float64)
    units = np.arange(len(values)) if units is None else units
    signal, chosen = values[:, 1] == 1, values[:, 0] > CUT
    bins = {"by_abs_eta": in_bins(values[:, 3], ABS_ETA), "by_energy": in_bins(values[:, 2], DECADES_GEV)}
    return {
        "confusion": [[int((~signal & ~chosen).sum()), int((~signal & chosen).sum())],
                      [int((signal & ~chosen).sum()), int((signal & chosen).sum())]],
        "n_outside_bins": {section: int((~inside.any(axis=0)).sum()) for section, inside in bins.items()},
        "overall": _operating_points(values, units),
        **{
            section: {
                label: _operating_points(values[row], units[row])
                for label, row in zip(rows(section), inside, strict=True)
            }
            for section, inside in bins.items()
        },
    }  # fmt: skip


def _operating_points(values: np.ndarray, units: np.ndarray) -> dict[str, Any]:
    """Counts and operating points of (n, 4) samples in any order."""
    signal = np.sort(values[values[:, 1] == 1, 0])[::-1]
    background = values[values[:, 1] == 0, 0]
    n_independent = len(np.unique(units[values[:, 1] == 0]))
    result: dict[str, Any] = {"n_signal": len(signal), "n_background": len(background)}
    if not len(signal) or not len(background):
        return result
    for percent in PERCENT:
        threshold = signal[math.ceil(percent * len(signal) / 100) - 1]
        n_false = int((background >= threshold).sum())
        result[f"at_{percent}"] = {
            "threshold": float(threshold),
            "efficiency": float((signal >= threshold).mean()),
            "n_false_positive": n_false,
            "fpr": n_false / len(background),
            "rejection_at_least": None if n_false else n_independent / 3,
        }
    return result


# --- shared with the other families ---


def in_bins(values: np.ndarray, edges: np.ndarray, last_closed: bool = False) -> np.ndarray:
    """(bins, B) bool: values in [lo, hi), or [lo, hi] for a closed last bin.

    Edges are rounded to float32, like the columns of a state, so a value at an edge is in the upper bin.
    """
    edges = np.asarray(edges, dtype=np.float32).astype(np.float64)
    inside = (values >= edges[:-1, None]) & (values < edges[1:, None])
    if last_closed:
        inside[-1] |= values == edges[-1]
    return inside


def bin_labels(edges: np.ndarray) -> tuple[str, ...]:
    """`0.1-1` of each bin, edges with five digits."""
    return tuple(f"{low:.5g}-{high:.5g}" for low, high in pairwise(edges))


def blockwise(times: np.ndarray, n_events: int, score: Callable[[np.ndarray], Scores]) -> Scores:
    """The scores of (R, B) multiplicities, computed in blocks of resamples to bound memory.

    score: (r, B) float64 -> scores of r resamples. Raises BenchmarkError for multiplicities of another shape, and
    without any.
    """
    times = np.asarray(times)
    if times.ndim != 2 or times.shape[1] != n_events or not len(times):
        raise BenchmarkError(
            f"The multiplicities have shape {times.shape}. (resamples, {n_events} events) with at least one resample "
            f"was expected. Pass np.ones((1, {n_events})) for the plain scores."
        )
    size = max(1, _BLOCK_ELEMENTS // max(1, n_events))
    parts = [score(times[begin : begin + size].astype(np.float64)) for begin in range(0, len(times), size)]
    return {
        section: {name: np.concatenate([part[section][name] for part in parts]) for name in names}
        for section, names in parts[0].items()
    }
