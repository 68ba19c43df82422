"""Differences between rows of a table on the same events: a paired bootstrap, so that common variation cancels.

Both rows are resampled together (`benchmark.reports.averages`): the same events, and, of rows with as many runs, the
same repetitions. A row is shown in bold only where these intervals separate it from every other of its budget.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.metrics.bootstrap import percentiles
from benchmark.records.scores import primary
from benchmark.reports.averages import Average

EQUAL = 1e-6  # differences below this are rounding


@dataclass(frozen=True)
class Difference:
    """One row's primary metric minus another's, with its 95% interval."""

    value: float
    low: float
    high: float

    @property
    def separated(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.low > EQUAL or self.high < -EQUAL


def value_of(row: Average) -> float:
    """The primary metric; NaN where it is undefined."""
    value = (primary(row.record) or {}).get("value")
    return float("nan") if value is None else float(value)


def difference(one: Average, other: Average) -> Difference | None:
    """`one` minus `other`; None where they were not scored on the same events, or a score is undefined."""
    value = value_of(one) - value_of(other)
    if one.replicates is None or other.replicates is None or one.events != other.events or not np.isfinite(value):
        return None
    with np.errstate(invalid="ignore"):
        drawn = one.replicates - other.replicates
    if not np.isfinite(drawn).any():
        return None
    low, high = percentiles(np.where(np.isfinite(drawn), drawn, np.nan))
    return Difference(value, float(low), float(high))


def differences_to_best(rows: Sequence[Average]) -> list[Difference | None]:
    """Difference of each row to the first, the best one; None for the first itself."""
    return [None, *(difference(row, rows[0]) for row in rows[1:])]


def is_separated_best(rows: Sequence[Average]) -> bool:
    """Whether the first of rows ordered best first is separated from every other; False where one is not comparable.

    False for a single row.
    """
    differences = differences_to_best(rows)[1:]
    return bool(differences) and all(d is not None and d.separated for d in differences)
