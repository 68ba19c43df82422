"""The PILArNet HDF5 schemas (v1, v2, v3): reader and validator. A damaged file raises one `DataError`.

Each dataset has shape (n_events,) with one variable-length row per event:

    point          float   (N, 8)  x, y, z (whole voxels 0..767), voxel value (MeV), energy deposit (MeV), time (ns),
                                   number of electrons, dx
    cluster        integer (M, 5)  v1: number of voxels, fragment, group, interaction, semantic
                           (M, 6)  v2, v3: the same, then the particle type
    cluster_extra  float   (M, 5)  v2: mass, momentum, vertex x, y, z
                           (M, 6)  v3: the same, then is_primary; some releases append further columns (9 or 11 in all)

Points are sorted by cluster. A side file `<stem>_points.npy` holds the number of points of every event.
Source: card of DeepLearnPhysics/PILArNet-M, and PoLAr-MAE (arXiv:2502.02558), appendix on the data set.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import h5py
import numpy as np

from benchmark.data.arrays import open_array
from benchmark.data.hdf5 import check_filters, check_inside, open_hdf5_file
from benchmark.data.packed import Chunk
from benchmark.errors import DataError

GRID = 768  # voxels along each axis
POINT_WIDTH = 8
ENERGY_COLUMN = 3  # the voxel value, as in PoLAr-MAE and Panda; not column 4
N_SEMANTIC = 5  # shower, track, Michel, delta, low-energy scatter
EXTRA_WIDTHS = {5: "v2", 6: "v3", 9: "v3", 11: "v3"}
PRIMARY_COLUMN = 5  # of cluster_extra in v3
CHUNK_EVENTS = 256  # per read: some 30 MB

LABEL_COLUMNS = {
    "v1": ("n_points", "fragment", "group", "interaction", "semantic"),
    "v2": ("n_points", "fragment", "group", "interaction", "semantic", "pid"),
    "v3": ("n_points", "fragment", "group", "interaction", "semantic", "pid", "is_primary"),
}
VERSIONS = tuple(LABEL_COLUMNS)
_REMEDY = "Fetch or write the file again"


@dataclass(frozen=True)
class Schema:
    """Schema and size of a file."""

    version: str  # "v1", "v2" or "v3"
    extra_width: int  # columns of cluster_extra; 0 in v1
    n_events: int

    @property
    def cluster_width(self) -> int:
        """Columns of `cluster` in the file."""
        return 5 if self.version == "v1" else 6

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the packed cluster table: the number of points, then one label each."""
        return LABEL_COLUMNS[self.version]


def inspect(path: Path, version: str | None = None) -> Schema:
    """The schema of a file, from its header and first event. `version` is the one it must have, None for any.

    Raises DataError for a file that is missing, truncated, not HDF5, without events, or of another schema.
    """
    with _open_h5(path) as h5:
        return _schema(path, h5, version)


def side_file(path: Path) -> Path:
    """The file with the number of points per event of an HDF5 file."""
    return path.with_name(f"{path.stem}_points.npy")


def read_chunks(path: Path, schema: Schema, report: Callable[[int], object] = lambda n_done: None) -> Iterator[Chunk]:
    """All events of a file, validated, CHUNK_EVENTS at a time; `report` gets the number of events read.

    Raises DataError, naming the file and the event, for data that violate the schema or the side file.
    """
    expected = _side_counts(path, schema.n_events)
    with _open_h5(path) as h5:
        for begin in range(0, schema.n_events, CHUNK_EVENTS):
            end = min(begin + CHUNK_EVENTS, schema.n_events)
            chunk = _read(path, h5, schema, begin, end)
            if expected is not None:
                _check_side_counts(path, expected[begin:end], chunk.n_points, begin)
            yield chunk
            report(end)


@contextmanager
def _open_h5(path: Path) -> Iterator[h5py.File]:
    if not path.is_file():
        raise DataError(f"There is no file {path}. A PILArNet HDF5 file was expected. Check the path.")
    with open_hdf5_file(path) as h5:
        try:
            yield h5
        except (DataError, MemoryError):
            raise
        except Exception as error:  # h5py raises any type of error for damaged tables inside the file
            raise DataError(f"{path} is damaged. A whole PILArNet HDF5 file was expected. {_REMEDY}.") from error


