"""From the points of many events to groups, on the device alone: the four strategies of `benchmark.ops.grouping`.

The number of groups is unknown beforehand, so every event has `max_groups` slots, and `Groups.event` is -1 where one is
empty. The host waits for the device only for the number of centres, where `max_groups` is None or `overflow` is spread.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from benchmark.cuda._grid import load_runs, positions
from benchmark.cuda._launch import EXACT
from benchmark.cuda.clouds import Clouds
from benchmark.cuda.cnms import suppress
from benchmark.cuda.fps import farthest_key, farthest_points, select_farthest
from benchmark.cuda.neighbours import Balls, ball_query, k_nearest
from benchmark.ops.grouping import GroupingConfig

FEW, MANY = 128, 1024  # candidates of a ball that one warp, and four warps, hold in registers


@dataclass(frozen=True)
class Groups:
    """B events of at most G groups of at most K points; rows count in the clouds."""

    event: Tensor  # (B * G,) int32 event of each group, -1 where there is none
    centres: Tensor  # (B * G,) int32 row of the centre, 0 where there is none
    indices: Tensor  # (B * G, K) int32 rows in the order of sampling; empty slots repeat the first
    sizes: Tensor  # (B * G,) int32 distinct points


def group(clouds: Clouds, config: GroupingConfig) -> Groups:
    """The groups of every event, with the same indices as `benchmark.ops.grouping.group_events`."""
    config.check()
    event, centres = centres_of(clouds, config)
    queries = clouds.points[centres.long()]
    if config.chosen_strategy == "fps_knn":
        rows, _ = k_nearest(queries, event.clamp_min(0), clouds, config.max_ball or config.n_points)
        rows = rows.masked_fill((event < 0)[:, None], -1)
        return Groups(event, centres, *thin_rows(clouds, rows, config.n_points))
    balls = ball_query(queries, event, clouds, config.radius, config.max_ball)
    return Groups(event, centres, *thin_balls(clouds, balls, config.n_points))


def centres_of(clouds: Clouds, config: GroupingConfig) -> tuple[Tensor, Tensor]:
    """(B * G,) int32 event and row of each group's centre, in the order of the candidates; event -1 in empty slots."""
    n_seeds = config.n_seeds or 0
    if config.chosen_strategy in ("fps_ball", "fps_knn"):
        n_centres = n_seeds if config.max_groups is None else min(n_seeds, config.max_groups)
        return _fill_slots(
            clouds, _row_flags(clouds, _cloud_rows(clouds, farthest_points(clouds, n_centres))), n_centres
        )
    seeds = candidates = None
    if config.chosen_strategy == "fps_cnms_ball":  # candidates are the farthest points, in the order of their sampling
        rows = _cloud_rows(clouds, farthest_points(clouds, n_seeds))
        lengths = tuple(min(n, n_seeds) for n in clouds.lengths)
        seeds = torch.cat([row[:n] for row, n in zip(rows, lengths, strict=True)]) if lengths else rows.flatten()
        candidates = Clouds.of(clouds.points[seeds], lengths)
    pool = candidates or clouds
    is_centre, _ = suppress(pool, config.radius, config.overlap, config.max_candidate_neighbours)
    width = config.max_groups
    if width is None:
        per_event = torch.zeros(len(clouds.lengths), dtype=torch.int32, device=is_centre.device)
        width = int(per_event.index_add_(0, pool.event, is_centre.int()).max()) if len(is_centre) else 0
    elif config.overflow == "spread":
        is_centre = _spread_centres(pool, is_centre, width)
    event, centres = _fill_slots(pool, is_centre, width)
    return event, centres if seeds is None or not len(seeds) else seeds[centres.long()].int()


def _spread_centres(clouds: Clouds, is_centre: Tensor, width: int) -> Tensor:
    """(N,) bool: of each event's centres `width` that are far apart, or all where there are fewer."""
    per_event = torch.zeros(len(clouds.lengths), dtype=torch.int64, device=is_centre.device)
    lengths = per_event.index_add_(0, clouds.event, is_centre.long()).tolist()
    if max(lengths, default=0) <= width:
        return is_centre
    rows = torch.nonzero(is_centre)[:, 0]
    centres = Clouds.of(clouds.points[rows], lengths)
    chosen = _cloud_rows(centres, farthest_points(centres, width))
    return _row_flags(clouds, torch.where(chosen >= 0, rows[chosen.clamp_min(0)], -1))


