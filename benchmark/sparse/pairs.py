"""Which rows a convolution connects: blocks of (source, target) pairs, one block for each offset of the kernel.

Neighbours lie at offsets o in {-1, 0, 1}^3. A pair at +o, reversed, is the pair at -o, so only 13 offsets are searched,
in four searches: a column (dx, dy) of three offsets needs one, because its three keys are consecutive.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import NamedTuple, TypeVar

import torch
from torch import Tensor

CENTRE = 13  # of the 27 offsets, numbered with the first axis fastest: (dx + 1) + 3 (dy + 1) + 9 (dz + 1)
Number = TypeVar("Number", int, Tensor)
COLUMNS = ((0, 1), (1, -1), (1, 0), (1, 1))  # (dx, dy) whose offsets, for all dz, come later in the order of keys


class Bags(NamedTuple):
    """Pairs that end at each row, in a fixed order: row r sums pairs `members[starts[r]:starts[r + 1]]`."""

    members: Tensor  # (P,) int32
    starts: Tensor  # (R + 1,) int32


@dataclass(frozen=True)
class Pairs:
    """Blocks of pairs, one after the other; block b belongs to offset `offsets[b]` of the kernel."""

    source: Tensor  # (P,) int32 rows
    target: Tensor  # (P,) int32 rows
    sizes: list[int]  # pairs of each block
    offsets: list[int]
    into_source: Bags
    into_target: Bags

    @property
    def n_source(self) -> int:
        """Number of source rows."""
        return len(self.into_source.starts) - 1

    @property
    def n_target(self) -> int:
        """Number of target rows."""
        return len(self.into_target.starts) - 1

    @cached_property
    def source_blocks(self) -> tuple[Tensor, ...]:
        """The sources of each block. Cached for all layers: splitting takes longer than multiplying a small block."""
        return torch.split(self.source, self.sizes)

    @cached_property
    def target_blocks(self) -> tuple[Tensor, ...]:
        """The targets of each block."""
        return torch.split(self.target, self.sizes)

    @cached_property
    def reversed(self) -> Pairs:
        """The same pairs in the other direction, with the same offsets."""
        return Pairs(self.target, self.source, self.sizes, self.offsets, self.into_target, self.into_source)


def neighbour_pairs(keys: Tensor, extent: tuple[int, int, int]) -> Pairs:
    """Pairs (neighbour, voxel) at the 26 offsets other than 0 of voxels with ascending `keys` (N,)."""
    blocks = [(_offset_number(0, 0, 1), *_successors(keys))]
    n = len(keys)
    padding = keys.new_full((3,), torch.iinfo(torch.int64).max)
    padded = torch.cat([keys, padding])
    for dx, dy in COLUMNS:
        first = keys + ((dx * extent[1] + dy) * extent[2] - 1)  # key at dz = -1
        position = torch.searchsorted(keys, first)  # (N,)
        key_distance = (
            torch.stack([padded[position + t] for t in range(3)], dim=1) - first[:, None]
        )  # (N, 3), at least 0
        for dz in (-1, 0, 1):
            row, t = (key_distance == dz + 1).nonzero(as_tuple=True)
            blocks.append((_offset_number(dx, dy, dz), row, position[row] + t))
    blocks = [block for block in blocks if len(block[1])]  # offsets without a pair need no block
    rows = [row for _, row, _ in blocks]
    neighbour_rows = [neighbour for _, _, neighbour in blocks]
    offsets = [o for o, _, _ in blocks] + [26 - o for o, _, _ in blocks]
    target, source = (_concatenate(a + b, keys) for a, b in ((rows, neighbour_rows), (neighbour_rows, rows)))
    sizes = [len(row) for row in rows] * 2
    into_target = _make_bags(target, sizes, n)
    half = len(source) // 2  # pair p reversed is pair p + half, in the list of the other direction
    members = torch.where(into_target.members < half, into_target.members + half, into_target.members - half)
    return Pairs(source, target, sizes, offsets, Bags(members, into_target.starts), into_target)


def parent_pairs(parent: Tensor, child: Tensor, n_parents: int) -> Pairs:
    """Pairs (voxel, its parent), in 8 blocks by `child` (N,), the voxel's index in its parent."""
    order = torch.argsort(child, stable=True)
    counts = torch.bincount(child, minlength=8).tolist()
    offsets = [o for o, n in enumerate(counts) if n]
    sizes = [n for n in counts if n]
    source, target = order.int(), parent[order].int()
    into_source = Bags(torch.argsort(order).int(), torch.arange(len(order) + 1, dtype=torch.int32, device=order.device))
    return Pairs(source, target, sizes, offsets, into_source, _make_bags(target, sizes, n_parents))


