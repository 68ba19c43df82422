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
    """One event before preprocessing: a whole readout, or the part of it that a task looks at.

    coords (N, 3) float32 in the frame's unit; energy (N,) float32 in the dataset's energy unit; labels: named (N,)
    int64 arrays (point labels), (N, C) float32 (fractions of a point's truth) or scalars (event labels).
    """

    event_id: str
    coords: np.ndarray
    energy: np.ndarray
    labels: Mapping[str, np.ndarray] = field(default_factory=dict)
    features: Mapping[str, np.ndarray] = field(default_factory=dict)  # further named (N,) columns
    scalars: Mapping[str, float] = field(default_factory=dict)  # what was measured of the event as a whole, by name
    links: np.ndarray | None = None  # (E, 2) int64 sender and receiver among the N points, as the detector is built
    link_kind: np.ndarray | None = None  # (E,) int64 which kind of neighbours they are
    volume: np.ndarray | None = (
        None  # (Z, Y, X) float32 of an image, whose labels have a value per voxel; no points then
    )

    @property
    def n_points(self) -> int:
        """Number of points N."""
        return len(self.energy)


@dataclass(frozen=True)
class PointBatch:
    """Ragged points of B events, concatenated; no padding. Event b owns rows offsets[b]:offsets[b+1].

    coords (N, 3) float32 in the frame's unit (after augmentation no longer integers); energy (N,) float32 raw energy;
    feats (N, C) float32, model-ready, one named column each; offsets (B+1,) int64; target (N,), (N, C) or (B,) or None
    (always None when a model is scored); instance (N,) int64 or None.

    What only some detectors have, None or empty elsewhere: event_feats (B, G) float32, model-ready, one named column
    each; links (E, 2) int64 sender and receiver, rows of this batch, and their kind; baseline (B,) float32 what a
    regression's output is added to; auxiliary (B, A) float32 further labels, None like the target when a model is
    scored. `point_info` (N,) and `event_info` (B,) hold quantities in the data's own units by name: geometry for models
    that are built on it, and the experiment's own reconstruction for classical baselines.

    Of tasks on volumes: volume (B, Z, Y, X) float32, model-ready; volume_target (B, Z, Y, X), int64 classes or, where
    the volume itself is predicted, its float32 values; volume_instance (B, Z, Y, X) int64, 0 outside all instances;
    hidden (B, Tz, Ty, Tx) bool, the tokens to predict, which are 0 in `volume` (a token is an equal part of a volume).
    Bright voxels come as points too, with `voxel` (N,) int64 the place of each in its own volume, counted as C does.
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
    event_feats: Array | None = None
    event_columns: tuple[str, ...] = ()
    links: Array | None = None
    link_kind: Array | None = None
    baseline: Array | None = None
    auxiliary: Array | None = None
    auxiliary_columns: tuple[str, ...] = ()
    volume: Array | None = None
    volume_target: Array | None = None
    volume_instance: Array | None = None
    hidden: Array | None = None
    voxel: Array | None = None
    point_info: Mapping[str, Array] = field(default_factory=dict)
    event_info: Mapping[str, Array] = field(default_factory=dict)
    prepared: Any = None  # what `TorchModel.prepare` has made of it, while training on a GPU

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
        from benchmark.ops.host_tables import like

        return (self.coords - like(self.frame.centre, self.coords)) * self.frame.scale

    @property
    def hidden_voxels(self) -> Array:
        """(B, Z, Y, X) bool the voxels of hidden tokens."""
        voxels: Any = self.hidden
        shape: tuple[int, ...] = self.volume.shape  # type: ignore[union-attr]
        for axis in (1, 2, 3):
            times = shape[axis] // voxels.shape[axis]
            is_numpy = isinstance(voxels, np.ndarray)
            voxels = voxels.repeat(times, axis) if is_numpy else voxels.repeat_interleave(times, axis)
        return voxels

    def column(self, name: str) -> Array:
        """(N,) the feature column of this name."""
        return self.feats[:, self.columns.index(name)]

    def to_torch(self, device: str | torch.device = "cpu") -> PointBatch:
        """The same batch with every array as a tensor on `device`."""
        import torch

        return self.map_arrays(lambda a: torch.as_tensor(a).to(device, non_blocking=True))

    def pin_memory(self) -> PointBatch:
        """Tensors in memory that a GPU copies from by itself; torch's loaders ask for it."""
        import torch

        return self.map_arrays(lambda a: torch.as_tensor(a).pin_memory())

    def map_arrays(self, function: Any) -> PointBatch:
        """A copy with `function` applied to every array."""
        present: dict[str, Any] = {n: function(getattr(self, n)) for n in _ARRAYS if getattr(self, n) is not None}
        for name in ("point_info", "event_info"):
            present[name] = {key: function(values) for key, values in getattr(self, name).items()}
        return dataclasses.replace(self, **present)

    def label(self, name: str) -> Array:
        """(B,) the auxiliary label of this name; only a batch with labels has it."""
        labels: Array = self.auxiliary
        return labels[:, self.auxiliary_columns.index(name)]

    def without_target(self) -> PointBatch:
        """A copy that a model may be scored on: no labels in it."""
        none = dict.fromkeys(("target", "instance", "auxiliary", "volume_target", "volume_instance"))
        return dataclasses.replace(self, **none)  # type: ignore[arg-type]

    def with_coords(self, coords: Array) -> PointBatch:
        """A copy with other coordinates (augmentation)."""
        return dataclasses.replace(self, coords=coords)


_ARRAYS = (
    "coords", "energy", "feats", "offsets", "target", "instance", "event_feats", "links", "link_kind", "baseline",
    "auxiliary", "volume", "volume_target", "volume_instance", "hidden", "voxel",
)  # fmt: skip


def concatenate(batches: Sequence[PointBatch]) -> PointBatch:
    """One numpy batch from several (usually one per event), in the given order."""
    first = batches[0]
    lengths = np.concatenate([np.asarray(b.lengths) for b in batches])
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)

    def join(name: str) -> Array | None:
        parts = [getattr(b, name) for b in batches]
        return None if parts[0] is None else np.concatenate(parts)

    def join_each(name: str) -> dict[str, Array]:
        return {key: np.concatenate([getattr(b, name)[key] for b in batches]) for key in getattr(first, name)}

    joined: dict[str, Any] = {name: join(name) for name in _ARRAYS if name not in ("offsets", "links")}
    if first.links is not None:
        before = np.cumsum([0, *(b.n_points for b in batches[:-1])])
        joined["links"] = np.concatenate([b.links + n for b, n in zip(batches, before, strict=True)])
    return dataclasses.replace(
        first,
        **joined,
        offsets=offsets,
        event_ids=tuple(i for b in batches for i in b.event_ids),
        point_info=join_each("point_info"),
        event_info=join_each("event_info"),
    )
