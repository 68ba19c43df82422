"""Descriptors of neighbourhoods against plain numpy over all pairs, and what they may not depend on."""

import numpy as np
import pytest

from benchmark.ops.neighbourhoods import NAMES, descriptors
from builders.clouds import KINDS, cloud


def plainly(queries, points, energy, radius, floor=1e-3):
    """Query by query, in float64."""
    rows = []
    for query in queries.astype(np.float64):
        inside = ((points.astype(np.float64) - query) ** 2).sum(axis=1) < radius**2
        near, total = points[inside].astype(np.float64), energy[inside].astype(np.float64).sum()
        values = np.zeros(3)
        if len(near):
            values = np.clip(np.linalg.eigvalsh(np.cov(near.T, bias=True).reshape(3, 3))[::-1], 0, None)
        a, b, c = values
        shape = ((a - b) / a, (b - c) / a) if a > 1e-9 else (0.0, 0.0)
        rows.append((np.log10(total + floor), np.log10(max(len(near), 1)), *shape))
    return np.array(rows)


def sample(kind, n=200, seed=0):
    rng = np.random.default_rng(seed)
    return cloud(kind, n, seed=seed), rng.lognormal(0, 1, n).astype(np.float32)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("radius", [2.5, 12.25, 300.5])
def test_descriptors_equal_plain_sums_over_all_points(kind, radius):
    points, energy = sample(kind)
    queries = np.concatenate([points[:40], cloud(kind, 20, seed=4), [[5e3, -5e3, 0.0]]]).astype(np.float32)
    found = descriptors(queries, points, energy, radius)
    assert found.shape == (len(queries), len(NAMES)) and found.dtype == np.float32
    np.testing.assert_allclose(found, plainly(queries, points, energy, radius), atol=2e-5, rtol=2e-5)


def test_what_they_say_of_a_line_a_plane_and_a_ball():
    steps = np.arange(-6, 7, dtype=np.float32)
    line = np.stack([steps, 0 * steps, 0 * steps], axis=1)
    plane = np.stack([*np.meshgrid(steps, steps), np.zeros((13, 13))], axis=-1).reshape(-1, 3).astype(np.float32)
    ball = np.stack(np.meshgrid(steps, steps, steps), axis=-1).reshape(-1, 3)
    for points, linearity, planarity in ((line, 1, 0), (plane, 0, 1), (ball, 0, 0)):
        energy = np.full(len(points), 2, np.float32)
        (row,) = descriptors(np.zeros((1, 3), np.float32), points, energy, 4.5)
        inside = (np.linalg.norm(points, axis=1) < 4.5).sum()
        expected = [np.log10(2 * inside + 1e-3), np.log10(inside), linearity, planarity]
        np.testing.assert_allclose(row, expected, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_rotations_translations_and_the_order_of_points_change_nothing(kind):
    points, energy = sample(kind)
    points -= points.mean(axis=0)
    rng = np.random.default_rng(1)
    rotation = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    radius = next(r for r in np.arange(12.1, 20, 0.01) if np.abs(distances - r).min() > 1e-3)  # nobody at the edge
    expected = descriptors(points, points, energy, radius)
    turned = (points @ rotation + [3.0, -7.0, 11.0]).astype(np.float32)
    np.testing.assert_allclose(descriptors(turned, turned, energy, radius), expected, atol=3e-4)
    order = rng.permutation(len(points))
    np.testing.assert_allclose(descriptors(points, points[order], energy[order], radius), expected, atol=1e-5)


def test_a_single_point_no_point_and_no_query():
    point, energy = np.array([[700.0, 3.0, -2.0]], np.float32), np.array([9.999], np.float32)
    np.testing.assert_allclose(descriptors(point, point, energy, 4.0), [[1, 0, 0, 0]], atol=1e-5)
    far = descriptors(point + 4, point, energy, 4.0)  # nobody is near
    np.testing.assert_allclose(far, [[-3, 0, 0, 0]], atol=1e-5)
    none = np.zeros((0, 3), np.float32)
    assert descriptors(none, point, energy, 4.0).shape == (0, 4)
    assert not descriptors(point, none, energy[:0], 4.0).any()
    with pytest.raises(ValueError, match="radius is 0"):
        descriptors(point, point, energy, 0.0)


def test_a_lone_neighbour_away_from_the_query_has_no_shape():
    points = np.array([[0.123, 4.567, -1.891]], np.float32)
    (row,) = descriptors(np.zeros((1, 3), np.float32), points, np.ones(1, np.float32), 12.0)
    assert row[1] == row[2] == row[3] == 0


def test_the_edge_of_the_ball_is_outside():
    points = np.array([[0, 0, 0], [3, 0, 0], [0, 2, 0]], np.float32)
    (row,) = descriptors(points[:1], points, np.ones(3, np.float32), 3.0)
    np.testing.assert_allclose(row[:2], [np.log10(2.001), np.log10(2)], atol=1e-6)


def test_far_from_the_origin_they_are_as_exact():
    points, energy = sample("lattice")
    expected = descriptors(points, points, energy, 6.5)
    moved = points + np.float32(2**14)
    np.testing.assert_allclose(descriptors(moved, moved, energy, 6.5), expected, atol=1e-5)
