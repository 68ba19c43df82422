"""Which score a record shows, as a number and as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmark.metrics.families import Column
from benchmark.records.record import RunRecord


def found(record: RunRecord, column: Column) -> Mapping[str, Any] | None:
    """A score: {value, low, high}."""
    section: Mapping[str, Any] = record.metrics.get(column.section, {})
    row: Mapping[str, Mapping[str, Any]] = section if column.row is None else section.get(column.row, {})
    return row.get(column.name)


def places_of(column: Column) -> int:
    """Decimal places: a rejection is a number of tens, all other scores lie about 1."""
    return 1 if column.name.startswith("rejection") else 3


def place(record: RunRecord) -> tuple[float, float, str, str]:
    """Order of rows: small budgets first, and in each the best first."""
    budget = float("inf") if record.labels == "all" else float(record.labels)
    return (budget, rank_value(record), record.model, record.fingerprint)


def protocol(record: RunRecord) -> str:
    """The name of a publication's protocol where the record's scores follow it; empty for the suite's own."""
    own = (record.config.get("probe") or {}).get("protocol", "clean")
    return "" if own == "clean" else str(own)


def is_probe(record: RunRecord) -> bool:
    """Whether a record is of a probe of tokens."""
    return bool(record.config.get("probe"))


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


def with_interval(entry: Mapping[str, Any] | None, separator: str = " ", places: int = 3) -> str:
    """`0.912 [0.900, 0.923]`, or a dash where the score is undefined."""
    if entry is None or entry["value"] is None:
        return "-"
    value = f"{entry['value']:.{places}f}"
    if entry.get("low") is None:
        return value
    high = "" if entry["high"] is None else f" {entry['high']:.{places}f}"  # an interval without an upper end
    return f"{value}{separator}[{entry['low']:.{places}f},{high or ' ...'}]"


def limit(record: RunRecord, name: str) -> float | None:
    """The 95% lower limit on an infinite rejection; None for all other scores."""
    of_all: Mapping[str, Any] = record.metrics.get("details", {}).get("overall", {})
    point = of_all.get(name.replace("rejection_", "at_").removesuffix("_interpolated"))
    return point["rejection_at_least"] if isinstance(point, Mapping) else None


def rank_value(record: RunRecord) -> float:
    """The primary metric as a number that is smaller for a better record."""
    entry, better = primary(record), 1 if record.task.get("smaller_is_better") else -1
    if entry is None or entry["value"] is None:
        return float("inf") if limit(record, record.task["primary_metric"]) is None else better * float("inf")
    return float(entry["value"]) * better
