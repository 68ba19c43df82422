"""The kernels of `cuda/` for searches, grouping and attention: the only file that imports them.

As an engine it takes and returns arrays on the host, one event each; the functions below it stay on the device.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark.hardware.kernels import missing
from benchmark.ops._jit import Float32, Int64
from benchmark.ops.engine import Engine
from benchmark.ops.grouping import GroupingConfig
from benchmark.ops.neighbours import Neighbours


class Triton(Engine):
    """Searches on the GPU that torch sees; in Triton's interpreter, for tests, on the CPU."""

    name = "triton"

    def available(self) -> str | None:
        """See Engine."""
        return missing()

    def farthest(self, events: Sequence[Float32], n_select: int) -> list[Int64]:
        """See Engine."""
        from benchmark.cuda.fps import farthest_points

        chosen = farthest_points(_upload(events), n_select).cpu().numpy().astype(np.int64)
        return [row[: min(n_select, len(points))] for row, points in zip(chosen, events, strict=True)]

    def balls(
        self, queries: Sequence[Float32], events: Sequence[Float32], radius: float, cap: int | None
    ) -> list[Neighbours]:
        """See Engine."""
        from benchmark.cuda.neighbours import ball_query

        clouds = _upload(events)
        offsets, rows = ball_query(*_upload_queries(queries), clouds, radius, cap).lists()
        return _split_events(offsets.cpu().numpy(), rows.cpu().numpy().astype(np.int64), queries, events)

    def nearest(self, queries: Sequence[Float32], events: Sequence[Float32], k: int) -> list[Neighbours]:
        """See Engine."""
        from benchmark.cuda.neighbours import k_nearest

        rows = k_nearest(*_upload_queries(queries), _upload(events), k)[0].cpu().numpy().astype(np.int64)
        present = rows >= 0
        offsets = np.concatenate([[0], np.cumsum(present.sum(1))])
        return _split_events(offsets, rows[present], queries, events)

    def suppressed(self, events: Sequence[Float32], radius: float, overlap: float, cap: int | None) -> list[Int64]:
        """See Engine."""
        from benchmark.cuda.cnms import suppress as run

        keep = run(_upload(events), radius, overlap, cap)[0].cpu().numpy()
        return [np.flatnonzero(part) for part in np.split(keep, np.cumsum([len(e) for e in events])[:-1])]


@cache
def serves(device: str) -> bool:
    """Whether models compute with these kernels on a device type."""
    return device == "cuda" and missing() is None


def attention_tiles(lengths: Sequence[int], device: torch.device) -> Tensor:
    """The tiles that `attend` needs for events with `lengths` tokens (`cuda/attention.py`)."""
    from benchmark.cuda.attention import tiles_of

    tiles: Tensor = tiles_of(lengths, device)
    return tiles


def attend(query: Tensor, key: Tensor, value: Tensor, tiles: Tensor, dropout: float) -> Tensor:
    """Attention inside each event over packed tokens (T, heads, d) (`cuda/attention.py`)."""
    from benchmark.cuda.attention import attend as run

    result: Tensor = run(query, key, value, tiles, dropout)
    return result


def k_nearest(queries: Tensor, event: Tensor, clouds: Any, k: int) -> tuple[Tensor, Tensor]:
    """Rows and squared distances (M, k) of the nearest points (`cuda/neighbours.py`)."""
    from benchmark.cuda.neighbours import k_nearest as run

    result: tuple[Tensor, Tensor] = run(queries, event, clouds, k)
    return result


def nearest_pairs(true: Tensor, predicted: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Slots (G, K) of the nearest pairs inside small sets, in both directions (`cuda/chamfer.py`)."""
    from benchmark.cuda.chamfer import nearest_pairs as run

    result: tuple[Tensor, Tensor] = run(true, predicted, mask)
    return result


def segment_max(rows: Tensor, sizes: Tensor) -> Tensor:
    """(S, C) float32 maxima of runs of `sizes` (S,) rows (`cuda/segments.py`)."""
    from benchmark.cuda.segments import segment_max as run

    result: Tensor = run(rows, sizes)
    return result


def spread(rows: Tensor, sizes: Tensor, n: int) -> Tensor:
    """(n, C) each of (S, C) rows `sizes` (S,) times (`cuda/segments.py`)."""
    from benchmark.cuda.segments import spread as run

    result: Tensor = run(rows, sizes, n)
    return result


def clouds_of(points: Tensor, lengths: Sequence[int]) -> Any:
    """Points (N, 3) on the device, events of these lengths, as the kernels take them (`cuda/clouds.py`)."""
    from benchmark.cuda.clouds import Clouds

    return Clouds.of(points, lengths)


def group(clouds: Any, config: GroupingConfig) -> Any:
    """All groups of all events, on the device (`cuda/groups.py`)."""
    from benchmark.cuda.groups import group as run

    return run(clouds, config)


def centres_of(clouds: Any, config: GroupingConfig) -> tuple[Tensor, Tensor]:
    """Event and row of each centre (`cuda/groups.py`)."""
    from benchmark.cuda.groups import centres_of as run

    result: tuple[Tensor, Tensor] = run(clouds, config)
    return result


def list_balls(clouds: Any, event: Tensor, centres: Tensor, radius: float, width: int) -> Tensor:
    """(M, width) int32 rows of the first neighbours of each centre, -1 beyond its last."""
    from benchmark.cuda.neighbours import ball_query

    table: Tensor = ball_query(clouds.points[centres.long()], event, clouds, radius).table(width)
    return table


def suppress(clouds: Any, radius: float, overlap: float) -> Tensor:
    """(N,) bool: kept by C-NMS (`cuda/cnms.py`)."""
    from benchmark.cuda.cnms import suppress as run

    keep: Tensor = run(clouds, radius, overlap)[0]
    return keep


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _upload_points(parts: Sequence[Float32]) -> Tensor:
    joined = np.concatenate(parts) if parts else np.zeros((0, 3), np.float32)
    return torch.from_numpy(np.ascontiguousarray(joined)).to(_device())


def _upload(events: Sequence[Float32]) -> Any:
    return clouds_of(_upload_points(events), [len(points) for points in events])


def _upload_queries(queries: Sequence[Float32]) -> tuple[Tensor, Tensor]:
    event = np.repeat(np.arange(len(queries), dtype=np.int32), [len(q) for q in queries])
    return _upload_points(queries), torch.from_numpy(event).to(_device())


def _split_events(
    offsets: Int64, rows: Int64, queries: Sequence[Float32], events: Sequence[Float32]
) -> list[Neighbours]:
    lists, query, first = [], 0, 0
    for event_queries, points in zip(queries, events, strict=True):
        bounds = offsets[query : query + len(event_queries) + 1]
        lists.append(Neighbours(bounds - bounds[0], rows[bounds[0] : bounds[-1]] - first))
        query, first = query + len(event_queries), first + len(points)
    return lists
