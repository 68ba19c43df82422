"""One labelled event in PILArNet-M's arrays: `point`, `cluster`, `cluster_extra`.

A voxel that several labels share has their summed energy and belongs to the one of highest semantic priority (Supera's
rule 7: track, Michel, shower, delta, low-energy scatter), among equals to the one with most energy there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from benchmark.compiled import njit

from .labels import Labels, LabelSettings, Shape, deposit_owners, label_particles
from .touching import VoxelIndex, index_voxels, touching_particles
from .truth import EventTruth
from .voxels import ParticleVoxels, VoxelSettings, key_to_voxel, voxelise

LOW_ENERGY_ROW = (-1, -1, -1, int(Shape.LE_SCATTER), -1)  # fragment, group, interaction, semantic, pid
PID = {22: 0, 11: 1, 13: 2, 211: 3, 2212: 4}  # by |PDG number| of the particle that heads the group; others are -1
# The masses (MeV) that PILArNet-M stores, by |PDG number|; the electron's is as published there.
STORED_MASS = {22: 0.0, 11: 0.511998, 13: 105.658, 211: 139.570, 321: 493.677, 2212: 938.272}
_PRIORITY = np.array([2, 0, 1, 3, 4])  # rank of shower, track, Michel, delta, LE


class Image(NamedTuple):
    """An event as it is stored. Points are sorted by cluster; cluster row 0 holds all low-energy scatters."""

    point: npt.NDArray[np.float32]  # (N, 8) x, y, z voxel; MeV; MeV; ns; electrons; path in the voxel in cm
    cluster: npt.NDArray[np.int64]  # (M, 6) points, fragment, group, interaction, semantic, pid
    cluster_extra: npt.NDArray[np.float32]  # (M, 5) mass MeV, |p| GeV/c, vertex x, y, z mm


@dataclass(frozen=True)
class ImageSettings:
    """Everything between the simulated truth and the stored event."""

    voxels: VoxelSettings = field(default_factory=VoxelSettings)
    labels: LabelSettings = field(default_factory=LabelSettings)


def make_image(truth: EventTruth, settings: ImageSettings = ImageSettings()) -> Image:
    """Voxels, labels and clusters of one simulated event."""
    owners = deposit_owners(truth.particles, settings.labels)
    voxels = voxelise(truth, settings.voxels, owners)
    index = index_voxels(voxels)
    touching = touching_particles(voxels, index)
    labels = label_particles(truth.particles, owners, voxels, index, touching, settings.labels)
    return assemble(truth.particles, voxels, index, labels)


def assemble(particles: npt.NDArray[np.void], voxels: ParticleVoxels, index: VoxelIndex, labels: Labels) -> Image:
    """Assign every voxel to one label and build the tables."""
    owner, sums = _own_voxels(index, voxels, labels.root, labels.shape, labels.stored)
    has_owner = owner >= 0
    owner, sums, key = owner[has_owner], sums[has_owner], index.key[has_owner]
    is_low_energy = labels.shape[owner] == Shape.LE_SCATTER
    cluster_id = np.where(is_low_energy, -1, labels.fragment[owner])
    order = np.argsort((cluster_id + 1 << 30) + key, kind="stable")
    point = np.empty((len(owner), 8), dtype=np.float32)
    point[:, :3] = key_to_voxel(key)[order]
    point[:, 3:] = sums[order][:, (0, 0, 1, 2, 3)]

    heads, first = np.unique(cluster_id[order], return_index=True)
    counts = np.diff(np.append(first, len(order)))
    visible = heads >= 0
    n_low_energy = int(counts[~visible].sum())
    fragments = owner[order[first[visible]]]
    rows, extra = _cluster_rows(particles, labels, fragments)
    cluster = np.concatenate([[(n_low_energy, *LOW_ENERGY_ROW)], np.column_stack([counts[visible], rows])])
    return Image(point, cluster.astype(np.int64), np.concatenate([np.full((1, 5), -1.0), extra]).astype(np.float32))


def _cluster_rows(
    particles: npt.NDArray[np.void], labels: Labels, fragments: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """(F, 5) fragment, group, interaction, semantic, pid and (F, 5) mass, |p|, vertex of F label heads."""
    heads = particles[fragments]
    vertices = _primary_vertices(particles, fragments)
    _, interaction = np.unique(vertices, axis=0, return_inverse=True)  # ids ascend with the vertex's x
    group = labels.group[fragments]
    pid = [PID.get(int(p), -1) for p in np.abs(particles["pdg"][group])]
    shape = labels.shape[fragments]
    rows = np.column_stack([labels.fragment[fragments], labels.fragment[group], interaction.reshape(-1), shape, pid])
    mass = [STORED_MASS.get(abs(int(p)), float(m)) for p, m in zip(heads["pdg"], heads["mass"], strict=True)]
    momentum = np.sqrt(heads["px"] ** 2 + heads["py"] ** 2 + heads["pz"] ** 2) * 1e-3
    return rows.reshape(-1, 5), np.column_stack([mass, momentum, vertices]).reshape(-1, 5)


def _primary_vertices(particles: npt.NDArray[np.void], fragments: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """(F, 3) mm: where the primary ancestor of each fragment started."""
    top = _primaries(particles["parent"].astype(np.int64), fragments)
    return np.column_stack([particles[axis][top] for axis in "xyz"]).astype(np.float64)


@njit(cache=True)
def _primaries(parent, fragments):
    top = fragments.copy()
    for i in range(len(top)):
        while parent[top[i]] >= 0:
            top[i] = parent[top[i]]
    return top


@njit(cache=True)
def _own_voxels(index, voxels, root, shape, stored):
    """Owner (label head, -1: none) of each of U voxels; (U, 4) energy MeV, earliest time ns, electrons, path cm."""
    n = len(index.key)
    owner, sums = np.empty(n, np.int64), np.zeros((n, 4))
    for u in range(n):
        best, best_rank, best_energy = np.int64(-1), 9, 0.0
        sums[u, 1] = np.inf
        for row in index.entry[index.starts[u] : index.starts[u + 1]]:
            head = root[voxels.particle[row]]
            if not stored[head]:
                continue
            rank, energy = _PRIORITY[shape[head]], voxels.energy[row]
            if rank < best_rank or (rank == best_rank and energy > best_energy):
                best, best_rank, best_energy = head, rank, energy
            sums[u, 0] += energy
            sums[u, 1] = min(sums[u, 1], voxels.time[row])
            sums[u, 2] += voxels.electrons[row]
            sums[u, 3] += voxels.length[row]
        owner[u] = best
    return owner, sums