def strided_pairs(coords: Tensor, parent: Tensor, coarse_keys: Tensor, coarse_extent: tuple[int, int, int]) -> Pairs:
    """Pairs (voxel, coarser voxel) of a 3^3 convolution with stride 2, centred on the coarser voxels' first corners.

    Coarser voxel o is paired with voxels 2 o + d, d in {-1, 0, 1}^3: an even coordinate belongs to its parent alone, an
    odd one to its parent and the next. `coords` (N, 3) and `parent` (N,) are of the voxels, keys (M,) of the parents.
    """
    odd = coords & 1  # (N, 3)
    parts: list[tuple[Tensor, Tensor, Tensor]] = []  # rows, coarser rows, offsets
    for step in product((0, 1), repeat=3):
        row = (odd >= odd.new_tensor(step)).all(1).nonzero().squeeze(1)
        target = parent[row]
        if any(step):
            key = coarse_keys[target] + (step[0] * coarse_extent[1] + step[1]) * coarse_extent[2] + step[2]
            target = torch.searchsorted(coarse_keys, key).clamp_(max=len(coarse_keys) - 1)
            present = coarse_keys[target] == key
            row, target = row[present], target[present]
        d = odd[row] - 2 * odd.new_tensor(step)  # (n, 3) in -1..1
        parts.append((row, target, _offset_number(d[:, 0], d[:, 1], d[:, 2])))
    source, target, offset = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    order = torch.argsort(offset * len(coords) + source)
    counts = torch.bincount(offset, minlength=27).tolist()
    offsets = [o for o, n in enumerate(counts) if n]
    sizes = [n for n in counts if n]
    source, target = source[order].int(), target[order].int()
    return Pairs(
        source,
        target,
        sizes,
        offsets,
        _make_bags(source, sizes, len(coords)),
        _make_bags(target, sizes, len(coarse_keys)),
    )


def _offset_number(dx: Number, dy: Number, dz: Number) -> Number:
    return (dx + 1) + 3 * (dy + 1) + 9 * (dz + 1)


def _successors(keys: Tensor) -> tuple[Tensor, Tensor]:
    """Rows whose key + 1 is the next key, and those next rows."""
    row = (keys[1:] - keys[:-1] == 1).nonzero().squeeze(1)
    return row, row + 1


def _concatenate(parts: list[Tensor], like: Tensor) -> Tensor:
    if not parts:
        return torch.empty(0, dtype=torch.int32, device=like.device)
    return torch.cat(parts).int()


def _make_bags(rows: Tensor, sizes: list[int], n_rows: int) -> Bags:
    """Pairs by end row, in the order of blocks. No row occurs twice in a block."""
    n_blocks = max(1, len(sizes))
    block = torch.repeat_interleave(
        torch.arange(len(sizes), device=rows.device),
        torch.tensor(sizes, dtype=torch.int64, device=rows.device),
        output_size=len(rows),
    )
    table = torch.full((n_rows * n_blocks,), -1, dtype=torch.int32, device=rows.device)
    table[rows.long() * n_blocks + block] = torch.arange(len(rows), dtype=torch.int32, device=rows.device)
    present = table >= 0
    starts = torch.zeros(n_rows + 1, dtype=torch.int32, device=rows.device)
    starts[1:] = present.view(n_rows, n_blocks).sum(1).cumsum(0)
    return Bags(table[present], starts)
