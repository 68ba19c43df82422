"""Centrality-based non-maximum suppression on a GPU (PoLAr-MAE, arXiv 2502.02558, algorithm 1).

Greedy suppression by descending score equals this rule: a candidate is kept unless a kept neighbour precedes it. A
candidate only waits for preceding neighbours. Programs start in the order of the ranks, one per candidate, and each
looks at its neighbours' states until one before it is kept or all of them are removed; the first undecided rank never
waits, so all of them end. One launch, no rounds, the same result as `benchmark.ops.cnms.suppress`.

Where lists are capped they are not mutual: a candidate kept later can remove one kept earlier, which a second launch
does.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from benchmark.cuda._grid import Cells, Grid, Runs, load_runs, positions
from benchmark.cuda._launch import EXACT, resident_programs
from benchmark.cuda.clouds import Clouds
from benchmark.ops.neighbours import squared_radius

UNLIMITED = 2**31 - 1


def suppress(clouds: Clouds, radius: float, overlap: float, max_neighbours: int | None = None) -> tuple[Tensor, Tensor]:
    """Which candidates C-NMS keeps (N,) bool, and each one's score (N,) int32; see `benchmark.ops.cnms.suppress`."""
    reach = 2.0 * radius * overlap
    limit = float(squared_radius(reach))
    n = len(clouds.points)
    if not n:
        return torch.empty(0, dtype=torch.bool, device=clouds.points.device), clouds.offsets.new_empty(0)
    grid = Grid.of(clouds, reach)
    cells = grid.cells()
    counts = neighbour_counts(grid, cells, limit)  # (N,) of the sorted points
    last = None
    if max_neighbours is not None:
        last = last_listed(grid, grid.sorted.t(), cells.runs, cells.point_cell, counts, limit, max_neighbours)
        counts = counts.clamp_max(max_neighbours)
    rows = grid.rows.long()
    score = torch.empty_like(counts).index_copy_(0, rows, counts)
    position = torch.empty_like(grid.rows).index_copy_(0, rows, torch.arange(n, dtype=torch.int32, device=rows.device))
    ranked = position[torch.sort(score, descending=True, stable=True).indices]
    state = torch.zeros(n, dtype=torch.int32, device=rows.device)
    _decide_states[(n,)](
        ranked, cells.point_cell, cells.runs.starts, cells.runs.lengths, *grid.sorted, grid.rows, counts,
        grid.rows if last is None else last, state, limit, last is not None, 64, num_warps=1, **EXACT,
    )  # fmt: skip
    if last is not None:
        final = torch.empty_like(state)
        _remove_listed[(n,)](
            cells.point_cell, cells.runs.starts, cells.runs.lengths, *grid.sorted, grid.rows, last, state, final, limit,
            64, num_warps=1, **EXACT,
        )  # fmt: skip
        state = final
    return torch.empty(n, dtype=torch.bool, device=rows.device).index_copy_(0, rows, state == 1), score


def neighbour_counts(grid: Grid, cells: Cells, limit: float) -> Tensor:
    """(N,) int32 points nearer than the square root of `limit` to each sorted point, itself included."""
    counts = torch.empty_like(grid.rows)
    programs = min(len(counts), resident_programs(counts.device))
    _count_neighbours[(programs,)](
        cells.n, cells.first, cells.runs.starts, cells.runs.lengths, *grid.sorted, counts, limit, 8, 64,
        num_warps=1, **EXACT,
    )  # fmt: skip
    return counts


def last_listed(
    grid: Grid, queries: Tensor, runs: Runs, run_of: Tensor, counts: Tensor, limit: float, cap: int
) -> Tensor:
    """(M,) int32 row of the last of the first `cap` neighbours by row of `queries` (M, 3); UNLIMITED for fewer."""
    last = torch.empty_like(counts)
    _find_last[(len(last),)](
        *queries.t().contiguous(), run_of, runs.starts, runs.lengths, *grid.sorted, grid.rows, counts, last, limit, cap,
        len(grid.rows).bit_length(), 64, num_warps=1, **EXACT,
    )  # fmt: skip
    return last


