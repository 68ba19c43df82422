"""Bands of figures: 95% bootstrap intervals over independent events, by the rule of `benchmark.metrics.few_events`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.metrics.bootstrap import LEVEL, multiplicities
from benchmark.metrics.few_events import MadeOf, allowed_interval
from benchmark.records.counts import unpack_counts
from benchmark.records.record import RunRecord
from benchmark.records.scored import units_of
from benchmark.seeding import generator


@dataclass(frozen=True)
class MethodStates:
    """What a method made of a test split: a state per sample, and which samples were recorded together."""

    states: np.ndarray  # (B, ...) of the task's metrics
    units: np.ndarray | None  # (B,) number, from 0 on, of the independent event of each; None: not known

    def resamples(self, name: str) -> Iterator[np.ndarray]:
        """Blocks (r, B) float64 of each sample's multiplicity, the same for a name; none without known events."""
        if self.units is not None:
            yield from multiplicities(self.units, generator("bands of a figure", name))

    def ends(self, score: MadeOf, resampled: Sequence[np.ndarray], shape: tuple[int, ...]) -> np.ndarray:
        """(2, *shape) ends of the intervals of scores that blocks (r, *shape) hold; NaN where there may be none."""
        if self.units is None:
            return np.full((2, *shape), np.nan)
        return allowed_interval(score, self.units, np.concatenate(resampled))


def states_of(record: RunRecord) -> MethodStates:
    """The counts of a record. Raises RecordError where they are damaged."""
    return MethodStates(unpack_counts(record.per_event), units_of(record))


def bands_text(have: Sequence[bool], of: str, over: str = "events") -> str:
    """For a title: what the bands hold, and how many of the lines or points (`of`) have none."""
    if not any(have):
        return "no bands: too few events, scores that do not vary, or older records"
    without = "" if all(have) else f"; {list(have).count(False)} of {len(have)} {of} have none"
    return f"bands: {LEVEL:.0%} over {over}{without}"
