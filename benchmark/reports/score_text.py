"""Scores as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from benchmark.metrics.families import Column


def places_of(column: Column) -> int:
    """Decimal places: rejections are of order 10, all other scores of order 1."""
    return 1 if column.name.startswith("rejection") else 3


def with_interval(entry: Mapping[str, Any] | None, separator: str = " ", places: int = 3) -> str:
    """`0.912 [0.900, 0.923]`, `> 45.3` where only a limit is known, a dash where the score is undefined."""
    if entry is None or entry["value"] is None:
        limit = None if entry is None else entry.get("at_least")
        return "-" if limit is None else f"> {limit:.{places}f}"
    value = f"{entry['value']:.{places}f}"
    if entry.get("low") is None:
        return value
    high = "" if entry["high"] is None else f" {entry['high']:.{places}f}"  # an interval without an upper end
    return f"{value}{separator}[{entry['low']:.{places}f},{high or ' ...'}]"
