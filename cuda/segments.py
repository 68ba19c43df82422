"""Reductions over runs of consecutive rows, with gradients, on a GPU: the pooling of groups of points.

Rows are read once, in their dtype; sums and maxima are float32. No atomic additions.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

from benchmark.cuda._launch import check_device, power_of_two

ROWS, COLUMNS = 16, 128  # of a tile


def segment_max(rows: Tensor, sizes: Tensor) -> Tensor:
    """(S, C) float32 maximum of each run of `sizes` (S,) consecutive rows of (M, C); 0 for a run without rows.

    The gradient of equal maxima is shared evenly among them, as `benchmark.ops.segments.segment_max` does.
    """
    check_device(rows)
    result: Tensor = _Max.apply(rows.contiguous(), _offsets(sizes))  # type: ignore[no-untyped-call]
    return result


def segment_sum(rows: Tensor, sizes: Tensor) -> Tensor:
    """(S, C) float32 sum of each run; 0 for a run without rows."""
    check_device(rows)
    result: Tensor = _Sum.apply(rows.contiguous(), _offsets(sizes))  # type: ignore[no-untyped-call]
    return result


def spread(rows: Tensor, sizes: Tensor, n: int) -> Tensor:
    """(n, C): row s of (S, C) `sizes[s]` times, n the sum of sizes. Its gradient is a sum of each run."""
    check_device(rows)
    result: Tensor = _Spread.apply(rows.contiguous(), _offsets(sizes), n)  # type: ignore[no-untyped-call]
    return result


def _offsets(sizes: Tensor) -> Tensor:
    offsets = torch.zeros(len(sizes) + 1, dtype=torch.int64, device=sizes.device)
    torch.cumsum(sizes, 0, out=offsets[1:])
    return offsets


class _Max(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, offsets: Tensor) -> Tensor:
        result = _reduce_runs(rows, offsets, True)
        ctx.save_for_backward(rows, offsets, result)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        rows, offsets, result = ctx.saved_tensors
        gradient = torch.empty_like(rows)
        if gradient.numel():
            _max_gradient[_grid(offsets, rows)](
                rows, offsets, result, gradients[0].contiguous(), gradient, rows.shape[1], ROWS, _columns(rows),
                num_warps=4,
            )  # fmt: skip
        return gradient, None


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, offsets: Tensor) -> Tensor:
        ctx.save_for_backward(offsets)
        ctx.like = rows.dtype, len(rows)
        return _reduce_runs(rows, offsets, False)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (offsets,) = ctx.saved_tensors
        dtype, n = ctx.like
        return _repeat_runs(gradients[0].contiguous(), offsets, n).to(dtype), None


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, offsets: Tensor, n: int) -> Tensor:
        ctx.save_for_backward(offsets)
        ctx.dtype = rows.dtype
        return _repeat_runs(rows, offsets, n)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (offsets,) = ctx.saved_tensors
        return _reduce_runs(gradients[0].contiguous(), offsets, False).to(ctx.dtype), None, None


def _columns(rows: Tensor) -> int:
    return min(max(power_of_two(rows.shape[1]), 16), COLUMNS)


def _grid(offsets: Tensor, rows: Tensor) -> tuple[int, int]:
    return len(offsets) - 1, triton.cdiv(rows.shape[1], _columns(rows))


def _reduce_runs(rows: Tensor, offsets: Tensor, maximum: bool) -> Tensor:
    result = torch.empty(len(offsets) - 1, rows.shape[1], dtype=torch.float32, device=rows.device)
    if result.numel():
        _reduce[_grid(offsets, rows)](rows, offsets, result, rows.shape[1], maximum, ROWS, _columns(rows), num_warps=4)
    return result


def _repeat_runs(rows: Tensor, offsets: Tensor, n: int) -> Tensor:
    result = rows.new_empty(n, rows.shape[1])
    if result.numel():
        _repeat[_grid(offsets, rows)](rows, offsets, result, rows.shape[1], ROWS, _columns(rows), num_warps=4)
    return result


@triton.jit
def _reduce(rows, offsets, result, n_columns, MAXIMUM: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    segment = tl.program_id(0)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    used = column < n_columns
    begin = tl.load(offsets + segment)
    end = tl.load(offsets + segment + 1)
    fill = float("-inf") if MAXIMUM else 0.0
    total = tl.full((COLUMNS,), fill, tl.float32)
    for at in range(begin, end, ROWS):
        row = at + tl.arange(0, ROWS)
        inside = (row < end)[:, None] & used[None, :]
        values = tl.load(rows + row[:, None] * n_columns + column[None, :], mask=inside, other=fill).to(tl.float32)
        total = tl.maximum(total, tl.max(values, 0)) if MAXIMUM else total + tl.sum(values, 0)
    if MAXIMUM:
        total = tl.where(end > begin, total, 0.0)
    tl.store(result + segment.to(tl.int64) * n_columns + column, total, mask=used)


@triton.jit
def _repeat(rows, offsets, out, n_columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    segment = tl.program_id(0)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    used = column < n_columns
    begin = tl.load(offsets + segment)
    end = tl.load(offsets + segment + 1)
    values = tl.load(rows + segment.to(tl.int64) * n_columns + column, mask=used, other=0.0)
    for at in range(begin, end, ROWS):
        row = at + tl.arange(0, ROWS)
        inside = (row < end)[:, None] & used[None, :]
        block = tl.broadcast_to(values[None, :], (ROWS, COLUMNS))
        tl.store(out + row[:, None] * n_columns + column[None, :], block, mask=inside)


@triton.jit
def _max_gradient(
    rows, offsets, result, gradient, out, n_columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):  # fmt: skip
    segment = tl.program_id(0)
    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    used = column < n_columns
    begin = tl.load(offsets + segment)
    end = tl.load(offsets + segment + 1)
    top = tl.load(result + segment.to(tl.int64) * n_columns + column, mask=used, other=0.0)
    share = tl.load(gradient + segment.to(tl.int64) * n_columns + column, mask=used, other=0.0)
    n_equal = tl.zeros((COLUMNS,), tl.float32)
    for at in range(begin, end, ROWS):
        row = at + tl.arange(0, ROWS)
        inside = (row < end)[:, None] & used[None, :]
        values = tl.load(rows + row[:, None] * n_columns + column[None, :], mask=inside, other=0.0).to(tl.float32)
        n_equal += tl.sum((inside & (values == top[None, :])).to(tl.float32), 0)
    share = share / tl.maximum(n_equal, 1.0)
    for at in range(begin, end, ROWS):
        row = at + tl.arange(0, ROWS)
        inside = (row < end)[:, None] & used[None, :]
        position = row[:, None] * n_columns + column[None, :]
        values = tl.load(rows + position, mask=inside, other=0.0).to(tl.float32)
        row_gradient = tl.where(values == top[None, :], share[None, :], 0.0)
        tl.store(out + position, row_gradient.to(out.dtype.element_ty), mask=inside)
