"""Rules of LArSoft's Supera (SuperaMCParticleCluster): the labels of PILArNet-M.

They differ from SuperaAtomic's in that ionisation electrons always belong to the electron that knocked them out,
small electrons join only ancestors that they touch, nuclei leave nothing, delta rays need 10 voxels clear of the
track, and in the end every cluster of fewer than 10 voxels, a track included, is a low-energy scatter. The published
cluster rows agree: none that is known has fewer than 11 voxels.
"""

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
    touches,
)  # fmt: skip
from .truth import Process

_TYPES = np.full(len(Process), OTHER, dtype=np.int64)  # of electrons and positrons
_TYPES[Process.PRIMARY] = PRIMARY
_TYPES[Process.PHOTOELECTRIC] = PHOTOELECTRON
_TYPES[Process.COMPTON] = COMPTON
_TYPES[Process.CONVERSION] = CONVERSION
_TYPES[Process.IONISATION_ELECTRON] = IONISATION
_TYPES[[Process.DELTA_RAY, Process.PAIR_BY_CHARGED]] = KNOCK_ON
_TYPES[[Process.DECAY, Process.MU_CAPTURE]] = DECAY


@njit(cache=True)
def kinds(pdg, parent, process):
    """(P,) how each particle was made. Photons count as such even where they are primary."""
    kind = np.empty(len(pdg), np.int64)
    for i in range(len(pdg)):
        if pdg[i] == 22:
            kind[i] = PHOTON
        elif abs(pdg[i]) == 11:
            kind[i] = _TYPES[process[i]]
        elif pdg[i] == 2112:
            kind[i] = NEUTRON
        else:
            kind[i] = TRACKLIKE
    return kind


@njit(cache=True)
def owners(pdg, parent, process):
    """(P,) the particle that the deposits of each belong to from the start; -1 for nuclei, whose deposits are lost."""
    owner = np.empty(len(pdg), np.int64)
    for i in range(len(pdg)):
        if pdg[i] > 1_000_000:
            owner[i] = -1
            continue
        a = i
        # Parents stand before their daughters, so the parent's owner is known.
        if abs(pdg[i]) == 11 and process[i] == Process.IONISATION_ELECTRON and parent[i] >= 0 and owner[parent[i]] >= 0:
            a = owner[parent[i]]
        owner[i] = a
    return owner


@njit(cache=True)
def shapes(kind, pdg, parent, sizes, compton_size):
    """(P,) first shapes."""
    shape = np.full(len(pdg), LE)
    for i in range(len(pdg)):
        if kind[i] == TRACKLIKE:
            shape[i] = TRACK
        elif kind[i] == KNOCK_ON:
            shape[i] = DELTA
        elif kind[i] == DECAY and parent[i] >= 0 and abs(pdg[parent[i]]) == 13:
            shape[i] = MICHEL
        elif (
            kind[i] == PRIMARY
            or kind[i] == PHOTON
            or kind[i] == CONVERSION
            or kind[i] == DECAY
            or ((kind[i] == COMPTON or kind[i] == OTHER) and sizes[i] > compton_size)
        ):
            shape[i] = SHOWER
    return shape


@njit(cache=True)
def merge_all(forest, graph, kind, parent, delta_size, compton_size):
    """All merging, in Supera's order. Returns (P,) voxels of the labels, 0 for what is part of another."""
    _merge_le_into_ancestors(forest, graph, parent)
    merge_conversions(forest, kind == CONVERSION, parent)
    merge_into_shower_parent(forest, graph, parent)
    merge_touching_showers(forest, graph, parent)
    merge_small_deltas(forest, graph, parent, delta_size)
    _merge_le_into_ancestors(forest, graph, parent)
    size = np.zeros(len(parent), np.int64)
    for i in range(len(parent)):
        if find(forest, i) == i:
            size[i] = size_of(forest, graph, i)
    return size


@njit(cache=True)
def _merge_le_into_ancestors(forest, graph, parent):
    merged = True
    while merged:
        merged = False
        for i in range(len(parent)):
            if forest.root[i] != i or forest.shape[i] != LE:
                continue
            a = parent[i]
            while a >= 0:
                if forest.root[a] == a and touches(forest, graph, i, a):
                    merge(forest, a, i)
                    merged = True
                    break
                a = parent[a]


@njit(cache=True)
def heads_of_groups(shape, kind, parent):
    """(P,) the head of the group of each: for showers the furthest electromagnetic ancestor, else itself."""
    head = np.empty(len(parent), np.int64)
    for i in range(len(parent)):
        head[i] = i
        if shape[i] != SHOWER:
            continue
        a = parent[i]
        while a >= 0 and kind[a] != TRACKLIKE and kind[a] != NEUTRON:
            if is_shower_like(shape[a]):
                head[i] = a
                if shape[a] != SHOWER:
                    break
            a = parent[a]
    return head


@njit(cache=True)
def finish(forest, size, kind, parent, compton_size):
    """(P,) fragment ids, group heads, and whether the label is stored at all; shapes of small labels become LE.

    Ids count labels that are not LE at first, and the heads of their groups, in the order of the particles. An LE label
    is stored with its parent's or grandparent's label, and is lost where neither is stored.
    """
    n = len(parent)
    head = heads_of_groups(forest.shape, kind, parent)
    stored = np.zeros(n, np.bool_)
    for i in range(n):
        if forest.root[i] == i and size[i] > 0 and forest.shape[i] != LE:
            stored[i] = True
            stored[head[i]] = True
    fragment = np.full(n, -1)
    count = 0
    for i in range(n):
        if stored[i]:
            fragment[i] = count
            count += 1
    has_output = stored.copy()
    for i in range(n):
        if forest.root[i] == i and size[i] > 0 and forest.shape[i] == LE and parent[i] >= 0:
            up = parent[i]
            has_output[i] = stored[forest.root[up]] or (parent[up] >= 0 and stored[forest.root[parent[up]]])
    for i in range(n):
        if forest.root[i] == i and size[i] < compton_size:
            forest.shape[i] = LE
    return fragment, head, has_output
