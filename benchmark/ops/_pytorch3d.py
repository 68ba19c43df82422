"""pytorch3d as an engine of grouping: the only file that imports it.

Relies on (pytorch3d 0.7, `pytorch3d.ops`): clouds padded to one length, with their true lengths;
`sample_farthest_points` starts at the first point and fills with -1; `ball_query` is strict (d^2 < r^2), keeps the
first K by index and fills with -1; `knn_points` fills with index 0 where a cloud has fewer than K points.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmark.ops._jit import Float32, Int64
from benchmark.ops.engine import Engine
from benchmark.ops.neighbours import Neighbours
from benchmark.packages import missing_package

FIRST_WIDTH = 64  # first number of neighbours where there is no cap; doubled while a list is full


class Pytorch3d(Engine):
    """Searches by pytorch3d on `device` ("cuda" where torch sees one, else "cpu")."""

    name = "pytorch3d"

    def __init__(self, device: str | None = None) -> None:
        self._device = device

    def available(self) -> str | None:
        """See Engine."""
        return missing_package("pytorch3d")

    def farthest(self, events: Sequence[Float32], n_select: int) -> list[Int64]:
        """See Engine."""
        chosen: list[Int64] = [np.empty(0, dtype=np.int64) for _ in events]
        filled = [e for e, points in enumerate(events) if len(points) and n_select]
        if filled:
            clouds, lengths = self._pad([events[e] for e in filled])
            _, indices = self._ops().sample_farthest_points(clouds, lengths, K=n_select)
            for e, row in zip(filled, indices.cpu().numpy(), strict=True):
                chosen[e] = row[: min(n_select, len(events[e]))]
        return chosen

    def balls(
        self, queries: Sequence[Float32], events: Sequence[Float32], radius: float, cap: int | None
    ) -> list[Neighbours]:
        """See Engine."""
        limit = max((len(points) for points in events), default=0) if cap is None else cap
        width = min(limit, FIRST_WIDTH)
        while True:
            rows = self._ball_rows(queries, events, radius, width)
            if width >= limit or not any((table[:, -1] >= 0).any() for table in rows):
                return [_ragged_lists(table) for table in rows]
            width = min(limit, 2 * width)

    def nearest(self, queries: Sequence[Float32], events: Sequence[Float32], k: int) -> list[Neighbours]:
        """See Engine. Sorted here by distance and index: the package's own sort of equal distances is not stable."""
        rows = [np.full((len(q), 0), -1, dtype=np.int64) for q in queries]
        filled = [e for e, points in enumerate(events) if len(points) and len(queries[e])]
        if filled:
            padded, n_queries = self._pad([queries[e] for e in filled])
            clouds, lengths = self._pad([events[e] for e in filled])
            squared, indices, _ = self._ops().knn_points(padded, clouds, n_queries, lengths, K=k, return_sorted=False)
            for e, near, neighbours in zip(filled, squared.cpu().numpy(), indices.cpu().numpy(), strict=True):
                shape = (slice(len(queries[e])), slice(min(k, len(events[e]))))
                order = np.lexsort((neighbours[shape], near[shape]), axis=1)
                rows[e] = np.take_along_axis(neighbours[shape], order, axis=1)
        return [_ragged_lists(table) for table in rows]

    def _ball_rows(
        self, queries: Sequence[Float32], events: Sequence[Float32], radius: float, width: int
    ) -> list[Int64]:
        """(m, width) neighbours by ascending index, missing ones -1, for each event."""
        rows = [np.full((len(q), max(width, 1)), -1, dtype=np.int64) for q in queries]
        filled = [e for e, points in enumerate(events) if len(points) and len(queries[e])]
        if filled:
            padded, n_queries = self._pad([queries[e] for e in filled])
            clouds, lengths = self._pad([events[e] for e in filled])
            _, indices, _ = self._ops().ball_query(
                padded, clouds, n_queries, lengths, K=width, radius=float(np.float32(radius)), return_nn=False
            )
            for e, table in zip(filled, indices.cpu().numpy(), strict=True):
                rows[e] = table[: len(queries[e])]
        return rows

    def _pad(self, clouds: Sequence[Float32]) -> tuple[Any, Any]:
        """(B, N, 3) float32 with zeros after each cloud, and the (B,) lengths, on the device."""
        import torch

        device = self._device or ("cuda" if torch.cuda.is_available() else "cpu")
        lengths = [len(points) for points in clouds]
        padded = np.zeros((len(clouds), max(lengths), 3), dtype=np.float32)
        for row, points in zip(padded, clouds, strict=True):
            row[: len(points)] = points
        return torch.from_numpy(padded).to(device), torch.tensor(lengths, dtype=torch.int64, device=device)

    def _ops(self) -> Any:
        import pytorch3d.ops

        return pytorch3d.ops


def _ragged_lists(table: Int64) -> Neighbours:
    """Rows with missing entries (-1) at their ends, as ragged lists."""
    present = table >= 0
    return Neighbours(np.concatenate([[0], np.cumsum(present.sum(1))]).astype(np.int64), table[present])
