"""Writes tiny, valid folders in the PILArNet HDF5 schemas; tests then damage them one way at a time."""

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

WIDTHS = {"v1": 5, "v2": 6, "v3": 6}
EXTRA_WIDTHS = {"v2": 5, "v3": 6}


@dataclass
class RawEvent:
    """One event as the file holds it."""

    point: np.ndarray  # (N, 8) float32: x, y, z, value, MeV, ns, electrons, dx
    cluster: np.ndarray  # (M, 6) int64: voxels, fragment, group, interaction, semantic, pid
    extra: np.ndarray  # (M, 6) float32: mass, momentum, vertex x y z, is_primary


def make_event(rng: np.random.Generator, sizes: tuple[int, ...] = (30, 60, 50, 8, 4), spread: int = 40) -> RawEvent:
    """Clusters of the given sizes: low-energy scatters first, as in the real files, then semantic 0, 1, 2, 3, 0 ..."""
    rows, points = [], []
    for ordinal, size in enumerate(sizes):
        semantic = 4 if ordinal == 0 else (ordinal - 1) % 4
        fragment = -1 if ordinal == 0 else 2 * ordinal
        group = -1 if ordinal == 0 else 2 * (ordinal - ordinal % 2)
        pid = -1 if ordinal == 0 else (1, 2, 1, 1)[semantic]
        rows.append([size, fragment, group, -1 if ordinal == 0 else ordinal // 3, semantic, pid])
        corner = rng.integers(0, 768 - spread, 3)
        cells = rng.choice(spread**3, size, replace=False)
        xyz = corner + np.stack(np.unravel_index(cells, (spread,) * 3), axis=1)
        energy = rng.lognormal(-1.9 if ordinal == 0 else -0.6, 0.6, size)
        time, electrons, dx = rng.uniform(0, 2000, size), energy * 1e4, np.full(size, 0.3)
        points.append(np.column_stack([xyz, energy, energy, time, electrons, dx]))
    extra = np.full((len(sizes), 6), -1.0)
    extra[1:] = rng.uniform(0, 900, (len(sizes) - 1, 6))
    extra[1:, 5] = rng.integers(0, 2, len(sizes) - 1)
    return RawEvent(np.concatenate(points).astype("f4"), np.array(rows, "i8"), extra.astype("f4"))


def make_events(rng: np.random.Generator, n_events: int) -> list[RawEvent]:
    """Events of different sizes, each with every semantic class."""
    return [make_event(rng, tuple(int(s) for s in rng.integers(5, 80, 5 + k % 3))) for k in range(n_events)]


def write_file(path: Path, events: list[RawEvent], version: str = "v2", side_file: bool = True) -> Path:
    """One HDF5 file, and its `_points.npy` unless told otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w", libver="latest") as h5:
        _rows(h5, "point", "f4", [e.point for e in events])
        _rows(h5, "cluster", "i8", [e.cluster[:, : WIDTHS[version]] for e in events])
        if version != "v1":
            _rows(h5, "cluster_extra", "f4", [e.extra[:, : EXTRA_WIDTHS[version]] for e in events])
    if side_file:
        np.save(path.with_name(f"{path.stem}_points.npy"), np.array([len(e.point) for e in events], "i8"))
    return path


def write_folder(root: Path, events: dict[str, list[RawEvent]], version: str = "v2", side_file: bool = True) -> Path:
    """A folder of splits; a split of more than four events is written as two files, named by how many they hold."""
    for split, members in events.items():
        half = (len(members) - 1) // 2 if len(members) > 4 else 0
        for part in (members[:half], members[half:]):
            if part:
                name = f"generic_v2_{len(part)}_{'v1' if version == 'v1' else 'v2'}.h5"
                write_file(root / split / name, part, version, side_file)
    return root


def _rows(h5: h5py.File, name: str, dtype: str, rows: list[np.ndarray]) -> None:
    data = h5.create_dataset(name, (len(rows),), dtype=h5py.vlen_dtype(np.dtype(dtype)))
    for i, row in enumerate(rows):
        data[i] = row.astype(dtype).ravel()