def _schema(path: Path, h5: h5py.File, version: str | None) -> Schema:
    expected_version = version or (
        "v1" if "cluster_extra" not in h5 and not path.stem.endswith(("_v2", "_v3")) else "v2"
    )
    needed = ("point", "cluster") if expected_version == "v1" else ("point", "cluster", "cluster_extra")
    missing = [name for name in needed if not _is_own_dataset(path, h5, name)]
    if missing:
        raise DataError(
            f"{path} has no dataset {missing[0]!r}; it holds {_names(h5)}. The PILArNet "
            f"{expected_version} schema ({', '.join(needed)}) was expected. Check --data, or {_REMEDY.lower()}."
        )
    lengths = {name: _check_rows(path, name, h5[name], "iu" if name == "cluster" else "f") for name in needed}
    if len(set(lengths.values())) > 1:
        counts_text = ", ".join(f"{name} {n}" for name, n in lengths.items())
        raise DataError(
            f"{path} has different numbers of events ({counts_text}). Equal numbers were expected. {_REMEDY}."
        )
    n_events = lengths["point"]
    if n_events == 0:
        raise DataError(f"{path} holds no events. At least one was expected. {_REMEDY}.")
    extra_width = 0 if expected_version == "v1" and version is None else _extra_width(path, h5)
    file_version = EXTRA_WIDTHS[extra_width] if extra_width else "v1"
    if version is not None and file_version != version:
        raise DataError(
            f"{path} is of the schema {file_version}. The schema {version} was expected. "
            f"Type --set data.revision={file_version}, or choose another folder with --data."
        )
    return Schema(file_version, extra_width, n_events)


def _is_own_dataset(path: Path, h5: h5py.File, name: str) -> bool:
    """Whether there is such a dataset. Raises DataError for one whose numbers lie in other files."""
    check_inside(path, h5, name)
    data = h5.get(name)
    if not isinstance(data, h5py.Dataset):
        return False
    check_filters(path, data)
    return True


def _names(h5: h5py.File) -> str:
    """Names in the file; one that is no text (a damaged one) is left out."""
    return ", ".join(sorted(name for name in h5 if isinstance(name, str) and name.isprintable())[:10]) or "nothing"


def _check_rows(path: Path, name: str, data: h5py.Dataset, dtype_kinds: str) -> int:
    base = h5py.check_vlen_dtype(data.dtype)
    if data.ndim != 1 or base is None or base.kind not in dtype_kinds:
        number_type = "integers" if dtype_kinds == "iu" else "floating-point numbers"
        raise DataError(
            f"{path}: {name!r} has shape {data.shape} and type {base or data.dtype}. One variable-length row of "
            f"{number_type} per event was expected, as in PILArNet. Check --data, or {_REMEDY.lower()}."
        )
    return int(data.shape[0])


def _extra_width(path: Path, h5: h5py.File) -> int:
    if "cluster_extra" not in h5:
        return 0
    n_clusters, leftover = divmod(len(_row(path, h5, "cluster", 0)), 6)
    n_extra = len(_row(path, h5, "cluster_extra", 0))
    if leftover or n_clusters == 0:
        n_values = 6 * n_clusters + leftover
        _refuse(path, 0, f"its 'cluster' row has {n_values} values", "A positive multiple of 6 was expected")
    width = n_extra // n_clusters
    if width not in EXTRA_WIDTHS or n_extra % n_clusters:
        problem = f"cluster_extra has {n_extra} values for {n_clusters} clusters"
        _refuse(path, 0, problem, f"One of {', '.join(map(str, EXTRA_WIDTHS))} per cluster was expected")
    return width


def _read(path: Path, h5: h5py.File, schema: Schema, begin: int, end: int) -> Chunk:
    point, n_points = _table(path, h5, "point", POINT_WIDTH, begin, end)
    cluster, n_clusters = _table(path, h5, "cluster", schema.cluster_width, begin, end)
    _first_bad(n_points == 0, lambda e: _refuse(path, begin + e, "it has no points", "At least one point was expected"))
    _check_sizes(path, cluster, n_clusters, n_points, begin)
    _check_labels(path, cluster, n_clusters, begin)
    _check_points(path, point, n_points, begin)
    if schema.extra_width:
        extra, n_extra = _table(path, h5, "cluster_extra", schema.extra_width, begin, end)
        _first_bad(n_extra != n_clusters, lambda e: _refuse(
            path, begin + e, f"cluster_extra has {n_extra[e]} rows and cluster {n_clusters[e]}",
            "Equal numbers were expected",
        ))  # fmt: skip
        if schema.version == "v3":
            cluster = np.column_stack([cluster, _primary(path, extra, n_clusters, begin)])
    return Chunk(point[:, :3], point[:, ENERGY_COLUMN], cluster, n_points, n_clusters)


def _row(path: Path, h5: h5py.File, name: str, event: int) -> Any:
    try:
        return h5[name][event]
    except (OSError, RuntimeError, ValueError, MemoryError) as error:
        raise DataError(
            f"{path}, event {event}: its {name!r} row cannot be read (the file is damaged or truncated). "
            f"A whole PILArNet HDF5 file was expected. {_REMEDY}."
        ) from error


def _rows(path: Path, h5: h5py.File, name: str, begin: int, end: int) -> list[Any]:
    try:
        return list(h5[name][begin:end])
    except (OSError, RuntimeError, ValueError, MemoryError):
        return [_row(path, h5, name, e) for e in range(begin, end)]  # one by one, to name the event


