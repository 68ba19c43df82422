"""The data contract: an `Event` from a dataset, and the `PointBatch` that a model receives. No torch needed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

from benchmark.contracts.parts import A, Links, Views, Volumes, WholeEvents

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Other = TypeVar("Other", bound="np.ndarray | Tensor")
Part = TypeVar("Part", Links[Any], WholeEvents[Any], Volumes[Any], Views[Any])


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
    """One event before preprocessing: a whole readout, or the part of it that a task uses.

    coords (N, 3) float32 in the frame's unit; energy (N,) float32 in the dataset's energy unit; labels: named (N,)
    int64 arrays (point labels), (N, C) float32 (fractions of a point's truth) or scalars (event labels).
    """

    event_id: str
    coords: np.ndarray
    energy: np.ndarray
    labels: Mapping[str, np.ndarray] = field(default_factory=dict)
    features: Mapping[str, np.ndarray] = field(default_factory=dict)  # further named (N,) columns
    scalars: Mapping[str, float] = field(default_factory=dict)  # measured of the whole event, by name
    links: np.ndarray | None = None  # (E, 2) int64 sender and receiver among the N points, detector geometry
    link_kind: np.ndarray | None = None  # (E,) int64 kind of neighbours
    volume: np.ndarray | None = (
        None  # (Z, Y, X) float32 of an image, whose labels have a value per voxel; no points then
    )

    @property
    def n_points(self) -> int:
        """Number of points N."""
        return len(self.energy)


@dataclass(frozen=True)
class PointBatch(Generic[A]):
    """Ragged points of B events, concatenated; no padding. Event b owns rows offsets[b]:offsets[b+1].

    All arrays are numpy's, `PointBatch[np.ndarray]`, until `to_torch` makes a `PointBatch[Tensor]` of the batch. Models
    of points read the first eight fields; the others are empty for most detectors.
    """

    coords: A  # (N, 3) float32 in the frame's unit; after augmentation no longer whole numbers
    energy: A  # (N,) float32 as measured, in the dataset's energy unit
    feats: A  # (N, C) float32, model-ready
    offsets: A  # (B+1,) int64
    event_ids: tuple[str, ...]  # B names
    columns: tuple[str, ...]  # names of the C columns of `feats`
    frame: Frame
    # (N,) int64 classes or (N, C) float32 fractions of points, (B,) int64 classes or float32 values of events; None
    # when a model is scored
    target: A | None = None
    instance: A | None = None  # (N,) int64 instance of each point; None like the target
    # quantities in the data's own units by name, for models that are built on the detector's geometry, and for
    # classical baselines, which read the experiment's own reconstruction
    point_info: Mapping[str, A] = field(default_factory=dict)  # (N,) each
    event_info: Mapping[str, A] = field(default_factory=dict)  # (B,) each
    links: Links[A] = field(default_factory=Links)
    whole: WholeEvents[A] = field(default_factory=WholeEvents)
    volumes: Volumes[A] = field(default_factory=Volumes)
    views: Views[A] = field(default_factory=Views)
    prepared: Any = None  # result of `TorchModel.prepare`, while training on a GPU

    @property
    def n_events(self) -> int:
        """Number of events B."""
        return len(self.event_ids)

    @property
    def n_points(self) -> int:
        """Number of points N over all events."""
        return int(self.coords.shape[0])

    @property
    def lengths(self) -> A:
        """(B,) int64 points per event."""
        offsets: Any = self.offsets
        lengths: A = offsets[1:] - offsets[:-1]
        return lengths

    @property
    def event_index(self) -> A:
        """(N,) int64 which event of the batch each point belongs to."""
        lengths: Any = self.lengths
        index: Any
        if isinstance(self.offsets, np.ndarray):
            index = np.repeat(np.arange(self.n_events), lengths)
        else:
            import torch

            events = torch.arange(self.n_events, device=self.offsets.device)
            index = torch.repeat_interleave(events, lengths, output_size=self.n_points)
        of_point: A = index
        return of_point

    @property
    def normalised_coords(self) -> A:
        """(N, 3) coordinates in the unit ball: (coords - centre) * scale, in float32."""
        coords: Any = self.coords
        scale: Any = self.frame.scale
        if isinstance(coords, np.ndarray):
            centre: Any = np.asarray(self.frame.centre, dtype=coords.dtype)
            scale = coords.dtype.type(scale)
        else:
            from benchmark.ops.host_tables import like

            centre = like(self.frame.centre, coords)
        normalised: A = (coords - centre) * scale
        return normalised

    # Aliases for baselines with committed results; new code reads the parts.

    @property
    def event_feats(self) -> A | None:
        """(B, G) float32 features of events as a whole: `whole.feats`."""
        return self.whole.feats

    @property
    def volume(self) -> A | None:
        """(B, Z, Y, X) float32: `volumes.values`."""
        return self.volumes.values

    @property
    def volume_target(self) -> A | None:
        """(B, Z, Y, X) int64 or float32: `volumes.target`."""
        return self.volumes.target

    @property
    def hidden(self) -> A | None:
        """(B, Tz, Ty, Tx) bool: `volumes.hidden`."""
        return self.volumes.hidden

    @property
    def hidden_voxels(self) -> A:
        """(B, Z, Y, X) bool: `volumes.hidden_voxels`."""
        return self.volumes.hidden_voxels

    def column(self, name: str) -> A:
        """(N,) the feature column of this name."""
        feats: Any = self.feats
        values: A = feats[:, self.columns.index(name)]
        return values

    def label(self, name: str) -> A:
        """(B,) the auxiliary label of this name; only a batch with labels has it."""
        labels: Any = self.whole.auxiliary
        values: A = labels[:, self.whole.auxiliary_columns.index(name)]
        return values

    def to_torch(self, device: str | torch.device = "cpu") -> PointBatch[Tensor]:
        """The same batch with every array as a tensor on `device`."""
        import torch

        return self.map_arrays(lambda a: torch.as_tensor(a).to(device, non_blocking=True))

    def pin_memory(self) -> PointBatch[Tensor]:
        """Tensors in pinned memory, for torch's loaders."""
        import torch

        return self.map_arrays(lambda a: torch.as_tensor(a).pin_memory())

    def map_arrays(self, function: Callable[[A], Other]) -> PointBatch[Other]:
        """A copy with `function` applied to every array."""
        changed: dict[str, Any] = {n: function(getattr(self, n)) for n in _ARRAYS if getattr(self, n) is not None}
        for name in _INFO:
            changed[name] = {key: function(values) for key, values in getattr(self, name).items()}
        for name in _PARTS:
            changed[name] = _map_part(getattr(self, name), function)
        batch: Any = dataclasses.replace(self, **changed)
        mapped: PointBatch[Other] = batch
        return mapped

    def without_target(self) -> PointBatch[A]:
        """A copy without labels, for scoring a model."""
        return dataclasses.replace(
            self,
            target=None,
            instance=None,
            whole=dataclasses.replace(self.whole, auxiliary=None),
            volumes=dataclasses.replace(self.volumes, target=None, instance=None),
        )

    def with_coords(self, coords: A) -> PointBatch[A]:
        """A copy with other coordinates (augmentation)."""
        return dataclasses.replace(self, coords=coords)


_ARRAYS = ("coords", "energy", "feats", "offsets", "target", "instance")
_INFO = ("point_info", "event_info")
_PARTS = ("links", "whole", "volumes", "views")


def _map_part(part: Part, function: Callable[[Any], Any]) -> Part:
    """A copy of a part with `function` applied to every array; an empty part is returned as is."""
    arrays = {name: getattr(part, name) for name in part.ARRAYS}
    changed: dict[str, Any] = {name: function(values) for name, values in arrays.items() if values is not None}
    return dataclasses.replace(part, **changed) if changed else part


def concatenate(batches: Sequence[PointBatch[np.ndarray]]) -> PointBatch[np.ndarray]:
    """One numpy batch from several (usually one per event), in order. All need the first one's arrays."""
    first = batches[0]
    starts = np.cumsum([0, *(b.n_points for b in batches)])  # (len(batches) + 1,) rows before each
    joined: dict[str, Any] = _join_arrays(batches, tuple(name for name in _ARRAYS if name != "offsets"))
    for name in _INFO:
        parts = [getattr(b, name) for b in batches]
        joined[name] = {key: np.concatenate([p[key] for p in parts]) for key in parts[0]}
    for name in _PARTS:
        parts = [getattr(b, name) for b in batches]
        joined[name] = dataclasses.replace(parts[0], **_join_arrays(parts, parts[0].ARRAYS))
    if first.links.ends is not None:  # rows of the whole batch
        ends = [b.links.ends + n for b, n in zip(batches, starts[:-1], strict=True) if b.links.ends is not None]
        joined["links"] = dataclasses.replace(joined["links"], ends=np.concatenate(ends))
    lengths = np.concatenate([np.asarray(b.lengths) for b in batches])
    return dataclasses.replace(
        first,
        **joined,
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        event_ids=tuple(i for b in batches for i in b.event_ids),
    )


def _join_arrays(items: Sequence[Any], names: Sequence[str]) -> dict[str, np.ndarray]:
    """The named arrays of batches or parts, concatenated; those that the first one lacks are left out."""
    present = [name for name in names if getattr(items[0], name) is not None]
    return {name: np.concatenate([getattr(item, name) for item in items]) for name in present}
