"""Attention inside each event over packed tokens, fused: no padding, no table of all weights in memory.

Flash attention (Dao et al., arXiv 2205.14135) for concatenated events of different lengths. Dropout draws its
numbers from a seed and a weight's position, so the backward pass draws them again. No atomic additions: the same result
at every run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from benchmark.cuda._launch import check_device, power_of_two, product_precision
from benchmark.ops.host_tables import to_device

ROWS = 64  # of a tile: queries, or keys when computing their gradients


def attend(query: Tensor, key: Tensor, value: Tensor, tiles: Tensor, dropout: float = 0.0) -> Tensor:
    """softmax(Q K^T / sqrt(d)) V within each event: (T, heads, d) in and out, `tiles` from `tiles_of`.

    Products of float32 inputs use tf32 where `torch.set_float32_matmul_precision` allows it. With `dropout` weights
    are dropped with that probability, by torch's generator of the device. Compiled code keeps it in one graph.
    """
    device_type = query.device.type
    if torch.is_autocast_enabled(device_type):
        dtype = torch.get_autocast_dtype(device_type)
        query, key, value = query.to(dtype), key.to(dtype), value.to(dtype)
    seed = torch.randint(2**31 - 1, (1,), device=query.device) if dropout else None
    mixed: Tensor = _attend_packed(query, key, value, tiles, seed, dropout)[0]
    return mixed


@torch.library.custom_op("particlebench::attend", mutates_args=())
def _attend_packed(
    query: Tensor, key: Tensor, value: Tensor, tiles: Tensor, seed: Tensor | None, dropout: float
) -> tuple[Tensor, Tensor]:
    """The mixed values (T, heads, d) and the logarithms of the weights' sums (heads, T)."""
    check_device(query)
    query, key, value = _contiguous_channels(query, key, value)
    n, heads, width = query.shape
    out = torch.empty(n, heads, width, dtype=query.dtype, device=query.device)
    logs = torch.empty(heads, n, dtype=torch.float32, device=query.device)
    if len(tiles):
        step, warps, stages = _tile_shape(query)
        _forward[(len(tiles), heads)](
            query, key, value, out, logs, tiles, *_strides(query, key, value), n, width, width**-0.5, dropout,
            tiles if seed is None else seed, seed is not None, ROWS, step, max(power_of_two(width), 16),
            product_precision(query), num_warps=warps, num_stages=stages,
        )  # fmt: skip
    return out, logs


@torch.library.custom_op("particlebench::attend_backward", mutates_args=())
def _attend_gradients(
    gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, out: Tensor, logs: Tensor, tiles: Tensor,
    seed: Tensor | None, dropout: float,
) -> Tensor:  # fmt: skip
    """(T, 3, heads, d) gradients of queries, keys and values, in the layout of the joint projection."""
    query, key, value = _contiguous_channels(query, key, value)
    n, heads, width = query.shape
    shares = torch.empty_like(logs)  # (heads, T): written by the first kernel, read by the second
    gradients = torch.empty(n, 3, heads, width, dtype=query.dtype, device=query.device)
    for_query, for_key, for_value = gradients.unbind(1)
    if len(tiles):
        step, warps, stages = _tile_shape(query)
        shared = (
            gradient.contiguous(), logs, shares, tiles, *_strides(query, key, value), 3 * heads * width, n, width,
            width**-0.5, dropout, tiles if seed is None else seed, seed is not None, ROWS, step,
            max(power_of_two(width), 16), product_precision(query),
        )  # fmt: skip
        grid, options = (len(tiles), heads), {"num_warps": warps, "num_stages": stages}
        _query_gradients[grid](query, key, value, out, for_query, *shared, **options)
        _key_value_gradients[grid](query, key, value, for_key, for_value, *shared, **options)
    return gradients


@_attend_packed.register_fake
def _(
    query: Tensor, key: Tensor, value: Tensor, tiles: Tensor, seed: Tensor | None, dropout: float
) -> tuple[Tensor, Tensor]:
    n, heads, width = query.shape
    return query.new_empty(n, heads, width), query.new_empty(heads, n, dtype=torch.float32)


@_attend_gradients.register_fake
def _(
    gradient: Tensor, query: Tensor, key: Tensor, value: Tensor, out: Tensor, logs: Tensor, tiles: Tensor,
    seed: Tensor | None, dropout: float,
) -> Tensor:  # fmt: skip
    n, heads, width = query.shape
    return query.new_empty(n, 3, heads, width)


