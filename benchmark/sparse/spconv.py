"""spconv, and spconv-triton with the same interface, as backends of sparse convolution: the only file to import them.

What is relied on (spconv 2.3, `spconv.pytorch`): weights (out, x, y, z, in) for modules; `indice_key` names pairs that
layers share through a tensor's `indice_dict`; a strided convolution orders its own result rows. On CPUs (2.3.8) its
gradient needs CUDA, its scattered additions race between threads, and its 32-bit keys confuse voxels of different
events: `conformance` finds that before it is used. spconv-triton (1.0.0) runs on GPUs alone; without its checks
for that, in Triton's interpreter, it passed `conformance`.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call

from benchmark.hardware.kernels import missing
from benchmark.hardware.packages import missing_package
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
        """Their layers and tensor."""
        import spconv.pytorch as engine

        return engine

    def submanifold(self, features: Tensor, weight: Tensor, sites: Sites) -> Tensor:
        """See SparseBackend."""
        layer = _layer(self.engine(), "SubMConv3d", weight.shape[1], weight.shape[2], 3, padding=1)
        result: Tensor = self._apply(layer, weight, 3, self._tensor(sites).replace_feature(features)).features
        return result

    def strided(self, features: Tensor, weight: Tensor, sites: Sites) -> Tensor:
        """See SparseBackend."""
        side = 2 if len(weight) == 8 else 3
        layer = _layer(
            self.engine(), "SparseConv3d", weight.shape[1], weight.shape[2], side, stride=2, padding=side - 2
        )
        made = self._apply(layer, weight, side, self._tensor(sites).replace_feature(features))
        kept = f"{self.package} down {side}"
        if kept not in sites.shared.engine:
            sites.shared.engine[kept] = made.replace_feature(made.features.detach()[:, :0]), _order(sites, made)
        result: Tensor = made.features[sites.shared.engine[kept][1]]
        return result

    def inverse(self, features: Tensor, weight: Tensor, sites: Sites) -> Tensor:
        """See SparseBackend."""
        if f"{self.package} down 2" not in sites.shared.engine:  # its pairs are those of the strided convolution
            self.strided(features.new_zeros(len(sites), 1), weight.new_zeros(8, 1, 1), sites)
        made, order = sites.shared.engine[f"{self.package} down 2"]
        theirs = torch.empty_like(order)
        theirs[order] = torch.arange(len(order), device=order.device)
        layer = _layer(self.engine(), "SparseInverseConv3d", weight.shape[1], weight.shape[2], 2)
        result: Tensor = self._apply(layer, weight, 2, made.replace_feature(features[theirs])).features
        return result

    def _tensor(self, sites: Sites) -> Any:
        """Their tensor of these sites, without features; its pairs are made once and shared."""
        if self.package not in sites.shared.engine:
            corner = (sites.coords[:, 1:].amin(0) >> 1) << 1  # even, so that halving keeps the voxels' parents
            moved = torch.cat([sites.coords[:, :1], sites.coords[:, 1:] - corner], dim=1)
            shape = [int(s) + 2 & ~1 for s in moved[:, 1:].amax(0)]
            empty = torch.empty(len(sites), 0, device=moved.device)
            made = self.engine().SparseConvTensor(empty, moved.int(), shape, sites.n_events)
            sites.shared.engine[self.package] = made
        return sites.shared.engine[self.package]

    def _apply(self, layer: Any, weight: Tensor, side: int, tensor: Any) -> Any:
        n_in, n_out = weight.shape[1:]
        theirs = weight.view(side, side, side, n_in, n_out).permute(4, 2, 1, 0, 3).contiguous()  # (out, x, y, z, in)
        return functional_call(layer, {"weight": theirs}, (tensor,))


class SpconvTriton(Spconv):
    """Implicit GEMM on GPUs, in Triton; it tries out tiles at its first use of each shape."""

    name = "spconv-triton"
    package = "spconv_triton"

    def available(self) -> str | None:
        """See SparseBackend."""
        return super().available() or missing()

    def engine(self) -> Any:
        """See Spconv."""
        import spconv_triton.pytorch as engine

        return engine

    def _apply(self, layer: Any, weight: Tensor, side: int, tensor: Any) -> Any:
        """In the type that autocast asks for; by itself it takes float16."""
        kind = weight.device.type
        if torch.is_autocast_enabled(kind):
            dtype = torch.get_autocast_dtype(kind)
            tensor, weight = tensor.replace_feature(tensor.features.to(dtype)), weight.to(dtype)
        with torch.autocast(kind, enabled=False):
            return super()._apply(layer, weight, side, tensor)


def _order(sites: Sites, made: Any) -> Tensor:
    """(M,) their row of each of the coarser sites. The kernel 3^3 makes more: odd voxels belong to the next, too."""
    corner = (sites.coords[:, 1:].amin(0) >> 1) << 1
    theirs = made.indices.long()
    theirs = torch.cat([theirs[:, :1], theirs[:, 1:] + (corner >> 1)], dim=1)
    every, row = torch.unique(torch.cat([theirs, sites.coarser.coords]), dim=0, return_inverse=True)
    order = torch.full((len(every),), -1, device=row.device)
    order[row[: len(theirs)]] = torch.arange(len(theirs), device=row.device)
    wanted = order[row[len(theirs) :]]
    if bool((wanted < 0).any()):
        raise RuntimeError("spconv's strided convolution lacks result voxels that are parents of its input")
    return wanted


@cache
def _layer(engine: Any, kind: str, n_in: int, n_out: int, side: int, **settings: int) -> Any:
    """A layer of theirs, whose own weight is never used."""
    layer = getattr(engine, kind)(
        n_in, n_out, side, bias=False, indice_key="submanifold" if kind == "SubMConv3d" else f"down {side}", **settings
    )
    return layer.train()
