"""Neighbour searches on a GPU: all points in a ball, and the k nearest, of the queries of many events at once.

The same indices as `benchmark.ops.neighbours`: float32 distances, d^2 < r^2 strictly, ascending index in a ball, and
among equidistant neighbours the lower index is nearer.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from benchmark.cuda._grid import Grid, Runs, load_runs, positions
from benchmark.cuda._launch import EXACT, power_of_two
from benchmark.cuda.clouds import Clouds
from benchmark.cuda.cnms import UNLIMITED, last_listed
from benchmark.ops.neighbours import squared_radius


@dataclass(frozen=True)
class Balls:
    """M queries, the runs around each, and how many points it has nearer than the radius."""

    grid: Grid
    queries: Tensor  # (M, 3) float32
    runs: Runs
    limit: float  # squared radius
    counts: Tensor  # (M,) int32, cut at the cap
    last: Tensor | None  # (M,) int32 last row that counts, where there is a cap

    def table(self, width: int) -> Tensor:
        """(M, width) int32 rows of the first neighbours of each query in ascending order, -1 beyond its last."""
        table = torch.full((len(self.queries), width), -1, dtype=torch.int32, device=self.queries.device)
        start = torch.arange(0, table.numel(), width, dtype=torch.int64, device=table.device)
        self._fill(table, start, width)
        return table

    def lists(self) -> tuple[Tensor, Tensor]:
        """(M + 1,) int64 offsets and (total,) int32 rows of every query's neighbours. Waits for the device once."""
        offsets = torch.zeros(len(self.counts) + 1, dtype=torch.int64, device=self.counts.device)
        torch.cumsum(self.counts, 0, out=offsets[1:])
        rows = self.counts.new_empty(int(offsets[-1]))
        self._fill(rows, offsets[:-1], UNLIMITED)
        return offsets, rows

    def _fill(self, rows: Tensor, start: Tensor, width: int) -> None:
        if len(self.queries):
            _members[(len(self.queries),)](
                *self.queries.t().contiguous(), self.runs.starts, self.runs.lengths, *self.grid.sorted,
                self.grid.rows, self.grid.rows if self.last is None else self.last, start, rows, self.limit, width,
                self.last is not None, 64, num_warps=1, **EXACT,
            )  # fmt: skip


def ball_query(
    queries: Tensor, event: Tensor, clouds: Clouds, radius: float, max_neighbours: int | None = None
) -> Balls:
    """Points strictly nearer than `radius` to each query (M, 3) among those of its event (M,) int32.

    Queries of events below 0 have no neighbours. `max_neighbours` keeps the first by index; None keeps all.
    """
    grid = Grid.of(clouds, radius)
    runs = grid.runs_at(queries, event)
    limit = float(squared_radius(radius))
    counts = torch.zeros(len(queries), dtype=torch.int32, device=queries.device)
    if len(queries):
        _ball_counts[(len(queries),)](
            *queries.t().contiguous(), runs.starts, runs.lengths, *grid.sorted, counts, limit, 64, num_warps=1, **EXACT
        )
    last = None
    if max_neighbours is not None and len(queries):
        query_index = torch.arange(len(queries), dtype=torch.int32, device=queries.device)
        last = last_listed(grid, queries, runs, query_index, counts, limit, max_neighbours)
        counts = counts.clamp_max(max_neighbours)
    return Balls(grid, queries, runs, limit, counts, last)


def k_nearest(queries: Tensor, event: Tensor, clouds: Clouds, k: int) -> tuple[Tensor, Tensor]:
    """(M, k) int32 rows and (M, k) float32 squared distances of the `k` nearest points of each query's event.

    Nearest first, equidistant ones by row; where an event has fewer, -1 and infinity.
    """
    rows = torch.full((len(queries), k), -1, dtype=torch.int32, device=queries.device)
    squared = torch.full((len(queries), k), float("inf"), device=queries.device)
    if len(queries) and len(clouds.points):
        x, y, z = clouds.points.t().contiguous()
        width = max(power_of_two(k), 16)
        _nearest[(len(queries),)](
            *queries.t().contiguous(), event, x, y, z, clouds.offsets, rows, squared, k, width,
            max(width, 256), num_warps=1, **EXACT,
        )  # fmt: skip
    return rows, squared


