"""Sparse convolution in torch only: any device, nothing to compile, deterministic.

For each offset of the kernel the source rows are gathered and multiplied by its weight. The products are then summed
per target row in a fixed order by `embedding_bag`, which on a CPU takes an eighth of the time of scattered additions,
and is deterministic for any number of threads. The centre, where every voxel is paired with itself, is one matrix
product. The gradient gathers the rows again instead of storing them.
"""

from __future__ import annotations

import threading
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import embedding_bag

from benchmark.sparse.backend import SparseBackend
from benchmark.sparse.pairs import CENTRE, Bags, Pairs
from benchmark.sparse.sites import Sites


class Native(SparseBackend):
    """The default on CPUs."""

    name = "native"

    def version(self) -> str:
        """See SparseBackend."""
        return f"torch {torch.__version__}"

    def submanifold(self, features: Tensor, weight: Tensor, sites: Sites) -> Tensor:
        """See SparseBackend."""
        return convolve(features, weight, sites.neighbours, CENTRE)

    def strided(self, features: Tensor, weight: Tensor, sites: Sites) -> Tensor:
        """See SparseBackend."""
        return convolve(features, weight, sites.children if len(weight) == 8 else sites.overlapping, None)

    def inverse(self, features: Tensor, weight: Tensor, sites: Sites) -> Tensor:
        """See SparseBackend."""
        return convolve(features, weight, sites.children.reversed, None)


def convolve(features: Tensor, weight: Tensor, pairs: Pairs, centre: int | None) -> Tensor:
    """(targets, D): sum over pairs of features (sources, C) times the weight (K, C, D) of their offset.

    `centre` is the offset at which every row also pairs with itself, if there is one. Computes in autocast's dtype
    where autocast is on.
    """
    device_type = features.device.type
    if torch.is_autocast_enabled(device_type):
        dtype = torch.get_autocast_dtype(device_type)
        features, weight = features.to(dtype), weight.to(dtype)
    result: Tensor = _NativeConvolution.apply(features, weight, pairs, centre)  # type: ignore[no-untyped-call]
    return result


class _NativeConvolution(torch.autograd.Function):
    """Works block by block, so that gathered rows are still in the CPU cache when multiplied."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, pairs: Pairs, centre: int | None) -> Tensor:
        features = features.contiguous()
        ctx.save_for_backward(features, weight)
        ctx.pairs, ctx.centre = pairs, centre
        products = _workspace(features, len(pairs.source), weight.shape[2])
        blocks = (pairs.source_blocks, torch.split(products, pairs.sizes), _kernels(weight, pairs))
        for source, product, kernel in zip(*blocks, strict=True):
            torch.mm(features.index_select(0, source), kernel, out=product)
        return _sum_products(products, pairs.into_target, features, None if centre is None else weight[centre])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        features, weight = ctx.saved_tensors
        pairs, centre, gradient = ctx.pairs, ctx.centre, gradients[0].contiguous()
        for_features, for_weight = ctx.needs_input_grad[:2]
        weight_gradient = _weight_buffer(weight, pairs, centre) if for_weight else weight
        products = _workspace(gradient, len(pairs.source) if for_features else 0, weight.shape[1])
        blocks = (
            pairs.source_blocks, pairs.target_blocks, _kernels(weight, pairs), _kernels(weight_gradient, pairs),
            torch.split(products, pairs.sizes) if for_features else pairs.sizes,
        )  # fmt: skip
        for source, target, kernel, for_kernel, product in zip(*blocks, strict=True):
            target_gradient = gradient.index_select(0, target)
            if for_weight:
                torch.mm(features.index_select(0, source).t(), target_gradient, out=for_kernel)
            if for_features:
                torch.mm(target_gradient, kernel.t(), out=product)
        if for_weight and centre is not None:
            torch.mm(features.t(), gradient, out=weight_gradient[centre])
        centre_weight = None if centre is None else weight[centre].t()
        return (
            _sum_products(products, pairs.into_source, gradient, centre_weight) if for_features else None,
            weight_gradient if for_weight else None,
            None,
            None,
        )


def _kernels(weight: Tensor, pairs: Pairs) -> list[Tensor]:
    """The (C, D) kernel of each block."""
    kernels = weight.unbind(0)
    return [kernels[offset] for offset in pairs.offsets]


def _weight_buffer(weight: Tensor, pairs: Pairs, centre: int | None) -> Tensor:
    """A buffer for the weight's gradient, zero at offsets without pairs."""
    complete = len(pairs.offsets) + (centre is not None) == len(weight)
    return torch.empty_like(weight) if complete else torch.zeros_like(weight)


def _sum_products(products: Tensor, bags: Bags, rows: Tensor, weight: Tensor | None) -> Tensor:
    """(R, D) sum of each row's products; with `weight`, plus `rows @ weight`."""
    if not len(products):
        return rows @ weight if weight is not None else products.new_zeros(len(bags.starts) - 1, products.shape[1])
    total = embedding_bag(bags.members, products, bags.starts, mode="sum", include_last_offset=True)
    return total if weight is None else total.addmm_(rows, weight)


_thread_local = threading.local()


def _workspace(like: Tensor, rows: int, columns: int) -> Tensor:
    """(rows, columns) buffer for products, valid until the next call. On CPUs the memory is reused between calls.

    Allocating some ten megabytes at each convolution takes longer than its additions.
    """
    if like.device.type != "cpu":
        return like.new_empty(rows, columns)
    buffers: dict[torch.dtype, Tensor] = _thread_local.__dict__.setdefault("held", {})
    if like.dtype not in buffers or buffers[like.dtype].numel() < rows * columns:
        buffers.pop(like.dtype, None)
        with torch.inference_mode(False):  # or training could not write to a prediction's buffer
            buffers[like.dtype] = torch.empty(rows * columns, dtype=like.dtype)
    return buffers[like.dtype][: rows * columns].view(rows, columns)
