"""The pairs of `benchmark.sparse.pairs`, searched on a GPU, with one wait for the device each.

Sites are sorted by key, so neighbours need one binary search each: 27 searches per voxel, all in one launch. Pairs
are placed by counting: no list is sorted.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from benchmark.cuda._grid import lower_bound
from benchmark.sparse.pairs import CENTRE, Bags, Pairs
from benchmark.sparse.sites import Sites

BLOCK = 64


def neighbour_pairs(sites: Sites) -> Pairs:
    """Pairs of a 3^3 submanifold convolution, without each voxel's pair with itself."""
    table = _lookup_all(sites, _padded_coords(sites))
    table[CENTRE] = -1
    return pairs_of(table, table.flip(0))  # a pair at an offset, reversed, is one at the opposite offset


def parent_pairs(sites: Sites) -> Pairs:
    """Pairs (voxel, its parent) of a strided convolution with kernel 2^3."""
    coarse, parent = sites.coarser, sites.parent
    low = sites.coords[:, 1:] & 1
    offset = low[:, 0] + 2 * low[:, 1] + 4 * low[:, 2]
    row = torch.arange(len(parent), dtype=torch.int32, device=parent.device)
    into_coarse = row.new_full((8, len(coarse)), -1)
    into_coarse[offset, parent] = row
    into_fine = row.new_full((8, len(row)), -1)
    into_fine[offset, row.long()] = parent.int()
    return pairs_of(into_coarse, into_fine)


def strided_pairs(sites: Sites) -> Pairs:
    """Pairs (voxel, coarser voxel) of a 3^3 convolution with stride 2, centred on the coarser voxels' first corners."""
    coarse, padded = sites.coarser, _padded_coords(sites)
    origin = sites.coords[0, 1:] - padded[0, 1:]
    centres = torch.cat([coarse.coords[:, :1], 2 * coarse.coords[:, 1:] - origin], dim=1)
    into_coarse = _lookup_all(sites, centres)
    into_fine = into_coarse.new_full((27, len(sites) + 1), -1)  # the extra row collects absent ones
    row = torch.arange(len(coarse), dtype=torch.int32, device=padded.device).expand(27, -1)
    into_fine.scatter_(1, torch.where(into_coarse < 0, len(sites), into_coarse).long(), row)
    return pairs_of(into_coarse, into_fine[:, :-1].contiguous())


def pairs_of(into_target: Tensor, into_source: Tensor) -> Pairs:
    """Pairs from two tables: the source of each target (K, M) at an offset, and the target of each source (K, N).

    int32 rows, -1 where there is none. Waits for the device once, for the number of pairs at each offset.
    """
    n_offsets, n_targets = into_target.shape
    present = into_target >= 0
    number = torch.cumsum(present.flatten(), 0, dtype=torch.int32)  # of a pair, from 1
    at_target = _row_starts(present)
    at_source = _row_starts(into_source >= 0)
    counts = present.sum(1).tolist()
    total = sum(counts)
    source, target, in_target, in_source = (into_target.new_empty(total) for _ in range(4))
    if total:
        _fill_bags[(triton.cdiv(n_targets, BLOCK),)](
            into_target, number, at_target, source, target, in_target, n_targets, n_targets, n_offsets, True, BLOCK,
            num_warps=2,
        )  # fmt: skip
        n_sources = into_source.shape[1]
        _fill_bags[(triton.cdiv(n_sources, BLOCK),)](
            into_source, number, at_source, source, target, in_source, n_sources, n_targets, n_offsets, False, BLOCK,
            num_warps=2,
        )  # fmt: skip
    offsets = [o for o, n in enumerate(counts) if n]
    sizes = [n for n in counts if n]
    return Pairs(source, target, sizes, offsets, Bags(in_source, at_source), Bags(in_target, at_target))


def _row_starts(present: Tensor) -> Tensor:
    """(R + 1,) int32 where each row's pairs begin, for present pairs (K, R)."""
    starts = torch.zeros(present.shape[1] + 1, dtype=torch.int32, device=present.device)
    torch.cumsum(present.sum(0), 0, out=starts[1:])
    return starts


def _padded_coords(sites: Sites) -> Tensor:
    """(N, 4) int64 [event, x, y, z] within the padded box that the keys count in."""
    _, y, z = sites.extent
    rest, last = torch.div(sites.keys, z, rounding_mode="floor"), sites.keys % z
    rest, middle = torch.div(rest, y, rounding_mode="floor"), rest % y
    return torch.stack([sites.coords[:, 0], rest % sites.extent[0], middle, last], dim=1)


def _lookup_all(sites: Sites, positions: Tensor) -> Tensor:
    """(27, M) int32 rows of the voxels around `positions` (M, 4), -1 where there is none."""
    table = torch.empty(27, len(positions), dtype=torch.int32, device=positions.device)
    n = len(sites.keys)
    _lookup[(triton.cdiv(len(positions), BLOCK),)](
        sites.keys, n, n.bit_length(), positions.contiguous(), table, len(positions), *sites.extent, BLOCK, num_warps=2
    )
    return table


@triton.jit
def _lookup(keys, n, steps, positions, table, m, size_x, size_y, size_z, BLOCK: tl.constexpr):
    query = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = query < m
    event = tl.load(positions + query * 4, mask=valid, other=0)
    x = tl.load(positions + query * 4 + 1, mask=valid, other=0)
    y = tl.load(positions + query * 4 + 2, mask=valid, other=0)
    z = tl.load(positions + query * 4 + 3, mask=valid, other=0)
    for offset in range(27):
        i = x + (offset % 3 - 1)
        j = y + (offset // 3 % 3 - 1)
        k = z + (offset // 9 - 1)
        inside = (i >= 0) & (i < size_x) & (j >= 0) & (j < size_y) & (k >= 0) & (k < size_z)
        key = tl.where(inside & valid, ((event * size_x + i) * size_y + j) * size_z + k, -1)
        at = lower_bound(keys, n, steps, key)
        exists = tl.load(keys + at, mask=at < n, other=-2) == key
        tl.store(table + offset * m + query, tl.where(exists, at, -1), mask=valid)


@triton.jit
def _fill_bags(
    table, number, starts, source, target, members, n_rows, n_targets, n_offsets, OF_TARGETS: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Write each row's pairs into its bag, by offset; target rows also write the pairs themselves."""
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    valid = row < n_rows
    slot = tl.load(starts + row, mask=valid, other=0)
    for offset in range(n_offsets):
        partner = tl.load(table + offset * n_rows + row, mask=valid, other=-1)
        present = partner >= 0
        if OF_TARGETS:
            pair = tl.load(number + offset * n_targets + row, mask=present, other=1) - 1
            tl.store(source + pair, partner, mask=present)
            tl.store(target + pair, row, mask=present)
        else:
            pair = tl.load(number + offset * n_targets + partner, mask=present, other=1) - 1
        tl.store(members + slot, pair, mask=present)
        slot += present.to(tl.int32)
