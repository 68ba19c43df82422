"""MinkowskiEngine as a backend of sparse convolution: the only file that imports it.

Relies on (MinkowskiEngine 0.5): kernels (offsets, in, out), the first axis fastest, as here; coordinates in
units of the input's voxels, multiples of the stride; a coordinate manager, which shares kernel maps between layers and
may reorder rows. Not tested with current torch, for which it could not be built: `conformance` decides on use.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from benchmark.packages import missing_package
from benchmark.sparse.backend import SparseBackend
from benchmark.sparse.sites import Sites


class Minkowski(SparseBackend):
    """MinkowskiEngine, if built by the user."""

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
        self, layer_class: str, side: int, stride: int, features: Tensor, weight: Tensor, start: Sites, end: Sites
    ) -> Tensor:
        finer = start if start.stride <= end.stride else end
        manager = finer.shared.engine.get("minkowski") or _manager()
        for sites in (start, end):  # shared by all levels, from fine to coarse
            sites.shared.engine["minkowski"] = manager
        input_tensor, _ = _engine_tensor(features, start, manager)
        layer = _make_layer(layer_class, weight.shape[1], weight.shape[2], side, stride)
        target, end_row = _engine_tensor(features.new_empty(len(end), 1), end, manager)
        result: Tensor = functional_call(layer, {"kernel": weight}, (input_tensor, target.coordinate_map_key)).F
        return result[end_row]


def _manager() -> Any:
    import MinkowskiEngine as engine

    return engine.CoordinateManager(D=3)


def _engine_tensor(features: Tensor, sites: Sites, manager: Any) -> tuple[Any, Tensor]:
    """The engine's tensor on the sites, and its row for each site."""
    import MinkowskiEngine as engine

    coords = torch.cat([sites.coords[:, :1], sites.coords[:, 1:] * sites.stride], dim=1).int()
    tensor = engine.SparseTensor(features, coords, tensor_stride=sites.stride, coordinate_manager=manager)
    return tensor, tensor.inverse_mapping.long()


@cache
def _make_layer(layer_class: str, n_in: int, n_out: int, side: int, stride: int) -> Any:
    import MinkowskiEngine as engine

    return getattr(engine, layer_class)(n_in, n_out, kernel_size=side, stride=stride, dimension=3)
