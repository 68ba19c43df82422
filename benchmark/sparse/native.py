"""Our own sparse convolution: torch only, any device, nothing to compile, the same result at every run.

For each offset of the kernel the source rows are gathered and multiplied by its weight. The products are then summed
per target row in a fixed order by `embedding_bag`, which on a CPU takes an eighth of the time of scattered additions,
and whose result depends on neither the number of threads nor chance. The centre, where every voxel meets itself, is one
plain product. For the gradient the gathered rows are gathered again, not kept.
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

    `centre` is the offset at which every row also pairs with itself, if there is one. Computes in autocast's type
    where autocast is on.
    """
    kind = features.device.type
    if torch.is_autocast_enabled(kind):
        kept = torch.get_autocast_dtype(kind)
        features, weight = features.to(kept), weight.to(kept)
    result: Tensor = _Convolution.apply(features, weight, pairs, centre)  # type: ignore[no-untyped-call]
    return result


class _Convolution(torch.autograd.Function):
    """Works block by block, so that what is gathered is still in the processor's cache when it is multiplied."""

    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, pairs: Pairs, centre: int | None) -> Tensor:
        features = features.contiguous()
        ctx.save_for_backward(features, weight)
        ctx.pairs, ctx.centre = pairs, centre
        products = _workspace(features, len(pairs.source), weight.shape[2])
        blocks = (pairs.source_blocks, torch.split(products, pairs.sizes), _kernels(weight, pairs))
        for source, product, kernel in zip(*blocks, strict=True):
            torch.mm(features.index_select(0, source), kernel, out=product)
        return _total(products, pairs.into_target, features, None if centre is None else weight[centre])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        features, weight = ctx.saved_tensors
        pairs, centre, gradient = ctx.pairs, ctx.centre, gradients[0].contiguous()
        for_features, for_weight = ctx.needs_input_grad[:2]
        weight_gradient = _like_weight(weight, pairs, centre) if for_weight else weight
        products = _workspace(gradient, len(pairs.source) if for_features else 0, weight.shape[1])
        blocks = (
            pairs.source_blocks, pairs.target_blocks, _kernels(weight, pairs), _kernels(weight_gradient, pairs),
            torch.split(products, pairs.sizes) if for_features else pairs.sizes,
        )  # fmt: skip
        for source, target, kernel, for_kernel, product in zip(*blocks, strict=True):
            arrived = gradient.index_select(0, target)
            if for_weight:
                torch.mm(features.index_select(0, source).t(), arrived, out=for_kernel)
            if for_features:
                torch.mm(arrived, kernel.t(), out=product)
        if for_weight and centre is not None:
            torch.mm(features.t(), gradient, out=weight_gradient[centre])
        own = None if centre is None else weight[centre].t()
        return (
            _total(products, pairs.into_source, gradient, own) if for_features else None,
            weight_gradient if for_weight else None,
            None,
            None,
        )


def _kernels(weight: Tensor, pairs: Pairs) -> list[Tensor]:
    """The (C, D) kernel of each block."""
    every = weight.unbind(0)
    return [every[offset] for offset in pairs.offsets]


def _like_weight(weight: Tensor, pairs: Pairs, centre: int | None) -> Tensor:
    """Room for the weight's gradient, zero at offsets that no pair has."""
    complete = len(pairs.offsets) + (centre is not None) == len(weight)
    return torch.empty_like(weight) if complete else torch.zeros_like(weight)


def _total(products: Tensor, bags: Bags, own: Tensor, weight: Tensor | None) -> Tensor:
    """(R, D) sum of each row's products; with `weight`, of `own @ weight` besides."""
    if not len(products):
        return own @ weight if weight is not None else products.new_zeros(len(bags.starts) - 1, products.shape[1])
    total = embedding_bag(bags.members, products, bags.starts, mode="sum", include_last_offset=True)
    return total if weight is None else total.addmm_(own, weight)


_kept = threading.local()


def _workspace(like: Tensor, rows: int, columns: int) -> Tensor:
    """(rows, columns) for products, to be used up before the next call. On CPUs the memory is kept from call to call.

    Fresh pages for some ten megabytes at each convolution take longer than the additions that they are for.
    """
    if like.device.type != "cpu":
        return like.new_empty(rows, columns)
    held: dict[torch.dtype, Tensor] = _kept.__dict__.setdefault("held", {})
    if like.dtype not in held or held[like.dtype].numel() < rows * columns:
        held.pop(like.dtype, None)
        with torch.inference_mode(False):  # or training could not write to what a prediction has left
            held[like.dtype] = torch.empty(rows * columns, dtype=like.dtype)
    return held[like.dtype][: rows * columns].view(rows, columns)
