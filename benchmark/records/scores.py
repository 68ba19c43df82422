"""Which score a record shows, and how records are ordered by it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmark.metrics.families import OVERALL, Column, Family, family
from benchmark.records.record import RunRecord


def family_name(record: RunRecord) -> str:
    """The name of the family of scores that a record's metrics belong to."""
    return "multilabel" if record.is_probe else str(record.task.get("metrics", "segmentation"))  # absent in older ones


def family_of(record: RunRecord) -> Family:
    """The family of scores that a record's metrics belong to."""
    return family(family_name(record))


def score_in_column(record: RunRecord, column: Column) -> Mapping[str, Any] | None:
    """A score: {value, low, high}; for an infinite rejection (value None), its 95% lower limit as `at_least`."""
    section: Mapping[str, Any] = record.metrics.get(column.section, {})
    row: Mapping[str, Mapping[str, Any]] = section if column.row is None else section.get(column.row, {})
    entry = row.get(column.name)
    if column.section != OVERALL or (entry is not None and entry["value"] is not None):
        return entry
    limit = _rejection_limit(record, column.name)
    return entry if limit is None else {"value": None, "low": None, "high": None, "at_least": limit}


def row_order(record: RunRecord) -> tuple[float, float, str, str]:
    """Order of rows: small budgets first, and in each the best first."""
    budget = float(record.labels) if record.labels.isdecimal() else float("inf")
    return (budget, rank_value(record), record.method, record.fingerprint)


def score(record: RunRecord, name: str, row: str) -> Mapping[str, Any] | None:
    """A score of one class, or of `macro`: {value, low, high}."""
    if row == "macro":
        overall: Mapping[str, Mapping[str, Any]] = record.metrics.get("overall", {})
        return overall.get(f"macro_{name}")
    per_class: Mapping[str, Mapping[str, Mapping[str, Any]]] = record.metrics.get("per_class", {})
    return per_class.get(row, {}).get(name)


def primary(record: RunRecord) -> Mapping[str, Any] | None:
    """The score that the task ranks by."""
    overall: Mapping[str, Mapping[str, Any]] = record.metrics.get("overall", {})
    return overall.get(record.task["primary_metric"])


def _rejection_limit(record: RunRecord, name: str) -> float | None:
    """The 95% lower limit on an infinite rejection; None for all other scores."""
    details: Mapping[str, Any] = record.metrics.get("details", {}).get("overall", {})
    point = details.get(name.replace("rejection_", "at_").removesuffix("_interpolated"))
    limit = point.get("rejection_at_least") if isinstance(point, Mapping) else None
    return float(limit) if isinstance(limit, int | float) else None


def rank_value(record: RunRecord) -> float:
    """The primary metric as a number that is smaller for a better record."""
    entry, sign = primary(record), 1 if record.task.get("smaller_is_better") else -1
    if entry is None or entry["value"] is None:
        limit = _rejection_limit(record, record.task["primary_metric"])
        return float("inf") if limit is None else sign * float("inf")
    return float(entry["value"]) * sign
