"""MinkowskiEngine as a backend of sparse convolution: the only file that imports it.

What is relied on (MinkowskiEngine 0.5): kernels (offsets, in, out), the first axis fastest, as here; coordinates in
units of the input's voxels, multiples of the stride; a coordinate manager, which shares kernel maps between layers and
may reorder rows. It could not be built for current torch when this was written: `conformance` decides on use.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from benchmark.hardware.packages import missing_package
from benchmark.sparse.backend import SparseBackend
from benchmark.sparse.sites import Sites


class Minkowski(SparseBackend):
    """Where a user has built it."""

    name = "minkowski"

    def available(self) -> str | None:
        """See SparseBackend."""
        return missing_package("MinkowskiEngine")

    def version(self) -> str:
        """See SparseBackend."""
        import MinkowskiEngine

        return str(MinkowskiEngine.__version__)

    def submanifold(self, features: Tensor, weight: Tensor, sites: Sites) -> Tensor:
        """See SparseBackend."""
        return self._convolve("MinkowskiConvolution", 3, 1, features, weight, sites, sites)

    def strided(self, features: Tensor, weight: Tensor, sites: Sites) -> Tensor:
        """See SparseBackend."""
        side = 2 if len(weight) == 8 else 3
        return self._convolve("MinkowskiConvolution", side, 2, features, weight, sites, sites.coarser)

    def inverse(self, features: Tensor, weight: Tensor, sites: Sites) -> Tensor:
        """See SparseBackend."""
        return self._convolve("MinkowskiConvolutionTranspose", 2, 2, features, weight, sites.coarser, sites)

    def _convolve(
        self, kind: str, side: int, stride: int, features: Tensor, weight: Tensor, start: Sites, end: Sites
    ) -> Tensor:
        finer = start if start.stride <= end.stride else end
        manager = finer.shared.engine.get("minkowski") or _manager()
        for sites in (start, end):  # one for all levels: sites are used from fine to coarse
            sites.shared.engine["minkowski"] = manager
        given, _ = _tensor(features, start, manager)
        layer = _layer(kind, weight.shape[1], weight.shape[2], side, stride)
        wanted, end_row = _tensor(features.new_empty(len(end), 1), end, manager)
        result: Tensor = functional_call(layer, {"kernel": weight}, (given, wanted.coordinate_map_key)).F
        return result[end_row]


def _manager() -> Any:
    import MinkowskiEngine as engine

    return engine.CoordinateManager(D=3)


def _tensor(features: Tensor, sites: Sites, manager: Any) -> tuple[Any, Tensor]:
    """Their tensor on the sites, and its row for each of ours."""
    import MinkowskiEngine as engine

    places = torch.cat([sites.coords[:, :1], sites.coords[:, 1:] * sites.stride], dim=1).int()
    tensor = engine.SparseTensor(features, places, tensor_stride=sites.stride, coordinate_manager=manager)
    return tensor, tensor.inverse_mapping.long()


@cache
def _layer(kind: str, n_in: int, n_out: int, side: int, stride: int) -> Any:
    import MinkowskiEngine as engine

    return getattr(engine, kind)(n_in, n_out, kernel_size=side, stride=stride, dimension=3)
