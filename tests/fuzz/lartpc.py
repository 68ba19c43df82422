"""PILArNet HDF5 files of every schema, and their side files."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import h5py
import numpy as np

from builders.pilarnet_files import make_events, write_file
from fuzz.arrays import NPY
from fuzz.events import every_event
from fuzz.mutations import NUMBERS, Rng, pick
from fuzz.reader import Change, Reader

FLOATS = [n for n in NUMBERS if n != 10**400]
WHOLE = (-1, 0, 1, 7, 10**6, 2**31, -(2**31), 2**62)


def make(folder: Path, version: str, name: str = "events_v2") -> Path:
    rng = np.random.default_rng(1)
    return write_file(folder / "data" / "test" / f"{name}.h5", make_events(rng, 3), version)


def values(path: Path, rng: Rng) -> None:
    """One number of one row: NaN, infinite, negative, a fraction, huge."""
    with h5py.File(path, "r+") as file:
        rows = file[pick(rng, sorted(file))]
        event = int(rng.integers(len(rows)))
        row = rows[event]
        row[int(rng.integers(len(row)))] = float(pick(rng, FLOATS)) if row.dtype.kind == "f" else pick(rng, WHOLE)
        rows[event] = row


def shapes(path: Path, rng: Rng) -> None:
    """A row cut short, lengthened or empty; a dataset of other length, type or rank; none; two of one name."""
    with h5py.File(path, "r+") as file:
        name = pick(rng, sorted(file))
        rows = list(file[name][:])
        event, what = int(rng.integers(len(rows))), int(rng.integers(5))
        if what < 2:
            row = rows[event]
            n = int(rng.integers(len(row)))
            file[name][event] = pick(rng, (row[:n], row[:0], np.concatenate([row, row[:n]]), np.tile(row, 50)))
            return
        del file[name]
        if what == 2:
            file.create_group(name)
        elif what == 3:
            dtype = h5py.vlen_dtype(pick(rng, ("f8", "i4", "u1", "f2", "S4", bool)))
            other = file.create_dataset(name, (len(rows) + pick(rng, (-1, 0, 1)),), dtype)
            for k in range(min(len(other), len(rows))):
                other[k] = np.nan_to_num(rows[k]).astype(other.dtype.metadata["vlen"] if other.dtype.metadata else "f8")
        else:
            file[name] = pick(rng, (np.concatenate(rows), np.zeros((3, 4)), "text", np.array(["a", "b", "c"], "S3"), 7))


def claims(path: Path, rng: Rng) -> None:
    """A dataset that claims 10^12 rows, is compressed, virtual, in another file, or a link."""
    with h5py.File(path, "r+") as file:
        name = pick(rng, sorted(file))
        dtype = file[name].dtype
        del file[name]
        what = int(rng.integers(6))
        many = pick(rng, (10**6, 10**8, 10**12))
        if what == 0:
            file.create_dataset(name, (many,), dtype)
        elif what == 1:
            file.create_dataset(name, (many,), dtype, chunks=(10**5,), compression="gzip")
        elif what == 2:
            file.create_dataset(name, (many,), "f4", external=[("/dev/zero", 0, h5py.h5f.UNLIMITED)])
        elif what == 3:
            file[name] = h5py.ExternalLink(pick(rng, ("/etc/passwd", "../../../x.h5", "/dev/zero", path.name)), name)
        elif what == 4:
            file[name] = h5py.SoftLink(pick(rng, (f"/{name}", "/", "/nowhere", "/point", "/cluster")))
        else:
            layout = h5py.VirtualLayout((3,), "f4")
            layout[:] = h5py.VirtualSource("/etc/passwd", name, (3,))
            file.create_virtual_dataset(name, layout)


HDF5 = {"values": values, "shapes": shapes, "claims": claims}


def read(folder: Path, version: str) -> object:
    return every_event("pilarnet-m", folder, revision=version)


def _reader(name: str, version: str, targets: str, changes: Mapping[str, Change]) -> Reader:
    return Reader(name, partial(make, version=version), targets, partial(read, version=version), changes)


READERS = (
    *(_reader(f"pilarnet-{version}", version, "data/test/*.h5", HDF5) for version in ("v1", "v2", "v3")),
    _reader("pilarnet-side-file", "v2", "data/test/*.npy", NPY),
)
