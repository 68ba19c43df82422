"""Differences between rows of a table on the same events: a paired bootstrap, so that common variation cancels.

Both rows are resampled together (`benchmark.reports.averages`): the same events, and, of rows with as many runs, the
same repetitions. A row of several runs is shown in bold where these intervals separate it from every other of its
budget. Without an interval (`benchmark.metrics.few_events`) there is no verdict.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.metrics.bootstrap import percentiles
from benchmark.metrics.summary import plain
from benchmark.records.scored import same_scored
from benchmark.records.scores import primary
from benchmark.reports.averages import Average
from benchmark.reports.score_text import NO_INTERVAL

EQUAL = 1e-6  # differences below this are rounding


@dataclass(frozen=True)
class Difference:
    """One row's primary metric minus another's, with its 95% interval; None where there can be none."""

    value: float
    low: float | None
    high: float | None

    def text(self, places: int) -> str:
        """`-0.041 [-0.055, -0.029]`, `-0.041 [-]` without an interval."""
        ends = NO_INTERVAL
        if self.low is not None and self.high is not None:
            ends = f"[{self.low:+.{places}f}, {self.high:+.{places}f}]"
        return f"{self.value:+.{places}f} {ends}"

    @property
    def separated(self) -> bool:
        """Whether there is an interval, and it leaves out zero."""
        return self.low is not None and self.high is not None and (self.low > EQUAL or self.high < -EQUAL)


def value_of(row: Average) -> float:
    """The primary metric; NaN where it is undefined."""
    value = (primary(row.record) or {}).get("value")
    return float("nan") if value is None else float(value)


def difference(one: Average, other: Average) -> Difference | None:
    """`one` minus `other`; None where they were not scored on the same events, or a score is undefined."""
    value = value_of(one) - value_of(other)
    if not same_scored((*one.runs, *other.runs)) or not np.isfinite(value):
        return None
    if one.replicates is None or other.replicates is None:
        return Difference(value, None, None)
    with np.errstate(invalid="ignore"):
        drawn = one.replicates - other.replicates
    low, high = map(plain, percentiles(np.where(np.isfinite(drawn), drawn, np.nan)))
    if low is not None and low == high and abs(value) > EQUAL:  # two constant scores
        return Difference(value, None, None)
    return Difference(value, low, high)


def differences_to_best(rows: Sequence[Average]) -> list[Difference | None]:
    """Difference of each row to the first, the best one; None for the first itself."""
    return [None, *(difference(row, rows[0]) for row in rows[1:])]


def is_separated_best(rows: Sequence[Average]) -> bool:
    """Whether the first of rows ordered best first is separated from every other; False where one is not comparable.

    False for a single row, and where the first has no interval or is of a single run: its draw may have been lucky.
    """
    differences = differences_to_best(rows)[1:]
    has_interval = (primary(rows[0].record) or {}).get("low") is not None and rows[0].n_runs > 1
    return bool(differences) and has_interval and all(d is not None and d.separated for d in differences)
