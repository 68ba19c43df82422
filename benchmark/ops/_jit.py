"""How kernels are compiled, in one file; typed so that mypy sees through the decorator."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt

from benchmark.compiled import njit

P = ParamSpec("P")
R = TypeVar("R")

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Int32 = npt.NDArray[np.int32]
Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile `function` at its first call and cache the machine code on disk.

    No fast-math: contraction or reordering would change which points lie exactly on a sphere. The interpreter lock is
    released, so that events can be grouped in threads.
    """
    compiled: Callable[P, R] = njit(cache=True, nogil=True, fastmath=False)(function)
    return compiled


def as_points(coords: npt.ArrayLike, name: str = "coords") -> Float32:
    """`coords` as contiguous (n, 3) float32; ValueError for another shape or a coordinate that is not finite."""
    points = np.ascontiguousarray(coords, dtype=np.float32)
    if points.ndim != 2 or points.shape[1] != 3:
        raise ValueError(f"{name} has shape {points.shape}. Points of one event, shape (n, 3), were expected.")
    if not np.isfinite(points).all():
        raise ValueError(f"{name} holds a coordinate that is not finite. Remove such points before grouping.")
    return points
