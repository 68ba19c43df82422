"""Sampling, neighbour searches and suppression against brute force on small random and lattice clouds."""

import numpy as np
import pytest

from benchmark.ops.cnms import suppress
from benchmark.ops.fps import farthest_points
from benchmark.ops.grouping import GroupingConfig, group_event
from benchmark.ops.neighbours import ball_query, k_nearest
from builders.clouds import KINDS, cloud


def squared_distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    d = a[:, None, :] - b[None, :, :]
    return d[..., 0] * d[..., 0] + d[..., 1] * d[..., 1] + d[..., 2] * d[..., 2]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cap", [None, 1, 7])
@pytest.mark.parametrize("radius", [1.0, 3.0, 300.0])
def test_ball_query_equals_comparing_all_pairs(kind, cap, radius):
    points, queries = cloud(kind, 300), np.concatenate([cloud(kind, 40), cloud(kind, 30, seed=1)])
    found = ball_query(queries, points, radius, cap)
    near = squared_distances(queries, points) < np.float32(radius) ** 2
    for query in range(len(queries)):
        expected = np.flatnonzero(near[query])[:cap]
        assert np.array_equal(found.indices[found.offsets[query] : found.offsets[query + 1]], expected)
    table = found.padded(5)
    assert table.shape == (len(queries), 5)
    assert np.array_equal(table >= 0, np.arange(5) < found.counts[:, None])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("n", [1, 3, 90, 700])
@pytest.mark.parametrize("k", [1, 5, 16])
def test_nearest_neighbours_equal_sorting_all_pairs(kind, n, k):
    points = cloud(kind, n)
    queries = np.concatenate([points[:50], cloud(kind, 50, seed=2), [[2e4, -3e4, 5.0]]]).astype(np.float32)
    indices, squared = k_nearest(queries, points, k)
    distances = squared_distances(queries, points)
    order = np.argsort(distances, axis=1, kind="stable")[:, :k]
    assert np.array_equal(indices[:, : min(k, n)], order)
    assert np.array_equal(squared[:, : min(k, n)], np.take_along_axis(distances, order, 1))
    assert (indices[:, n:] == -1).all() and np.isinf(squared[:, n:]).all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("overlap", [0.4, 0.73, 1.0])
@pytest.mark.parametrize("cap", [None, 4])
def test_suppression_equals_the_plain_algorithm(kind, overlap, cap):
    points = cloud(kind, 250)
    near = squared_distances(points, points) < np.float32(np.float32(2 * 3.0 * overlap) ** 2)
    lists = [np.flatnonzero(row)[:cap] for row in near]
    scores = np.array([len(row) for row in lists])
    kept = np.ones(len(points), dtype=bool)
    for candidate in np.argsort(-scores, kind="stable"):
        if kept[candidate]:
            kept[lists[candidate][lists[candidate] != candidate]] = False
    found, found_scores = suppress(points, 3.0, overlap, cap)
    assert np.array_equal(found, np.flatnonzero(kept))
    assert np.array_equal(found_scores, scores)


def test_toy_suppression_with_and_without_a_cap(shared_dir):
    path = shared_dir / "reference" / "polarmae" / "golden" / "unit_cases.npz"
    if not path.is_file():
        pytest.skip(f"no golden unit cases at {path}")
    stored = np.load(path)
    radius, overlap = map(float, stored["toy_cnms_radius_f"])
    for cap in (8, 2):
        kept, _ = suppress(stored["toy_cnms_points"][0], radius, overlap, cap)
        assert np.array_equal(kept, stored[f"toy_cnms_K{cap}_kept"])


@pytest.mark.parametrize("kind", KINDS)
def test_farthest_points_equal_the_plain_algorithm(kind):
    points = cloud(kind, 200)
    nearest = np.full(len(points), np.inf, dtype=np.float32)
    expected = [3]
    for _ in range(63):
        nearest = np.minimum(nearest, squared_distances(points[expected[-1:]], points)[0])
        expected.append(int(nearest.argmax()))
    assert farthest_points(points, 64, start=3).tolist() == expected


def test_farthest_points_never_exceed_the_event():
    assert sorted(farthest_points(cloud("line", 5), 20).tolist()) == [0, 1, 2, 3, 4]
    assert len(farthest_points(np.zeros((0, 3), np.float32), 4)) == 0


def test_groups_cover_their_centres_and_respect_the_limits():
    points = cloud("line", 2000)
    groups = group_event(points, GroupingConfig(radius=5.0, overlap=0.73, n_points=8, max_groups=20))
    assert groups.indices.shape == groups.mask.shape == (20, 8)
    assert np.array_equal(groups.indices[:, 0][groups.mask[:, 0]], groups.indices[:, 0])
    distance = np.linalg.norm(points[groups.indices] - points[groups.centres][:, None], axis=-1)
    assert (distance < 5.0).all()
    separation = squared_distances(points[groups.centres], points[groups.centres])
    np.fill_diagonal(separation, np.inf)
    assert separation.min() >= np.float32(7.3) ** 2


def test_full_balls_are_thinned_and_slots_beyond_a_ball_repeat_its_first_point():
    points = cloud("lattice", 350)
    groups = group_event(points, GroupingConfig(radius=3.0, n_points=16))
    balls = ball_query(points[groups.centres], points, 3.0)
    assert np.array_equal(groups.mask.sum(1), np.minimum(balls.counts, 16))
    assert (balls.counts > 16).any() and (balls.counts < 16).any()
    first = np.broadcast_to(groups.indices[:, :1], groups.indices.shape)
    assert np.array_equal(groups.indices[~groups.mask], first[~groups.mask])


def test_a_limit_on_groups_keeps_the_first_or_spreads_over_the_event():
    points = cloud("line", 3000)
    every = group_event(points, GroupingConfig(max_groups=None)).centres
    first = group_event(points, GroupingConfig(max_groups=10)).centres
    spread = group_event(points, GroupingConfig(max_groups=10, overflow="spread")).centres
    assert np.array_equal(first, every[:10])
    assert len(spread) == 10 and set(spread) <= set(every) and (np.diff(spread) > 0).all()
    assert np.ptp(points[spread], axis=0)[0] > 2 * np.ptp(points[first], axis=0)[0]


def test_an_empty_event_has_no_groups():
    groups = group_event(np.zeros((0, 3), np.float32), GroupingConfig())
    assert groups.centres.shape == (0,) and groups.indices.shape == (0, 32)


@pytest.mark.parametrize("coords", [np.zeros((4, 2)), np.array([[0.0, np.nan, 1.0]])])
def test_coordinates_that_are_not_points_are_refused(coords):
    with pytest.raises(ValueError, match="coords"):
        farthest_points(coords, 2)
    with pytest.raises(ValueError):
        ball_query(coords, coords, 1.0)
