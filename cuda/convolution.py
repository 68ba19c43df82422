"""Sparse convolution on a GPU: products of pairs by offset, then one sum per target, in a fixed order.

Particle images are thin: of 27 neighbours some five are present. An implicit GEMM over tiles of targets multiplies by
every offset that any of the tile's rows has, two to three times the pairs there are, even with rows sorted by their
neighbours (`docs/gpu.md` has the counts). Here tiles are of pairs of one offset, so no product is wasted:

1. `_products`: rows of features, gathered by pair, times the offset's kernel; on matrix units, accumulated in float32;
2. `_totals`: each target's own row times the centre's kernel, plus the sum of its pairs' products;
3. `_weight_parts` and `_weight_sums`: gradients of the kernels, in pieces of pairs, summed in order.

No atomic additions: the same result at every run.
"""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from benchmark.cuda._launch import check_device, product_precision
from benchmark.cuda.tiles import tile
from benchmark.ops.host_tables import to_device
from benchmark.sparse.pairs import Bags, Pairs

NO_CENTRE = -1


def convolve(features: Tensor, weight: Tensor, pairs: Pairs, centre: int | None) -> Tensor:
    """(targets, D): sum over pairs of features (sources, C) times the weight (K, C, D) of their offset.

    The same as `benchmark.sparse.native.convolve`. In bfloat16 and float16 products and sums are rounded once each;
    float32 uses tf32 where `torch.set_float32_matmul_precision` allows it.
    """
    check_device(features)
    device_type = features.device.type
    if torch.is_autocast_enabled(device_type):
        features = features.to(torch.get_autocast_dtype(device_type))
    result: Tensor = _TritonConvolution.apply(features, weight, pairs, centre)  # type: ignore[no-untyped-call]
    return result


class _TritonConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, features: Tensor, weight: Tensor, pairs: Pairs, centre: int | None) -> Tensor:
        features = features.contiguous()
        ctx.save_for_backward(features, weight)
        ctx.pairs, ctx.centre = pairs, centre
        return sum_products(features, weight.to(features.dtype), pairs.source, pairs, pairs.into_target, centre, False)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        features, weight = ctx.saved_tensors
        gradient = gradients[0].to(features.dtype).contiguous()
        for_features = for_weight = None
        if ctx.needs_input_grad[0]:
            kernels = weight.to(features.dtype)
            for_features = sum_products(
                gradient, kernels, ctx.pairs.target, ctx.pairs, ctx.pairs.into_source, ctx.centre, True
            )
        if ctx.needs_input_grad[1]:
            for_weight = weight_gradient(features, gradient, weight, ctx.pairs, ctx.centre)
        return for_features, for_weight, None, None


def sum_products(
    rows: Tensor, weight: Tensor, indices: Tensor, pairs: Pairs, bags: Bags, centre: int | None, transposed: bool
) -> Tensor:
    """Products of each pair's row of `rows`, summed in `bags`; `transposed` uses W^T."""
    _, n_in, n_out = weight.shape
    if transposed:
        n_in, n_out = n_out, n_in
    step_in, step_out = (1, weight.shape[2]) if transposed else (weight.shape[2], 1)
    n_targets = len(bags.starts) - 1
    products = rows.new_empty(len(indices), n_out)
    result = rows.new_empty(n_targets, n_out)
    shape = tile("products", n_in, n_out, rows.dtype, rows.device)
    precision = product_precision(rows)
    if len(indices):
        tiles = _tiles(pairs, shape.rows, rows.device)
        columns = triton.cdiv(n_out, shape.columns)
        _products[(len(tiles) * columns,)](
            rows, weight, products, indices, tiles, n_in, n_out, weight.stride(0), step_in, step_out, columns,
            shape.rows, shape.columns, shape.depth, precision, num_warps=shape.warps, num_stages=shape.stages,
        )  # fmt: skip
    shape = tile("sums" if centre is None else "totals", n_in, n_out, rows.dtype, rows.device)
    if n_targets:
        columns = triton.cdiv(n_out, shape.columns)
        kernel = weight if centre is None else weight[centre]
        _totals[(triton.cdiv(n_targets, shape.rows) * columns,)](
            rows, kernel, products, bags.members, bags.starts, result, n_targets, n_in, n_out, step_in, step_out,
            columns, centre is not None, shape.rows, shape.columns, shape.depth, precision, num_warps=shape.warps,
            num_stages=shape.stages,
        )  # fmt: skip
    return result


