"""Pictures of events: the true classes, the predicted ones, and where they differ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.contracts import PointBatch, Task
from benchmark.contracts.colours import COLOURS
from benchmark.errors import BenchmarkError
from benchmark.io import atomic_path
from benchmark.plots.style import pyplot, shown_name

MAX_EVENTS = 4


def draw_predictions(batch: PointBatch, scores: np.ndarray, task: Task, path: Path) -> None:
    """Up to MAX_EVENTS events of a numpy batch as a PNG: a row each, with truth, prediction and errors in x and z.

    scores: (N, C) of the model. Raises BenchmarkError without matplotlib.
    """
    if task.level != "point" or task.soft:
        raise BenchmarkError(
            f"{task.name} has no class per point to draw. A task with one was expected. Leave --figure out; "
            f"`python -m benchmark plot --help` shows figures for calorimeters."
        )
    plt = pyplot()
    n_events = min(batch.n_events, MAX_EVENTS)
    figure, axes = plt.subplots(n_events, 3, figsize=(11, 3.6 * n_events), layout="constrained", squeeze=False)
    for row, event in zip(axes, range(n_events), strict=True):
        points = slice(batch.offsets[event], batch.offsets[event + 1])
        x, z = batch.coords[points, 0], batch.coords[points, 2]
        truth, predicted = np.asarray(batch.target)[points], scores[points].argmax(1)
        _draw_classes(row[0], x, z, truth, task.classes)
        _draw_classes(row[1], x, z, predicted, task.classes)
        wrong = truth != predicted
        row[2].scatter(z, x, s=2, color="#dddddd", linewidths=0)
        row[2].scatter(z[wrong], x[wrong], s=5, color="black", linewidths=0)
        share = f"wrong: {wrong.sum()} of {len(wrong)} points"
        for axis, title in zip(row, (f"truth, {shown_name(batch.event_ids[event])}", "prediction", share), strict=True):
            axis.set(title=title, xlabel="z (voxel)", ylabel="x (voxel)", aspect="equal")
            axis.title.set_fontsize(9)
    axes[0][0].legend(markerscale=4, fontsize=8, frameon=False)
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=110, format="png")
    plt.close(figure)


def _draw_classes(axis: Any, x: np.ndarray, z: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> None:
    for number, name in enumerate(classes):
        chosen = labels == number
        axis.scatter(
            z[chosen], x[chosen], s=3, color=COLOURS[number % len(COLOURS)], linewidths=0, label=shown_name(name)
        )
