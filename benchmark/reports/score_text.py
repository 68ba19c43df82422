"""Scores as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmark.metrics.families import Column

NO_INTERVAL = "[-]"
_LONG = 1e9


def places_of(column: Column) -> int:
    """Decimal places: rejections are of order 10, all other scores of order 1."""
    return 1 if column.name.startswith("rejection") else 3


def with_interval(entry: Mapping[str, Any] | None, separator: str = " ", places: int = 3) -> str:
    """`0.912 [0.900, 0.923]`, `0.912 [-]` without an interval, `> 45.3` for a limit, `-` for no score."""
    if entry is None or entry["value"] is None:
        limit = _number(None if entry is None else entry.get("at_least"), places)
        return "-" if limit is None else f"> {limit}"
    value, low, high = (_number(entry.get(end), places) for end in ("value", "low", "high"))
    if low is None:
        return f"{value}{separator}{NO_INTERVAL}"
    return f"{value}{separator}[{low}, {high or '...'}]"  # some intervals have no upper end


def _number(value: float | None, places: int) -> str | None:
    """Fixed places; of a number too long for a column, its power of ten."""
    if value is None:
        return None
    return f"{value:.{places}f}" if abs(value) < _LONG else f"{value:.3g}"
