"""Rules of SuperaAtomic (LArTPCMLReco3D): the labels of dlpgen-opt and of other edep-sim productions."""

from __future__ import annotations

import numpy as np

from benchmark.compiled import njit

from .forest import (
    COMPTON,
    CONVERSION,
    DECAY,
    DELTA,
    IONISATION,
    KNOCK_ON,
    LE,
    MICHEL,
    NEUTRON,
    OTHER,
    PHOTOELECTRON,
    PHOTON,
    PRIMARY,
    SHOWER,
    TRACK,
    TRACKLIKE,
    find,
    is_shower_like,
    merge,
    merge_conversions,
    merge_into_shower_parent,
    merge_small_deltas,
    merge_touching_showers,
    size_of,
)  # fmt: skip
from .truth import Process

_TYPES = np.full(len(Process), OTHER, dtype=np.int64)  # of electrons and positrons
_TYPES[Process.PHOTOELECTRIC] = PHOTOELECTRON
_TYPES[Process.COMPTON] = COMPTON
_TYPES[[Process.CONVERSION, Process.PAIR_BY_CHARGED]] = CONVERSION
_TYPES[Process.IONISATION_ELECTRON] = IONISATION
_TYPES[Process.DELTA_RAY] = KNOCK_ON
_TYPES[Process.DECAY] = DECAY
_MERGE_RANK = np.array([0, 3, 1, 2, 9])  # an LE scatter that touches several labels joins shower, Michel, delta, track


@njit(cache=True)
def kinds(pdg, parent, process):
    """(P,) how each particle was made; neutrons and nuclei before anything else."""
    kind = np.empty(len(pdg), np.int64)
    for i in range(len(pdg)):
        if pdg[i] == 2112 or pdg[i] > 1_000_000_000:
            kind[i] = NEUTRON
        elif parent[i] < 0:
            kind[i] = PRIMARY
        elif pdg[i] == 22:
            kind[i] = PHOTON
        elif abs(pdg[i]) == 11:
            kind[i] = _TYPES[process[i]]
        else:
            kind[i] = TRACKLIKE
    return kind


@njit(cache=True)
def shapes(kind, pdg, parent, sizes, delta_size, compton_size):
    """(P,) first shapes. Only electrons, positrons and photons reach the types that depend on size."""
    shape = np.empty(len(pdg), np.int64)
    for i in range(len(pdg)):
        if kind[i] == PRIMARY:
            shape[i] = SHOWER if abs(pdg[i]) == 11 or pdg[i] == 22 else TRACK
        elif kind[i] == TRACKLIKE:
            shape[i] = TRACK
        elif kind[i] == PHOTON:
            shape[i] = SHOWER
        elif kind[i] == KNOCK_ON:
            shape[i] = LE if sizes[i] < delta_size else DELTA
        elif kind[i] == DECAY and abs(pdg[parent[i]]) == 13:
            shape[i] = MICHEL
        elif kind[i] == DECAY or kind[i] == CONVERSION or kind[i] == COMPTON or kind[i] == OTHER:
            shape[i] = SHOWER if sizes[i] > compton_size else LE
        else:  # ionisation, photoelectron, neutron, nucleus
            shape[i] = LE
    return shape


@njit(cache=True)
def merge_all(forest, graph, kind, parent, delta_size, compton_size):
    """All merging, in SuperaAtomic's order."""
    merge_conversions(forest, kind == CONVERSION, parent)
    _merge_touching_le(forest, graph, kind)
    merge_into_shower_parent(forest, graph, parent)
    merge_touching_showers(forest, graph, parent)
    for i in range(len(kind)):
        if forest.root[i] == i and kind[i] == PHOTON and size_of(forest, graph, i) < compton_size:
            forest.shape[i] = LE
    _merge_touching_le(forest, graph, kind)
    for i in range(len(kind)):
        if forest.root[i] == i and forest.shape[i] == LE and size_of(forest, graph, i) >= compton_size:
            forest.shape[i] = SHOWER
    merge_small_deltas(forest, graph, parent, delta_size)
    for i in range(len(kind)):
        find(forest, i)


@njit(cache=True)
def _merge_touching_le(forest, graph, kind):
    """An LE scatter that touches a label joins it; of several the best rank, then the first. Repeated: it may relay."""
    merged = True
    while merged:
        merged = False
        for i in range(len(kind)):
            if forest.root[i] != i or forest.shape[i] != LE or kind[i] == NEUTRON:
                continue
            dest = _best_touched(forest, graph, i)
            if dest >= 0:
                merge(forest, dest, i)
                merged = True


@njit(cache=True)
def _best_touched(forest, graph, label):
    best, best_rank, member = -1, 9, label
    while member >= 0:
        for j in range(graph.starts[member], graph.starts[member + 1]):
            other = find(forest, graph.neighbour[j])
            rank = _MERGE_RANK[forest.shape[other]]
            if other != label and (rank < best_rank or (rank == best_rank and rank < 9 and other < best)):
                best, best_rank = other, rank
        member = forest.next[member]
    return best


@njit(cache=True)
def fragment_ids(forest, parent):
    """(P,) ids in the order of output: labels that are no LE scatter, each before its ancestors; LE scatters last."""
    fragment = np.full(len(parent), -1)
    n = 0
    for low_energy in (False, True):
        for i in range(len(parent)):
            if forest.root[i] != i or (forest.shape[i] == LE) != low_energy:
                continue
            a = i
            while a >= 0:
                if fragment[a] < 0:
                    fragment[a] = n
                    n += 1
                a = parent[a]
    return fragment


@njit(cache=True)
def groups(shape, parent, fragment):
    """(P,) group heads: a shower's is its furthest ancestor without a track between; LE scatters are passed over."""
    group = np.full(len(parent), -1)
    for i in range(len(parent)):
        if fragment[i] < 0 or shape[i] == LE:
            continue
        group[i] = i
        a = parent[i] if shape[i] == SHOWER else -1
        while a >= 0:
            if is_shower_like(shape[a]):
                group[i] = a
            elif shape[a] != LE:
                break
            a = parent[a]
    return group