def weight_gradient(features: Tensor, gradient: Tensor, weight: Tensor, pairs: Pairs, centre: int | None) -> Tensor:
    """(K, C, D) in the weight's type, from sums in float32."""
    n_offsets, n_in, n_out = weight.shape
    shape = tile("weights", n_in, n_out, features.dtype, features.device)
    blocks = triton.cdiv(n_in, shape.rows) * triton.cdiv(n_out, shape.columns)
    n_centre = len(features) if centre is not None else 0
    pieces, first, split = _pieces(pairs, centre, n_centre, n_offsets, blocks, shape.depth, features.device)
    result = torch.empty_like(weight, dtype=torch.float32)
    parts = features.new_empty(len(pieces), n_in, n_out, dtype=torch.float32) if split else result
    if not split and len(pieces) < n_offsets:
        result.zero_()
    if len(pieces):
        _weight_parts[(len(pieces), triton.cdiv(n_in, shape.rows), triton.cdiv(n_out, shape.columns))](
            features, gradient, parts, pairs.source, pairs.target, pieces, n_in, n_out,
            NO_CENTRE if centre is None else centre, split, shape.rows, shape.columns, shape.depth,
            product_precision(features), num_warps=shape.warps, num_stages=shape.stages,
        )  # fmt: skip
    if split:
        block = 1024
        _weight_sums[(n_offsets, triton.cdiv(n_in * n_out, block))](
            parts, first, result, n_in * n_out, block, num_warps=4
        )
    return result.to(weight.dtype)


# How the work is cut ------------------------------------------------------------------------------------------------


def _cached_tables(pairs: Pairs) -> dict[Any, Any]:
    tables: dict[Any, Any] = pairs.__dict__.setdefault("_cut", {})  # shared by all layers on the same sites
    return tables


def _tiles(pairs: Pairs, rows: int, device: torch.device) -> Tensor:
    """(n, 3) int32 [offset, first pair, end of the offset's pairs] of tiles of `rows` pairs."""
    tables = _cached_tables(pairs)
    if rows not in tables:
        table, begin = [], 0
        for offset, size in zip(pairs.offsets, pairs.sizes, strict=True):
            table += [[offset, at, begin + size] for at in range(begin, begin + size, rows)]
            begin += size
        tables[rows] = to_device(table, torch.int32, device)
    tiles: Tensor = tables[rows]
    return tiles