def _save_inputs(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    query, key, value, tiles, seed, ctx.dropout = inputs
    ctx.save_for_backward(query, key, value, *output, tiles, seed)


def _backward(ctx: Any, gradient: Tensor, _: Tensor | None) -> tuple[Tensor | None, ...]:
    gradients = _attend_gradients(gradient, *ctx.saved_tensors, ctx.dropout)
    return (*gradients.unbind(1), None, None, None)


_attend_packed.register_autograd(_backward, setup_context=_save_inputs)


def _tile_shape(rows: Tensor) -> tuple[int, int, int]:
    """Rows per step of the other side, warps per program, pipeline stages: chosen to fit in registers."""
    if rows.dtype != torch.float32:
        return ROWS, 4, 2
    return (16, 8, 1) if product_precision(rows) == "ieee" else (32, 4, 2)


def _contiguous_channels(*tensors: Tensor) -> Iterator[Tensor]:
    """Tensors with contiguous channels; views of a joint projection already have them."""
    return (t if t.stride(2) == 1 else t.contiguous() for t in tensors)


def _strides(*tensors: Tensor) -> tuple[int, ...]:
    """Strides of rows and heads."""
    return tuple(s for t in tensors for s in t.stride()[:2])


def tiles_of(lengths: Sequence[int], device: torch.device) -> Tensor:
    """(n, 3) int32 [first row of the tile, first row of its event, end of its event]; the same for every layer."""
    table, begin = [], 0
    for length in lengths:
        table += [[at, begin, begin + length] for at in range(begin, begin + length, ROWS)]
        begin += length
    return to_device(table, torch.int32, device).view(-1, 3)


@triton.jit
def _dropout_mask(seed, dropout, head, n_rows, query, key):
    """(queries, keys) bool: weights that dropout keeps; `seed` points to a number."""
    position = (head * n_rows + query).to(tl.int64)[:, None] * n_rows + key[None, :]
    return tl.rand(tl.load(seed), position) >= dropout


@triton.jit
def _forward(
    q, k, v, out, logs, tiles, row_q, head_q, row_k, head_k, row_v, head_v, n_rows, width, scale, dropout, seed,
    DROPS: tl.constexpr, ROWS: tl.constexpr, STEP: tl.constexpr, WIDTH: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1)
    query = tl.load(tiles + tl.program_id(0) * 3) + tl.arange(0, ROWS)
    begin = tl.load(tiles + tl.program_id(0) * 3 + 1)
    end = tl.load(tiles + tl.program_id(0) * 3 + 2)
    valid = query < end
    channel = tl.arange(0, WIDTH)
    used = channel < width
    a = tl.load(q + query[:, None] * row_q + head * head_q + channel[None, :], mask=valid[:, None] & used[None, :],
                other=0.0)  # fmt: skip
    top = tl.full((ROWS,), float("-inf"), tl.float32)
    weight = tl.zeros((ROWS,), tl.float32)
    total = tl.zeros((ROWS, WIDTH), tl.float32)
    for at in range(begin, end, STEP):
        key = at + tl.arange(0, STEP)
        present = key < end
        b = tl.load(k + key[None, :] * row_k + head * head_k + channel[:, None],
                    mask=present[None, :] & used[:, None], other=0.0)  # fmt: skip
        score = tl.dot(a, b, input_precision=PRECISION) * scale
        score = tl.where(present[None, :], score, float("-inf"))
        higher = tl.maximum(top, tl.max(score, 1))
        p = tl.exp(score - higher[:, None])
        fade = tl.exp(top - higher)
        weight = weight * fade + tl.sum(p, 1)
        if DROPS:
            p = tl.where(_dropout_mask(seed, dropout, head, n_rows, query, key), p / (1 - dropout), 0.0)
        c = tl.load(v + key[:, None] * row_v + head * head_v + channel[None, :], mask=present[:, None] & used[None, :],
                    other=0.0)  # fmt: skip
        total = total * fade[:, None] + tl.dot(p.to(c.dtype), c, input_precision=PRECISION)
        top = higher
    position = (query.to(tl.int64)[:, None] * tl.num_programs(1) + head) * width + channel[None, :]
    tl.store(out + position, (total / weight[:, None]).to(out.dtype.element_ty), mask=valid[:, None] & used[None, :])
    tl.store(logs + head * n_rows + query, top + tl.log(weight), mask=valid)


@triton.jit
def _query_gradients(
    q, k, v, out, for_q, gradient, logs, shares, tiles, row_q, head_q, row_k, head_k, row_v, head_v, row_grad, n_rows,
    width, scale, dropout, seed, DROPS: tl.constexpr, ROWS: tl.constexpr, STEP: tl.constexpr, WIDTH: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1)
    query = tl.load(tiles + tl.program_id(0) * 3) + tl.arange(0, ROWS)
    begin = tl.load(tiles + tl.program_id(0) * 3 + 1)
    end = tl.load(tiles + tl.program_id(0) * 3 + 2)
    valid = query < end
    channel = tl.arange(0, WIDTH)
    used = channel < width
    inside = valid[:, None] & used[None, :]
    a = tl.load(q + query[:, None] * row_q + head * head_q + channel[None, :], mask=inside, other=0.0)
    position = (query.to(tl.int64)[:, None] * tl.num_programs(1) + head) * width + channel[None, :]
    g = tl.load(gradient + position, mask=inside, other=0.0)
    log = tl.load(logs + head * n_rows + query, mask=valid, other=0.0)
    output = tl.load(out + position, mask=inside, other=0.0)
    share = tl.sum(g.to(tl.float32) * output.to(tl.float32), 1)
    tl.store(shares + head * n_rows + query, share, mask=valid)
    total = tl.zeros((ROWS, WIDTH), tl.float32)
    for at in range(begin, end, STEP):
        key = at + tl.arange(0, STEP)
        present = (key < end)[:, None] & used[None, :]
        b = tl.load(k + key[:, None] * row_k + head * head_k + channel[None, :], mask=present, other=0.0)
        c = tl.load(v + key[:, None] * row_v + head * head_v + channel[None, :], mask=present, other=0.0)
        score = tl.dot(a, tl.trans(b), input_precision=PRECISION) * scale
        p = tl.where((key < end)[None, :] & valid[:, None], tl.exp(score - log[:, None]), 0.0)
        for_p = tl.dot(g, tl.trans(c), input_precision=PRECISION)
        if DROPS:
            for_p = tl.where(_dropout_mask(seed, dropout, head, n_rows, query, key), for_p / (1 - dropout), 0.0)
        for_score = p * (for_p - share[:, None]) * scale
        total += tl.dot(for_score.to(b.dtype), b, input_precision=PRECISION)
    target = for_q + query.to(tl.int64)[:, None] * row_grad + head * width + channel[None, :]
    tl.store(target, total.to(for_q.dtype.element_ty), mask=inside)


@triton.jit
def _key_value_gradients(
    q, k, v, for_k, for_v, gradient, logs, shares, tiles, row_q, head_q, row_k, head_k, row_v, head_v, row_grad, n_rows,
    width, scale, dropout, seed, DROPS: tl.constexpr, ROWS: tl.constexpr, STEP: tl.constexpr, WIDTH: tl.constexpr,
    PRECISION: tl.constexpr,
):  # fmt: skip
    head = tl.program_id(1)
    key = tl.load(tiles + tl.program_id(0) * 3) + tl.arange(0, ROWS)
    begin = tl.load(tiles + tl.program_id(0) * 3 + 1)
    end = tl.load(tiles + tl.program_id(0) * 3 + 2)
    valid = key < end
    channel = tl.arange(0, WIDTH)
    used = channel < width
    inside = valid[:, None] & used[None, :]
    b = tl.load(k + key[:, None] * row_k + head * head_k + channel[None, :], mask=inside, other=0.0)
    c = tl.load(v + key[:, None] * row_v + head * head_v + channel[None, :], mask=inside, other=0.0)
    total_k = tl.zeros((ROWS, WIDTH), tl.float32)
    total_v = tl.zeros((ROWS, WIDTH), tl.float32)
    for at in range(begin, end, STEP):
        query = at + tl.arange(0, STEP)
        valid_q = query < end
        a = tl.load(q + query[:, None] * row_q + head * head_q + channel[None, :],
                    mask=valid_q[:, None] & used[None, :], other=0.0)  # fmt: skip
        position = (query.to(tl.int64)[:, None] * tl.num_programs(1) + head) * width + channel[None, :]
        g = tl.load(gradient + position, mask=valid_q[:, None] & used[None, :], other=0.0)
        log = tl.load(logs + head * n_rows + query, mask=valid_q, other=0.0)
        share = tl.load(shares + head * n_rows + query, mask=valid_q, other=0.0)
        score = tl.dot(a, tl.trans(b), input_precision=PRECISION) * scale
        p = tl.where(valid_q[:, None] & valid[None, :], tl.exp(score - log[:, None]), 0.0)
        for_p = tl.dot(g, tl.trans(c), input_precision=PRECISION)
        dropped_p = p
        if DROPS:
            mask = _dropout_mask(seed, dropout, head, n_rows, query, key)
            dropped_p = tl.where(mask, p / (1 - dropout), 0.0)
            for_p = tl.where(mask, for_p / (1 - dropout), 0.0)
        total_v += tl.dot(tl.trans(dropped_p.to(g.dtype)), g, input_precision=PRECISION)
        for_score = p * (for_p - share[:, None]) * scale
        total_k += tl.dot(tl.trans(for_score.to(a.dtype)), a, input_precision=PRECISION)
    target = key.to(tl.int64)[:, None] * row_grad + head * width + channel[None, :]
    tl.store(for_k + target, total_k.to(for_k.dtype.element_ty), mask=inside)
    tl.store(for_v + target, total_v.to(for_v.dtype.element_ty), mask=inside)
