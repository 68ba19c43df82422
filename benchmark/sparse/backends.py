"""What a backend of sparse convolution computes, and which one does it here.

Kernels have one layout everywhere, (offsets, channels in, channels out), the first spatial axis fastest, so weights
move between backends. A backend other than ours must pass `conformance` on the device at hand before it is used.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cache

import torch
from torch import Tensor

from benchmark.errors import BenchmarkError, unknown_name
from benchmark.sparse.sites import Sites

BACKENDS = ("native", "triton", "spconv", "spconv-triton", "minkowski")


class SparseBackend(ABC):
    """Three convolutions with gradients with respect to features and weight."""

    name: str

    def available(self) -> str | None:
        """None where its package is installed, else the reason and the remedy."""
        return None

    @abstractmethod
    def version(self) -> str:
        """Of the package that computes."""

    def connect(self, sites: Sites, depth: int) -> None:
        """Find ahead what `depth` levels of a U-shaped network connect, kept on the sites; by default the levels alone.

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


@cache
def backend(name: str) -> SparseBackend:
    """The backend of this name, whether or not it can be used here. Raises UnknownNameError."""
    if name == "native":
        from benchmark.sparse.native import Native

        return Native()
    if name == "triton":
        from benchmark.sparse.triton import Triton

        return Triton()
    if name == "spconv":
        from benchmark.sparse.spconv import Spconv

        return Spconv()
    if name == "spconv-triton":
        from benchmark.sparse.spconv import SpconvTriton

        return SpconvTriton()
    if name == "minkowski":
        from benchmark.sparse.minkowski import Minkowski

        return Minkowski()
    raise unknown_name("sparse backend", name, ("auto", *BACKENDS), "Type `python -m benchmark list backends`.")


def choose(name: str, device: str | torch.device) -> SparseBackend:
    """The backend that `name` means on a device; `auto` takes triton on GPUs where it can be used, else native.

    Raises UnknownNameError, and BenchmarkError with the reason where a named one is missing or computes wrong results.
    """
    kind = torch.device(device).type
    if name == "auto":
        return backend("triton") if kind == "cuda" and unusable("triton", kind) is None else backend("native")
    reason = unusable(name, kind)
    if reason is not None:
        raise BenchmarkError(
            f"The sparse backend {name} cannot be used on this {kind} device: {reason}. A backend that computes what "
            f"a dense convolution does was expected. Choose native, which always can, or auto."
        )
    return backend(name)


@cache
def unusable(name: str, kind: str) -> str | None:
    """Why a backend cannot be used on a kind of device (cpu, cuda), or None. Tried once per process."""
    candidate = backend(name)
    if name == "native":
        return None
    from benchmark.sparse.conformance import departs

    return candidate.available() or departs(candidate, torch.device(kind))
