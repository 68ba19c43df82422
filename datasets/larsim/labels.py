"""Labels by Supera's rules: from particles and their voxels to clusters with a semantic type, a fragment and a group.

Every particle starts as a separate label, with a shape (semantic type) from its creation process and its number of
voxels. Labels are then merged: pair-produced electrons into their photon, small electrons into what they touch,
touching pieces of one shower, small delta rays into their parent. Two sets of rules are known and differ in details:
`larsoft` made PILArNet-M, `atomic` is its successor. Remaining low-energy scatters (LE) are isolated blips.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from . import supera_atomic, supera_larsoft
from .forest import Forest, Graph
from .touching import Touching, VoxelIndex
from .voxels import ParticleVoxels

Rules = Literal["larsoft", "atomic"]


class Shape(IntEnum):
    """Semantic types, numbered as in PILArNet-M."""

    SHOWER = 0
    TRACK = 1
    MICHEL = 2
    DELTA = 3
    LE_SCATTER = 4


@dataclass(frozen=True)
class LabelSettings:
    """Which rules, and the sizes in voxels that decide between shapes."""

    rules: Rules = "larsoft"  # LArSoft's Supera (PILArNet-M) or SuperaAtomic
    delta_size: int = 10  # delta rays with fewer voxels clear of the track belong to it (SuperaAtomic: 3)
    compton_size: int = 10  # electrons of at most, photons (larsoft: any cluster) below this size are LE scatters


ATOMIC = LabelSettings(rules="atomic", delta_size=3)


class Labels(NamedTuple):
    """Outcome for each of P particles."""

    root: npt.NDArray[np.int64]  # (P,) the particle whose label contains this one
    shape: npt.NDArray[np.int64]  # (P,) `Shape`; that of the root counts
    fragment: npt.NDArray[np.int64]  # (P,) id of the label, -1 where none is given
    group: npt.NDArray[np.int64]  # (P,) particle that heads the group, -1 where there is none
    stored: npt.NDArray[np.bool_]  # (P,) do the voxels of the label appear in the event?


def deposit_owners(particles: npt.NDArray[np.void], settings: LabelSettings) -> npt.NDArray[np.int64]:
    """(P,) the particle that each particle's deposits are counted for; -1 where the rules ignore them."""
    if settings.rules == "atomic":
        return np.arange(len(particles))
    owners: npt.NDArray[np.int64] = supera_larsoft.owners(*_columns(particles))
    return owners


def label_particles(
    particles: npt.NDArray[np.void],
    owners: npt.NDArray[np.int64],
    voxels: ParticleVoxels,
    index: VoxelIndex,
    touching: Touching,
    settings: LabelSettings,
) -> Labels:
    """Shapes, merged labels, fragments and groups of all particles, (P,) `PARTICLE_DTYPE`."""
    pdg, parent, process = _columns(particles)
    n = len(pdg)
    sizes = np.diff(voxels.offsets)
    graph = Graph(touching.starts, touching.neighbour, voxels.offsets, index.voxel, np.full(len(index.key), -1))
    root = np.where(owners < 0, np.arange(n), owners)
    if settings.rules == "atomic":
        kind = supera_atomic.kinds(pdg, parent, process)
        shape = supera_atomic.shapes(kind, pdg, parent, sizes, settings.delta_size, settings.compton_size)
        forest = Forest(root, np.full(n, -1), np.arange(n), shape)
        supera_atomic.merge_all(forest, graph, kind, parent, settings.delta_size, settings.compton_size)
        fragment = supera_atomic.fragment_ids(forest, parent)
        return Labels(root, shape, fragment, supera_atomic.groups(shape, parent, fragment), np.ones(n, dtype=np.bool_))
    kind = supera_larsoft.kinds(pdg, parent, process)
    shape = supera_larsoft.shapes(kind, pdg, parent, sizes, settings.compton_size)
    forest = Forest(root, np.full(n, -1), np.arange(n), shape)
    size = supera_larsoft.merge_all(forest, graph, kind, parent, settings.delta_size, settings.compton_size)
    fragment, head, stored = supera_larsoft.finish(forest, size, kind, parent, settings.compton_size)
    return Labels(root, shape, fragment, head, stored)


def _columns(particles: npt.NDArray[np.void]) -> tuple[npt.NDArray[np.int64], ...]:
    return tuple(particles[name].astype(np.int64) for name in ("pdg", "parent", "process"))
