"""Nearest pairs by the kernel against the table of all pairs: the same slots, the same distance and gradient."""

import pytest
import torch

pytest.importorskip("triton", reason="the package triton is missing: it exists for Linux only")

from benchmark.models._masking import chamfer_per_group, nearest_by_table
from benchmark.ops import triton

ON_GPU = torch.cuda.is_available()
DEVICE = "cuda" if ON_GPU else "cpu"


def drawn(groups, slots, channels, lattice=False):
    draw = torch.Generator().manual_seed(slots)
    true, predicted = torch.randn(2, groups, slots, channels, generator=draw)
    if lattice:  # many equal distances
        true, predicted = true.round(), predicted.round()
    sizes = torch.randint(1, slots + 1, (groups, 1), generator=draw)
    return true, predicted, torch.arange(slots) < sizes


@pytest.mark.parametrize("lattice", [False, True])
@pytest.mark.parametrize(("slots", "channels"), [(32, 4), (5, 3), (1, 4), (33, 1)])
def test_the_same_slots(slots, channels, lattice):
    given = drawn(2000 if ON_GPU else 6, slots, channels, lattice)
    expected = nearest_by_table(*given)
    found = triton.nearest_pairs(*(t.to(DEVICE) for t in given))
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours.cpu(), theirs)


def test_no_groups():
    found = triton.nearest_pairs(*(t.to(DEVICE) for t in drawn(0, 32, 4)))
    assert [t.shape for t in found] == [(0, 32), (0, 32)]


def test_distance_and_gradient(monkeypatch):
    true, predicted, mask = (t.to(DEVICE) for t in drawn(5, 16, 4))
    monkeypatch.setattr(triton, "serves", lambda device: False)
    results = []
    for kernel in (False, True):
        monkeypatch.setattr(triton, "serves", lambda device, kernel=kernel: kernel)
        given = predicted.clone().requires_grad_()
        distance = chamfer_per_group(given, true, mask)
        results += [distance.detach(), torch.autograd.grad(distance.sum(), given)[0]]
    torch.testing.assert_close(results[:2], results[2:], rtol=1e-6, atol=0.0)
