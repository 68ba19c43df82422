"""Fillings without training: harmonic inpainting against a direct solver, and means of tokens against loops."""

import numpy as np
import pytest
from scipy.sparse import lil_matrix
from scipy.sparse.linalg import spsolve

from benchmark.ops import harmonic
from benchmark.ops.masks import hidden_tokens
from benchmark.seeding import generator

SHAPE, GRID = (3, 12, 12), (1, 4, 4)


def case(seed, ratio=0.4):
    rng = generator("test harmonic", seed)
    volume = rng.normal(size=SHAPE).astype(np.float32)
    hidden = hidden_tokens(rng.random((1, *GRID)), ratio)[0]
    return volume, hidden, np.kron(hidden, np.ones([n // g for n, g in zip(SHAPE, GRID, strict=True)])).astype(bool)


def solved(volume, hidden):
    """Laplace's equation as a sparse system."""
    number = np.full(volume.shape, -1)
    number[hidden] = np.arange(hidden.sum())
    matrix, right = lil_matrix((hidden.sum(), hidden.sum())), np.zeros(hidden.sum())
    for place in zip(*np.nonzero(hidden), strict=True):
        i = number[place]
        for axis in range(3):
            for step in (-1, 1):
                other = list(place)
                other[axis] += step
                if not 0 <= other[axis] < volume.shape[axis]:
                    continue
                other = tuple(other)
                matrix[i, i] += 1
                if hidden[other]:
                    matrix[i, number[other]] -= 1
                else:
                    right[i] += volume[other]
    result = volume.astype(float).copy()
    result[hidden] = spsolve(matrix.tocsr(), right)
    return result


@pytest.mark.parametrize("seed", range(3))
def test_inpainting_solves_laplaces_equation(seed):
    volume, _, hidden = case(seed)
    found = harmonic.inpaint(volume, hidden)
    np.testing.assert_allclose(found, solved(volume, hidden), atol=2e-3)
    np.testing.assert_array_equal(found[~hidden], volume[~hidden])


def test_a_ramp_is_filled_in_exactly_and_what_is_hidden_does_not_matter():
    y, x = np.meshgrid(np.arange(12.0), np.arange(12.0), indexing="ij")
    ramp = np.broadcast_to(2 * y - x, SHAPE).astype(np.float32)
    hidden = np.zeros(SHAPE, bool)
    hidden[:, 3:8, 4:9] = True
    np.testing.assert_allclose(harmonic.inpaint(np.where(hidden, 99.0, ramp), hidden), ramp, atol=5e-3)


def test_wholly_hidden_and_wholly_visible_volumes():
    volume = np.ones(SHAPE, np.float32)
    assert (harmonic.inpaint(volume, np.ones(SHAPE, bool)) == 0).all()
    np.testing.assert_array_equal(harmonic.inpaint(volume, np.zeros(SHAPE, bool)), volume)
    for fill in (harmonic.global_mean, harmonic.neighbour_mean):
        assert (fill(volume, np.ones(GRID, bool)) == 0).all()


def test_tokens_of_a_volume_come_back_in_their_places():
    volume = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)
    tokens = harmonic.blocks(volume, GRID)
    np.testing.assert_array_equal(tokens[0, 1, 2], volume[:, 3:6, 6:9].ravel())
    np.testing.assert_array_equal(harmonic.unblocks(tokens, SHAPE), volume)


@pytest.mark.parametrize("seed", range(3))
def test_means_of_neighbours_widen_until_one_is_visible(seed):
    volume, hidden, _ = case(seed, ratio=0.7)
    tokens = harmonic.blocks(volume, GRID)
    filled = harmonic.blocks(harmonic.neighbour_mean(volume, hidden), GRID)
    for y in range(4):
        for x in range(4):
            if not hidden[0, y, x]:
                np.testing.assert_array_equal(filled[0, y, x], tokens[0, y, x])
                continue
            for reach in range(1, 5):
                near = [(a, b) for a in range(4) for b in range(4) if max(abs(a - y), abs(b - x)) <= reach]
                seen = [tokens[0, a, b].mean() for a, b in near if not hidden[0, a, b]]
                if seen:
                    np.testing.assert_allclose(filled[0, y, x], np.mean(seen), atol=1e-5)
                    break


def test_global_and_own_means():
    volume, hidden, voxels = case(5)
    np.testing.assert_allclose(harmonic.global_mean(volume, hidden)[voxels], volume[~voxels].mean(), atol=1e-5)
    own = harmonic.blocks(harmonic.own_mean(volume, hidden), GRID)[hidden]
    np.testing.assert_allclose(own, np.broadcast_to(harmonic.blocks(volume, GRID)[hidden].mean(1)[:, None], own.shape),
                               atol=1e-6)  # fmt: skip
