"""Packed events: flat, memory-mapped columns built once from a slow format, then read in microseconds.

A pack is a folder with one raw binary file per column and a `manifest.json` that is written last:

    coords.bin    (N, 3) uint16   grid coordinates of all points of all events, in order
    energy.bin    (N,)   float32
    clusters.bin  (M, k) int32    per cluster: number of points, then its labels; points are sorted by cluster
    offsets.bin   (E+1,) int64    event e owns points offsets[e]:offsets[e+1]
    rows.bin      (E+1,) int64    event e owns clusters rows[e]:rows[e+1]

Labels are stored once per cluster (70 times fewer numbers than once per point) and expanded on access. A pack is built
in a temporary folder that is renamed at the end: its final path holds a complete pack or does not exist.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np

from benchmark.contracts import Event
from benchmark.data.digests import digest_of, file_digest
from benchmark.data.ids import EventIds
from benchmark.errors import DataError
from benchmark.hardware.locks import LOCK, locked
from benchmark.io import sha256_text
from benchmark.json_files import read_json
from benchmark.paths import CACHE_VARIABLE

T = TypeVar("T")

FORMAT = 1  # increased when the layout above changes: packs are then rebuilt
ID_DIGITS = 7  # of an event's number in its id: ids sort like the events for files of up to ten million events
STALE_S = 24 * 3600.0  # a temporary folder older than this was left by a killed build

_DTYPES = {"coords": "<u2", "energy": "<f4", "clusters": "<i4", "offsets": "<i8", "rows": "<i8"}


@dataclass(frozen=True)
class Chunk:
    """Consecutive, validated events to be written to a pack."""

    coords: np.ndarray  # (n, 3) whole numbers 0..65535
    energy: np.ndarray  # (n,)
    clusters: np.ndarray  # (m, k) integers; column 0 is the number of points
    n_points: np.ndarray  # (e,)
    n_clusters: np.ndarray  # (e,)


class ClusterLabels(Mapping[str, np.ndarray]):
    """Point labels of one event, expanded from its cluster table on access: name -> (N,) int64.

    `cluster` is the ordinal of the point's cluster in the event; the other names are the table's columns.
    """

    def __init__(self, table: np.ndarray, columns: tuple[str, ...]) -> None:
        self._table = table  # (m, k) int32; column 0 is the number of points
        self._columns = columns

    def __getitem__(self, name: str) -> np.ndarray:
        sizes = self._table[:, 0]
        if name == "cluster":
            return np.repeat(np.arange(len(sizes)), sizes)
        if name not in self._columns[1:]:
            raise KeyError(name)
        return np.repeat(self._table[:, self._columns.index(name)].astype(np.int64), sizes)

    def __iter__(self) -> Iterator[str]:
        return iter(("cluster", *self._columns[1:]))

    def __len__(self) -> int:
        return len(self._columns)


class Pack:
    """An open pack. Its arrays are memory-mapped on first use, so it is cheap to send to another process."""

    def __init__(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        self.folder = folder
        self.manifest = manifest
        self.columns: tuple[str, ...] = tuple(manifest["columns"])
        self.n_events: int = manifest["n_events"]

    def __reduce__(self) -> tuple[Any, ...]:
        return Pack, (self.folder, self.manifest)

    def _map(self, name: str) -> np.ndarray:
        shape = tuple(self.manifest["shapes"][name])
        mapped = np.memmap(self.folder / f"{name}.bin", dtype=_DTYPES[name], mode="r", shape=shape)
        return mapped.view(np.ndarray)  # a plain array over the same pages: slices cost a third of a memmap's

    @cached_property
    def coords(self) -> np.ndarray:
        """(N, 3) uint16."""
        return self._map("coords")

    @cached_property
    def energy(self) -> np.ndarray:
        """(N,) float32."""
        return self._map("energy")

    @cached_property
    def clusters(self) -> np.ndarray:
        """(M, k) int32."""
        return self._map("clusters")

    @cached_property
    def offsets(self) -> np.ndarray:
        """(E+1,) int64."""
        return self._map("offsets")

    @cached_property
    def rows(self) -> np.ndarray:
        """(E+1,) int64."""
        return self._map("rows")

    def event(self, index: int, event_id: str) -> Event:
        """Event number `index` of the pack, as new arrays that do not refer to the file."""
        begin, end = self.offsets[index], self.offsets[index + 1]
        table = self.clusters[self.rows[index] : self.rows[index + 1]].copy()
        return Event(
            event_id=event_id,
            coords=self.coords[begin:end].astype(np.float32),  # (N, 3) voxels
            energy=self.energy[begin:end].copy(),  # (N,)
            labels=ClusterLabels(table, self.columns),
        )


class PackedSource:
    """An `EventSource` over one or more packs, in the order of (prefix, pack); ids are `<prefix>:<number>`."""

    def __init__(self, packs: Sequence[tuple[str, Pack]]) -> None:
        self.packs = tuple(sorted(packs, key=lambda pair: f"{pair[0]}:"))  # sort order of the ids
        self._first = [0, *accumulate(pack.n_events for _, pack in self.packs)]  # number of the first event of each

    @property
    def event_ids(self) -> EventIds:
        """Stable, unique, sorted ids."""
        return EventIds(len(self), self._id)

    @cached_property
    def n_points(self) -> np.ndarray:
        """(n_events,) int64 points per event before any cut."""
        return np.concatenate([np.diff(pack.offsets) for _, pack in self.packs])

    def __len__(self) -> int:
        return self._first[-1]

    def __getitem__(self, index: int) -> Event:
        index = index + len(self) if index < 0 else index
        if not 0 <= index < len(self):
            raise IndexError(f"event {index} of {len(self)}")
        pack_index = bisect_right(self._first, index) - 1
        return self.packs[pack_index][1].event(index - self._first[pack_index], self._id(index))

    def _id(self, index: int) -> str:
        pack_index = bisect_right(self._first, index) - 1
        return f"{self.packs[pack_index][0]}:{index - self._first[pack_index]:0{ID_DIGITS}d}"


def open_pack(folder: Path) -> Pack | None:
    """The pack in `folder`; None where there is none, one of another layout, or one whose files have changed."""
    manifest = read_pack_manifest(folder, FORMAT)
    return None if manifest is None else Pack(folder, manifest)


def write_pack_manifest(folder: Path, content: Mapping[str, Any]) -> None:
    """Write the manifest of a pack, last: the content, the digests of all columns, and a checksum over both."""
    manifest = {**content, "files": {path.name: digest_of(path) for path in sorted(folder.glob("*.bin"))}}
    text = json.dumps({**manifest, "checksum": _checksum(manifest)}, indent=1, sort_keys=True)
    (folder / "manifest.json").write_text(text, encoding="utf-8")


def read_pack_manifest(folder: Path, layout: int) -> dict[str, Any] | None:
    """The manifest of a pack of this layout (`format`) that is complete and as it was written; else None: it is then
    built again.

    Columns are hashed once per state of their files (`benchmark.data.digests.file_digest`).
    """
    try:
        manifest: dict[str, Any] = read_json(folder / "manifest.json")
        if manifest.pop("checksum") != _checksum(manifest):
            return None
        is_whole = all(file_digest(folder / name) == digest for name, digest in manifest["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, DataError):
        return None
    return manifest if is_whole and manifest.get("format") == layout else None


def _checksum(manifest: Mapping[str, Any]) -> str:
    return sha256_text(json.dumps(manifest, sort_keys=True))


def build_pack(folder: Path, columns: Sequence[str], chunks: Iterable[Chunk], source: Mapping[str, Any]) -> Pack:
    """Write a pack to `folder` from a stream of chunks, one in memory at a time.

    columns: names of the cluster table's columns, the first of them the number of points. source: origin of the
    data, stored in the manifest. Errors of the chunks pass through and leave no files; DataError where the folder
    cannot be written (a full disk).
    """
    with whole_folder(folder, lambda f: open_pack(f) is not None) as temporary:
        manifest = _write_columns(temporary, columns, chunks)
        write_pack_manifest(temporary, {**manifest, "source": dict(source)})
    pack = open_pack(folder)
    if pack is None:
        raise changed_meanwhile(folder)
    return pack


def _write_columns(folder: Path, columns: Sequence[str], chunks: Iterable[Chunk]) -> dict[str, Any]:
    writers = {name: ColumnWriter(folder / f"{name}.bin", dtype) for name, dtype in _DTYPES.items()}
    n_points = [np.zeros(1, np.int64)]
    n_clusters = [np.zeros(1, np.int64)]
    try:
        for chunk in chunks:
            writers["coords"].append(chunk.coords)
            writers["energy"].append(chunk.energy)
            writers["clusters"].append(chunk.clusters)
            n_points.append(chunk.n_points)
            n_clusters.append(chunk.n_clusters)
        offsets, rows = np.cumsum(np.concatenate(n_points)), np.cumsum(np.concatenate(n_clusters))
        writers["offsets"].append(offsets)
        writers["rows"].append(rows)
    finally:
        for writer in writers.values():
            writer.close()
    total, table = int(offsets[-1]), int(rows[-1])
    return {
        "format": FORMAT,
        "columns": list(columns),
        "n_events": len(offsets) - 1,
        "shapes": {
            "coords": [total, 3],
            "energy": [total],
            "clusters": [table, len(columns)],
            "offsets": [len(offsets)],
            "rows": [len(rows)],
        },
    }


class ColumnWriter:
    """Appends arrays to a raw file."""

    def __init__(self, path: Path, dtype: str) -> None:
        self._stream: BinaryIO = path.open("wb")
        self._dtype = dtype

    def append(self, array: np.ndarray) -> None:
        """Write the array's bytes, in the file's type."""
        self._stream.write(np.ascontiguousarray(array, dtype=self._dtype).tobytes())

    def close(self) -> None:
        """Close the file once its bytes are on the disk."""
        with self._stream as stream:
            stream.flush()
            os.fsync(stream.fileno())


def open_or_make(folder: Path, open_: Callable[[Path], T | None], make: Callable[[], object]) -> T:
    """What `open_` finds in a folder of the cache; where it finds None, `make` makes the folder first (`whole_folder`).

    One process makes it; a second one waits for it. Errors of `make` pass through.
    """
    found = open_(folder)
    if found is not None:
        return found
    with locked(folder.with_name(f".{folder.name}{LOCK}"), f"the event cache {folder}"):
        found = open_(folder)
        if found is not None:  # by the process that this one has waited for
            return found
        try:
            make()
        finally:
            remove_stale(folder.parent)  # of a process that was stopped
        found = open_(folder)
    if found is None:
        raise changed_meanwhile(folder)
    return found


@contextmanager
def whole_folder(folder: Path, is_whole: Callable[[Path], bool]) -> Iterator[Path]:
    """A temporary folder to fill, renamed to `folder` at the end, or deleted where the block raises.

    `is_whole` tells whether an existing folder is complete. Raises DataError where nothing can be written (a full
    disk); other errors of the block pass through.
    """
    with scratch_folder(folder) as temporary:
        yield temporary
        _publish_folder(temporary, folder, is_whole)


@contextmanager
def scratch_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder beside `folder`, deleted at the end. Raises DataError as `whole_folder`."""
    temporary = folder.with_name(f".{folder.name}.{host_name()}.{os.getpid()}.partial")
    try:
        with writing(folder):
            remove_stale(folder.parent)
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """Raises DataError where the block cannot write into a folder of the cache (a full disk)."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"The event cache {folder} could not be written: {error.strerror or error}. A writable folder with free "
            f"space was expected, and nothing was left half-written. Free some space, or set {CACHE_VARIABLE} to "
            f"another folder."
        ) from error


def changed_meanwhile(folder: Path) -> DataError:
    """The error for a folder that is incomplete right after it was written."""
    problem = f"The event cache {folder} changed while it was written"
    return DataError(f"{problem}. One writer was expected. Repeat the command.")


def _publish_folder(temporary: Path, folder: Path, is_whole: Callable[[Path], bool]) -> None:
    if folder.exists():
        if is_whole(folder):
            return  # another process finished the same pack first
        shutil.rmtree(folder)  # damaged or of another layout
    try:
        os.replace(temporary, folder)
    except OSError:
        if not is_whole(folder):
            raise


def remove_stale(parent: Path) -> None:
    """Remove temporary folders of killed builds: of dead processes on this machine, and old ones."""
    if not parent.is_dir():
        return
    for path in sorted(parent.glob(".*.partial")):
        *_, host, process, _ = path.name.split(".")
        gone = host == host_name() and process.isdigit() and not _is_running(int(process))
        if gone or time.time() - path.stat().st_mtime > STALE_S:
            shutil.rmtree(path, ignore_errors=True)


def host_name() -> str:
    """This machine's name in temporary folders."""
    return platform.node().replace(".", "-") or "unnamed"


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)  # sends nothing
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
