"""The data contract: an `Event` as a dataset gives it, and a `PointBatch` as a model receives it. No torch needed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

Array = Any  # numpy array on the data side, torch tensor after `PointBatch.to_torch`


@dataclass(frozen=True)
class Frame:
    """The detector's own coordinate frame, the same for every event; models normalise with it.

    `(coords - centre) * scale` lies in the unit ball for every point of the detector.
    """

    centre: tuple[float, float, float]
    scale: float  # 1 / coordinate units
    extent: tuple[float, float, float]  # size of the detector in coordinate units
    unit: str  # what one coordinate unit is, e.g. "voxel of 3 mm"


@dataclass(frozen=True)
class Event:
    """One event before preprocessing.

    coords (N, 3) float32 in the frame's unit; energy (N,) float32 in the dataset's energy unit; labels: named (N,)
    int64 arrays (point labels) or scalars (event labels).
    """

    event_id: str
    coords: np.ndarray
    energy: np.ndarray
    labels: Mapping[str, np.ndarray] = field(default_factory=dict)
    features: Mapping[str, np.ndarray] = field(default_factory=dict)  # further named (N,) columns

    @property
    def n_points(self) -> int:
        """Number of points N."""
        return len(self.energy)


@dataclass(frozen=True)
class PointBatch:
    """Ragged points of B events, concatenated; no padding. Event b owns rows offsets[b]:offsets[b+1].

    coords (N, 3) float32 in the frame's unit (after augmentation no longer integers); energy (N,) float32 raw energy;
    feats (N, C) float32, model-ready, one named column each; offsets (B+1,) int64; target (N,) or (B,) or None
    (always None when a model is scored); instance (N,) int64 or None.
    """

    coords: Array
    energy: Array
    feats: Array
    offsets: Array
    event_ids: tuple[str, ...]
    columns: tuple[str, ...]
    frame: Frame
    target: Array | None = None
    instance: Array | None = None

    @property
    def n_events(self) -> int:
        """Number of events B."""
        return len(self.event_ids)

    @property
    def n_points(self) -> int:
        """Number of points N over all events."""
        return int(self.coords.shape[0])

    @property
    def lengths(self) -> Array:
        """(B,) int64 points per event."""
        return self.offsets[1:] - self.offsets[:-1]

    @property
    def event_index(self) -> Array:
        """(N,) int64 which event of the batch each point belongs to."""
        if isinstance(self.offsets, np.ndarray):
            return np.repeat(np.arange(self.n_events), self.lengths)
        import torch

        index = torch.arange(self.n_events, device=self.offsets.device)
        return torch.repeat_interleave(index, self.lengths, output_size=self.n_points)

    @property
    def normalised_coords(self) -> Array:
        """(N, 3) coordinates in the unit ball: (coords - centre) * scale, in float32."""
        if isinstance(self.coords, np.ndarray):
            centre: Array = np.asarray(self.frame.centre, dtype=self.coords.dtype)
            return (self.coords - centre) * self.coords.dtype.type(self.frame.scale)
        return (self.coords - self.coords.new_tensor(self.frame.centre)) * self.frame.scale

    def column(self, name: str) -> Array:
        """(N,) the feature column of this name."""
        return self.feats[:, self.columns.index(name)]

    def to_torch(self, device: str | torch.device = "cpu") -> PointBatch:
        """The same batch with every array as a tensor on `device`."""
        import torch

        return self.map_arrays(lambda a: torch.as_tensor(a).to(device, non_blocking=True))

    def map_arrays(self, function: Any) -> PointBatch:
        """A copy with `function` applied to every array."""
        names = ("coords", "energy", "feats", "offsets", "target", "instance")
        present = {n: function(getattr(self, n)) for n in names if getattr(self, n) is not None}
        return dataclasses.replace(self, **present)

    def without_target(self) -> PointBatch:
        """A copy that a model may be scored on: no labels in it."""
        return dataclasses.replace(self, target=None, instance=None)

    def with_coords(self, coords: Array) -> PointBatch:
        """A copy with other coordinates (augmentation)."""
        return dataclasses.replace(self, coords=coords)


def concatenate(batches: Sequence[PointBatch]) -> PointBatch:
    """One numpy batch from several (usually one per event), in the given order."""
    first = batches[0]
    lengths = np.concatenate([np.asarray(b.lengths) for b in batches])

    def join(name: str) -> Array | None:
        parts = [getattr(b, name) for b in batches]
        return None if parts[0] is None else np.concatenate(parts)

    return PointBatch(
        coords=join("coords"),
        energy=join("energy"),
        feats=join("feats"),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        event_ids=tuple(i for b in batches for i in b.event_ids),
        columns=first.columns,
        frame=first.frame,
        target=join("target"),
        instance=join("instance"),
    )
