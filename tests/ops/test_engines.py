"""Grouping strategies, and engines held to the same indices: pytorch3d where it is installed, else a stand-in."""

import sys
import types
from collections import namedtuple
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from benchmark.errors import BenchmarkError, UnknownNameError
from benchmark.ops.engines import engine
from benchmark.ops.grouping import STRATEGIES, GroupingConfig, centres_of, group_event, group_events, members_of
from benchmark.ops.native import NATIVE
from benchmark.ops.neighbours import k_nearest
from builders.clouds import KINDS, cloud

SIZES = (1, 7, 150, 400)


def config_of(strategy: str, **settings) -> GroupingConfig:
    n_seeds = None if strategy == "cnms_ball" else 60
    return GroupingConfig(radius=3.0, n_points=8, n_seeds=n_seeds, strategy=strategy, **settings)


# --- what pytorch3d.ops documents, in plain torch -------------------------------------------------------------------


def squared(a, b):
    d = a[:, None, :] - b[None, :, :]
    return d[..., 0] * d[..., 0] + d[..., 1] * d[..., 1] + d[..., 2] * d[..., 2]


def sample_farthest_points(points, lengths=None, K=50, random_start_point=False):
    chosen = torch.full((len(points), K), -1, dtype=torch.int64)
    for cloud_points, n, row in zip(points, lengths.tolist(), chosen, strict=True):
        nearest = torch.full((n,), torch.inf)
        last = 0
        for slot in range(min(K, n)):
            row[slot] = last
            nearest = torch.minimum(nearest, squared(cloud_points[:n], cloud_points[last : last + 1])[:, 0])
            last = int(np.argmax(nearest.numpy()))
    return torch.zeros(*chosen.shape, 3), chosen


def ball_query(p1, p2, lengths1=None, lengths2=None, K=500, radius=0.2, return_nn=True):
    limit = torch.tensor(radius, dtype=torch.float32) ** 2
    found = torch.full((len(p1), p1.shape[1], K), -1, dtype=torch.int64)
    for event in range(len(p1)):
        near = squared(p1[event, : lengths1[event]], p2[event, : lengths2[event]]) < limit
        for query, row in enumerate(near):
            listed = torch.nonzero(row)[:K, 0]
            found[event, query, : len(listed)] = listed
    return torch.zeros(found.shape), found, None


def knn_points(p1, p2, lengths1=None, lengths2=None, norm=2, K=1, version=-1, return_nn=False, return_sorted=True):
    distances = torch.zeros(len(p1), p1.shape[1], K)
    found = torch.zeros(len(p1), p1.shape[1], K, dtype=torch.int64)  # index and distance 0 where fewer than K exist
    for event in range(len(p1)):
        d = squared(p1[event, : lengths1[event]], p2[event, : lengths2[event]])
        order = d.sort(dim=1, stable=True).indices[:, :K]
        shuffled = order.flip(1) if not return_sorted else order  # unsorted: any order within the k nearest
        distances[event, : len(d), : order.shape[1]] = d.gather(1, shuffled)
        found[event, : len(d), : order.shape[1]] = shuffled
    return namedtuple("KNN", "dists idx knn")(distances, found, None)


@pytest.fixture(params=["stand-in", "installed"])
def pytorch3d(request, monkeypatch):
    """The pytorch3d engine on the CPU, over the package or over a stand-in with its documented behaviour."""
    if request.param == "installed":
        if find_spec("pytorch3d") is None:
            pytest.skip("pytorch3d is not installed, so only the stand-in is compared")
    else:
        package, ops = types.ModuleType("pytorch3d"), types.ModuleType("pytorch3d.ops")
        package.__spec__ = types.SimpleNamespace(name="pytorch3d")  # type: ignore[assignment]
        ops.sample_farthest_points, ops.ball_query, ops.knn_points = sample_farthest_points, ball_query, knn_points
        package.ops = ops
        monkeypatch.setitem(sys.modules, "pytorch3d", package)
        monkeypatch.setitem(sys.modules, "pytorch3d.ops", ops)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return engine("pytorch3d")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("capped", [False, True])
