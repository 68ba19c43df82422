"""Augmentation: random rotations about the detector's centre, or reflections, nothing else."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations, product
from typing import Any

import numpy as np

from benchmark.contracts import PointBatch, Volumes

# A uniform one for each event | one of those that keep the lattice | one Euler draw for the batch | each event turned
# over, or not, in the first and in the second coordinate | no rotation.
ROTATIONS = ("event", "lattice", "batch", "mirror", "none")


def random_rotations(n: int, rng: np.random.Generator) -> np.ndarray:
    """(n, 3, 3) float64 rotation matrices, Haar-uniform on SO(3), from uniformly random unit quaternions.

    K. Shoemake, Uniform random rotations, Graphics Gems III (1992). Three uniform Euler angles, as in PoLAr-MAE's code,
    are not uniform on SO(3): they crowd the poles.
    """
    quaternion = rng.standard_normal((n, 4))
    w, x, y, z = (quaternion / np.linalg.norm(quaternion, axis=1, keepdims=True)).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), -1, 0)


def lattice_rotations() -> np.ndarray:
    """(24, 3, 3) float64: the proper rotations of the cube, which take voxels to voxels about a centre of integers."""
    signed = (np.diag(s)[list(p)] for p in permutations(range(3)) for s in product((1.0, -1.0), repeat=3))
    return np.array([m for m in signed if np.linalg.det(m) > 0])


def euler_rotation(angles: np.ndarray) -> np.ndarray:
    """(3, 3) float64 rotation Rx(a) Ry(b) Rz(c) of three angles in radians, which acts on column vectors."""
    (ca, cb, cc), (sa, sb, sc) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, ca, -sa], [0, sa, ca]])
    about_y = np.array([[cb, 0, sb], [0, 1, 0], [-sb, 0, cb]])
    about_z = np.array([[cc, -sc, 0], [sc, cc, 0], [0, 0, 1]])
    matrix: np.ndarray = about_x @ about_y @ about_z
    return matrix


def rotations(kind: str, n: int, rng: np.random.Generator) -> np.ndarray:
    """(n, 3, 3) rotations of a batch of n events, by any of ROTATIONS but `none`.

    `lattice` is the same uniform draw for each event, from the rotations that map voxels to
    voxels. `batch` is the published code's: one triple of angles, uniform in [-pi, pi), shared by
    all events. `mirror` is for calorimeters, whose barrel is symmetric under reflections along and across the beam:
    the signs of eta and phi are drawn, depth stays.
    """
    if kind == "mirror":
        signs = rng.choice((-1.0, 1.0), size=(n, 2))
        return np.stack([np.diag((eta, phi, 1.0)) for eta, phi in signs])
    if kind == "lattice":
        matrices = lattice_rotations()
        return matrices[rng.integers(len(matrices), size=n)]
    if kind == "batch":
        return np.repeat(euler_rotation(rng.uniform(-np.pi, np.pi, 3))[None], n, axis=0)
    return random_rotations(n, rng)


def rotate(batch: PointBatch[np.ndarray], matrices: np.ndarray) -> PointBatch[np.ndarray]:
    """A copy of a numpy batch with each event rotated about the frame's centre by its matrix of (B, 3, 3)."""
    centre = np.asarray(batch.frame.centre)
    turned = np.empty_like(batch.coords, dtype=np.float32)
    for matrix, begin, end in zip(matrices, batch.offsets[:-1], batch.offsets[1:], strict=True):
        turned[begin:end] = (batch.coords[begin:end] - centre) @ matrix.T + centre  # (n, 3)
    volumes = batch.volumes if batch.volumes.values is None else _mirror_volumes(batch.volumes, matrices)
    return replace(batch, coords=turned, volumes=volumes)


def _mirror_volumes(volumes: Volumes[np.ndarray], matrices: np.ndarray) -> Volumes[np.ndarray]:
    """Volumes flipped along axes with negative signs; x is the last axis. Volumes support reflections only."""
    axes = [tuple(2 - i for i in range(3) if m[i, i] < 0) for m in matrices]
    arrays = {name: getattr(volumes, name) for name in ("values", "target", "instance", "hidden")}
    turned: dict[str, Any] = {
        name: np.stack([np.flip(v, a) for v, a in zip(values, axes, strict=True)])
        for name, values in arrays.items()
        if values is not None
    }
    return replace(volumes, **turned)