def _table(path: Path, h5: h5py.File, name: str, width: int, begin: int, end: int) -> tuple[np.ndarray, np.ndarray]:
    """(total, width) values of some events and (e,) rows per event."""
    rows = _rows(path, h5, name, begin, end)
    lengths = np.array([len(r) for r in rows], dtype=np.int64)
    _first_bad(lengths % width != 0, lambda e: _refuse(
        path, begin + e, f"its {name!r} row has {lengths[e]} values", f"A multiple of {width} was expected"
    ))  # fmt: skip
    return np.concatenate(rows).reshape(-1, width), lengths // width


def _check_sizes(path: Path, cluster: np.ndarray, n_clusters: np.ndarray, n_points: np.ndarray, begin: int) -> None:
    events = np.repeat(np.arange(len(n_clusters)), n_clusters)
    _first_bad(cluster[:, 0] < 0, lambda row: _refuse(
        path, begin + events[row], f"a cluster has {cluster[row, 0]} points", "Sizes of 0 or more were expected"
    ))  # fmt: skip
    total = np.zeros(len(n_points), dtype=np.int64)
    np.add.at(total, events, cluster[:, 0].astype(np.int64))
    _first_bad(total != n_points, lambda e: _refuse(
        path, begin + e, f"its cluster sizes add up to {total[e]} and it has {n_points[e]} points",
        "Equal numbers were expected",
    ))  # fmt: skip


def _check_labels(path: Path, cluster: np.ndarray, n_clusters: np.ndarray, begin: int) -> None:
    events = np.repeat(np.arange(len(n_clusters)), n_clusters)
    semantic = cluster[:, 4]
    _first_bad((semantic < 0) | (semantic >= N_SEMANTIC), lambda row: _refuse(
        path, begin + events[row], f"a cluster has the semantic type {semantic[row]}",
        f"0 to {N_SEMANTIC - 1} was expected",
    ))  # fmt: skip
    limits = np.iinfo(np.int32)
    _first_bad(np.any((cluster < limits.min) | (cluster > limits.max), axis=1), lambda row: _refuse(
        path, begin + events[row], "a cluster's label does not fit 32 bits", "Small whole numbers were expected"
    ))  # fmt: skip


def _check_points(path: Path, point: np.ndarray, n_points: np.ndarray, begin: int) -> None:
    first = np.concatenate([[0], np.cumsum(n_points)])

    def refuse(row: int, problem: str, expected: str) -> NoReturn:
        event = int(np.searchsorted(first, row, side="right")) - 1
        _refuse(path, begin + event, f"point {row - first[event]} {problem}", expected)

    xyz, energy = point[:, :3], point[:, ENERGY_COLUMN]
    with np.errstate(invalid="ignore"):  # comparisons with NaN are false, as intended
        inside = ((xyz >= 0) & (xyz < GRID) & (xyz == np.floor(xyz))).all(axis=1)
        good_energy = np.isfinite(energy) & (energy >= 0)
    _first_bad(~inside, lambda row: refuse(
        row, f"lies at {tuple(map(float, xyz[row]))}", f"Whole voxel numbers from 0 to {GRID - 1} were expected"
    ))  # fmt: skip
    _first_bad(~good_energy, lambda row: refuse(
        row, f"has an energy of {energy[row]} MeV", "A finite energy of at least 0 MeV was expected"
    ))  # fmt: skip


def _primary(path: Path, extra: np.ndarray, n_clusters: np.ndarray, begin: int) -> np.ndarray:
    events = np.repeat(np.arange(len(n_clusters)), n_clusters)
    primary = extra[:, PRIMARY_COLUMN]
    _first_bad(~np.isin(primary, (-1, 0, 1)), lambda row: _refuse(
        path, begin + events[row], f"a cluster has is_primary = {primary[row]}", "-1, 0 or 1 was expected"
    ))  # fmt: skip
    return primary.astype(np.int64)


def _side_counts(path: Path, n_events: int) -> np.ndarray | None:
    side = side_file(path)
    if not side.is_file():
        return None
    try:
        counts = np.array(open_array(side))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{side} cannot be read. A numpy file of whole numbers was expected. Delete it: it is computed then."
        ) from error
    if counts.ndim != 1 or counts.dtype.kind not in "iu" or len(counts) != n_events:
        raise DataError(
            f"{side} holds {counts.dtype} of shape {counts.shape}. One whole number for each of the {n_events} events "
            f"of {path.name} was expected. Delete it: it is computed then."
        )
    return np.asarray(counts, dtype=np.int64)


def _check_side_counts(path: Path, expected: np.ndarray, n_points: np.ndarray, begin: int) -> None:
    _first_bad(expected != n_points, lambda e: _refuse(
        path, begin + e, f"{side_file(path).name} counts {expected[e]} points and the event has {n_points[e]}",
        "Equal numbers were expected", "Delete the side file (it is computed then), or fetch both files again",
    ))  # fmt: skip


def _first_bad(bad: np.ndarray, refuse: Callable[[int], object]) -> None:
    if bad.any():
        refuse(int(np.argmax(bad)))


def _refuse(path: Path, event: int, problem: str, expected: str, remedy: str = _REMEDY) -> NoReturn:
    raise DataError(f"{path}, event {event}: {problem}. {expected}. {remedy}.")
