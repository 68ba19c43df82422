"""Which scores may have an interval: one rule, for records, tables, differences, curves and pages.

An interval is a bootstrap over independent events: what was recorded together (the clusters of one collision event, the
tiles of one scan) is drawn together. It claims nothing where resampling cannot know the variation:

- fewer than MIN_EVENTS independent events. The range of n events holds the median with a chance of 1 - 2^(1 - n), so
  that five can give no 95% interval by any method; percentile intervals of as few are too narrow besides.
- a class that the score needs stands in fewer than MIN_WITH_CLASS of them: more than 5% of the resamples then hold
  none ((1 - k/n)^n: 12% with two of 20, 36% with one).
- every resample gives the same score (`benchmark.metrics.bootstrap.interval`): one that is constant by definition, such
  as the F1 of a class that is never predicted, or a perfect one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.metrics.bootstrap import interval

MIN_EVENTS = 10
MIN_WITH_CLASS = 3
MACRO = "macro"  # what the means over classes in "overall" are made of
RULE = (
    f"[-]: no interval, with fewer than {MIN_EVENTS} independent events, a class in fewer than {MIN_WITH_CLASS} of "
    f"them, or equal scores in all resamples"
)


@dataclass(frozen=True)
class MadeOf:
    """The samples that a score is made of."""

    samples: np.ndarray  # (B,) bool: those that count
    with_class: tuple[np.ndarray, ...] = ()  # (B,) bool each: those with a class that the score needs


def has_enough(score: MadeOf, units: np.ndarray) -> bool:
    """Whether a score has enough independent events for an interval. units: (B,) the event or scan of each sample."""
    return _are_enough(_n_events(score, units))


def allowed_interval(score: MadeOf, units: np.ndarray, resampled: np.ndarray) -> np.ndarray:
    """(2, ...) ends of the 95% interval of a score that was resampled (R, ...) times; NaN where it may have none."""
    ends = interval(resampled)
    return ends if has_enough(score, units) else np.full_like(ends, np.nan)


def _n_events(score: MadeOf, units: np.ndarray) -> list[int]:
    """Independent events among the samples of a score, then with each class that it needs."""
    return [len(np.unique(units[mask])) for mask in (score.samples, *score.with_class)]


def _are_enough(n_events: Sequence[int]) -> bool:
    return n_events[0] >= MIN_EVENTS and all(n >= MIN_WITH_CLASS for n in n_events[1:])


class Rule:
    """The rule, for the scores of one test set."""

    def __init__(self, made_of: Mapping[str, Sequence[MadeOf]], units: np.ndarray) -> None:
        n_events = {name: [_n_events(row, units) for row in rows] for name, rows in made_of.items()}
        self._enough = {name: np.array([_are_enough(n) for n in rows]) for name, rows in n_events.items()}
        # independent events with any one class that the scores in "overall" need
        self.fewest = min(n for name in ("overall", MACRO) for row in n_events.get(name, ()) for n in row)

    def allows(self, section: str, name: str) -> np.ndarray:
        """() of a score in "overall", (rows,) elsewhere: whether it has enough events."""
        if section != "overall":
            return self._enough[section]
        is_macro = name.startswith("macro_") and MACRO in self._enough
        return np.asarray(self._enough[MACRO if is_macro else section][0])
