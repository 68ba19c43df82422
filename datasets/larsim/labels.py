"""Labels by Supera's rules (SuperaAtomic, LArTPCMLReco3D; rules numbered as there they run).

Every particle starts as a label of its own, with a shape (semantic type) from how it was made and how many voxels it has.
Labels are then merged: pair-produced electrons into their photon, small electrons into what they touch, touching pieces of one
shower, small delta rays into their parent. What remains of shape low-energy scatter (LE) is the isolated blips.

The state of the merging is a forest in arrays over particles (`_Forest`): root, next member, shape.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numba as nb
import numpy as np
import numpy.typing as npt

from .touching import Touching, VoxelIndex
from .truth import Process
from .voxels import ParticleVoxels


class Shape(IntEnum):
    """Semantic types, numbered as in PILArNet-M."""

    SHOWER = 0
    TRACK = 1
    MICHEL = 2
    DELTA = 3
    LE_SCATTER = 4


@dataclass(frozen=True)
class LabelSettings:
    """Sizes in voxels that decide between shapes."""

    delta_size: int = 3  # smaller delta rays are low-energy scatters or part of their parent
    compton_size: int = 10  # electrons of at most, and photons below, this size are low-energy scatters


class Labels(NamedTuple):
    """Outcome for each of P particles."""

    root: npt.NDArray[np.int64]  # (P,) the particle whose label this one has become part of
    shape: npt.NDArray[np.int64]  # (P,) `Shape`; that of the root counts
    fragment: npt.NDArray[np.int64]  # (P,) id of the label, -1 where Supera would store none
    group: npt.NDArray[np.int64]  # (P,) particle that heads the group, -1 for low-energy scatters


# How a particle was made, as far as the rules distinguish it (rule 3).
_PRIMARY, _TRACK, _PHOTON, _PHOTOELECTRON, _COMPTON, _CONVERSION, _IONISATION, _DELTA, _DECAY, _OTHER, _NEUTRON = range(11)

_PROCESS_TYPE = np.full(len(Process), _OTHER, dtype=np.int64)  # for electrons and positrons
_PROCESS_TYPE[Process.PHOTOELECTRIC] = _PHOTOELECTRON
_PROCESS_TYPE[Process.COMPTON] = _COMPTON
_PROCESS_TYPE[[Process.CONVERSION, Process.PAIR_BY_CHARGED]] = _CONVERSION
_PROCESS_TYPE[Process.IONISATION_ELECTRON] = _IONISATION
_PROCESS_TYPE[Process.DELTA_RAY] = _DELTA
_PROCESS_TYPE[Process.DECAY] = _DECAY

_SHOWER, _TRACK_SHAPE, _MICHEL = int(Shape.SHOWER), int(Shape.TRACK), int(Shape.MICHEL)
_DELTA_SHAPE, _LE = int(Shape.DELTA), int(Shape.LE_SCATTER)
_MERGE_RANK = np.array([0, 3, 1, 2, 9])  # an LE scatter that touches several labels joins shower, Michel, delta, track


def label_particles(
    particles: npt.NDArray[np.void],
    voxels: ParticleVoxels,
    index: VoxelIndex,
    touching: Touching,
    settings: LabelSettings = LabelSettings(),
) -> Labels:
    """Shapes, merged labels, fragment and group ids of all particles, (P,) `PARTICLE_DTYPE`."""
    pdg, parent = particles["pdg"].astype(np.int64), particles["parent"].astype(np.int64)
    sizes = np.diff(voxels.offsets)
    kind = _types(pdg, parent, particles["process"].astype(np.int64))
    shape = _shapes(kind, pdg, parent, sizes, settings.delta_size, settings.compton_size)
    forest = _Forest(np.arange(len(pdg)), np.full(len(pdg), -1), np.arange(len(pdg)), shape)
    graph = _Graph(touching.starts, touching.neighbour, voxels.offsets, index.voxel, np.full(len(index.key), -1))
    _merge_all(forest, graph, kind, parent, settings.delta_size, settings.compton_size)
    fragment = _fragment_ids(forest, parent)
    return Labels(forest.root, shape, fragment, _groups(shape, parent, fragment))


class _Forest(NamedTuple):
    root: npt.NDArray[np.int64]
    next: npt.NDArray[np.int64]  # next member of the same label, -1 at the end
    tail: npt.NDArray[np.int64]  # last member of the label headed by this root
    shape: npt.NDArray[np.int64]


class _Graph(NamedTuple):
    starts: npt.NDArray[np.int64]  # touching particles
    neighbour: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]  # rows of voxels of each particle
    voxel: npt.NDArray[np.int64]  # voxel of each row
    stamp: npt.NDArray[np.int64]  # (U,) scratch: who was the last to count this voxel


@nb.njit(cache=True)
def _types(pdg, parent, process):
    kind = np.empty(len(pdg), np.int64)
    for i in range(len(pdg)):
        if pdg[i] == 2112 or pdg[i] > 1_000_000_000:
            kind[i] = _NEUTRON
        elif parent[i] < 0:
            kind[i] = _PRIMARY
        elif pdg[i] == 22:
            kind[i] = _PHOTON
        elif abs(pdg[i]) == 11:
            kind[i] = _PROCESS_TYPE[process[i]]
        else:
            kind[i] = _TRACK
    return kind


@nb.njit(cache=True)
def _shapes(kind, pdg, parent, sizes, delta_size, compton_size):
    """Rule 4. Only electrons, positrons and photons reach the types that depend on size."""
    shape = np.empty(len(pdg), np.int64)
    for i in range(len(pdg)):
        is_em = abs(pdg[i]) == 11 or pdg[i] == 22
        if kind[i] == _PRIMARY:
            shape[i] = _SHOWER if is_em else _TRACK_SHAPE
        elif kind[i] == _TRACK:
            shape[i] = _TRACK_SHAPE
        elif kind[i] == _PHOTON:
            shape[i] = _SHOWER
        elif kind[i] == _DELTA:
            shape[i] = _LE if sizes[i] < delta_size else _DELTA_SHAPE
        elif kind[i] == _DECAY and abs(pdg[parent[i]]) == 13:
            shape[i] = _MICHEL
        elif kind[i] == _DECAY or kind[i] == _CONVERSION or kind[i] == _COMPTON or kind[i] == _OTHER:
            shape[i] = _SHOWER if sizes[i] > compton_size else _LE
        else:  # ionisation, photoelectron, neutron, nucleus
            shape[i] = _LE
    return shape


@nb.njit(cache=True)
def _merge_all(forest, graph, kind, parent, delta_size, compton_size):
    """Rule 5, in Supera's order."""
    _merge_conversions(forest, kind, parent)
    _merge_touching_le(forest, graph, kind)
    _merge_into_shower_parent(forest, graph, parent)
    _merge_touching_showers(forest, graph, parent)
    for i in range(len(kind)):
        if forest.root[i] == i and kind[i] == _PHOTON and _size(forest, graph, i) < compton_size:
            forest.shape[i] = _LE
    _merge_touching_le(forest, graph, kind)
    for i in range(len(kind)):
        if forest.root[i] == i and forest.shape[i] == _LE and _size(forest, graph, i) >= compton_size:
            forest.shape[i] = _SHOWER
    _merge_small_deltas(forest, graph, parent, delta_size)
    for i in range(len(kind)):
        _find(forest, i)


