"""Fused attention over packed tokens against torch's own, event by event."""

# ruff: noqa: E402  (kernels are imported where Triton can build them)

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention

from builders.kernels import skip_older_triton  # before what needs it

skip_older_triton(whole_module=True)

from benchmark.cuda.attention import attend as run
from benchmark.cuda.attention import tiles_of

ON_GPU = torch.cuda.is_available()
DEVICE = "cuda" if ON_GPU else "cpu"
LENGTHS = (300, 1, 64, 65, 0, 517) if ON_GPU else (70, 1, 0, 5)
HALF = torch.bfloat16 if ON_GPU else torch.float16  # the interpreter does not multiply bfloat16
TOLERANCE = {torch.float32: 1e-5, HALF: 1e-2}


def attend(query, key, value, lengths, dropout=0.0):
    return run(query, key, value, tiles_of(lengths, query.device), dropout)


def drawn(dtype, heads=2, width=20):
    n = sum(LENGTHS)
    draw = torch.Generator().manual_seed(3)
    qkv = torch.randn(n, 3, heads, width, generator=draw).to(DEVICE, dtype)  # as a linear layer gives them
    return qkv.requires_grad_(), torch.randn(n, heads, width, generator=draw).to(DEVICE, dtype)


def expected(qkv):
    parts = [part.double().split(list(LENGTHS)) for part in qkv.unbind(1)]
    rows = [scaled_dot_product_attention(*(p.transpose(0, 1) for p in event)) for event in zip(*parts, strict=True)]
    return torch.cat([r.transpose(0, 1) for r in rows])


def relative(found, wanted):
    return float((found.double() - wanted.double()).norm() / wanted.double().norm())


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("width", [20, 64])
def test_values_and_gradients(dtype, width):
    qkv, gradient = drawn(dtype, width=width)
    found = attend(*qkv.unbind(1), LENGTHS)
    wanted = expected(qkv)
    assert relative(found.detach(), wanted.detach()) < TOLERANCE[dtype]
    (ours,) = torch.autograd.grad(found, qkv, gradient)
    (theirs,) = torch.autograd.grad(wanted, qkv, gradient.double())
    assert relative(ours, theirs) < 2 * TOLERANCE[dtype]


def test_dropout_is_the_same_in_both_passes_and_right_on_average():
    qkv, gradient = drawn(torch.float32)
    torch.manual_seed(5)
    dropped = attend(*qkv.unbind(1), LENGTHS, 0.5)
    assert relative(dropped.detach(), expected(qkv).detach()) > 0.1
    (for_qkv,) = torch.autograd.grad(dropped, qkv, gradient)
    # the result is linear in the values, so their gradient times the values is the gradient times the result
    total = float((for_qkv[:, 2] * qkv[:, 2].detach()).sum())
    assert total == pytest.approx(float((gradient * dropped.detach()).sum()), rel=1e-3)
    torch.manual_seed(5)
    assert torch.equal(attend(*qkv.unbind(1), LENGTHS, 0.5), dropped)
    ones = torch.ones_like(qkv[:, 2])
    kept = attend(qkv[:, 0], qkv[:, 1], ones, LENGTHS, 0.5).detach()
    assert abs(float(kept.mean()) - 1) < 0.2


def test_dropouts_gradient_is_that_of_differences():
    qkv, gradient = drawn(torch.float32)
    step = torch.randn(qkv.shape, generator=torch.Generator().manual_seed(1)).to(DEVICE)
    values = []
    for side in (-1, 1):
        torch.manual_seed(9)
        moved = (qkv + side * 1e-2 * step).detach()
        values.append(float((attend(*moved.unbind(1), LENGTHS, 0.3) * gradient).double().sum()))
    torch.manual_seed(9)
    (for_qkv,) = torch.autograd.grad(attend(*qkv.unbind(1), LENGTHS, 0.3), qkv, gradient)
    assert float((for_qkv * step).sum()) == pytest.approx((values[1] - values[0]) / 2e-2, rel=2e-2, abs=0.05)


def test_batch_mates_change_nothing():
    qkv, _ = drawn(torch.float32)
    alone = qkv[: LENGTHS[0]]
    assert torch.equal(attend(*alone.unbind(1), LENGTHS[:1]), attend(*qkv.unbind(1), LENGTHS)[: LENGTHS[0]])
