"""Which voxels a convolution connects, found on a GPU: the pairs of `benchmark.sparse.pairs`, with one wait each.

Sites are sorted by key, so a neighbour is found by binary search: 27 searches per voxel, all in one launch. The pairs
then fall into their places by counting: no list is sorted.
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
    table = _lookup_all(sites, _places(sites))
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
    coarse, own = sites.coarser, _places(sites)
    origin = sites.coords[0, 1:] - own[0, 1:]
    centres = torch.cat([coarse.coords[:, :1], 2 * coarse.coords[:, 1:] - origin], dim=1)
    into_coarse = _lookup_all(sites, centres)
    into_fine = into_coarse.new_full((27, len(sites) + 1), -1)  # one more row takes what is absent
    row = torch.arange(len(coarse), dtype=torch.int32, device=own.device).expand(27, -1)
    into_fine.scatter_(1, torch.where(into_coarse < 0, len(sites), into_coarse).long(), row)
    return pairs_of(into_coarse, into_fine[:, :-1].contiguous())


def pairs_of(into_target: Tensor, into_source: Tensor) -> Pairs:
    """Pairs from two tables: the source of each target (K, M) at an offset, and the target of each source (K, N).

    int32 rows, -1 where there is none. Waits for the device once, for the number of pairs at each offset.
    """
    n_offsets, n_targets = into_target.shape
    present = into_target >= 0
    number = torch.cumsum(present.flatten(), 0, dtype=torch.int32)  # of a pair, from 1
    at_target = _starts(present)
    at_source = _starts(into_source >= 0)
    counts = present.sum(1).tolist()
    total = sum(counts)
    source, target, in_target, in_source = (into_target.new_empty(total) for _ in range(4))
    if total:
        _place[(triton.cdiv(n_targets, BLOCK),)](
            into_target, number, at_target, source, target, in_target, n_targets, n_targets, n_offsets, True, BLOCK,
            num_warps=2,
        )  # fmt: skip
        n_sources = into_source.shape[1]
        _place[(triton.cdiv(n_sources, BLOCK),)](
            into_source, number, at_source, source, target, in_source, n_sources, n_targets, n_offsets, False, BLOCK,
            num_warps=2,
        )  # fmt: skip
    offsets = [o for o, n in enumerate(counts) if n]
    sizes = [n for n in counts if n]
    return Pairs(source, target, sizes, offsets, Bags(in_source, at_source), Bags(in_target, at_target))


def _starts(present: Tensor) -> Tensor:
    """(R + 1,) int32 where each row's pairs begin, for present pairs (K, R)."""
    starts = torch.zeros(present.shape[1] + 1, dtype=torch.int32, device=present.device)
    torch.cumsum(present.sum(0), 0, out=starts[1:])
    return starts


def _places(sites: Sites) -> Tensor:
    """(N, 4) int64 [event, x, y, z] within the padded box that the keys count in."""
    _, y, z = sites.extent
    rest, last = torch.div(sites.keys, z, rounding_mode="floor"), sites.keys % z
    rest, middle = torch.div(rest, y, rounding_mode="floor"), rest % y
    return torch.stack([sites.coords[:, 0], rest % sites.extent[0], middle, last], dim=1)


def _lookup_all(sites: Sites, places: Tensor) -> Tensor:
    """(27, M) int32 rows of the voxels around `places` (M, 4), -1 where there is none."""
    table = torch.empty(27, len(places), dtype=torch.int32, device=places.device)
    n = len(sites.keys)
    _lookup[(triton.cdiv(len(places), BLOCK),)](
        sites.keys, n, n.bit_length(), places.contiguous(), table, len(places), *sites.extent, BLOCK, num_warps=2
    )
    return table


@triton.jit
def _lookup(keys, n, steps, places, table, m, size_x, size_y, size_z, BLOCK: tl.constexpr):
    place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    own = place < m
    event = tl.load(places + place * 4, mask=own, other=0)
    x = tl.load(places + place * 4 + 1, mask=own, other=0)
    y = tl.load(places + place * 4 + 2, mask=own, other=0)
    z = tl.load(places + place * 4 + 3, mask=own, other=0)
    for offset in range(27):
        i = x + (offset % 3 - 1)
        j = y + (offset // 3 % 3 - 1)
        k = z + (offset // 9 - 1)
        inside = (i >= 0) & (i < size_x) & (j >= 0) & (j < size_y) & (k >= 0) & (k < size_z)
        wanted = tl.where(inside & own, ((event * size_x + i) * size_y + j) * size_z + k, -1)
        at = lower_bound(keys, n, steps, wanted)
        found = tl.load(keys + at, mask=at < n, other=-2) == wanted
        tl.store(table + offset * m + place, tl.where(found, at, -1), mask=own)


@triton.jit
def _place(
    table, number, starts, source, target, members, n_rows, n_targets, n_offsets, OF_TARGETS: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Each row's pairs into its bag, in the order of the offsets; a target's row writes the pairs themselves, too."""
    row = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    own = row < n_rows
    slot = tl.load(starts + row, mask=own, other=0)
    for offset in range(n_offsets):
        other = tl.load(table + offset * n_rows + row, mask=own, other=-1)
        present = other >= 0
        if OF_TARGETS:
            pair = tl.load(number + offset * n_targets + row, mask=present, other=1) - 1
            tl.store(source + pair, other, mask=present)
            tl.store(target + pair, row, mask=present)
        else:
            pair = tl.load(number + offset * n_targets + other, mask=present, other=1) - 1
        tl.store(members + slot, pair, mask=present)
        slot += present.to(tl.int32)
