"""The kernels of `cuda/` as a backend of sparse convolution, for NVIDIA GPUs."""

from __future__ import annotations

from importlib import metadata

from torch import Tensor

from benchmark.kernels import missing
from benchmark.sparse.backends import SparseBackend
from benchmark.sparse.pairs import CENTRE, Pairs
from benchmark.sparse.sites import Sites


class Triton(SparseBackend):
    """Compiled at their first use on a machine, then kept on disk."""

    name = "triton"

    def available(self) -> str | None:
        """See SparseBackend."""
        return missing()

    def version(self) -> str:
        """See SparseBackend."""
        return metadata.version("triton")

    def submanifold(self, features: Tensor, weight: Tensor, sites: Sites) -> Tensor:
        """See SparseBackend."""
        return _convolve(features, weight, _pairs("neighbour_pairs", sites), CENTRE)

    def strided(self, features: Tensor, weight: Tensor, sites: Sites) -> Tensor:
        """See SparseBackend."""
        kind = "parent_pairs" if len(weight) == 8 else "strided_pairs"
        return _convolve(features, weight, _pairs(kind, sites), None)

    def inverse(self, features: Tensor, weight: Tensor, sites: Sites) -> Tensor:
        """See SparseBackend."""
        return _convolve(features, weight, _pairs("parent_pairs", sites).reversed, None)


def _convolve(features: Tensor, weight: Tensor, pairs: Pairs, centre: int | None) -> Tensor:
    from benchmark.cuda.convolution import convolve

    result: Tensor = convolve(features, weight, pairs, centre)
    return result


def _pairs(kind: str, sites: Sites) -> Pairs:
    """Made once for all layers on these sites."""
    if kind not in sites.kept:
        from benchmark.cuda import kernel_maps

        sites.kept[kind] = getattr(kernel_maps, kind)(sites)
    pairs: Pairs = sites.kept[kind]
    return pairs
