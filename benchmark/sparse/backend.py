"""The interface of sparse convolution backends."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from benchmark.sparse.sites import Sites


class SparseBackend(ABC):
    """Three convolutions with gradients with respect to features and weight."""

    name: str

    def available(self) -> str | None:
        """None where its package is installed, else the reason and the remedy."""
        return None

    @abstractmethod
    def version(self) -> str:
        """Version of the package."""

    def connect(self, sites: Sites, depth: int) -> None:
        """Search in advance the pairs of `depth` levels of a U-shaped network, cached on the sites; here levels only.

        Submanifold convolutions on every level, 2^3 convolutions and their inverses between them.
        """
        for _ in range(depth - 1):
            sites = sites.coarser

    @abstractmethod
    def submanifold(self, features: Tensor, weight: Tensor, sites: Sites) -> Tensor:
        """(N, D) on the same sites from features (N, C) and weight (27, C, D)."""

    @abstractmethod
    def strided(self, features: Tensor, weight: Tensor, sites: Sites) -> Tensor:
        """(M, D) on `sites.coarser` from features (N, C) on `sites` and weight (8, C, D) or (27, C, D); stride 2.

        The kernel 2^3 covers a coarser voxel's own eight. The kernel 3^3 is centred on the first of them, as with a
        padding of 1: coarser voxel o sees voxels 2 o - 1 to 2 o + 1.
        """

    @abstractmethod
    def inverse(self, features: Tensor, weight: Tensor, sites: Sites) -> Tensor:
        """(N, D) on `sites` from features (M, C) on `sites.coarser` and weight (8, C, D)."""
