"""Predictions in a file, matched to the events that are scored: every event once, every point once, nothing guessed.

Columns that are read, the first of these that is there:

    scores    (N, C) one for each class, larger is likelier; in tables `score_<class>`, or score_0, score_1 ...
    class     (N,) number of the class, or its name
    value     (N,) of a regression

Scores are read in single precision, as models give them. Points are matched by `x`, `y`, `z` where a file has them, in
any order; otherwise they are in the order of the export.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmark.contracts import Task
from benchmark.data.stream import EventSet
from benchmark.errors import DataError
from benchmark.exchange.events import COORDINATES
from benchmark.exchange.table import Table

GRAIN = 1024  # coordinates are equal within 1 / GRAIN of their unit
SCORES, CLASS, VALUE = "scores", "class", "value"


@dataclass(frozen=True)
class Matched:
    """Predictions by event id, as a model gives them, and how they were found."""

    scores: Mapping[str, np.ndarray]  # (n_points, C), (C,), or (C, Z, Y, X)
    has_scores: bool  # False: classes alone, which say nothing of the calibration
    n_ignored: int  # rows of points that the task leaves out


def matched(table: Table, events: EventSet, split_of: Callable[[str], str | None]) -> Matched:
    """The predictions of exactly these events. split_of: the split that holds another event's id, if any.

    Raises DataError for events and points that are missing, doubled or not among the scored ones, and for numbers that
    are not finite, naming the first.
    """
    task = events.task
    table = _named(table, events.event_ids[:])
    values, has_scores = _values(table, task)
    values = values.astype(np.float32)  # as models give them
    position = _positions(table, events.event_ids[:], split_of)
    _check_finite(table, values)
    found: dict[str, np.ndarray] = {}
    n_ignored = 0
    for i, event_id in enumerate(events.event_ids):
        rows = values[table.rows(position[event_id])]
        if task.level == "point":
            order = _rows_of_points(table, position[event_id], events, i)
            n_ignored += len(rows) - len(order)
            found[event_id] = rows[order]
        else:
            found[event_id] = _only(rows, event_id)
    return Matched(found, has_scores, n_ignored)


def _named(table: Table, wanted: Sequence[str]) -> Table:
    """The table with the ids of its events, where it gives their numbers in the export."""
    if table.numbers is None:
        return table
    whole = table.numbers.dtype.kind in "iu"
    wrong = np.flatnonzero((table.numbers < 0) | (table.numbers >= len(wanted)))
    if not whole or len(wrong):
        told = table.numbers.dtype if not whole else table.numbers[wrong[0]]
        raise DataError(
            f"The events of the file have numbers (first wrong one: {told}) that are none of the export's. 0 to "
            f"{len(wanted) - 1} were expected, in the order of `python -m benchmark export`. Correct them."
        )
    return replace(table, event_ids=tuple(wanted[int(n)] for n in table.numbers))


def _values(table: Table, task: Task) -> tuple[np.ndarray, bool]:
    """(N, outputs, ...) of every row; whether they are scores. Raises DataError without any."""
    columns = table.columns
    if task.kind == "regression":
        if VALUE not in columns:
            raise _missing_columns(columns, f"`{VALUE}`")
        return _single(columns, VALUE)[:, None], True
    n = task.n_outputs
    for names in ([f"score_{name}" for name in task.classes], [f"score_{i}" for i in range(n)]):
        if all(name in columns for name in names):
            return np.stack([_single(columns, name) for name in names], axis=1), True
    if SCORES in columns:
        scores = _numbers(columns, SCORES)
        if scores.ndim < 2 or scores.shape[1] != n:
            raise DataError(
                f"`{SCORES}` has the shape {scores.shape}. {n} scores in each row were expected, for "
                f"{', '.join(task.classes)}. Correct it."
            )
        return scores, True
    if CLASS in columns:
        return _one_hot(_class_numbers(table, task), n), False
    raise _missing_columns(columns, f"`{SCORES}`, `score_{task.classes[0]}` ..., or `{CLASS}`")


def _class_numbers(table: Table, task: Task) -> np.ndarray:
    values = table.columns[CLASS]
    if values.dtype == object:
        numbers = {name: i for i, name in enumerate(task.classes)} | {str(i): i for i in range(task.n_outputs)}
        wrong = next((i for i, name in enumerate(values) if name not in numbers), None)
        if wrong is None:
            return np.array([numbers[name] for name in values], np.int64)
        value = str(values[wrong])[:40]
    else:
        whole = values.astype(np.float64)
        bad = np.flatnonzero(~((whole >= 0) & (whole < task.n_outputs) & (whole == np.floor(whole))).reshape(-1))
        if not len(bad):
            return values.astype(np.int64)
        wrong, value = int(bad[0]) * len(values) // max(1, values.size), f"{whole.reshape(-1)[bad[0]]:g}"
    raise DataError(
        f"`{CLASS}` is {value!r} in a row of event {_event_of(table, wrong)}. 0 to {task.n_outputs - 1} were expected, "
        f"for {', '.join(task.classes)}, or these names. Correct it."
    )


def _one_hot(classes: np.ndarray, n_classes: int) -> np.ndarray:
    """(N, C, ...) from (N, ...)."""
    return np.moveaxis(np.eye(n_classes, dtype=np.float32)[classes], -1, 1)


def _numbers(columns: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    values = columns[name]
    if values.dtype == object:
        raise DataError(f"`{name}` holds texts (first: {str(values[0])[:40]!r}). Numbers were expected. Correct it.")
    return values


def _single(columns: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """(N,) a number in each row."""
    values = _numbers(columns, name)
    if values.ndim != 1:
        raise DataError(
            f"`{name}` has the shape {values.shape}. One number in each row was expected. Give several scores as "
            f"`{SCORES}`."
        )
    return values


def _missing_columns(columns: Mapping[str, np.ndarray], expected: str) -> DataError:
    return DataError(
        f"The file holds no predictions: its columns are {', '.join(sorted(columns)) or 'none'}. {expected} was "
        f"expected. Add it."
    )


def _positions(table: Table, wanted: Sequence[str], split_of: Callable[[str], str | None]) -> dict[str, int]:
    """Event id -> position in the table."""
    position: dict[str, int] = {}
    for i, event_id in enumerate(table.event_ids):
        if event_id in position:
            raise DataError(f"Event {event_id} is in the file twice. Each event was expected once. Leave one out.")
        position[event_id] = i
    known = set(wanted)
    missing = [event_id for event_id in wanted if event_id not in position]
    others = [event_id for event_id in table.event_ids if event_id not in known]
    if others:
        split = split_of(others[0])
        where = f"an event of the {split} split" if split else "not an event of this split, or left out by its cuts"
        lacking = f", and {len(missing):,} of the {len(wanted):,} scored ones are missing" if missing else ""
        raise DataError(
            f"{len(others):,} of the {len(position):,} events of the file are not scored (first: {others[0][:80]}, "
            f"{where}){lacking}. The events of `python -m benchmark export` were expected. Leave the others out."
        )
    if missing:
        raise DataError(
            f"{len(missing):,} of the {len(wanted):,} scored events are missing (first: {missing[0]}). A prediction "
            f"for each was expected. Add them."
        )
    return position


def _check_finite(table: Table, values: np.ndarray) -> None:
    wrong = np.flatnonzero(~np.isfinite(values).reshape(len(values), -1).all(axis=1))
    if len(wrong):
        raise DataError(
            f"{len(wrong):,} of {len(values):,} predictions are not finite (first: in event "
            f"{_event_of(table, int(wrong[0]))}). Finite numbers were expected. Correct them."
        )


def _event_of(table: Table, row: int) -> str:
    offsets = table.offsets
    return table.event_ids[row if offsets is None else int(np.searchsorted(offsets, row, side="right")) - 1]


def _only(rows: np.ndarray, event_id: str) -> np.ndarray:
    """The one row of an event."""
    if len(rows) != 1:
        raise DataError(
            f"Event {event_id} has {len(rows)} rows. One was expected, as this task predicts whole events. Leave the "
            f"others out."
        )
    only: np.ndarray = rows[0]
    return only


# ---- points


def _rows_of_points(table: Table, at: int, events: EventSet, position: int) -> np.ndarray:
    """(n,) row, among those of the event, of each of its scored points."""
    rows = table.rows(at)
    n_rows, event_id = rows.stop - rows.start, table.event_ids[at]
    wanted = np.asarray(events.batch([position]).coords)  # (n, 3)
    given = [name for name in COORDINATES if name in table.columns]
    if given and len(given) < len(COORDINATES):
        raise DataError(f"The file has the column {given[0]} alone. x, y and z were expected, or none. Add the others.")
    if not given:
        if n_rows != len(wanted):
            raise DataError(
                f"Event {event_id} has {n_rows:,} predictions for its {len(wanted):,} scored points. As many were "
                f"expected, in the order of `python -m benchmark export`. Add the columns x, y, z to match points by "
                f"place."
            )
        return np.arange(n_rows)
    found = np.stack([_numbers(table.columns, name)[rows] for name in COORDINATES], axis=1)  # (m, 3)
    return _by_place(found, wanted, np.asarray(events.source[int(events.indices[position])].coords), event_id)


def _by_place(found: np.ndarray, wanted: np.ndarray, raw: np.ndarray, event_id: str) -> np.ndarray:
    """(n,) rows of `found` at the points of `wanted`; the others have to be points of the event as it was recorded."""
    if not np.isfinite(found).all():
        raise DataError(f"Event {event_id} has coordinates that are not finite. Those of its points were expected.")
    keys, wanted_keys, raw_keys = map(_keys, (found, wanted, raw))
    order = np.argsort(keys, kind="stable")
    in_order = keys[order]
    twice = np.flatnonzero(in_order[1:] == in_order[:-1])
    if len(twice):
        raise _point_error(event_id, found[order[twice[0]]], "is in the file twice", "Leave one out.")
    if len(np.unique(wanted_keys)) < len(wanted_keys):
        raise DataError(
            f"Event {event_id} has several points at one place, so that x, y, z do not tell them apart. Predictions in "
            f"the order of `python -m benchmark export` were expected. Leave x, y, z out."
        )
    at = np.minimum(np.searchsorted(in_order, wanted_keys), max(0, len(in_order) - 1))
    missing = np.flatnonzero(in_order[at] != wanted_keys) if len(in_order) else np.arange(len(wanted))
    if len(missing):
        what = f"has no prediction ({len(missing):,} of {len(wanted):,} points have none)"
        raise _point_error(event_id, wanted[missing[0]], what, "Add it.")
    strange = np.flatnonzero(~np.isin(keys, raw_keys))
    if len(strange):
        raise _point_error(event_id, found[strange[0]], "is no point of it", "Correct it.")
    rows: np.ndarray = order[at]
    return rows


def _keys(coords: np.ndarray) -> np.ndarray:
    """(N,) comparable keys of coordinates that are equal within 1 / GRAIN."""
    grains = np.ascontiguousarray(np.rint(np.clip(coords.astype(np.float64), -1e9, 1e9) * GRAIN).astype(np.int64))
    return grains.view([("", np.int64)] * 3).reshape(-1)


def _point_error(event_id: str, place: np.ndarray, what: str, remedy: str) -> DataError:
    at = ", ".join(f"{v:g}" for v in place)
    return DataError(f"The point ({at}) of event {event_id} {what}. Each of its points was expected once. {remedy}")
