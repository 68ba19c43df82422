"""Points sorted by the cell of a uniform grid, all events at once, and the runs of points around a position.

A key holds event, x, y and z in 12 + 3 x 17 bits, z lowest, with an empty cell on either side of every axis: a step to
a neighbouring cell is one addition that never leaves the event, and three cells along z are one run of the sorted
points. So a search within one cell's size looks at nine runs. Nothing here waits for the device.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from benchmark.cuda.clouds import Clouds

AXIS_BITS = 17
SLACK = 1.0 + 1e-4  # cells exceed the radius by more than float32 rounding can move a distance
ROWS = 16  # nine runs, padded to a power of two


@dataclass(frozen=True)
class Runs:
    """For each of M positions nine runs of sorted points, [start, start + length), padded to sixteen by empty ones."""

    starts: Tensor  # (M, 16) int32
    lengths: Tensor  # (M, 16) int32


@dataclass(frozen=True)
class Grid:
    """N points in the order of their cells; within a cell in input order."""

    keys: Tensor  # (N,) int64, ascending
    rows: Tensor  # (N,) int32 row of each sorted point in the clouds
    sorted: Tensor  # (3, N) float32
    low: Tensor  # (3,) float64 corner of the grid
    cell: Tensor  # () float64 side of a cell

    @staticmethod
    def of(clouds: Clouds, size: float) -> Grid:
        """A grid whose cells are a little larger than `size`."""
        low = clouds.points.amin(0).double()
        extent = (clouds.points.amax(0).double() - low).max()
        cell = torch.clamp_min(extent / ((1 << AXIS_BITS) - 8), size * SLACK)
        keys, order = torch.sort(_keys(clouds.points, clouds.event, low, cell), stable=True)
        return Grid(keys, order.int(), clouds.points[order].t().contiguous(), low, cell)

    def runs_at(self, coords: Tensor, event: Tensor) -> Runs:
        """Runs around `coords` (M, 3) of these events (M,). Events below 0 have empty runs."""
        return _find_runs(self.keys, _keys(coords, event, self.low, self.cell), None)

    def cells(self) -> Cells:
        """The occupied cells with the runs around each."""
        new = torch.ones(len(self.keys), dtype=torch.bool, device=self.keys.device)
        torch.ne(self.keys[1:], self.keys[:-1], out=new[1:])
        cell = torch.cumsum(new, 0, dtype=torch.int32) - 1
        position = torch.arange(len(cell), dtype=torch.int32, device=cell.device)
        first = position.new_full((len(cell) + 1,), len(cell))
        first.scatter_reduce_(0, cell.long(), position, "amin")
        n_cells = cell[-1:] + 1
        keys = self.keys[first[:-1].clamp_max(len(cell) - 1)]
        return Cells(n_cells, cell, first, _find_runs(self.keys, keys, n_cells))


@dataclass(frozen=True)
class Cells:
    """Occupied cells; arrays have room for as many as there are points, and only the first `n` count."""

    n: Tensor  # (1,) int32
    point_cell: Tensor  # (N,) int32 cell of each sorted point
    first: Tensor  # (N + 1,) int32 first sorted point of each cell
    runs: Runs


def _keys(points: Tensor, event: Tensor, low: Tensor, cell: Tensor) -> Tensor:
    """(N,) int64 key of each point's cell; positions outside the grid are clamped to its edge."""
    at = ((points.double() - low) / cell).floor_().clamp_(-1, (1 << AXIS_BITS) - 3).long() + 1
    return ((event.long() << AXIS_BITS | at[:, 0]) << AXIS_BITS | at[:, 1]) << AXIS_BITS | at[:, 2]


def _find_runs(keys: Tensor, query_keys: Tensor, n_queries: Tensor | None) -> Runs:
    starts, lengths = (torch.empty(len(query_keys), ROWS, dtype=torch.int32, device=keys.device) for _ in range(2))
    if len(query_keys):
        all_queries = torch.full((1,), len(query_keys), dtype=torch.int32, device=keys.device)
        count = all_queries if n_queries is None else n_queries
        block = 8
        _search_runs[(triton.cdiv(len(query_keys), block),)](
            keys, len(keys), len(keys).bit_length(), query_keys, count, starts, lengths, AXIS_BITS, block, num_warps=1
        )
    return Runs(starts, lengths)


@triton.jit
def lower_bound(keys, n, steps, values):
    """The first position in sorted `keys` (n,) with a key of at least each of `values`."""
    low = (values * 0).to(tl.int32)
    high = low + n
    for _ in range(steps):
        middle = (low + high) // 2
        open_ = low < high
        below = open_ & (tl.load(keys + middle, mask=open_, other=0) < values)
        low = tl.where(below, middle + 1, low)
        high = tl.where(below, high, tl.where(open_, middle, high))
    return low


@triton.jit
def _search_runs(keys, n, steps, query_keys, n_queries, starts, lengths, BITS: tl.constexpr, BLOCK: tl.constexpr):
    query = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    count = tl.load(n_queries)
    if tl.program_id(0) * BLOCK < count:
        inside = query < count
        key = tl.load(query_keys + query, mask=inside, other=-1)
        row = tl.arange(0, 16)
        one = tl.full((16,), 1, tl.int64)
        step = ((row // 3 - 1) * (one << (2 * BITS))) + ((row % 3 - 1) * (one << BITS))
        middle = key[:, None] + step[None, :]  # (BLOCK, 16)
        used = (key >= 0)[:, None] & (row < 9)[None, :]
        start = lower_bound(keys, n, steps, middle - 1)
        stop = lower_bound(keys, n, steps, middle + 2)
        at = query[:, None] * 16 + row[None, :]
        tl.store(starts + at, start, mask=inside[:, None])
        tl.store(lengths + at, tl.where(used, stop - start, 0), mask=inside[:, None])


@triton.jit
def load_runs(starts, lengths, query):
    """(starts, lengths, points before each run, points in all) of the runs around a query."""
    row = tl.arange(0, 16)
    start = tl.load(starts + query * 16 + row)
    length = tl.load(lengths + query * 16 + row)
    return start, length, tl.cumsum(length, 0) - length, tl.sum(length, 0)


@triton.jit
def positions(start, length, before, lane):
    """The sorted points at `lane` (W,) of the concatenated runs; 0 beyond their end."""
    offset = lane[:, None] - before[None, :]
    inside = (offset >= 0) & (offset < length[None, :])
    return tl.sum(tl.where(inside, start[None, :] + offset, 0), 1)
