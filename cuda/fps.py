"""Farthest point sampling on a GPU: one program per event, the distances in its registers."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from benchmark.cuda._launch import EXACT, power_of_two
from benchmark.cuda.clouds import Clouds

IN_REGISTERS = 8192  # points of an event that a program holds


def farthest_points(clouds: Clouds, n_select: int) -> Tensor:
    """(B, S) int32 points of each event, counted from its first; -1 where it has fewer than `n_select` = S.

    The first is point 0, each next one the farthest from those before it, a tie goes to the lower index: as
    `benchmark.ops.fps.farthest_points`.
    """
    return select_farthest(
        clouds.points, clouds.offsets[:-1], clouds.offsets[1:], n_select, max(clouds.lengths, default=0)
    )


def select_farthest(points: Tensor, begin: Tensor, end: Tensor, n_select: int, longest: int) -> Tensor:
    """(B, S) int32 farthest points among rows `begin` (B,) to `end` (B,), at most `longest` each; -1 beyond."""
    chosen = torch.full((len(begin), n_select), -1, dtype=torch.int32, device=points.device)
    if not longest or not chosen.numel():
        return chosen
    lanes = min(power_of_two(max(longest, 32)), IN_REGISTERS)
    distances = torch.empty(len(points) if longest > lanes else 0, dtype=torch.float32, device=points.device)
    x, y, z = points.t().contiguous()
    _farthest[(len(chosen),)](
        x, y, z, begin, end, chosen, distances, n_select, lanes, longest > lanes,
        num_warps=min(max(lanes // 256, 1), 16), **EXACT,
    )  # fmt: skip
    return chosen


@triton.jit
def farthest_key(near, index):
    """One number that is largest for the largest distance `near`, and among equal ones for the lowest `index`."""
    bits = near.to(tl.int32, bitcast=True).to(tl.int64)  # distances of at least 0 order like their bits; -1 comes last
    return (bits << 32) | (2147483647 - index).to(tl.int64)


@triton.jit
def _farthest(
    x, y, z, begins, ends, chosen, distances, n_select, LANES: tl.constexpr, STREAM: tl.constexpr
):  # fmt: skip
    event = tl.program_id(0)
    begin = tl.load(begins + event)
    n = tl.load(ends + event) - begin
    lane = tl.arange(0, LANES)
    current = 0
    if not STREAM:
        valid = lane < n
        cx = tl.load(x + begin + lane, mask=valid, other=0.0)
        cy = tl.load(y + begin + lane, mask=valid, other=0.0)
        cz = tl.load(z + begin + lane, mask=valid, other=0.0)
        near = tl.where(valid, float("inf"), -1.0)
        for slot in range(min(n_select, n)):
            tl.store(chosen + event * n_select + slot, current)
            dx = cx - tl.load(x + begin + current)
            dy = cy - tl.load(y + begin + current)
            dz = cz - tl.load(z + begin + current)
            near = tl.minimum(near, dx * dx + dy * dy + dz * dz)
            top = tl.max(farthest_key(near, lane), 0)
            current = 2147483647 - (top & 0xFFFFFFFF).to(tl.int32)
    else:
        for slot in range(min(n_select, n)):
            tl.store(chosen + event * n_select + slot, current)
            px = tl.load(x + begin + current)
            py = tl.load(y + begin + current)
            pz = tl.load(z + begin + current)
            best = tl.full((), -9223372036854775808, tl.int64)
            for lane0 in range(0, n, LANES):
                at = lane0 + lane
                valid = at < n
                dx = tl.load(x + begin + at, mask=valid, other=0.0) - px
                dy = tl.load(y + begin + at, mask=valid, other=0.0) - py
                dz = tl.load(z + begin + at, mask=valid, other=0.0) - pz
                before = tl.load(distances + begin + at, mask=valid & (slot > 0), other=float("inf"))
                near = tl.where(valid, tl.minimum(before, dx * dx + dy * dy + dz * dz), -1.0)
                tl.store(distances + begin + at, near, mask=valid)
                best = tl.maximum(best, tl.max(farthest_key(near, at), 0))
            current = 2147483647 - (best & 0xFFFFFFFF).to(tl.int32)
