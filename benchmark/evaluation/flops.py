"""Floating-point operations of a torch model's forward pass, counted while it runs on real events.

Counted are matrix products, convolutions and attention, two operations per multiplication and addition (torch's own
`torch.utils.flop_counter`), those inside our sparse convolutions too. Not counted are element-wise functions, norms,
sums and maxima over neighbours, and whatever runs outside torch: the grouping of points into tokens, the search for
neighbours, kernel maps. So FLOPs compare networks; `wall s` compares whole programs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from benchmark.contracts import PointBatch
from benchmark.contracts.torch_model import TorchModel
from benchmark.data.stream import EventSet

N_EVENTS = 8  # of the scored split, the first ones by id
OPAQUE = frozenset({"triton", "spconv", "spconv-triton", "minkowski"})  # engines whose kernels torch does not see


def flops_per_event(model: TorchModel, events: EventSet, n_events: int = N_EVENTS) -> int | None:
    """Mean over the first events of the set, each predicted alone and without labels.

    None where an engine hides its products from torch: the count would be incomplete.
    """
    if OPAQUE & set(model.backends.values()):
        return None
    chosen = range(min(n_events, len(events)))
    counts = [forward_flops(model, events.batch([position]).without_target()) for position in chosen]
    return round(sum(counts) / len(counts))


def forward_flops(model: TorchModel, batch: PointBatch) -> int:
    """FLOPs of one prediction of a batch.

    Gradients are enabled, and attention uses plain products: torch's fast paths are invisible to the counter.
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    device = next(model.parameters()).device
    counter = FlopCounterMode(display=False, custom_mapping=_FLOP_FORMULAS)
    try:
        with torch.enable_grad(), sdpa_kernel(SDPBackend.MATH), counter:
            model(batch.to_torch(device))
    finally:
        for module, training in modes:
            module.training = training
    return int(counter.get_total_flops())


def _count_added_product(target: Any, left: Any, right: Any, *rest: Any, **kwargs: Any) -> int:
    """Of shapes (..., m, n), (..., m, k), (..., k, n)."""
    return 2 * _size(left) * int(right[-1])


def _count_vector_product(matrix: Any, vector: Any, *rest: Any, **kwargs: Any) -> int:
    return 2 * _size(matrix)


def _size(shape: Any) -> int:
    total = 1
    for length in shape:
        total *= int(length)
    return total


# missing in torch's table: in-place added products (our sparse convolution), and matrix-vector products
_FLOP_FORMULAS = {
    torch.ops.aten.addmm_: _count_added_product,
    torch.ops.aten.baddbmm_: _count_added_product,
    torch.ops.aten.mv: _count_vector_product,
}