@nb.njit(cache=True)
def _find(forest, i):
    top = i
    while forest.root[top] != top:
        top = forest.root[top]
    while forest.root[i] != top:  # shorten the path for the next time
        forest.root[i], i = top, forest.root[i]
    return top


@nb.njit(cache=True)
def _merge(forest, dest, label):
    forest.root[label] = dest
    forest.next[forest.tail[dest]] = label
    forest.tail[dest] = forest.tail[label]


@nb.njit(cache=True)
def _size(forest, graph, label):
    """Distinct voxels of a label."""
    count, member = 0, label
    # Members' rows repeat voxels; a stamp that nothing else uses marks those already counted.
    _clear(forest, graph, label)
    while member >= 0:
        for row in range(graph.offsets[member], graph.offsets[member + 1]):
            if graph.stamp[graph.voxel[row]] != label:
                graph.stamp[graph.voxel[row]] = label
                count += 1
        member = forest.next[member]
    return count


@nb.njit(cache=True)
def _clear(forest, graph, label):
    member = label
    while member >= 0:
        for row in range(graph.offsets[member], graph.offsets[member + 1]):
            graph.stamp[graph.voxel[row]] = -1
        member = forest.next[member]


@nb.njit(cache=True)
def _merge_conversions(forest, kind, parent):
    """An electron or positron of a pair belongs to its nearest ancestor that is still a label."""
    for i in range(len(kind)):
        if kind[i] != _CONVERSION:
            continue
        ancestor = parent[i]
        while ancestor >= 0 and forest.root[ancestor] != ancestor:
            ancestor = parent[ancestor]
        if ancestor >= 0:
            _merge(forest, ancestor, i)


@nb.njit(cache=True)
def _merge_touching_le(forest, graph, kind):
    """An LE scatter that touches a label joins it; of several the best rank, then the first. Repeated: it may relay."""
    merged = True
    while merged:
        merged = False
        for i in range(len(kind)):
            if forest.root[i] != i or forest.shape[i] != _LE or kind[i] == _NEUTRON:
                continue
            dest = _best_touched(forest, graph, i)
            if dest >= 0:
                _merge(forest, dest, i)
                merged = True


