"""Sizes of the tiles that `convolution.py` cuts its work into: tuned for the card by trial, else by rule."""

from __future__ import annotations

from functools import cache

import torch

from benchmark.cuda._launch import power_of_two
from benchmark.hardware.tiles import Tile, Use, tuned


def tile(kernel: str, n_in: int, n_out: int, dtype: torch.dtype, device: torch.device) -> Tile:
    """A kernel's tile on a device."""
    use = Use(kernel, n_in, n_out, dtype)
    return tuned(device).get(use) or by_rule(use)


@cache
def by_rule(use: Use) -> Tile:
    """The same on every card."""
    is_float32 = use.dtype == torch.float32
    columns = min(side_of(use.n_out), 128)
    if use.kernel == "sums":
        return Tile(32, columns, 16, 4, 1)
    if use.kernel == "weights":
        rows = min(side_of(use.n_in), 128)
        if is_float32:
            return Tile(min(rows, 64), min(columns, 64), 32, 4, 3)
        return Tile(rows, columns, 64, 8 if rows * columns >= 128 * 128 else 4, 3)
    depth = min(side_of(use.n_in), 64)
    if is_float32:
        return Tile(64, min(columns, 64), min(depth, 32), 4, 3)
    if use.kernel == "totals":
        return Tile(64, columns, depth, 4, 3)
    return Tile(128, columns, depth, 8 if columns == 128 else 4, 3)


def side_of(n_channels: int) -> int:
    """The least side of a tile that holds all channels; matrix units need at least 16."""
    return max(power_of_two(n_channels), 16)
