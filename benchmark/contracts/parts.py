"""The optional parts of a `PointBatch`, each empty where a detector lacks it. No torch needed.

Of B events with N points. Arrays are numpy's on the data side and tensors after `PointBatch.to_torch`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

A = TypeVar("A", bound="np.ndarray | Tensor")  # array type of a batch


@dataclass(frozen=True)
class Links(Generic[A]):
    """Neighbouring points by detector geometry: E directed edges, both fields or none."""

    ends: A | None = None  # (E, 2) int64 sender and receiver, rows of the batch
    kind: A | None = None  # (E,) int64 kind of neighbours

    ARRAYS: ClassVar[tuple[str, ...]] = ("ends", "kind")


@dataclass(frozen=True)
class WholeEvents(Generic[A]):
    """Quantities of each whole event.

    `auxiliary` is None like the target when a model is scored.
    """

    feats: A | None = None  # (B, G) float32, model-ready, one named column each
    columns: tuple[str, ...] = ()  # the G names
    baseline: A | None = None  # (B,) float32 what a regression's output is added to, in the target's unit
    auxiliary: A | None = None  # (B, L) float32 further labels, one named column each
    auxiliary_columns: tuple[str, ...] = ()  # the L names

    ARRAYS: ClassVar[tuple[str, ...]] = ("feats", "baseline", "auxiliary")


@dataclass(frozen=True)
class Volumes(Generic[A]):
    """Images of Z x Y x X voxels, one per event; their bright voxels are the points of the batch.

    A token is an equal part of a volume, of which there are Tz x Ty x Tx. `target` and `instance` are None when a model
    is scored.
    """

    values: A | None = None  # (B, Z, Y, X) float32, model-ready; 0 in hidden tokens
    target: A | None = None  # (B, Z, Y, X) int64 classes or, where the volume itself is predicted, its float32 values
    instance: A | None = None  # (B, Z, Y, X) int64, 0 outside all instances
    hidden: A | None = None  # (B, Tz, Ty, Tx) bool, the tokens to predict
    voxel: A | None = None  # (N,) int64 flat (C-order) index of each point in its own volume

    ARRAYS: ClassVar[tuple[str, ...]] = ("values", "target", "instance", "hidden", "voxel")

    @property
    def hidden_voxels(self) -> A:
        """(B, Z, Y, X) bool the voxels of hidden tokens. Raises ValueError without volumes or mask."""
        voxels: Any = self.hidden
        if self.values is None or voxels is None:
            raise ValueError("A batch has no tokens that may be hidden. Volumes to be predicted were expected.")
        for axis in (1, 2, 3):
            times = self.values.shape[axis] // voxels.shape[axis]
            is_numpy = isinstance(voxels, np.ndarray)
            voxels = voxels.repeat(times, axis) if is_numpy else voxels.repeat_interleave(times, axis)
        hidden: A = voxels
        return hidden


@dataclass(frozen=True)
class Views(Generic[A]):
    """What a pretext made of each event, and what only its loss may read; empty outside of its pre-training.

    The "events" of such a batch are views. Points of two views that lie close together in `coords` show the same part
    of an event, however the views were cut, turned and displaced.
    """

    coords: A | None = None  # (N, 3) float32 where each point lay in its event, in the frame's unit
    hidden: A | None = None  # (N,) bool points whose features the model does not see
    targets: A | None = None  # (N, T) float32 values to predict; read where `hidden`
    event: A | None = None  # (B,) int64 number of the event that each view shows
    kind: A | None = None  # (B,) int64 kind of each view, as the pretext numbers them

    ARRAYS: ClassVar[tuple[str, ...]] = ("coords", "hidden", "targets", "event", "kind")