@nb.njit(cache=True)
def _best_touched(forest, graph, label):
    best, best_rank, member = -1, 9, label
    while member >= 0:
        for j in range(graph.starts[member], graph.starts[member + 1]):
            other = _find(forest, graph.neighbour[j])
            rank = _MERGE_RANK[forest.shape[other]]
            if other != label and (rank < best_rank or (rank == best_rank and rank < 9 and other < best)):
                best, best_rank = other, rank
        member = forest.next[member]
    return best


@nb.njit(cache=True)
def _next_touched(forest, graph, label, after):
    """The first label above `after` that this one touches, or -1."""
    best, member = -1, label
    while member >= 0:
        for j in range(graph.starts[member], graph.starts[member + 1]):
            other = _find(forest, graph.neighbour[j])
            if other > after and other != label and (best < 0 or other < best):
                best = other
        member = forest.next[member]
    return best


@nb.njit(cache=True)
def _touches(forest, graph, label, other):
    member = label
    while member >= 0:
        for j in range(graph.starts[member], graph.starts[member + 1]):
            if _find(forest, graph.neighbour[j]) == other:
                return True
        member = forest.next[member]
    return False


@nb.njit(cache=True)
def _is_shower_like(shape):
    return shape == _SHOWER or shape == _MICHEL or shape == _DELTA_SHAPE


@nb.njit(cache=True)
def _merge_into_shower_parent(forest, graph, parent):
    merged = True
    while merged:
        merged = False
        for i in range(len(parent)):
            if forest.root[i] != i or forest.shape[i] != _SHOWER or parent[i] < 0:
                continue
            dest = _find(forest, parent[i])
            if dest != i and _is_shower_like(forest.shape[dest]) and _touches(forest, graph, i, dest):
                _merge(forest, dest, i)
                merged = True


@nb.njit(cache=True)
def _merge_touching_showers(forest, graph, parent):
    """Touching showers of one family become one label, named after the larger."""
    merged = True
    while merged:
        merged = False
        for i in range(len(parent)):
            if forest.root[i] != i or forest.shape[i] != _SHOWER:
                continue
            other = _next_touched(forest, graph, i, i)
            while other >= 0:
                if forest.shape[other] == _SHOWER and _same_family(forest, parent, i, other):
                    merged = True
                    if _size(forest, graph, i) <= _size(forest, graph, other):
                        _merge(forest, other, i)
                        break
                    _merge(forest, i, other)
                other = _next_touched(forest, graph, i, other)


@nb.njit(cache=True)
def _same_family(forest, parent, a, b):
    """Do a and b share themselves or an ancestor that is a shower-like label, with no track on the way?"""
    x = a
    while x >= 0 and (x == a or forest.shape[x] != _TRACK_SHAPE):
        if x == a or (forest.root[x] == x and _is_shower_like(forest.shape[x])):
            y = b
            while y >= 0 and (y == b or forest.shape[y] != _TRACK_SHAPE):
                if y == x:
                    return True
                y = parent[y]
        x = parent[x]
    return False


@nb.njit(cache=True)
def _merge_small_deltas(forest, graph, parent, delta_size):
    """A delta ray of which fewer than `delta_size` voxels stand clear of its parent is part of the parent."""
    for i in range(len(parent)):
        if forest.root[i] != i or forest.shape[i] != _DELTA_SHAPE or parent[i] < 0:
            continue
        dest = parent[i]
        if forest.root[dest] != dest:
            continue
        own = _size(forest, graph, i)  # stamps the voxels of i
        member, shared = dest, 0
        while member >= 0:
            for row in range(graph.offsets[member], graph.offsets[member + 1]):
                if graph.stamp[graph.voxel[row]] == i:
                    graph.stamp[graph.voxel[row]] = -1
                    shared += 1
            member = forest.next[member]
        if own - shared < delta_size:
            _merge(forest, dest, i)


@nb.njit(cache=True)
def _fragment_ids(forest, parent):
    """Ids in Supera's order of output: labels that are no LE scatter, each followed by its ancestors; LE scatters last."""
    fragment = np.full(len(parent), -1)
    n = 0
    for low_energy in (False, True):
        for i in range(len(parent)):
            if forest.root[i] != i or (forest.shape[i] == _LE) != low_energy:
                continue
            a = i
            while a >= 0:
                if fragment[a] < 0:
                    fragment[a] = n
                    n += 1
                a = parent[a]
    return fragment


@nb.njit(cache=True)
def _groups(shape, parent, fragment):
    """Rule 6. A shower's group is its furthest ancestor without a track between; LE scatters on the way are passed over."""
    group = np.full(len(parent), -1)
    for i in range(len(parent)):
        if fragment[i] < 0 or shape[i] == _LE:
            continue
        group[i] = i
        a = parent[i] if shape[i] == _SHOWER else -1
        while a >= 0:
            if _is_shower_like(shape[a]):
                group[i] = a
            elif shape[a] != _LE:
                break
            a = parent[a]
    return group
