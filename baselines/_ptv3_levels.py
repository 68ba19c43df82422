"""The voxels of one stage of a Point Transformer V3: its orders, patches and parents, computed on first use."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from benchmark.errors import BenchmarkError
from benchmark.sparse import Sites

from ._serialisation import BITS, Patches, codes, cut

MAX_EVENTS = 2 ** (63 - 3 * BITS)


class Pairs(NamedTuple):
    """Pairs of neighbouring voxels: rows of the two, and the neighbour's offset from the centre of a kernel."""

    row: Tensor
    neighbour: Tensor
    offset: Tensor

    @staticmethod
    def within(radius: int, event: Tensor, coords: Tensor) -> Pairs:
        """Of voxels (N, 3) from 0 on, sorted by event (N,) and coordinates."""
        width = 2 * radius + 1
        extent = coords.amax(0) + width
        keys = ((event * extent[0] + coords[:, 0]) * extent[1] + coords[:, 1]) * extent[2] + coords[:, 2]  # ascending
        padded = torch.cat([keys, keys.new_full((width,), torch.iinfo(torch.int64).max)])
        columns = []
        for dx in range(radius + 1):
            for dy in range(-radius if dx else 0, radius + 1):
                # the keys of one column (dx, dy), for all dz, are consecutive; half of the columns mirror the others
                lowest = -radius if dx or dy else 1
                first = keys + ((dx * extent[1] + dy) * extent[2] + lowest)
                index = torch.searchsorted(keys, first)
                ahead = torch.stack([padded[index + t] for t in range(width)], dim=1) - first[:, None]  # (N, width)
                row, t = (ahead <= radius - lowest).nonzero(as_tuple=True)
                columns.append(Pairs(row, index[row] + t, ((dx * width) + dy) * width + lowest + ahead[row, t]))
        return Pairs(*(torch.cat(parts) for parts in zip(*columns, strict=True)))


class Level:
    """Sites of one stage. `orders` are the names of the curves, in the order of the blocks."""

    def __init__(
        self, sites: Sites, orders: Sequence[str], shuffled: bool, origin: Tensor, depth: int,
        generator: torch.Generator | None,
    ) -> None:  # fmt: skip
        self.sites = sites
        self.depth = depth  # halvings since the first stage
        self.origin = origin  # (B, 3) int64 lowest coordinates of each event, in voxels of this stage
        self.names = orders
        self.shuffled, self.generator = shuffled, generator
        draws = {"generator": generator, "device": generator.device if generator else "cpu"}
        turn = torch.randperm(len(orders), **draws).tolist() if shuffled else range(len(orders))
        self.orders = [orders[i] for i in turn]
        self._patches: dict[tuple[str, int], Patches] = {}
        self._neighbour_pairs: dict[int, Pairs] = {}

    @staticmethod
    def finest(
        sites: Sites, orders: Sequence[str], shuffled: bool, n_levels: int, generator: torch.Generator | None = None
    ) -> Level:  # fmt: skip
        """The first stage. Raises BenchmarkError for events too large for 64-bit codes.

        Codes count from each event's corner, which is a voxel corner in all later stages. `generator` shuffles
        the orders; without it, torch's own.
        """
        event, coords = sites.coords[:, 0], sites.coords[:, 1:]
        empty = torch.full((sites.n_events, 3), torch.iinfo(torch.int64).max, device=coords.device)
        low = empty.scatter_reduce(0, event[:, None].expand(-1, 3), coords, "amin")
        corner = (low >> (n_levels - 1)) << (n_levels - 1)
        extent = int((coords - corner[event]).max()) + 1
        if extent > 2**BITS or sites.n_events > MAX_EVENTS:
            raise BenchmarkError(
                f"{sites.n_events} events of up to {extent} voxels a side were given. At most {MAX_EVENTS} events of "
                f"{2**BITS} voxels a side were expected. Use larger voxels with --set grid=..., or smaller batches."
            )
        return Level(sites, orders, shuffled, corner, 0, generator)

    @cached_property
    def lengths(self) -> Tensor:
        """(B,) int64 voxels per event."""
        return torch.bincount(self.sites.coords[:, 0], minlength=self.sites.n_events)

    @cached_property
    def relative(self) -> Tensor:
        """(N, 3) int64 coordinates from the event's corner on."""
        return self.sites.coords[:, 1:] - self.origin[self.sites.coords[:, 0]]

    def patches(self, index: int, size: int) -> Patches:
        """Patches along the curve that block number `index` takes."""
        key = (self.orders[index % len(self.orders)], size)
        if key not in self._patches:
            code = codes(self.relative, key[0], BITS - self.depth)
            order = torch.argsort((self.sites.coords[:, 0] << 3 * BITS) | code)
            self._patches[key] = cut(order, self.lengths, size)
        return self._patches[key]

    @cached_property
    def coarser(self) -> Level:
        """The next stage: voxels of twice the size."""
        return Level(self.sites.coarser, self.names, self.shuffled, self.origin >> 1, self.depth + 1, self.generator)

    @cached_property
    def parent(self) -> Tensor:
        """(N,) int64 row of each voxel's parent in the next stage."""
        pairs = self.sites.children
        parent = torch.empty(len(self.sites), dtype=torch.int64, device=self.sites.coords.device)
        parent[pairs.source.long()] = pairs.target.long()
        return parent

    def neighbour_pairs(self, radius: int) -> Pairs:
        """Voxels at most `radius` apart along every axis, each pair once."""
        if radius not in self._neighbour_pairs:
            self._neighbour_pairs[radius] = Pairs.within(radius, self.sites.coords[:, 0], self.relative)
        return self._neighbour_pairs[radius]

    @cached_property
    def voxels_by_parent(self) -> tuple[Tensor, Tensor]:
        """Rows of voxels grouped by parent, and where each parent's group begins."""
        starts = torch.zeros(len(self.sites.coarser) + 1, dtype=torch.int64, device=self.parent.device)
        starts[1:] = torch.bincount(self.parent, minlength=len(starts) - 1).cumsum(0)
        return torch.argsort(self.parent, stable=True), starts

    def max_pool(self, features: Tensor) -> Tensor:
        """(M, C) maximum over the voxels of each parent of features (N, C)."""
        members, starts = self.voxels_by_parent
        return embedding_bag(members, features, starts, mode="max", include_last_offset=True)


def surroundings(level: Level, features: Tensor, radius: int) -> Tensor:
    """(N, (2 radius + 1)^3, C): the features (N, C) of the voxels around each voxel, 0 where there is none.

    A submanifold convolution of any kernel is one matrix product with it: useful where C is small.
    """
    pairs, n_places = level.neighbour_pairs(radius), (2 * radius + 1) ** 3
    table = features.new_zeros(len(features), n_places, features.shape[1])
    centre = n_places // 2
    table[:, centre] = features
    table[pairs.row, centre + pairs.offset] = features[pairs.neighbour]
    table[pairs.neighbour, centre - pairs.offset] = features[pairs.row]
    return table
