"""Files in the schema and layout of PILArNet-M v2 (or v1).

`<root>/<split>/generic_v2_<events>_<version>.h5` holds the datasets `point`, `cluster` and (v2) `cluster_extra`, one
variable-length row of flattened numbers per event; `<the same>_points.npy` beside it holds the number of points per
event.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np

from benchmark.io import atomic_path

from .images import Image

Version = Literal["v1", "v2"]
CLUSTER_COLUMNS = {"v1": 5, "v2": 6}  # v1 has no particle type


def file_path(root: Path, split: str, n_events: int, version: Version) -> Path:
    """Path of a split of so many events."""
    return root / split / f"generic_v2_{n_events}_{version}.h5"


def points_path(path: Path) -> Path:
    """The side file of an HDF5 file."""
    return path.with_name(f"{path.stem}_points.npy")


def write_events(
    path: Path,
    images: Iterable[Image],
    n_events: int,
    version: Version,
    attributes: Mapping[str, Any],
    report: Callable[[int], object] = lambda n_done: None,
) -> None:
    """Write exactly `n_events` images and the side file atomically, the HDF5 file last.

    attributes: JSON-able, stored in the file's HDF5 attributes. Raises RecordError when the disk is full or read-only.
    """
    counts = np.zeros(n_events, dtype=np.int64)
    with atomic_path(path) as partial:
        _write_hdf5(partial, images, counts, version, attributes, report)
        with atomic_path(points_path(path)) as side, side.open("wb") as stream:
            np.save(stream, counts)


def _write_hdf5(
    path: Path,
    images: Iterable[Image],
    counts: np.ndarray,
    version: Version,
    attributes: Mapping[str, Any],
    report: Callable[[int], object],
) -> None:
    try:
        with h5py.File(path, "w", libver="latest") as h5:
            for name, value in attributes.items():
                h5.attrs[name] = json.dumps(value, sort_keys=True)
            point = _variable_rows(h5, "point", np.float32, len(counts))
            cluster = _variable_rows(h5, "cluster", np.int64, len(counts))
            extra = _variable_rows(h5, "cluster_extra", np.float32, len(counts)) if version == "v2" else None
            for k, image in enumerate(images):
                point[k] = image.point.ravel()
                cluster[k] = image.cluster[:, : CLUSTER_COLUMNS[version]].ravel()
                if extra is not None:
                    extra[k] = image.cluster_extra.ravel()
                counts[k] = image.cluster[:, 0].sum()
                report(k + 1)
    except RuntimeError as error:  # HDF5 reports a full disk this way when it flushes
        raise OSError(f"HDF5 says {error}") from error


def _variable_rows(h5: h5py.File, name: str, dtype: type, n_events: int) -> h5py.Dataset:
    return h5.create_dataset(name, (n_events,), dtype=h5py.vlen_dtype(np.dtype(dtype)))
