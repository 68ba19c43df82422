"""One event for display: points, energies, true classes, and predictions of models.

The same values serve the pages (`benchmark.site`), single HTML files and PNG panels (`benchmark.site.single_event`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmark.contracts import PointBatch, Task
from benchmark.contracts.colours import COLOURS

MAX_POINTS = 60_000  # of a displayed event: a page stays responsive; the brightest are kept


@dataclass(frozen=True)
class Prediction:
    """One model's prediction for an event."""

    name: str
    labels: np.ndarray | None  # (N,) class of each point; None where the whole event is predicted
    text: str  # share of wrong points, or the prediction
    run: str = ""  # id of the run's page


@dataclass(frozen=True)
class Shown:
    """An event and its predictions, points in the same order everywhere."""

    event_id: str
    task: str
    classes: tuple[str, ...]  # of the points; empty where points have no class
    unit: str  # of a coordinate
    coords: np.ndarray  # (N, 3)
    energy: np.ndarray  # (N,)
    truth: np.ndarray | None  # (N,) class, negative where there is none
    text: str = ""  # true value of the whole event
    predictions: tuple[Prediction, ...] = ()
    n_left_out: int = 0  # points beyond MAX_POINTS
    energy_unit: str = ""

    def thinned(self, most: int = MAX_POINTS) -> Shown:
        """The event with at most `most` points, the brightest."""
        if len(self.energy) <= most:
            return self
        brightest = np.sort(np.argsort(-self.energy, kind="stable")[:most])
        predictions = tuple(
            replace(p, labels=None if p.labels is None else p.labels[brightest]) for p in self.predictions
        )
        truth = None if self.truth is None else self.truth[brightest]
        return replace(
            self, coords=self.coords[brightest], energy=self.energy[brightest], truth=truth, predictions=predictions,
            n_left_out=len(self.energy) - most,
        )  # fmt: skip


def shown(batch: PointBatch, task: Task, energy_unit: str = "") -> Shown:
    """The only event of a labelled batch, without predictions."""
    truth: np.ndarray | None = None
    classes: tuple[str, ...] = ()
    text = ""
    if task.level in ("point", "token", "volume") and task.kind == "classification":
        truth, classes = point_truth(batch, task), tuple(task.classes)
    elif task.kind == "classification":
        text = f"truth: {task.classes[int(np.asarray(batch.target)[0])]}"
    elif task.level == "event":
        text = f"true energy {10 ** float(np.asarray(batch.target)[0]):.4g} GeV"
    return Shown(
        batch.event_ids[0], task.name, classes, batch.frame.unit, np.asarray(batch.coords, np.float32),
        np.asarray(batch.energy, np.float32), truth, text, energy_unit=energy_unit,
    )  # fmt: skip


def point_truth(batch: PointBatch, task: Task) -> np.ndarray:
    """(N,) true class of every point; of voxels, whether they are on a track."""
    if task.level == "volume":
        instance = np.asarray(batch.volumes.instance).reshape(batch.n_events, -1)[0]
        inside: np.ndarray = (instance[np.asarray(batch.volumes.voxel)] > 0).astype(np.int64)
        return inside
    target = np.asarray(batch.target)
    labels: np.ndarray = target.argmax(1) if task.soft else target.astype(np.int64)
    return labels


def prediction(name: str, scores: np.ndarray, batch: PointBatch, task: Task, run: str = "") -> Prediction:
    """The prediction in a model's scores for the only event of a batch."""
    labels: np.ndarray | None = None
    if task.level == "volume" and scores.ndim > 2:
        scores = scores[0].reshape(scores.shape[1], -1)[:, np.asarray(batch.volumes.voxel)].T
    if task.level in ("point", "volume") and task.kind == "classification":
        labels = scores.argmax(1)
        truth = point_truth(batch, task)
        has_truth = truth >= 0
        wrong = float((labels != truth)[has_truth].mean()) if has_truth.any() else 0.0
        return Prediction(name, labels, f"{wrong:.1%} of points wrong", run)
    if task.kind == "classification":
        exponentials = np.exp(scores[0] - scores[0].max())
        best = int(scores[0].argmax())
        return Prediction(name, None, f"{task.classes[best]} ({exponentials[best] / exponentials.sum():.1%})", run)
    return Prediction(name, None, f"{10 ** float(scores[0, 0]):.4g} GeV", run)


def as_values(event: Shown) -> dict[str, Any]:
    """Plain values for a page: coordinates to a tenth of a unit, energies to four digits."""
    event = event.thinned()
    return {
        "id": event.event_id, "task": event.task, "classes": list(event.classes), "unit": event.unit,
        "energyUnit": event.energy_unit, "colours": [COLOURS[i % len(COLOURS)] for i in range(len(event.classes))],
        "text": event.text, "leftOut": event.n_left_out,
        "coords": [np.round(axis, 1).tolist() for axis in np.asarray(event.coords, np.float64).T],
        "energy": [float(f"{e:.4g}") for e in event.energy],
        "truth": None if event.truth is None else event.truth.tolist(),
        "predictions": [
            {"name": p.name, "labels": None if p.labels is None else p.labels.tolist(), "text": p.text, "run": p.run}
            for p in event.predictions
        ],
    }  # fmt: skip


def displayable(task: Task) -> bool:
    """Whether predictions of a task can be shown on an event's points, or beside them."""
    return not task.self_supervised and task.level in ("point", "event", "volume")


def compared(
    batches: Sequence[tuple[str, str, PointBatch, np.ndarray]], task: Task, energy_unit: str = ""
) -> Shown:  # fmt: skip
    """One event with several models' predictions: (name, run id, batch, scores), points in the first one's order.

    A model with other points of the event (another cut) is left out.
    """
    event = shown(batches[0][2], task, energy_unit)
    predictions = [
        prediction(name, scores, batch, task, run)
        for name, run, batch, scores in batches
        if batch.n_points == len(event.energy) and np.array_equal(np.asarray(batch.coords), event.coords)
    ]
    return replace(event, predictions=tuple(predictions))
