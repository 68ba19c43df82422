"""Tokenisation kernels give the compiled CPU code's indices, on a GPU where there is one, else in the interpreter."""

import os
from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("triton", reason="the package triton is missing: it exists for Linux only")

from benchmark.cuda import fps, groups
from benchmark.cuda.clouds import MAX_EVENTS, Clouds
from benchmark.errors import BenchmarkError, DataError
from benchmark.ops.engines import engine
from benchmark.ops.grouping import GroupingConfig, group_events
from benchmark.ops.native import NATIVE
from benchmark.ops.neighbours import k_nearest
from benchmark.ops.triton import Triton

ON_GPU = torch.cuda.is_available()
DEVICE = "cuda" if ON_GPU else "cpu"
SCALE = 60 if ON_GPU else 1  # points per event, times those the interpreter can do in time


def walk(rng, n):
    """Voxels of a track: neighbouring whole numbers, many equal distances."""
    steps = rng.normal(size=(n, 3))
    steps /= np.linalg.norm(steps, axis=1, keepdims=True)
    return np.unique(np.round(np.cumsum(1.2 * steps, 0) + 100), axis=0).astype(np.float32)


@pytest.fixture(scope="module")
def events():
    rng = np.random.default_rng(4)
    smooth = rng.normal(size=(16 * SCALE, 3)).astype(np.float32) * 4
    twice = np.repeat(walk(rng, 8), 2, axis=0)
    return [walk(rng, 30 * SCALE), np.zeros((0, 3), np.float32), walk(rng, 2), smooth, twice]


def clouds_of(events):
    return Clouds.of(torch.from_numpy(np.concatenate(events)).to(DEVICE), [len(e) for e in events])


def same(found, expected):
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("cap", [None, 4])
def test_suppression_keeps_the_same_centres(events, cap):
    ours = Triton().suppressed(events, 5.0, 0.73, cap)
    same(ours, NATIVE.suppressed(events, 5.0, 0.73, cap))


@pytest.mark.parametrize("lanes", [fps.IN_REGISTERS, 32], ids=["in registers", "streaming"])
def test_farthest_points_are_the_same(events, lanes, monkeypatch):
    monkeypatch.setattr(fps, "IN_REGISTERS", lanes)
    same(Triton().farthest(events, 24), NATIVE.farthest(events, 24))


@pytest.mark.parametrize("cap", [None, 6])
def test_balls_hold_the_same_points(events, cap):
    queries = [e[::7] for e in events]
    ours, expected = Triton().balls(queries, events, 5.0, cap), NATIVE.balls(queries, events, 5.0, cap)
    for found, wanted in zip(ours, expected, strict=True):
        np.testing.assert_array_equal(found.offsets, wanted.offsets)
        np.testing.assert_array_equal(found.indices, wanted.indices)


def test_queries_may_lie_anywhere(events):
    far = [np.array([[1e6, -1e6, 0], [100.4, 99.7, 100.1]], np.float32)] * len(events)
    ours, expected = Triton().balls(far, events, 5.0, None), NATIVE.balls(far, events, 5.0, None)
    for found, wanted in zip(ours, expected, strict=True):
        np.testing.assert_array_equal(found.indices, wanted.indices)


@pytest.mark.parametrize("k", [1, 20])
def test_the_nearest_are_the_same_and_sorted(events, k):
    queries = [e[::9] for e in events]
    expected = [k_nearest(q, e, k)[0][:, : len(e)] for q, e in zip(queries, events, strict=True)]
    ours = Triton().nearest(queries, events, k)
    same([n.indices for n in ours], [e[e >= 0].ravel() for e in expected])


CONFIGS = {
    "C-NMS": GroupingConfig(max_groups=512 if ON_GPU else 8),
    "first groups": GroupingConfig(max_groups=4, n_points=6),
    "spread groups": GroupingConfig(max_groups=4, n_points=6, overflow="spread"),
    "capped": GroupingConfig(max_groups=None, n_points=6, max_ball=9, max_candidate_neighbours=7),
    "seeds": GroupingConfig(strategy="fps_cnms_ball", n_seeds=20, n_points=6, max_groups=6),
    "FPS": GroupingConfig(strategy="fps_ball", n_seeds=12, n_points=6),
    "kNN": GroupingConfig(strategy="fps_knn", n_seeds=12, n_points=6, max_ball=10),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_groups_are_the_same(events, name):
    check_groups(events, CONFIGS[name])


@pytest.mark.parametrize("few, many", [(4, 1024), (4, 8)], ids=["four warps", "streaming"])
def test_crowded_groups_are_thinned_the_same(events, few, many, monkeypatch):
    monkeypatch.setattr(groups, "FEW", few)
    monkeypatch.setattr(groups, "MANY", many)
    check_groups(events[3:], replace(CONFIGS["C-NMS"], n_points=6))


def check_groups(events, config):
    made = groups.group(clouds_of(events), config)
    first = 0
    for e, (points, expected) in enumerate(zip(events, group_events(events, config), strict=True)):
        own = (made.event == e).cpu()
        np.testing.assert_array_equal(made.centres.cpu()[own].numpy() - first, expected.centres)
        np.testing.assert_array_equal(made.indices.cpu()[own].numpy() - first, expected.indices)
        np.testing.assert_array_equal(made.sizes.cpu()[own].numpy(), expected.mask.sum(1))
        first += len(points)


def test_batch_mates_change_nothing(events):
    alone = [Triton().suppressed([e], 5.0, 0.73, None)[0] for e in events if len(e)]
    same([k for k, e in zip(Triton().suppressed(events, 5.0, 0.73, None), events, strict=True) if len(e)], alone)


def test_points_that_do_not_fit_the_lengths_are_refused():
    with pytest.raises(DataError, match=r"\(n, 3\) and n were expected"):
        Clouds.of(torch.zeros(5, 3, device=DEVICE), [2, 2])
    with pytest.raises(DataError, match="Split them"):
        Clouds.of(torch.zeros(0, 3, device=DEVICE), [0] * MAX_EVENTS)


@pytest.mark.skipif(ON_GPU, reason="needs a machine without a GPU")
def test_a_cpu_is_refused_outside_the_interpreter(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET")
    with pytest.raises(BenchmarkError, match="A CUDA device was expected"):
        Clouds.of(torch.zeros(4, 3), [4])
    with pytest.raises(BenchmarkError, match="triton cannot be used: torch sees no CUDA device"):
        engine("triton")
    assert "TRITON_INTERPRET" not in os.environ