def _cloud_rows(clouds: Clouds, chosen: Tensor) -> Tensor:
    """(B, S) int64 rows in the clouds of points counted from their event's first; -1 stays."""
    return torch.where(chosen >= 0, chosen + clouds.offsets[:-1, None], -1).long()


def _row_flags(clouds: Clouds, rows: Tensor) -> Tensor:
    """(N,) bool: which rows occur in (B, S); -1 does not count."""
    flags = torch.zeros(len(clouds.points) + 1, dtype=torch.bool, device=rows.device)
    return flags.index_fill_(0, rows.flatten() + 1, True)[1:]


def _fill_slots(clouds: Clouds, selected: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Event and row of the first `width` kept points of every event."""
    n_events = len(clouds.lengths)
    event, row = (
        torch.full((n_events * width + 1,), fill, dtype=torch.int32, device=selected.device) for fill in (-1, 0)
    )
    if width and len(selected):
        event_index = clouds.event.long()
        before = torch.zeros(len(selected) + 1, dtype=torch.int64, device=selected.device)
        torch.cumsum(selected, 0, out=before[1:])
        rank = before[:-1] - before[clouds.offsets.long()][event_index]
        slot = torch.where(selected & (rank < width), event_index * width + rank, n_events * width)  # rest: spare slot
        event[slot] = clouds.event
        row[slot] = torch.arange(len(selected), dtype=torch.int32, device=selected.device)
    return event[:-1], row[:-1]


def thin_balls(clouds: Clouds, balls: Balls, n_points: int) -> tuple[Tensor, Tensor]:
    """(M, K) int32 rows of at most K = `n_points` members of each ball by farthest point sampling, and (M,) sizes.

    The first is the member with the lowest row; empty slots repeat it (0 for an empty ball).
    """
    indices = torch.zeros(len(balls.counts), n_points, dtype=torch.int32, device=balls.counts.device)
    if len(indices):
        last = balls.grid.rows if balls.last is None else balls.last
        arguments = (
            *balls.queries.t().contiguous(), balls.runs.starts, balls.runs.lengths, *balls.grid.sorted,
            balls.grid.rows, last, *clouds.points.t().contiguous(), indices, balls.limit, n_points,
            balls.last is not None,
        )  # fmt: skip
        grid = (len(indices),)
        _thin[grid](*arguments, 0, FEW, num_warps=1, **EXACT)
        _thin[grid](*arguments, FEW, MANY, num_warps=4, **EXACT)
        _thin_streaming[grid](*arguments, MANY, 256, num_warps=4, **EXACT)
    return indices, balls.counts.clamp_max(n_points)


def thin_rows(clouds: Clouds, rows: Tensor, n_points: int) -> tuple[Tensor, Tensor]:
    """The same from lists of members (M, W) int32, -1 after a group's last."""
    present = rows >= 0
    counts = present.sum(1, dtype=torch.int32)
    members = rows.clamp_min(0).long()
    padded = clouds.points[members]
    begin = torch.arange(0, rows.numel(), rows.shape[1], dtype=torch.int32, device=rows.device)
    order = select_farthest(padded.reshape(-1, 3), begin, begin + counts, min(n_points, rows.shape[1]), rows.shape[1])
    sampled = torch.gather(members, 1, order.clamp_min(0).long())
    indices = torch.where(order >= 0, sampled, members[:, :1]).int()
    if indices.shape[1] < n_points:
        indices = torch.cat([indices, members[:, :1].int().expand(-1, n_points - indices.shape[1])], dim=1)
    return indices.masked_fill((counts == 0)[:, None], 0), counts.clamp_max(n_points)


@triton.jit
def _thin(
    qx, qy, qz, starts, lengths, x, y, z, rows, last, px, py, pz, indices, limit, n_points, CAPPED: tl.constexpr,
    ABOVE: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Groups with more than ABOVE and at most LANES candidates, which stay in registers."""
    query = tl.program_id(0)
    start, length, before, total = load_runs(starts, lengths, query)
    if (total > ABOVE) & (total <= LANES):
        bound = 2147483647
        if CAPPED:
            bound = tl.load(last + query)
        lane = tl.arange(0, LANES)
        at = positions(start, length, before, lane)
        cx = tl.load(x + at)
        cy = tl.load(y + at)
        cz = tl.load(z + at)
        row = tl.load(rows + at)
        dx = cx - tl.load(qx + query)
        dy = cy - tl.load(qy + query)
        dz = cz - tl.load(qz + query)
        member = (dx * dx + dy * dy + dz * dz < limit) & (lane < total) & (row <= bound)
        n = tl.sum(member.to(tl.int32), 0)
        near = tl.where(member, float("inf"), -1.0)
        first = tl.min(tl.where(member, row, 2147483647), 0)
        current = first
        for slot in range(min(n, n_points)):
            tl.store(indices + query * n_points + slot, current)
            dx = cx - tl.load(px + current)
            dy = cy - tl.load(py + current)
            dz = cz - tl.load(pz + current)
            near = tl.where(member, tl.minimum(near, dx * dx + dy * dy + dz * dz), -1.0)
            top = tl.max(farthest_key(near, row), 0)
            current = 2147483647 - (top & 0xFFFFFFFF).to(tl.int32)
        if n > 0:
            for slot in range(n, n_points):
                tl.store(indices + query * n_points + slot, first)


@triton.jit
def _thin_streaming(
    qx, qy, qz, starts, lengths, x, y, z, rows, last, px, py, pz, indices, limit, n_points, CAPPED: tl.constexpr,
    ABOVE: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Groups with more candidates: distances to all chosen points are recomputed in every round."""
    query = tl.program_id(0)
    start, length, before, total = load_runs(starts, lengths, query)
    if total > ABOVE:
        bound = 2147483647
        if CAPPED:
            bound = tl.load(last + query)
        ox = tl.load(qx + query)
        oy = tl.load(qy + query)
        oz = tl.load(qz + query)
        first = 2147483647
        n = 0
        for lane0 in range(0, total, LANES):
            lane = lane0 + tl.arange(0, LANES)
            at = positions(start, length, before, lane)
            dx = tl.load(x + at) - ox
            dy = tl.load(y + at) - oy
            dz = tl.load(z + at) - oz
            row = tl.load(rows + at)
            member = (dx * dx + dy * dy + dz * dz < limit) & (lane < total) & (row <= bound)
            first = min(first, tl.min(tl.where(member, row, 2147483647), 0))
            n += tl.sum(member.to(tl.int32), 0)
        current = first
        n_kept = min(n, n_points)
        for slot in range(n_kept):
            tl.store(indices + query * n_points + slot, current)
            tl.debug_barrier()
            best = tl.full((), -9223372036854775808, tl.int64)
            for lane0 in range(0, total, LANES):
                lane = lane0 + tl.arange(0, LANES)
                at = positions(start, length, before, lane)
                cx = tl.load(x + at)
                cy = tl.load(y + at)
                cz = tl.load(z + at)
                dx = cx - ox
                dy = cy - oy
                dz = cz - oz
                row = tl.load(rows + at)
                member = (dx * dx + dy * dy + dz * dz < limit) & (lane < total) & (row <= bound)
                near = tl.where(member, float("inf"), -1.0)
                for earlier in range(slot + 1):
                    chosen = tl.load(indices + query * n_points + earlier)
                    dx = cx - tl.load(px + chosen)
                    dy = cy - tl.load(py + chosen)
                    dz = cz - tl.load(pz + chosen)
                    near = tl.where(member, tl.minimum(near, dx * dx + dy * dy + dz * dz), -1.0)
                best = tl.maximum(best, tl.max(farthest_key(near, row), 0))
            current = 2147483647 - (best & 0xFFFFFFFF).to(tl.int32)
        if n > 0:
            for slot in range(n_kept, n_points):
                tl.store(indices + query * n_points + slot, first)
