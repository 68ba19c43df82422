"""A sparse tensor: features on sites."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from benchmark.sparse.sites import Sites


@dataclass(frozen=True)
class SparseTensor:
    """Features (N, C) on N sites, in the sites' own order."""

    features: Tensor
    sites: Sites

    @property
    def coords(self) -> Tensor:
        """(N, 4) int64 [event, x, y, z] in units of the stride."""
        return self.sites.coords

    @property
    def stride(self) -> int:
        """Size of a voxel in those of the input."""
        return self.sites.stride

    def with_features(self, features: Tensor) -> SparseTensor:
        """Other features on the same sites."""
        return SparseTensor(features, self.sites)

    def __add__(self, other: SparseTensor) -> SparseTensor:
        return self.with_features(self.features + other.features)


def cat(first: SparseTensor, second: SparseTensor) -> SparseTensor:
    """The features of both, side by side, on the sites of the first; both have the same."""
    return first.with_features(torch.cat([first.features, second.features], dim=1))