def test_engines_give_the_same_groups(pytorch3d, kind, strategy, capped):
    caps = {"max_candidate_neighbours": 5, "max_ball": 12, "max_groups": 9} if capped else {}
    events = [cloud(kind, n, seed=n) for n in SIZES] + [np.zeros((0, 3), np.float32)]
    config = config_of(strategy, overflow="spread", **caps)
    for ours, theirs in zip(group_events(events, config), group_events(events, config, pytorch3d), strict=True):
        assert np.array_equal(ours.centres, theirs.centres)
        assert np.array_equal(ours.mask, theirs.mask)
        assert np.array_equal(ours.indices, theirs.indices)


@pytest.mark.parametrize("kind", KINDS)
def test_engines_give_the_same_neighbours(pytorch3d, kind):
    events = [cloud(kind, n, seed=n) for n in SIZES]
    queries = [cloud(kind, 30, seed=n + 1) for n in SIZES]
    for radius, cap in ((3.0, None), (300.0, None), (300.0, 70)):  # more neighbours than are asked for at first
        pairs = zip(
            NATIVE.balls(queries, events, radius, cap), pytorch3d.balls(queries, events, radius, cap), strict=True
        )
        assert all(np.array_equal(a.indices, b.indices) and np.array_equal(a.offsets, b.offsets) for a, b in pairs)
    pairs = zip(NATIVE.nearest(queries, events, 20), pytorch3d.nearest(queries, events, 20), strict=True)
    assert all(np.array_equal(a.indices, b.indices) and np.array_equal(a.offsets, b.offsets) for a, b in pairs)


@pytest.mark.skipif(find_spec("pytorch3d") is not None, reason="pytorch3d is installed here")
def test_a_missing_engine_names_its_remedy():
    with pytest.raises(BenchmarkError, match="pip install"):
        engine("pytorch3d")


def test_a_misspelt_engine_is_refused():
    with pytest.raises(UnknownNameError, match="native"):
        engine("natve")


# --- strategies -----------------------------------------------------------------------------------------------------


def test_sampled_centres_without_suppression_are_the_farthest_points():
    points = cloud("line", 900)
    config = config_of("fps_ball", max_groups=None)
    [centres] = centres_of([points], config)
    assert np.array_equal(centres, np.sort(NATIVE.farthest([points], 60)[0]))
    [few] = centres_of([points], config_of("fps_ball", max_groups=7))
    assert np.array_equal(few, np.sort(NATIVE.farthest([points], 7)[0]))


def test_groups_of_nearest_points_hold_exactly_those():
    points = cloud("line", 900)
    groups = group_event(points, config_of("fps_knn"))
    nearest, _ = k_nearest(points[groups.centres], points, 8)
    assert groups.mask.all()
    assert np.array_equal(np.sort(groups.indices, axis=1), np.sort(nearest, axis=1))
    [wide] = members_of([points], [groups.centres], config_of("fps_knn", max_ball=20))
    assert (wide.counts == 20).all()


def test_small_events_have_groups_of_all_their_points():
    groups = group_event(cloud("line", 5), config_of("fps_knn"))
    assert groups.mask.sum(1).tolist() == [5] * 5
    assert len(np.unique(groups.indices)) == 5


def test_seeds_without_a_strategy_are_thinned_by_suppression():
    points = cloud("line", 900)
    short, long = GroupingConfig(n_seeds=60), GroupingConfig(n_seeds=60, strategy="fps_cnms_ball")
    assert np.array_equal(group_event(points, short).indices, group_event(points, long).indices)


@pytest.mark.parametrize(
    "settings",
    [{"strategy": "fps_ball"}, {"strategy": "cnms_ball", "n_seeds": 5}, {"strategy": "knn"}, {"max_groups": 0}],
)
def test_settings_that_do_not_fit_together_are_refused(settings):
    with pytest.raises(ValueError, match="expected"):
        group_event(cloud("line", 50), GroupingConfig(**settings))
