"""Mini-PointNet over ragged groups: one vector per token from its member points.

PoLAr-MAE (arXiv 2502.02558), section 3.2, after Point-BERT. Only real members are processed; empty slots do not
enter norms or maxima.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark.ops import triton
from benchmark.ops.batch_norm import several_processes, summed

MOMENTUM = 0.1  # of running statistics


class RowBatchNorm(nn.Module):
    """Batch normalisation over rows (M, C) whose running variance is the biased one, as in the published code.

    Evaluation uses stored statistics; so does a single row, which has no variance. Distributed processes share
    statistics over the whole batch.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, width: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))
        self.register_buffer("running_mean", torch.zeros(width))
        self.register_buffer("running_var", torch.ones(width))

    def forward(self, rows: Tensor) -> Tensor:
        """(M, C) -> (M, C), in single precision; a GPU keeps half precision, with statistics in single."""
        if not rows.is_cuda or several_processes():
            rows = rows.float()
        if self.training and several_processes():
            return self._over_processes(rows)
        if not self.training or len(rows) < 2:
            return functional.batch_norm(
                rows, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        mean, variance = torch.zeros_like(self.running_mean), torch.ones_like(self.running_var)
        normalised = functional.batch_norm(rows, mean, variance, self.weight, self.bias, True, 1.0, self.eps)
        with torch.no_grad():  # with momentum 1, torch has stored the mean and the unbiased variance of these rows
            self.running_mean.lerp_(mean, MOMENTUM)
            self.running_var.lerp_(variance * (1 - 1 / len(rows)), MOMENTUM)
        return normalised

    def _over_processes(self, rows: Tensor) -> Tensor:
        """As `forward`, with mean and variance over the rows of all processes, gradients through them included."""
        count = summed(rows.new_tensor(float(len(rows)))).clamp(min=1)
        mean = summed(rows.sum(0)) / count
        variance = summed((rows - mean).square().sum(0)) / count
        with torch.no_grad():
            self.running_mean.lerp_(mean, MOMENTUM)
            self.running_var.lerp_(variance, MOMENTUM)
        return (rows - mean) * torch.rsqrt(variance + self.eps) * self.weight + self.bias


def max_per_token(rows: Tensor, sizes: Tensor) -> Tensor:
    """(T, C) float32 maxima over the consecutive runs of `rows` (M, C) with lengths `sizes` (T,), each at least 1."""
    if triton.serves(rows.device.type):
        return triton.segment_max(rows, sizes)
    return torch.segment_reduce(rows.float(), "max", lengths=sizes, axis=0)


def by_slot(codes: Tensor, slot: Tensor) -> Tensor:
    """codes (K, C) at slot (M,). A GPU multiplies, since the gradient of a lookup in few rows is slow."""
    if not codes.is_cuda:
        return codes[slot]
    with torch.autocast("cuda", enabled=False):
        return functional.one_hot(slot, len(codes)).to(codes.dtype) @ codes


def order_code(n_slots: int, width: int) -> Tensor:
    """(n_slots, width) sines, then cosines, of the slot's number at width / 2 frequencies from 1 to 1 / 10000."""
    half = width // 2
    frequency = torch.exp(torch.arange(half) * (-math.log(10000.0) / (half - 1)))
    phase = torch.arange(n_slots)[:, None] * frequency
    return torch.cat([phase.sin(), phase.cos()], dim=1)


class MiniPointNet(nn.Module):
    """Two shared perceptrons with a maximum after each; the first maximum is joined to every point in between.

    `ordered` adds the order in which a group's points were sampled, a slot of `n_slots` each, to their features before
    the first maximum: the variant of the energy decoder, whose outputs are per slot.
    """

    batch_norm: ClassVar[type[RowBatchNorm]] = RowBatchNorm
    code: Tensor

    def __init__(
        self, n_in: int, widths: tuple[int, int, int], n_out: int, n_slots: int, ordered: bool = False
    ) -> None:
        super().__init__()
        first, second, third = widths
        self.n_slots = n_slots
        self.first = nn.Sequential(nn.Linear(n_in, first, bias=False), self.batch_norm(first), nn.ReLU())
        self.lift = nn.Linear(first, second)
        self.order = nn.Sequential(nn.Linear(second, second), nn.ReLU()) if ordered else None
        if ordered:
            self.register_buffer("code", order_code(n_slots, second), persistent=False)
        self.mix = nn.Linear(2 * second, third, bias=False)  # acts on [maximum of the group, point]
        self.second = nn.Sequential(self.batch_norm(third), nn.ReLU(), nn.Linear(third, n_out))

    def forward(self, inputs: Tensor, token: Tensor, slot: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
        """inputs (M, n_in), token and slot (M,), sizes (T,) -> (T, n_out), maxima of the (M, n_out) also returned."""
        local = self.lift(self.first(inputs))  # (M, second)
        if self.order is not None:
            local = local + by_slot(self.order(self.code).float(), slot)
        pooled = max_per_token(local, sizes)  # (T, second)
        members = self.second(joined_linear(self.mix, pooled, token, local, sizes))  # (M, n_out)
        return max_per_token(members, sizes), members


def joined_linear(layer: nn.Linear, shared: Tensor, owner: Tensor, rows: Tensor, sizes: Tensor | None = None) -> Tensor:
    """`layer` applied to [shared[owner], rows] for rows (M, C), without repeating the shared part's product M times.

    `sizes` (T,): rows per owner, if consecutive; a GPU then sums gradients by runs.
    """
    n_shared = shared.shape[1]
    # Single precision: the gradient of a shared row sums over thousands of rows, too many for half precision.
    from_shared = functional.linear(shared, layer.weight[:, :n_shared], layer.bias).float()
    by_run = sizes is not None and triton.serves(rows.device.type)
    spread = triton.spread(from_shared, sizes, len(rows)) if by_run else from_shared[owner]
    return spread + functional.linear(rows, layer.weight[:, n_shared:])