@triton.jit
def _count_neighbours(
    n_cells, first, starts, lengths, x, y, z, counts, limit, POINTS: tl.constexpr, LANES: tl.constexpr
):  # fmt: skip
    for cell in range(tl.program_id(0), tl.load(n_cells), tl.num_programs(0)):
        start, length, before, total = load_runs(starts, lengths, cell)
        begin = tl.load(first + cell)
        end = tl.load(first + cell + 1)
        for offset in range(begin, end, POINTS):
            point = offset + tl.arange(0, POINTS)
            valid = point < end
            px = tl.load(x + point, mask=valid)
            py = tl.load(y + point, mask=valid)
            pz = tl.load(z + point, mask=valid)
            count = tl.zeros((POINTS,), tl.int32)
            for lane0 in range(0, total, LANES):
                lane = lane0 + tl.arange(0, LANES)
                at = positions(start, length, before, lane)
                dx = px[:, None] - tl.load(x + at)[None, :]
                dy = py[:, None] - tl.load(y + at)[None, :]
                dz = pz[:, None] - tl.load(z + at)[None, :]
                near = (dx * dx + dy * dy + dz * dz < limit) & (lane < total)[None, :]
                count += tl.sum(near.to(tl.int32), 1)
            tl.store(counts + point, count, mask=valid)


@triton.jit
def _decide_states(
    ranked, cell_of, starts, lengths, x, y, z, rows, scores, last, state, limit, CAPPED: tl.constexpr,
    LANES: tl.constexpr,
):  # fmt: skip
    point = tl.load(ranked + tl.program_id(0))
    start, length, before, total = load_runs(starts, lengths, tl.load(cell_of + point))
    px = tl.load(x + point)
    py = tl.load(y + point)
    pz = tl.load(z + point)
    own_row = tl.load(rows + point)
    own_score = tl.load(scores + point)
    removed = 0
    for lane0 in range(0, total, LANES):
        if removed == 0:
            lane = lane0 + tl.arange(0, LANES)
            at = positions(start, length, before, lane)
            dx = px - tl.load(x + at)
            dy = py - tl.load(y + at)
            dz = pz - tl.load(z + at)
            row = tl.load(rows + at)
            score = tl.load(scores + at)
            precedes = (score > own_score) | ((score == own_score) & (row < own_row))
            precedes = precedes & (dx * dx + dy * dy + dz * dz < limit) & (lane < total)
            if CAPPED:  # a candidate removes only those in its own list
                precedes = precedes & (own_row <= tl.load(last + at))
            waiting = 1
            while waiting > 0:
                states = tl.load(state + at, mask=precedes, other=2, volatile=True)
                removed = tl.max((states == 1).to(tl.int32), 0)
                waiting = tl.where(removed > 0, 0, tl.max((states == 0).to(tl.int32), 0))
    tl.store(state + point, 1 + removed)


@triton.jit
def _remove_listed(
    cell_of, starts, lengths, x, y, z, rows, last, state, final, limit, LANES: tl.constexpr
):  # fmt: skip
    """Remove kept candidates that are in the list of another kept one."""
    point = tl.program_id(0)
    start, length, before, total = load_runs(starts, lengths, tl.load(cell_of + point))
    px = tl.load(x + point)
    py = tl.load(y + point)
    pz = tl.load(z + point)
    own_row = tl.load(rows + point)
    own_state = tl.load(state + point)
    if own_state == 1:
        for lane0 in range(0, total, LANES):
            lane = lane0 + tl.arange(0, LANES)
            at = positions(start, length, before, lane)
            dx = px - tl.load(x + at)
            dy = py - tl.load(y + at)
            dz = pz - tl.load(z + at)
            neighbour = (dx * dx + dy * dy + dz * dz < limit) & (lane < total) & (tl.load(rows + at) != own_row)
            removes = neighbour & (tl.load(state + at) == 1) & (own_row <= tl.load(last + at))
            own_state += tl.max(removes.to(tl.int32), 0)
    tl.store(final + point, own_state)


@triton.jit
def _find_last(
    qx, qy, qz, run_of, starts, lengths, x, y, z, rows, counts, last, limit, cap, steps, LANES: tl.constexpr
):  # fmt: skip
    query = tl.program_id(0)
    last_row = 2147483647
    if tl.load(counts + query) > cap:
        start, length, before, total = load_runs(starts, lengths, tl.load(run_of + query))
        px = tl.load(qx + query)
        py = tl.load(qy + query)
        pz = tl.load(qz + query)
        last_row = 0  # the lowest row that has `cap` neighbours up to it
        for step in range(steps):  # from the highest bit down
            middle = last_row + (1 << (steps - 1 - step))
            below = 0
            for lane0 in range(0, total, LANES):
                lane = lane0 + tl.arange(0, LANES)
                at = positions(start, length, before, lane)
                dx = px - tl.load(x + at)
                dy = py - tl.load(y + at)
                dz = pz - tl.load(z + at)
                near = (dx * dx + dy * dy + dz * dz < limit) & (lane < total) & (tl.load(rows + at) < middle)
                below += tl.sum(near.to(tl.int32), 0)
            last_row = tl.where(below < cap, middle, last_row)
    tl.store(last + query, last_row)
