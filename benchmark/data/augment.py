"""Augmentation: one uniformly random rotation per event about the detector's centre, and nothing else."""

from __future__ import annotations

import numpy as np

from benchmark.contracts import PointBatch


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


def rotate(batch: PointBatch, rng: np.random.Generator) -> PointBatch:
    """A copy of a numpy batch with each event turned by a rotation of its own about the frame's centre."""
    centre = np.asarray(batch.frame.centre)
    turned = np.empty_like(batch.coords, dtype=np.float32)
    for matrix, begin, end in zip(
        random_rotations(batch.n_events, rng), batch.offsets[:-1], batch.offsets[1:], strict=True
    ):
        turned[begin:end] = (batch.coords[begin:end] - centre) @ matrix.T + centre  # (n, 3)
    return batch.with_coords(turned)
