"""Merging labels: the forest of particles in labels, and the steps common to both sets of Supera's rules."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from benchmark.compiled import njit

SHOWER, TRACK, MICHEL, DELTA, LE = 0, 1, 2, 3, 4  # semantic types of PILArNet-M

# Creation process of a particle, as the rules distinguish it.
PRIMARY, TRACKLIKE, PHOTON, PHOTOELECTRON, COMPTON, CONVERSION, IONISATION, KNOCK_ON, DECAY, OTHER, NEUTRON = range(11)


class Forest(NamedTuple):
    """Labels as lists of particles; the arrays change as labels merge. A label is a particle that is its own root."""

    root: npt.NDArray[np.int64]
    next: npt.NDArray[np.int64]  # next member of the same label, -1 at the end
    tail: npt.NDArray[np.int64]  # last member of the label headed by this root
    shape: npt.NDArray[np.int64]


class Graph(NamedTuple):
    """Voxels of the particles, and which particles touch."""

    starts: npt.NDArray[np.int64]  # touching particles
    neighbour: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]  # rows of voxels of each particle
    voxel: npt.NDArray[np.int64]  # voxel of each row
    stamp: npt.NDArray[np.int64]  # (U,) scratch: last label that counted this voxel


@njit(cache=True)
def find(forest, i):
    """The label that particle i belongs to."""
    top = i
    while forest.root[top] != top:
        top = forest.root[top]
    while forest.root[i] != top:  # path compression
        forest.root[i], i = top, forest.root[i]
    return top


@njit(cache=True)
def merge(forest, dest, label):
    """Everything of `label` becomes part of `dest`."""
    forest.root[label] = dest
    forest.next[forest.tail[dest]] = label
    forest.tail[dest] = forest.tail[label]


@njit(cache=True)
def size_of(forest, graph, label):
    """Distinct voxels of a label."""
    count, member = 0, label
    # Members' rows repeat voxels; a stamp marks those already counted.
    _clear(forest, graph, label)
    while member >= 0:
        for row in range(graph.offsets[member], graph.offsets[member + 1]):
            if graph.stamp[graph.voxel[row]] != label:
                graph.stamp[graph.voxel[row]] = label
                count += 1
        member = forest.next[member]
    return count


@njit(cache=True)
def _clear(forest, graph, label):
    member = label
    while member >= 0:
        for row in range(graph.offsets[member], graph.offsets[member + 1]):
            graph.stamp[graph.voxel[row]] = -1
        member = forest.next[member]


@njit(cache=True)
def _next_touched(forest, graph, label, after):
    """The first label above `after` that this one touches, or -1."""
    best, member = -1, label
    while member >= 0:
        for j in range(graph.starts[member], graph.starts[member + 1]):
            other = find(forest, graph.neighbour[j])
            if other > after and other != label and (best < 0 or other < best):
                best = other
        member = forest.next[member]
    return best


@njit(cache=True)
def touches(forest, graph, label, other):
    """Do two labels touch?"""
    member = label
    while member >= 0:
        for j in range(graph.starts[member], graph.starts[member + 1]):
            if find(forest, graph.neighbour[j]) == other:
                return True
        member = forest.next[member]
    return False


@njit(cache=True)
def is_shower_like(shape):
    """Shapes that electromagnetic showers descend from."""
    return shape in (SHOWER, MICHEL, DELTA)


@njit(cache=True)
def merge_conversions(forest, is_conversion, parent):
    """An electron or positron of a pair belongs to its nearest ancestor that is still a label."""
    for i in range(len(parent)):
        if not is_conversion[i]:
            continue
        ancestor = parent[i]
        while ancestor >= 0 and forest.root[ancestor] != ancestor:
            ancestor = parent[ancestor]
        if ancestor >= 0:
            merge(forest, ancestor, i)


@njit(cache=True)
def merge_into_shower_parent(forest, graph, parent):
    """A shower that touches the shower, Michel or delta ray it comes from joins it."""
    merged = True
    while merged:
        merged = False
        for i in range(len(parent)):
            if forest.root[i] != i or forest.shape[i] != SHOWER or parent[i] < 0:
                continue
            dest = find(forest, parent[i])
            if dest != i and is_shower_like(forest.shape[dest]) and touches(forest, graph, i, dest):
                merge(forest, dest, i)
                merged = True


@njit(cache=True)
def merge_touching_showers(forest, graph, parent):
    """Touching showers of one family become one label, named after the larger."""
    merged = True
    while merged:
        merged = False
        for i in range(len(parent)):
            if forest.root[i] != i or forest.shape[i] != SHOWER:
                continue
            other = _next_touched(forest, graph, i, i)
            while other >= 0:
                if forest.shape[other] == SHOWER and _same_family(forest, parent, i, other):
                    merged = True
                    if size_of(forest, graph, i) <= size_of(forest, graph, other):
                        merge(forest, other, i)
                        break
                    merge(forest, i, other)
                other = _next_touched(forest, graph, i, other)


@njit(cache=True)
def _same_family(forest, parent, a, b):
    """Do a and b share themselves or an ancestor that is a shower-like label, with no track on the way?"""
    x = a
    while x >= 0 and (x == a or forest.shape[x] != TRACK):
        if x == a or (forest.root[x] == x and is_shower_like(forest.shape[x])):
            y = b
            while y >= 0 and (y == b or forest.shape[y] != TRACK):
                if y == x:
                    return True
                y = parent[y]
        x = parent[x]
    return False


@njit(cache=True)
def merge_small_deltas(forest, graph, parent, delta_size):
    """A delta ray with fewer than `delta_size` voxels outside its parent joins the parent."""
    for i in range(len(parent)):
        if forest.root[i] != i or forest.shape[i] != DELTA or parent[i] < 0:
            continue
        dest = parent[i]
        if forest.root[dest] != dest:
            continue
        n_voxels = size_of(forest, graph, i)  # stamps the voxels of i
        member, shared = dest, 0
        while member >= 0:
            for row in range(graph.offsets[member], graph.offsets[member + 1]):
                if graph.stamp[graph.voxel[row]] == i:
                    graph.stamp[graph.voxel[row]] = -1
                    shared += 1
            member = forest.next[member]
        if n_voxels - shared < delta_size:
            merge(forest, dest, i)
