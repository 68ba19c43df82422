"""One calorimeter sample as a picture: its cells by layer, what they belong to, and where the tracks pass."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmark import registry, tasks
from benchmark.contracts import PointBatch, Task
from benchmark.contracts.cells import CELL, FOCUS_HIT, OTHER_HIT
from benchmark.data.preparation import preparation
from benchmark.data.stream import event_set
from benchmark.errors import ConfigError
from benchmark.pion_plots import SAMPLINGS, draw_cells


def draw_sample(task: str, dataset: str | None, data: Path | None, split: str, number: int, path: Path) -> None:
    """A PNG of one sample of a split. Raises ConfigError where there is no such sample."""
    asked = tasks.task(task)
    if asked.detector != "calorimeter":
        raise ConfigError(
            f"--task {asked.name} has no cells. A task of the calorimeter was expected. Type "
            f"`python -m benchmark list tasks`."
        )
    spec = registry.dataset_spec(dataset or asked.dataset)
    events = event_set(spec.open(spec.config(), data), split, asked, preparation(asked))
    if not 0 <= number < len(events):
        raise ConfigError(
            f"--event {number} is not there. A number from 0 to {len(events) - 1} was expected. Correct --event."
        )
    batch = events.batch([number])
    info = batch.point_info
    layer = np.array([SAMPLINGS[int(s)] for s in info["sampling"]])
    cell = info["category"] == CELL
    eta, phi, deta, dphi = (np.asarray(info[name])[cell] for name in ("eta", "phi", "deta", "dphi"))
    draw_cells(
        eta, phi, deta, dphi, np.asarray(batch.energy)[cell], layer[cell].tolist(), path,
        fractions=_fractions(batch, asked, cell), tracks=_paths(batch, layer, FOCUS_HIT),
        other_tracks=_paths(batch, layer, OTHER_HIT), title=_title(batch, asked),
    )  # fmt: skip


def _fractions(batch: PointBatch, task: Task, cell: np.ndarray) -> np.ndarray | None:
    """(N, 3) shares of focus, other charged and neutral particles, where the task has such labels."""
    if task.metrics != "association":
        return None
    target: np.ndarray = np.asarray(batch.target)[cell]
    if task.soft:
        return target
    focus = (target == 1).astype(np.float32)
    return np.stack([focus, np.zeros_like(focus), 1 - focus], axis=1)


def _paths(batch: PointBatch, layer: np.ndarray, category: int) -> dict[str, np.ndarray] | None:
    """Layer -> (n, 2) eta and phi of the tracks' points there."""
    here = np.asarray(batch.point_info["category"]) == category
    if not here.any():
        return None
    places = np.stack([batch.point_info["eta"], batch.point_info["phi"]], axis=1)
    return {name: places[here & (layer == name)] for name in sorted(set(layer[here]))}


def _title(batch: PointBatch, task: Task) -> str:
    of_event = batch.event_info
    parts = [batch.event_ids[0]]
    if task.metrics == "pions":
        parts.append(task.classes[int(np.asarray(batch.target)[0])])
    if task.auxiliary and "log_true_energy" in task.auxiliary:
        parts.append(f"true energy {10 ** batch.label('log_true_energy')[0]:.3g} GeV")
    elif task.kind == "regression":
        parts.append(f"true energy {10 ** np.asarray(batch.target)[0]:.3g} GeV")
    if "track_p" in of_event:
        parts.append(f"track p {of_event['track_p'][0]:.3g} GeV")
    return ", ".join(parts)
