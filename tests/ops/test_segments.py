"""Reductions over the points of each event equal plain loops, gradients included."""

import numpy as np
import torch

from benchmark.ops.segments import segment_max, segment_mean

LENGTHS = torch.tensor([3, 0, 5, 1])
INDEX = torch.repeat_interleave(torch.arange(4), LENGTHS)


def values():
    rng = np.random.default_rng(0)
    return torch.tensor(rng.integers(-4, 4, (9, 6)).astype(np.float64), requires_grad=True)  # with equal maxima


def test_maxima_are_those_of_each_run_and_share_their_gradient():
    x = values()
    pooled = segment_max(x, LENGTHS)
    for run, found in zip(x.split(LENGTHS.tolist()), pooled, strict=True):
        expected = run.detach().max(0).values if len(run) else torch.zeros(6)
        torch.testing.assert_close(found.detach(), expected, check_dtype=False)
    pooled.sum().backward()
    top = (x.detach() == pooled.detach()[INDEX]).double()
    n_top = torch.zeros(4, 6, dtype=torch.float64).index_add(0, INDEX, top)
    torch.testing.assert_close(x.grad, top / n_top[INDEX])


def test_means_are_those_of_each_segment():
    x = values()
    found = segment_mean(x, INDEX, 4)
    for run, mean in zip(x.split(LENGTHS.tolist()), found, strict=True):
        torch.testing.assert_close(mean, run.mean(0) if len(run) else torch.zeros(6, dtype=torch.float64))
    assert torch.autograd.gradcheck(lambda v: segment_mean(v, INDEX, 4), (x,))
