"""The dataset contract: one file in `datasets/` per public dataset, bound to `SPEC`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from benchmark.contracts.data import Event, Frame
from benchmark.contracts.task import Task


@dataclass(frozen=True)
class DatasetInfo:
    """The constant facts of a dataset."""

    name: str
    summary: str
    licence: str
    citation: str
    frame: Frame
    energy_unit: str
    tasks: tuple[str, ...]
    splits: tuple[str, ...] = ("train", "val", "test")
    labels: Mapping[str, str] = field(default_factory=dict)  # every name in `Event.labels` -> its meaning


@runtime_checkable
class EventSource(Protocol):
    """Random access to the events of one split, in the order of sorted ids. Nothing is loaded before it is read.

    Where several samples were recorded together (clusters of one collision, tiles of one scan) an attribute `units`,
    (n,) integers, is equal for those: intervals resample them together. Without it each event is independent.
    """

    @property
    def event_ids(self) -> Sequence[str]:
        """Stable, unique, sorted ids."""

    @property
    def n_points(self) -> Any:
        """(n_events,) int64 raw number of points per event (numpy), known without reading the events."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Event: ...


@runtime_checkable
class Dataset(Protocol):
    """A dataset that is present on this machine."""

    info: DatasetInfo
    revision: str  # names the exact content, e.g. "v2" or "sim-1-3f9a..."
    files: Mapping[str, str]  # file name -> sha256 (or a stated cheaper digest for files over 1 GB)

    def events(self, split: str, sample: str = "event") -> EventSource:
        """Events of one split, or samples of them (`Task.sample`)."""


@dataclass(frozen=True)
class DatasetSpec:
    """How to get a dataset. `config` is a frozen dataclass type, every field commented.

    `open(config, root)` returns the `Dataset` under `root` (None: the default cache folder), creating it first
    where that needs no download (a simulation). `prepare(config, root)` downloads or simulates explicitly.
    """

    info: DatasetInfo
    config: type
    open: Callable[[Any, Path | None], Dataset]
    prepare: Callable[[Any, Path | None], Dataset]
    extras: tuple[str, ...] = ()  # optional packages needed, as import names
    own_tasks: tuple[Task, ...] = ()  # those of `info.tasks` that the suite does not have
    # cuts and maps of `own_tasks` (see `benchmark.data.preparation.Preparation`); None: as for the suite's own
    preparation: Callable[[Task], Any] | None = None