@triton.jit
def _ball_counts(qx, qy, qz, starts, lengths, x, y, z, counts, limit, LANES: tl.constexpr):
    query = tl.program_id(0)
    start, length, before, total = load_runs(starts, lengths, query)
    px = tl.load(qx + query)
    py = tl.load(qy + query)
    pz = tl.load(qz + query)
    count = 0
    for lane0 in range(0, total, LANES):
        lane = lane0 + tl.arange(0, LANES)
        at = positions(start, length, before, lane)
        dx = tl.load(x + at) - px
        dy = tl.load(y + at) - py
        dz = tl.load(z + at) - pz
        count += tl.sum(((dx * dx + dy * dy + dz * dz < limit) & (lane < total)).to(tl.int32), 0)
    tl.store(counts + query, count)


@triton.jit
def _load_candidates(
    lane, total, start, length, before, x, y, z, rows, px, py, pz, limit, last
):  # fmt: skip
    """(rows, whether each is a neighbour) of the candidates at `lane`."""
    at = positions(start, length, before, lane)
    dx = tl.load(x + at) - px
    dy = tl.load(y + at) - py
    dz = tl.load(z + at) - pz
    row = tl.load(rows + at)
    return row, (dx * dx + dy * dy + dz * dz < limit) & (lane < total) & (row <= last)


@triton.jit
def _members(
    qx, qy, qz, starts, lengths, x, y, z, rows, last, offsets, members, limit, width, CAPPED: tl.constexpr,
    LANES: tl.constexpr,
):  # fmt: skip
    """A neighbour's rank is the number of neighbours with a lower row."""
    query = tl.program_id(0)
    start, length, before, total = load_runs(starts, lengths, query)
    px = tl.load(qx + query)
    py = tl.load(qy + query)
    pz = tl.load(qz + query)
    bound = 2147483647
    if CAPPED:
        bound = tl.load(last + query)
    begin = tl.load(offsets + query)
    for lane0 in range(0, total, LANES):
        lane = lane0 + tl.arange(0, LANES)
        row, near = _load_candidates(lane, total, start, length, before, x, y, z, rows, px, py, pz, limit, bound)
        rank = tl.zeros((LANES,), tl.int32)
        for other0 in range(0, total, LANES):
            other = other0 + tl.arange(0, LANES)
            row2, near2 = _load_candidates(other, total, start, length, before, x, y, z, rows, px, py, pz, limit, bound)
            rank += tl.sum(((row2[None, :] < row[:, None]) & near2[None, :]).to(tl.int32), 1)
        tl.store(members + begin + rank, row, mask=near & (rank < width))


@triton.jit
def _nearest(
    qx, qy, qz, event, x, y, z, offsets, rows, squared, k, WIDTH: tl.constexpr, LANES: tl.constexpr
):  # fmt: skip
    """Keys hold a distance and an index. The best so far are sorted; nearer points are merged into them."""
    query = tl.program_id(0)
    query_event = tl.load(event + query)
    begin = tl.load(offsets + query_event)
    end = tl.load(offsets + query_event + 1)
    px = tl.load(qx + query)
    py = tl.load(qy + query)
    pz = tl.load(qz + query)
    none = tl.full((), 9223372036854775807, tl.int64)
    best = tl.zeros((WIDTH,), tl.int64) + none
    slot = tl.arange(0, WIDTH)
    worst = none
    for lane0 in range(begin, end, LANES):
        at = lane0 + tl.arange(0, LANES)
        inside = at < end
        dx = tl.load(x + at, mask=inside, other=0.0) - px
        dy = tl.load(y + at, mask=inside, other=0.0) - py
        dz = tl.load(z + at, mask=inside, other=0.0) - pz
        bits = (dx * dx + dy * dy + dz * dz).to(tl.int32, bitcast=True).to(tl.int64)
        key = tl.where(inside, (bits << 32) | at.to(tl.int64), none)
        left = tl.min(key, 0)
        while left < worst:  # insert the nearest of these points, and drop the worst
            rank = tl.sum((best < left).to(tl.int32), 0)
            moved = tl.gather(best, tl.maximum(slot - 1, 0), 0)
            best = tl.where(slot < rank, best, tl.where(slot == rank, left, moved))
            worst = tl.sum(tl.where(slot == k - 1, best, 0), 0)
            key = tl.where(key == left, none, key)
            left = tl.min(key, 0)
    real = (slot < k) & (best < none)
    tl.store(rows + query * k + slot, (best & 0xFFFFFFFF).to(tl.int32), mask=real)
    distance = (best >> 32).to(tl.int32).to(tl.float32, bitcast=True)
    tl.store(squared + query * k + slot, distance, mask=real)
