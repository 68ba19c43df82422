"""spconv, and spconv-triton with the same interface, as backends of sparse convolution: the only file to import them.

Relies on (spconv 2.3, `spconv.pytorch`): weights (out, x, y, z, in) for modules; `indice_key` names pairs that
layers share through a tensor's `indice_dict`; a strided convolution orders its own result rows. On CPUs (2.3.8) its
gradient needs CUDA, its scattered additions race between threads, and its 32-bit keys confuse voxels of different
events: `conformance` detects that before use. spconv-triton (1.0.0) runs on GPUs only; with its device checks
removed, it passed `conformance` in Triton's interpreter.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from benchmark.hardware.kernels import missing
from benchmark.packages import missing_package
from benchmark.sparse.backend import SparseBackend
from benchmark.sparse.sites import Sites


class Spconv(SparseBackend):
    """Implicit GEMM on GPUs. Autocast means float16."""

    name = "spconv"
    package = "spconv"

    def available(self) -> str | None:
        """See SparseBackend."""
        return missing_package(self.package)

    def version(self) -> str:
        """See SparseBackend."""
        return str(import_module(self.package).__version__)

    def engine(self) -> Any:
        """The engine's module of layers and tensors."""
        import spconv.pytorch as engine

        return engine

    def submanifold(self, features: Tensor, weight: Tensor, sites: Sites) -> Tensor:
        """See SparseBackend."""
        layer = _make_layer(self.engine(), "SubMConv3d", weight.shape[1], weight.shape[2], 3, padding=1)
        result: Tensor = self._convolve(layer, weight, 3, self._engine_tensor(sites).replace_feature(features)).features
        return result

    def strided(self, features: Tensor, weight: Tensor, sites: Sites) -> Tensor:
        """See SparseBackend."""
        side = 2 if len(weight) == 8 else 3
        layer = _make_layer(
            self.engine(), "SparseConv3d", weight.shape[1], weight.shape[2], side, stride=2, padding=side - 2
        )
        tensor = self._convolve(layer, weight, side, self._engine_tensor(sites).replace_feature(features))
        cache_key = f"{self.package} down {side}"
        if cache_key not in sites.shared.engine:
            sites.shared.engine[cache_key] = (
                tensor.replace_feature(tensor.features.detach()[:, :0]),
                _match_coarser(sites, tensor),
            )
        result: Tensor = tensor.features[sites.shared.engine[cache_key][1]]
        return result

    def inverse(self, features: Tensor, weight: Tensor, sites: Sites) -> Tensor:
        """See SparseBackend."""
        if f"{self.package} down 2" not in sites.shared.engine:  # uses the pairs of the strided convolution
            self.strided(features.new_zeros(len(sites), 1), weight.new_zeros(8, 1, 1), sites)
        tensor, order = sites.shared.engine[f"{self.package} down 2"]
        engine_order = torch.empty_like(order)
        engine_order[order] = torch.arange(len(order), device=order.device)
        layer = _make_layer(self.engine(), "SparseInverseConv3d", weight.shape[1], weight.shape[2], 2)
        result: Tensor = self._convolve(layer, weight, 2, tensor.replace_feature(features[engine_order])).features
        return result

    def _engine_tensor(self, sites: Sites) -> Any:
        """The engine's tensor of these sites, without features; its pairs are shared."""
        if self.package not in sites.shared.engine:
            corner = (sites.coords[:, 1:].amin(0) >> 1) << 1  # even, so that halving keeps parents
            coords = torch.cat([sites.coords[:, :1], sites.coords[:, 1:] - corner], dim=1)
            shape = [int(s) + 2 & ~1 for s in coords[:, 1:].amax(0)]
            empty = torch.empty(len(sites), 0, device=coords.device)
            tensor = self.engine().SparseConvTensor(empty, coords.int(), shape, sites.n_events)
            sites.shared.engine[self.package] = tensor
        return sites.shared.engine[self.package]

    def _convolve(self, layer: Any, weight: Tensor, side: int, tensor: Any) -> Any:
        n_in, n_out = weight.shape[1:]
        kernel = weight.view(side, side, side, n_in, n_out).permute(4, 2, 1, 0, 3).contiguous()  # (out, x, y, z, in)
        return functional_call(layer, {"weight": kernel}, (tensor,))


class SpconvTriton(Spconv):
    """Implicit GEMM on GPUs, in Triton; tunes tiles at the first use of each shape."""

    name = "spconv-triton"
    package = "spconv_triton"

    def available(self) -> str | None:
        """See SparseBackend."""
        return super().available() or missing()

    def engine(self) -> Any:
        """See Spconv."""
        import spconv_triton.pytorch as engine

        return engine

    def _convolve(self, layer: Any, weight: Tensor, side: int, tensor: Any) -> Any:
        """In autocast's dtype; the engine itself uses float16."""
        device_type = weight.device.type
        if torch.is_autocast_enabled(device_type):
            dtype = torch.get_autocast_dtype(device_type)
            tensor, weight = tensor.replace_feature(tensor.features.to(dtype)), weight.to(dtype)
        with torch.autocast(device_type, enabled=False):
            return super()._convolve(layer, weight, side, tensor)


def _match_coarser(sites: Sites, tensor: Any) -> Tensor:
    """(M,) the engine's row of each coarser site. The kernel 3^3 has more rows: odd voxels also belong to the next."""
    corner = (sites.coords[:, 1:].amin(0) >> 1) << 1
    coords = tensor.indices.long()
    coords = torch.cat([coords[:, :1], coords[:, 1:] + (corner >> 1)], dim=1)
    unique_coords, row = torch.unique(torch.cat([coords, sites.coarser.coords]), dim=0, return_inverse=True)
    order = torch.full((len(unique_coords),), -1, device=row.device)
    order[row[: len(coords)]] = torch.arange(len(coords), device=row.device)
    rows = order[row[len(coords) :]]
    if bool((rows < 0).any()):
        raise RuntimeError("spconv's strided convolution lacks result voxels that are parents of its input")
    return rows


@cache
def _make_layer(engine: Any, layer_class: str, n_in: int, n_out: int, side: int, **settings: int) -> Any:
    """A layer of the engine; its own weight is never used."""
    layer = getattr(engine, layer_class)(
        n_in,
        n_out,
        side,
        bias=False,
        indice_key="submanifold" if layer_class == "SubMConv3d" else f"down {side}",
        **settings,
    )
    return layer.train()