def _pieces(
    pairs: Pairs, centre: int | None, n_centre: int, n_offsets: int, blocks: int, depth: int, device: torch.device
) -> tuple[Tensor, Tensor, bool]:
    """(n, 3) int32 [offset, first pair, end] by offset; (K + 1,) int32 first of each; whether any has several.

    Piece lengths fill the device a few times; the centre's pieces count rows, not pairs.
    """
    length = depth * triton.cdiv(triton.cdiv(sum(pairs.sizes) + n_centre, max(n_programs(device) // blocks, 1)), depth)
    key = ("pieces", length, centre)
    tables = _cached_tables(pairs)
    if key not in tables:
        table: list[list[int]] = []
        first = [0] * (n_offsets + 1)
        at, spans = 0, {}
        for offset, size in zip(pairs.offsets, pairs.sizes, strict=True):
            spans[offset] = (at, at + size)
            at += size
        if centre is not None:
            spans[centre] = (0, n_centre)
        for offset in range(n_offsets):
            begin, end = spans.get(offset, (0, 0))
            table += [[offset, p, min(p + length, end)] for p in range(begin, end, length)]
            first[offset + 1] = len(table)
        split = any(b - a > 1 for a, b in pairwise(first))
        pieces = to_device(table, torch.int32, device) if table else torch.empty(0, 3, dtype=torch.int32, device=device)
        tables[key] = (pieces, to_device(first, torch.int32, device), split)
    result: tuple[Tensor, Tensor, bool] = tables[key]
    return result


@cache
def n_programs(device: torch.device) -> int:
    """Programs of a weight's gradient: some three per multiprocessor."""
    return 3 * torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 4


# Kernels ------------------------------------------------------------------------------------------------------------


@triton.jit
def _products(
    rows, weight, products, indices, tiles, n_in, n_out, step_offset, step_in, step_out, n_columns, ROWS: tl.constexpr,
    COLUMNS: tl.constexpr, DEPTH: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    tile = tl.program_id(0) // n_columns
    column = (tl.program_id(0) % n_columns) * COLUMNS + tl.arange(0, COLUMNS)
    offset = tl.load(tiles + tile * 3)
    pair = tl.load(tiles + tile * 3 + 1) + tl.arange(0, ROWS)
    inside = pair < tl.load(tiles + tile * 3 + 2)
    row = tl.load(indices + pair, mask=inside, other=0).to(tl.int64)
    depth = tl.arange(0, DEPTH)
    left = rows + row[:, None] * n_in + depth[None, :]
    right = weight + offset.to(tl.int64) * step_offset + depth[:, None] * step_in + column[None, :] * step_out
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    for at in range(0, n_in, DEPTH):
        present = depth < n_in - at
        a = tl.load(left, mask=inside[:, None] & present[None, :], other=0.0)
        b = tl.load(right, mask=present[:, None] & (column < n_out)[None, :], other=0.0)
        total = tl.dot(a, b, total, input_precision=PRECISION)
        left += DEPTH
        right += DEPTH * step_in
    out = products + pair.to(tl.int64)[:, None] * n_out + column[None, :]
    tl.store(out, total.to(products.dtype.element_ty), mask=inside[:, None] & (column < n_out)[None, :])


@triton.jit
def _totals(
    rows, weight, products, members, starts, result, n_targets, n_in, n_out, step_in, step_out, n_columns,
    CENTRE: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    column = (tl.program_id(0) % n_columns) * COLUMNS + tl.arange(0, COLUMNS)
    target = (tl.program_id(0) // n_columns) * ROWS + tl.arange(0, ROWS)
    inside = target < n_targets
    used = column < n_out
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    if CENTRE:
        depth = tl.arange(0, DEPTH)
        left = rows + target.to(tl.int64)[:, None] * n_in + depth[None, :]
        right = weight + depth[:, None] * step_in + column[None, :] * step_out
        for at in range(0, n_in, DEPTH):
            present = depth < n_in - at
            a = tl.load(left, mask=inside[:, None] & present[None, :], other=0.0)
            b = tl.load(right, mask=present[:, None] & used[None, :], other=0.0)
            total = tl.dot(a, b, total, input_precision=PRECISION)
            left += DEPTH
            right += DEPTH * step_in
    start = tl.load(starts + target, mask=inside, other=0)
    n = tl.load(starts + target + 1, mask=inside, other=0) - start
    for j in range(0, tl.max(n, 0)):
        present = j < n
        pair = tl.load(members + start + j, mask=present, other=0).to(tl.int64)
        product = products + pair[:, None] * n_out + column[None, :]
        total += tl.load(product, mask=present[:, None] & used[None, :], other=0.0).to(tl.float32)
    out = result + target.to(tl.int64)[:, None] * n_out + column[None, :]
    tl.store(out, total.to(result.dtype.element_ty), mask=inside[:, None] & used[None, :])


@triton.jit
def _weight_parts(
    features, gradient, parts, source, target, pieces, n_in, n_out, centre, split, ROWS: tl.constexpr,
    COLUMNS: tl.constexpr, DEPTH: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    piece = tl.program_id(0)
    channel = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    column = tl.program_id(2) * COLUMNS + tl.arange(0, COLUMNS)
    offset = tl.load(pieces + piece * 3)
    begin = tl.load(pieces + piece * 3 + 1)
    end = tl.load(pieces + piece * 3 + 2)
    total = tl.zeros((ROWS, COLUMNS), tl.float32)
    for at in range(begin, end, DEPTH):
        pair = at + tl.arange(0, DEPTH)
        inside = pair < end
        paired = (pair * 0 + offset) != centre  # at the centre every row meets itself
        s = tl.load(source + pair, mask=inside & paired, other=0)
        t = tl.load(target + pair, mask=inside & paired, other=0)
        s = tl.where(paired, s, pair).to(tl.int64)
        t = tl.where(paired, t, pair).to(tl.int64)
        a = tl.load(features + s[None, :] * n_in + channel[:, None], mask=inside[None, :] & (channel < n_in)[:, None],
                    other=0.0)  # fmt: skip
        b = tl.load(gradient + t[:, None] * n_out + column[None, :], mask=inside[:, None] & (column < n_out)[None, :],
                    other=0.0)  # fmt: skip
        total = tl.dot(a, b, total, input_precision=PRECISION)
    slot = tl.where(split != 0, piece, offset).to(tl.int64)
    out = parts + slot * n_in * n_out + channel[:, None] * n_out + column[None, :]
    tl.store(out, total, mask=(channel < n_in)[:, None] & (column < n_out)[None, :])


@triton.jit
def _weight_sums(parts, first, result, n, BLOCK: tl.constexpr):
    offset = tl.program_id(0)
    at = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    total = tl.zeros((BLOCK,), tl.float32)
    for piece in range(tl.load(first + offset), tl.load(first + offset + 1)):
        row = (offset * 0 + piece).to(tl.int64)  # Triton's interpreter counts in Python integers
        total += tl.load(parts + row * n + at, mask=at < n, other=0.0)
    tl.store(result + offset.to(tl.int64) * n + at, total, mask=at < n)
