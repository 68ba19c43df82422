"""Nearest pairs inside small sets, for the Chamfer distance: a set's table of distances stays in registers."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from benchmark.cuda._launch import EXACT, check_device, power_of_two


def nearest_pairs(true: Tensor, predicted: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Of each true slot the nearest predicted one, and the reverse, both (G, K) int64: slots where `mask` (G, K) holds.

    true and predicted (G, K, C) float32. Among equally near slots the first; 0 for a slot that is masked out.
    """
    check_device(true)
    n_groups, n_slots, n_channels = true.shape
    to_predicted, to_true = torch.empty(2, n_groups, n_slots, dtype=torch.int64, device=true.device)
    if to_true.numel():
        _nearest_pairs[(n_groups,)](
            true.contiguous(), predicted.contiguous(), mask.contiguous().view(torch.uint8), to_predicted, to_true,
            n_slots, n_channels, power_of_two(n_slots), num_warps=1, **EXACT,
        )  # fmt: skip
    return to_predicted, to_true


@triton.jit
def _nearest_pairs(true, predicted, mask, to_predicted, to_true, n_slots, n_channels, SLOTS: tl.constexpr):
    first = tl.program_id(0).to(tl.int64) * n_slots
    slot = tl.arange(0, SLOTS)
    inside = slot < n_slots
    present = tl.load(mask + first + slot, mask=inside, other=0) != 0
    squared = tl.zeros((SLOTS, SLOTS), tl.float32)
    for channel in range(n_channels):
        a = tl.load(true + (first + slot) * n_channels + channel, mask=inside, other=0.0)
        b = tl.load(predicted + (first + slot) * n_channels + channel, mask=inside, other=0.0)
        difference = a[:, None] - b[None, :]
        squared += difference * difference
    squared = tl.where(present[:, None] & present[None, :], squared, float("inf"))
    tl.store(to_predicted + first + slot, tl.argmin(squared, 1).to(tl.int64), mask=inside)
    tl.store(to_true + first + slot, tl.argmin(squared, 0).to(tl.int64), mask=inside)
