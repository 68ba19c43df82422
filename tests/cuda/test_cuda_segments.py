"""Reductions over runs of rows, and their gradients, against the torch code."""

import pytest
import torch

pytest.importorskip("triton", reason="the package triton is missing: it exists for Linux only")

from benchmark.cuda.segments import segment_max, segment_sum, spread
from benchmark.ops import segments

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
SIZES = torch.tensor([3, 0, 17, 1, 40], device=DEVICE)


def pieces(rows):
    return torch.split(rows, SIZES.tolist())


def plain_sum(rows, sizes):
    return torch.stack([piece.sum(0) for piece in pieces(rows)])


def plain_spread(rows, sizes):
    return torch.repeat_interleave(rows, sizes, dim=0)


CASES = {
    "max": (segment_max, segments.segment_max, 61),
    "sum": (segment_sum, plain_sum, 61),
    "spread": (lambda rows, sizes: spread(rows, sizes, 61), plain_spread, 5),
}


@pytest.mark.parametrize("columns", [5, 130])
@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients(name, columns):
    ours, theirs, n_rows = CASES[name]
    rows = torch.randn(n_rows, columns, generator=torch.Generator().manual_seed(2)).to(DEVICE)
    rows = (rows * 2).round() / 2  # equal maxima occur
    rows.requires_grad_()
    found, expected = ours(rows, SIZES), theirs(rows, SIZES)
    torch.testing.assert_close(found, expected)
    gradient = torch.randn(found.shape, generator=torch.Generator().manual_seed(3)).to(DEVICE)
    for a, b in zip(*(torch.autograd.grad(t, rows, gradient) for t in (found, expected)), strict=True):
        torch.testing.assert_close(a, b)


def test_half_precision_is_summed_in_single():
    rows = torch.full((61, 4), 0.1, dtype=torch.float16, device=DEVICE, requires_grad=True)
    total = segment_sum(rows, SIZES)
    assert total.dtype == torch.float32
    torch.testing.assert_close(total, plain_sum(rows.float(), SIZES))
    total.sum().backward()
    assert rows.grad.dtype == torch.float16 and bool((rows.grad == 1).all())
