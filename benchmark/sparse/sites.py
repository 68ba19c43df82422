"""Active voxels: sorted 64-bit keys, coarser levels, and the pairs of voxels that a convolution connects.

A key is the row-major index of a voxel in the bounding box of all events, one voxel wider on every side, with the
event as slowest axis. So a step to a neighbour is one addition, no step leaves its own event, and two voxels never
share a key. Keys beyond 64 bits raise an error.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import torch
from torch import Tensor

from benchmark.errors import DataError
from benchmark.sparse.pairs import Pairs, neighbour_pairs, parent_pairs, strided_pairs

INT32 = 2**31  # coordinates lie in [-INT32, INT32)
KEYS = 2**63  # number of keys that fit a signed 64-bit integer


PairsKind = Literal["neighbour_pairs", "parent_pairs", "strided_pairs"]  # functions of `cuda/kernel_maps.py`


@dataclass(frozen=True)
class Shared:
    """A backend's cache on sites, shared by all layers on them; it changes no result.

    Layers are independent, and each would repeat the search for its pairs. The cache is stored on the sites to have
    their lifetime, and so that preparation on a side stream finds its tensors.
    """

    pairs: dict[PairsKind, Pairs] = field(default_factory=dict)  # from the kernels of `cuda/`
    engine: dict[str, Any] = field(default_factory=dict)  # objects of third-party engines, by keys of their backends


class Sites:
    """(N, 4) int64 active voxels [event, x, y, z], in units of `stride`, unique and sorted by key."""

    def __init__(self, coords: Tensor, keys: Tensor, extent: tuple[int, int, int], n_events: int, stride: int) -> None:
        self.coords = coords  # (N, 4) int64
        self.keys = keys  # (N,) int64, ascending
        self.extent = extent  # of the padded bounding box, in units of the stride
        self.n_events = n_events
        self.stride = stride
        self.shared = Shared()

    def __len__(self) -> int:
        return len(self.keys)

    @staticmethod
    def of(coords: Tensor, n_events: int | None = None, stride: int = 1) -> tuple[Sites, Tensor]:
        """Sites of distinct integer voxels `coords` (N, 4) in any order, and the row (N,) of each among the sites.

        Raises DataError for duplicates, for coordinates beyond int32, and where the keys exceed 64 bits.
        """
        sites, rows = _unique_sites(coords, n_events, stride)
        if len(sites) < len(coords):
            duplicate = coords[torch.bincount(rows)[rows] > 1][0].tolist()
            raise DataError(
                f"{len(coords) - len(sites)} voxels are not unique (first: event {duplicate[0]} at {duplicate[1:]}). "
                f"One feature vector per voxel was expected. Merge the points of a voxel first, as `voxelise` does."
            )
        return sites, rows

    @cached_property
    def neighbours(self) -> Pairs:
        """Pairs of a 3^3 submanifold convolution, without each voxel's pair with itself. Cached."""
        return neighbour_pairs(self.keys, self.extent)

    @cached_property
    def _coarser_sites(self) -> tuple[Sites, Tensor]:
        half_coords = torch.cat([self.coords[:, :1], self.coords[:, 1:] >> 1], dim=1)  # floor, for negative ones too
        return _unique_sites(half_coords, self.n_events, 2 * self.stride)

    @property
    def coarser(self) -> Sites:
        """The voxels of twice the stride that hold at least one of these. Cached."""
        return self._coarser_sites[0]

    @property
    def parent(self) -> Tensor:
        """(N,) int64 row of each voxel's parent among the coarser voxels."""
        return self._coarser_sites[1]

    @cached_property
    def children(self) -> Pairs:
        """Pairs (this voxel, its parent) of a strided convolution with kernel 2^3; its inverse uses them reversed."""
        coarse, parent = self._coarser_sites
        low = self.coords[:, 1:] & 1
        return parent_pairs(parent, low[:, 0] + 2 * low[:, 1] + 4 * low[:, 2], len(coarse))

    @cached_property
    def overlapping(self) -> Pairs:
        """Pairs (this voxel, coarser voxel) of a strided convolution with kernel 3^3. Cached."""
        coarse, parent = self._coarser_sites
        return strided_pairs(self.coords[:, 1:], parent, coarse.keys, coarse.extent)


def voxelise(coords: Tensor, event_index: Tensor, n_events: int) -> tuple[Sites, Tensor]:
    """Sites of points `coords` (N, 3), rounded to whole voxels, and the row (N,) of each point's voxel.

    Points of one event that round to the same voxel share it. Raises DataError as `Sites.of`.
    """
    if not bool((coords.abs() < INT32).all()):  # also false for NaN
        raise _range_error(coords)
    whole = torch.cat([event_index[:, None].long(), torch.round(coords).long()], dim=1)
    return _unique_sites(whole, n_events, 1)


def _unique_sites(coords: Tensor, n_events: int | None, stride: int) -> tuple[Sites, Tensor]:
    """Sites of integer voxels (N, 4), duplicates merged, and the row of each voxel among the sites."""
    if len(coords) == 0:
        raise DataError("There is no voxel. At least one was expected. Leave empty batches out.")
    low, high = (t.tolist() for t in torch.aminmax(coords.long(), dim=0))
    if min(low[1:]) < -INT32 or max(high[1:]) >= INT32:
        raise _range_error(coords[:, 1:])
    events = high[0] + 1 if n_events is None else n_events
    if low[0] < 0 or high[0] >= events:
        raise DataError(
            f"Event numbers run from {low[0]} to {high[0]}. Numbers from 0 to {events - 1} were expected. Correct them."
        )
    x, y, z = (h - a + 3 for a, h in zip(low[1:], high[1:], strict=True))
    if events * x * y * z >= KEYS:
        raise DataError(
            f"{events} events of {x} x {y} x {z} voxels need keys of more than 64 bits. Fewer than 2^63 voxels in the "
            f"bounding box were expected. Move the events' coordinates together, or use larger voxels."
        )
    origin = coords.new_tensor([0, *(a - 1 for a in low[1:])]).long()
    event, i, j, k = (coords.long() - origin).unbind(1)
    keys, rows = torch.unique(((event * x + i) * y + j) * z + k, sorted=True, return_inverse=True)
    unique_coords = torch.empty(len(keys), 4, dtype=torch.int64, device=coords.device)
    unique_coords[rows] = coords.long()  # duplicates write the same values
    return Sites(unique_coords, keys, (x, y, z), events, stride), rows


def _range_error(coords: Tensor) -> DataError:
    wrong = coords[~(coords.abs() < INT32)]
    return DataError(
        f"A voxel coordinate is {wrong[0].item()}. Finite numbers that fit 32 bits (below 2^31 in size) were expected. "
        f"Correct the coordinates, or use larger voxels."
    )
