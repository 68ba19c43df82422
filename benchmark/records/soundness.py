"""What has to fit together in a record: its scores with its task's family, its counts with its classes and ids."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np

from benchmark.errors import RecordError
from benchmark.metrics.families import OVERALL
from benchmark.records.counts import unpack_counts, unpack_event_ids, unpack_units
from benchmark.records.record import RunRecord
from benchmark.records.schema import UNSEEN, rows_fault
from benchmark.records.scores import family_of


def inconsistency(record: RunRecord) -> str | None:
    """What does not fit, as `field: why`; None for a sound record. Only of records that fit the schema."""
    return _fault_of_scores(record.metrics, record) or (_fault_of_counts(record) if record.per_event else None)


def _fault_of_scores(metrics: Mapping[str, Any], record: RunRecord) -> str | None:
    for section in family_of(record).sections:
        if section != OVERALL and section in metrics:
            fault = rows_fault(section, metrics[section])
            if fault is not None:
                return fault
    if metrics and record.status == "finished" and record.task["primary_metric"] not in metrics.get(OVERALL, {}):
        return "metrics.overall: the score that its task ranks by is missing"
    confusion, n_classes = metrics.get("confusion"), len(record.task["classes"])
    if confusion is not None and [len(row) for row in confusion] != [n_classes] * n_classes:
        return f"metrics.confusion: {n_classes} rows of {n_classes} numbers, for its classes, were expected"
    calibration = metrics.get("calibration")
    if calibration and len({len(calibration[name]) for name in ("rows", "confidence", "accuracy")}) > 1:
        return "metrics.calibration: its columns have different lengths"
    return None


def _fault_of_counts(record: RunRecord) -> str | None:
    try:
        counts, ids = unpack_counts(record.per_event), unpack_event_ids(record.per_event)
        unpack_units(record.per_event)
    except RecordError as error:
        return f"per_event: {str(error).partition('. ')[0]}"  # the cause: the reader of records says what to do
    if not len(counts):
        return "per_event: counts of at least one event were expected"
    expected = _state_shape(record)
    if counts.shape[1:] != expected:
        classes = len(record.task["classes"])
        return f"per_event: counts of shape {counts.shape[1:]}; {expected}, for its {classes} classes, was expected"
    if not np.isfinite(counts).all() or (counts.dtype.kind == "i" and counts.min() < 0):
        return "per_event: a count is negative or not finite"
    if ids is not None and any(map(UNSEEN.search, ids)):
        return "per_event: an event's id has control characters"
    return None


def _state_shape(record: RunRecord) -> tuple[int, ...]:
    """Of an event's counts, for the classes that the record names."""
    soft = bool((record.config.get("task") or {}).get("soft"))
    outputs = SimpleNamespace(n_outputs=len(record.task["classes"]), soft=soft)  # all of a task that decides it
    return family_of(record).shape(outputs)  # type: ignore[arg-type]
