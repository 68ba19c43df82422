"""The probe of points during pre-training: how well a linear SVM reads a point's class from a backbone's features.

One row per point, a few hundred points of each event. The SVM is fitted on one part of the events; a second part
chooses its penalty, and a third one is scored. All three are of the validation split.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark.contracts import PointBatch
from benchmark.data.stream import EventSet
from benchmark.errors import BenchmarkError, DataError
from benchmark.metrics.segmentation import scores_from_counts
from benchmark.seeding import generator

if TYPE_CHECKING:
    from benchmark.contracts.torch_model import TorchModel

BATCH = 4  # events that are encoded at a time
MAX_STEPS = 2000  # of the SVM's solver; a probe need not be exact to the last digit


@dataclass(frozen=True)
class PointProbeConfig:
    """What is fitted to which points."""

    c: tuple[float, ...] = (0.001, 0.01, 0.1)  # of the linear SVM, one of which is chosen; smaller regularises more
    max_events: int = 24  # of each part, drawn at random
    points: int = 200  # of an event, at most


@dataclass(frozen=True)
class Points:
    """P points of some events."""

    features: np.ndarray  # (P, D) float32
    labels: np.ndarray  # (P,) int64 class


def split_in_parts(events: EventSet, n_parts: int) -> list[EventSet]:
    """Every n-th event, from the first, the second ... Raises DataError where there are fewer events than parts."""
    if len(events) < n_parts:
        raise DataError(
            f"The validation split has {len(events)} usable event(s). At least {n_parts} were expected, for the parts "
            f"of which the probe learns and on which it is scored. Leave --probe-every out."
        )
    return [replace(events, indices=events.indices[start::n_parts]) for start in range(n_parts)]


def point_probe_score(
    model: TorchModel, fitted: EventSet, chosen: EventSet, scored: EventSet, config: PointProbeConfig
) -> dict[str, float]:
    """Macro and per-class F1 of the points of `scored`, without those that are undefined, and the chosen penalty `c`.

    Raises DataError where no point of `fitted` has a class, BenchmarkError for features that are not finite.
    """
    fit, choose, score = (sampled_points(model, events, config) for events in (fitted, chosen, scored))
    classes = fitted.task.classes
    best = max(_candidates(fit, choose, config, len(classes)), key=lambda candidate: candidate[0])  # ties: smallest c
    _, c, svm = best
    values = scores_from_counts(_counts(svm, score, len(classes)))
    scores = {"macro_f1": float(values["macro_f1"])}
    scores |= {f"f1_{name}": float(f1) for name, f1 in zip(classes, values["f1"], strict=True)}
    return {**{name: value for name, value in scores.items() if not np.isnan(value)}, "c": c}


def sampled_points(model: TorchModel, events: EventSet, config: PointProbeConfig) -> Points:
    """At most `points` points with a class of each event, drawn at random by the events' names."""
    parts = [
        _encode(model, events.batch(range(begin, min(begin + BATCH, len(events)))), config.points, events)
        for begin in range(0, len(events), BATCH)
    ]
    features, labels = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
    if not len(labels):
        raise DataError(
            f"None of {len(events)} events of the validation split has a point with a class. At least one was "
            f"expected. Leave --probe-every out."
        )
    return Points(features, labels)


def _encode(model: TorchModel, batch: PointBatch, n_points: int, events: EventSet) -> tuple[np.ndarray, np.ndarray]:
    """Features and classes of the drawn points; the model sees no label."""
    import torch

    target, n_classes = np.asarray(batch.target), events.task.n_outputs
    rows = []
    for event, begin, end in zip(batch.event_ids, batch.offsets[:-1], batch.offsets[1:], strict=True):
        labelled = begin + np.flatnonzero((target[begin:end] >= 0) & (target[begin:end] < n_classes))
        drawn = generator("probe points", event).permutation(labelled)[:n_points]
        rows.append(np.sort(drawn))
    chosen = np.concatenate(rows)
    model.eval()
    with torch.inference_mode():
        features = model.point_features(batch.without_target().to_torch(next(model.parameters()).device))
    values = features[torch.from_numpy(chosen).to(features.device)].float().cpu().numpy()
    if not np.isfinite(values).all():
        raise BenchmarkError(
            "The features of points are not finite. Finite features were expected. The pre-training probably diverged: "
            "type for example --set pretrain_optim.lr=1e-4."
        )
    return values, target[chosen]


def _candidates(
    fit: Points, choose: Points, config: PointProbeConfig, n_classes: int
) -> Iterator[tuple[float, float, Any]]:
    """Macro F1 on the points that choose, penalty, and the SVM with it, for each penalty."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import LinearSVC

    if len(np.unique(fit.labels)) < 2:
        raise DataError(
            f"All {len(fit.labels)} points that the probe would learn from have one class. At least two classes were "
            f"expected. Leave --probe-every out."
        )
    for c in sorted(config.c):
        svm = make_pipeline(
            StandardScaler(), LinearSVC(C=c, class_weight="balanced", random_state=0, max_iter=MAX_STEPS)
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # ConvergenceWarning: see MAX_STEPS
            svm.fit(fit.features.astype(np.float64), fit.labels)
        yield float(scores_from_counts(_counts(svm, choose, n_classes))["macro_f1"]), c, svm


def _counts(svm: Any, points: Points, n_classes: int) -> np.ndarray:
    """(C, C) counts of points, [true, predicted]."""
    predicted = svm.predict(points.features.astype(np.float64))
    cell = points.labels * n_classes + predicted
    return np.bincount(cell, minlength=n_classes**2).reshape(n_classes, n_classes)
