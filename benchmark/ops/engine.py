"""The interface of grouping engines, which carry out the searches of grouping.

Every engine gives the same indices; they differ in speed and device. An engine works on the events of a batch at
once, each a float32 array of its own, so that one that runs on a GPU can pad or concatenate them as it likes. It has to
supply farthest points, balls and nearest neighbours; suppression and thinning follow from these. An engine with a
kernel for a whole step overrides that step.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from benchmark.ops._jit import Bool, Float32, Int64
from benchmark.ops.cnms import suppress_listed
from benchmark.ops.neighbours import Neighbours


class Engine(ABC):
    """Searches over several events at once; element e of every argument and result belongs to event e."""

    name: str

    def available(self) -> str | None:
        """None where the engine can be used here, else the reason and the remedy."""
        return None

    @abstractmethod
    def farthest(self, events: Sequence[Float32], n_select: int) -> list[Int64]:
        """As `fps.farthest_points` from the first point, for each event."""

    @abstractmethod
    def balls(
        self, queries: Sequence[Float32], events: Sequence[Float32], radius: float, cap: int | None
    ) -> list[Neighbours]:
        """As `neighbours.ball_query`, for each event."""

    @abstractmethod
    def nearest(self, queries: Sequence[Float32], events: Sequence[Float32], k: int) -> list[Neighbours]:
        """The min(k, n) nearest points of each query, nearest first, equidistant ones by index."""

    def suppressed(self, events: Sequence[Float32], radius: float, overlap: float, cap: int | None) -> list[Int64]:
        """Centres that `cnms.suppress` keeps, for each event."""
        return [suppress_listed(lists) for lists in self.balls(events, events, 2.0 * radius * overlap, cap)]

    def thinned(
        self, events: Sequence[Float32], groups: Sequence[Neighbours], n_points: int
    ) -> list[tuple[Int64, Bool]]:
        """As `thinning.thin`, for each event. The groups of all events go into one batch."""
        tables = [
            (np.full((len(g.counts), n_points), -1, np.int64), np.zeros((len(g.counts), n_points), np.bool_))
            for g in groups
        ]
        full = [(e, i) for e, g in enumerate(groups) for i in np.flatnonzero(g.counts)]
        members = [groups[e].indices[groups[e].offsets[i] : groups[e].offsets[i + 1]] for e, i in full]
        orders = self.farthest([events[e][ball] for (e, _), ball in zip(full, members, strict=True)], n_points)
        for (e, i), ball, order in zip(full, members, orders, strict=True):
            indices, mask = tables[e]
            indices[i] = ball[order[0]]  # empty slots repeat the first member
            indices[i, : len(order)] = ball[order]
            mask[i, : len(order)] = True
        return tables
