"""The grouping engine of compiled CPU code, always available."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmark.ops._jit import Bool, Float32, Int64
from benchmark.ops.cnms import suppress
from benchmark.ops.engine import Engine
from benchmark.ops.fps import farthest_points
from benchmark.ops.neighbours import Neighbours, ball_query, k_nearest
from benchmark.ops.thinning import thin


class Native(Engine):
    """The compiled CPU code of this folder, one event after the other."""

    name = "native"

    def farthest(self, events: Sequence[Float32], n_select: int) -> list[Int64]:
        """See Engine."""
        return [farthest_points(points, n_select) for points in events]

    def balls(
        self, queries: Sequence[Float32], events: Sequence[Float32], radius: float, cap: int | None
    ) -> list[Neighbours]:
        """See Engine."""
        return [ball_query(q, points, radius, cap) for q, points in zip(queries, events, strict=True)]

    def nearest(self, queries: Sequence[Float32], events: Sequence[Float32], k: int) -> list[Neighbours]:
        """See Engine."""
        pairs = zip(queries, events, strict=True)
        return [as_lists(k_nearest(q, points, k)[0][:, : len(points)]) for q, points in pairs]

    def suppressed(self, events: Sequence[Float32], radius: float, overlap: float, cap: int | None) -> list[Int64]:
        """See Engine."""
        return [suppress(points, radius, overlap, cap)[0] for points in events]

    def thinned(
        self, events: Sequence[Float32], groups: Sequence[Neighbours], n_points: int
    ) -> list[tuple[Int64, Bool]]:
        """See Engine."""
        return [thin(points, lists, n_points) for points, lists in zip(events, groups, strict=True)]


def as_lists(table: Int64) -> Neighbours:
    """(m, k) neighbours without gaps as ragged lists."""
    return Neighbours(np.arange(len(table) + 1) * table.shape[1], np.ascontiguousarray(table).ravel())


NATIVE = Native()
