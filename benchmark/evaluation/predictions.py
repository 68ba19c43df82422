"""Scores event by event: those that a model gives, and the counting of ones that were made anywhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from benchmark.contracts import Frame, Model, PointBatch, Task
from benchmark.data.stream import EventSet
from benchmark.errors import DataError
from benchmark.evaluation.evaluate import check_scores, expected_shapes
from benchmark.metrics.counter import Counter


def predictions_of(model: Model, events: EventSet, batch_size: int) -> dict[str, np.ndarray]:
    """Event id -> what the model says of it, in the order of the ids: (C,), (n_points, C) or (C, Z, Y, X).

    Raises BenchmarkError for scores of another shape, or that are not finite.
    """
    found: dict[str, np.ndarray] = {}
    for batch in events.in_order(batch_size):
        scores = np.asarray(model.predict(batch.without_target()))
        check_scores(scores, batch, events.task)
        found |= dict(zip(batch.event_ids, _by_event(scores, batch, events.task), strict=True))
    return {event_id: found[event_id] for event_id in events.event_ids}


def score_predictions(
    predictions: Mapping[str, np.ndarray], event_ids: Sequence[str], labelled: Iterator[PointBatch], task: Task,
    units: np.ndarray,
) -> Counter:  # fmt: skip
    """Counts of predictions by event. labelled: these events, one to a batch.

    units: (n,) number of the independent event of each.
    Raises DataError for an event without a prediction or the other way round, and for arrays that do not fit.
    """
    _check_ids(predictions, event_ids)
    counter = Counter(task, units)
    for row, batch in enumerate(labelled):
        counter.add([row], _checked(predictions[batch.event_ids[0]], batch, task), batch)
    return counter


def batch_of_classes(event_id: str, classes: np.ndarray, task: Task) -> PointBatch:
    """The true classes (N,) of an event's points as a batch that can be scored, and nothing else. Raises DataError."""
    target = np.asarray(classes)
    whole = target.ndim == 1 and target.dtype.kind in "iu"
    if not whole or len(target) == 0 or target.max() >= task.n_outputs:
        raise DataError(
            f"The truth of {event_id} is an array of {target.dtype} of shape {target.shape}. Whole numbers below "
            f"{task.n_outputs}, one for each point, were expected. Correct the array."
        )
    target = np.where(target < 0, task.ignore_index, target.astype(np.int64))
    n = len(target)
    nowhere = Frame((0.0, 0.0, 0.0), 1.0, (0.0, 0.0, 0.0), "")
    return PointBatch(
        coords=np.zeros((n, 3), np.float32), energy=np.zeros(n, np.float32), feats=np.zeros((n, 0), np.float32),
        offsets=np.array([0, n], np.int64), event_ids=(event_id,), columns=(), frame=nowhere, target=target,
    )  # fmt: skip


def _by_event(scores: np.ndarray, batch: PointBatch, task: Task) -> list[np.ndarray]:
    if task.level == "event" or scores.ndim > 2:
        return list(scores)
    return np.split(scores, np.asarray(batch.offsets)[1:-1])


def _check_ids(predictions: Mapping[str, np.ndarray], event_ids: Sequence[str]) -> None:
    missing, unknown = sorted(set(event_ids) - set(predictions)), sorted(set(predictions) - set(event_ids))
    if missing or unknown:
        what = f"lack {len(missing)} of {len(event_ids)} events" if missing else f"hold {len(unknown)} other events"
        raise DataError(
            f"The predictions {what} (first: {(missing or unknown)[0]}). One array for each event of the truth was "
            f"expected. Take the ids from `events.ids`."
        )


def _checked(values: np.ndarray, batch: PointBatch, task: Task) -> np.ndarray:
    """The scores of the only event of a batch, as a model would return them."""
    event_id = batch.event_ids[0]
    try:
        scores = np.asarray(values)
        scores = scores if scores.dtype.kind == "f" else scores.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"The prediction of {event_id} is no array of numbers ({error}). Finite scores were expected. Correct it."
        ) from error
    of_points = task.level != "event" and scores.ndim == 2
    found = scores if of_points else scores[None]
    expected = expected_shapes(batch, task)
    if found.shape not in expected:
        shapes = [shape if len(shape) == 2 and task.level != "event" else shape[1:] for shape in expected]
        by_class = f"Of class numbers, pass np.eye({task.n_outputs})[numbers]."
        raise DataError(
            f"The prediction of {event_id} has the shape {scores.shape}. Scores of shape "
            f"{' or '.join(map(str, shapes))} were expected. "
            f"{by_class if task.kind == 'classification' else 'Correct the array.'}"
        )
    if not np.isfinite(found).all():
        raise DataError(
            f"The prediction of {event_id} holds numbers that are not finite. Finite scores were expected. Correct it."
        )
    return found
