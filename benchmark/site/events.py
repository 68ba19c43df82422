"""Events for the site's display: the same few of a task for all models, and the one with most errors."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from benchmark import tasks
from benchmark.errors import BenchmarkError
from benchmark.metrics.segmentation import wrong_shares
from benchmark.plots.event_view import Shown, compared, displayable
from benchmark.records.record import RunRecord
from benchmark.reports.averages import Average
from benchmark.reports.leaderboard import Leaderboard
from benchmark.reports.resampling import confusions
from benchmark.runs.restore import Restored, open_recorded_dataset, restore
from benchmark.runs.weights import weights_of

MAX_MODELS = 6  # side by side


def board_events(
    board: Leaderboard, runs: Path, n_events: int, data: Path | None, problems: list[str]
) -> Iterator[Shown]:
    """Events of one leaderboard with the predictions of its best rows, where their weights are available.

    Only the budget with most models. Errors of a model are added to `problems`; the other models are shown.
    """
    if n_events < 1 or not displayable(tasks.task(board.task)):
        return
    rows = _best_rows(board, runs)
    restored: list[tuple[str, RunRecord, Restored]] = []
    energy_unit = ""
    for row in rows:
        record = row.runs[0]
        weights = weights_of(record, runs)
        if weights is None:
            continue
        try:
            name = f"{record.method}:{record.config['mode']}, {record.labels} labels"
            dataset = open_recorded_dataset(record, data)
            restored.append((name, record, restore(record, weights, dataset)))
            energy_unit = dataset.info.energy_unit
        except BenchmarkError as error:
            problems.append(f"{record.run_name} is not displayed: {error}")
    if not restored:
        return
    ids = restored[0][2].events.event_ids
    for index in _positions(restored[0][2], restored[0][1], n_events):
        predictions = []
        for name, record, model in restored:
            model_ids = model.events.event_ids
            if ids[index] in model_ids:
                batch, scores = model.predict([model_ids.index(ids[index])])
                predictions.append((name, record.run_name, batch, scores))
        yield compared(predictions, restored[0][2].task, energy_unit)


def _best_rows(board: Leaderboard, runs: Path) -> list[Average]:
    """The best row of each model and mode, best first, at the budget with most stored weights."""
    budgets: dict[str, dict[tuple[str, str], Average]] = {}
    for row in board.averages:
        record = row.record
        if record.status == "finished" and weights_of(row.runs[0], runs) is not None:
            budgets.setdefault(record.labels, {}).setdefault((record.method, record.config["mode"]), row)
    if not budgets:
        return []
    return list(max(budgets.values(), key=len).values())[:MAX_MODELS]


def _positions(restored: Restored, record: RunRecord, n_events: int) -> list[int]:
    """Positions of events drawn with a fixed seed, and of the one with most errors."""
    events = restored.events
    drawn = events.first(n_events, "display")
    positions = np.searchsorted(events.indices, drawn.indices).tolist()
    hardest = _hardest_event(record, len(events))
    return positions if hardest is None or hardest in positions else [*positions, hardest]


def _hardest_event(record: RunRecord, n_events: int) -> int | None:
    counts = confusions(record)
    if counts is None or len(counts) != n_events:
        return None
    n_points = counts.sum(axis=(1, 2))
    large = n_points >= np.median(n_points)  # in a small event few errors are a large share
    wrong = wrong_shares(counts)
    return int(np.where(large, wrong, -1).argmax())
