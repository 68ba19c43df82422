"""Graphs against every pair of distances: edges, ties, order of points, borders of events, bad input."""

import numpy as np
import pytest
import torch

from benchmark.ops.graphs import edge_starts, knn_graph, radius_graph
from benchmark.seeding import generator


def ragged(kind, sizes=(40, 1, 0, 2, 90), seed=0):
    """(coords, offsets): voxels full of ties, or places on no lattice."""
    rng = generator("graphs", kind, seed)
    n = sum(sizes)
    coords = rng.integers(0, 6, (n, 3)) if kind == "voxels" else rng.normal(size=(n, 3)) * 5
    parts = [np.unique(p, axis=0) for p in np.split(coords, np.cumsum(sizes)[:-1])]
    parts = [p[rng.permutation(len(p))] for p in parts]
    offsets = np.concatenate([[0], np.cumsum([len(p) for p in parts])])
    return torch.tensor(np.concatenate(parts), dtype=torch.float32), torch.tensor(offsets)


def expected(coords, offsets, k, radius=np.inf):
    """Every pair compared in float32, sorted by (distance, x, y, z) in plain Python."""
    points, edges = coords.numpy(), []
    for a, b in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        for i in range(a, b):
            near = []
            for j in range(a, b):
                dx, dy, dz = points[i] - points[j]
                near.append((dx * dx + dy * dy + dz * dz, *points[j].tolist(), j))
            limit = np.float32(radius) * np.float32(radius)
            edges += [(n[-1], i) for n in sorted(n for n in near if n[-1] != i and n[0] < limit)[:k]]
    return torch.tensor(edges, dtype=torch.int64).reshape(-1, 2).mT


@pytest.mark.parametrize("k", [1, 5, 26])
@pytest.mark.parametrize("kind", ["voxels", "places"])
def test_nearest_edges_are_those_of_every_pair(kind, k):
    coords, offsets = ragged(kind)
    assert torch.equal(knn_graph(coords, offsets, k), expected(coords, offsets, k))


@pytest.mark.parametrize(("radius", "cap"), [(1.0, 32), (2.3, 100), (2.3, 4)])
@pytest.mark.parametrize("kind", ["voxels", "places"])
def test_edges_within_a_radius_are_those_of_every_pair(kind, radius, cap):
    coords, offsets = ragged(kind)
    assert torch.equal(radius_graph(coords, offsets, radius, cap), expected(coords, offsets, cap, radius))


def test_the_sphere_itself_is_outside():
    coords, offsets = torch.tensor([[0.0, 0, 0], [2, 0, 0]]), torch.tensor([0, 2])
    assert radius_graph(coords, offsets, 2.0).shape == (2, 0)
    assert radius_graph(coords, offsets, 2.0001).tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize("search", [lambda c, o: knn_graph(c, o, 6), lambda c, o: radius_graph(c, o, 1.8, 6)])
def test_another_order_of_points_gives_the_same_graph_of_other_numbers(search):
    coords, offsets = ragged("voxels", (120,))
    order = torch.from_numpy(generator("graphs", "order").permutation(len(coords)))
    edges, shuffled = search(coords, offsets), order[search(coords[order], offsets)]
    by_destination = torch.argsort(shuffled[1], stable=True)  # near to far within a destination stays
    assert torch.equal(shuffled[:, by_destination], edges)


def test_edges_are_sorted_stay_within_events_and_join_no_point_to_itself():
    coords, offsets = ragged("voxels")
    edges = knn_graph(coords, offsets, 4)
    event = torch.repeat_interleave(torch.arange(len(offsets) - 1), offsets.diff())
    assert edges.dtype == torch.int64
    assert (edges[1].diff() >= 0).all()
    assert torch.equal(event[edges[0]], event[edges[1]])
    assert (edges[0] != edges[1]).all()
    lengths = offsets.diff()[event]
    assert torch.equal(edge_starts(edges, len(coords)).diff(), (lengths - 1).clamp(max=4))


def test_points_at_the_same_place_are_neighbours_but_no_point_is_its_own():
    coords = torch.zeros(7, 3)
    edges = knn_graph(coords, torch.tensor([0, 7]), 3)
    assert (edges[0] != edges[1]).all()
    assert edge_starts(edges, 7).diff().tolist() == [3] * 7


@pytest.mark.parametrize("n", [0, 1])
def test_events_without_a_second_point_have_no_edge(n):
    offsets = torch.tensor([0, n])
    assert knn_graph(torch.zeros(n, 3), offsets, 4).shape == (2, 0)
    assert radius_graph(torch.zeros(n, 3), offsets, 4.0).shape == (2, 0)


def test_bad_input_is_told_in_one_sentence():
    coords, offsets = ragged("places")
    broken = coords.clone()
    broken[3, 1] = torch.nan
    with pytest.raises(ValueError, match="not finite"):
        knn_graph(broken, offsets, 4)
    with pytest.raises(ValueError, match="k is 0"):
        knn_graph(coords, offsets, 0)
    with pytest.raises(ValueError, match="max_neighbours is 0"):
        radius_graph(coords, offsets, 1.0, 0)
    for radius in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="radius is"):
            radius_graph(coords, offsets, radius)
    with pytest.raises(ValueError, match="offsets are"):
        knn_graph(coords, offsets[:-1], 4)
    with pytest.raises(ValueError, match="shape"):
        knn_graph(coords[:, :2], offsets, 4)
