"""Tiles of scans: cut, selected, split into sets, and packed into memory-mapped columns once.

A pack holds, for the selected tiles, `volume.bin` (T, Z, Y, X) float32 and, where there are labels, `instance.bin` (T,
Z, Y, X) uint16; its manifest, written last, lists every tile of every scan, selected or not, with its candidate regions
and true tracks, and a log of the chain's steps.

Sets never share a scan, or, where scans are split into blocks along y, a row of tiles; a row between two sets is left
out. A split by tile would put neighbours, which share their background, into different sets.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.contracts import DatasetInfo, Event, Frame
from benchmark.data.digests import file_digest, refuse_copies
from benchmark.data.packed import (
    ColumnWriter,
    open_or_make,
    read_pack_manifest,
    whole_folder,
    write_pack_manifest,
)
from benchmark.errors import DataError
from benchmark.io import sha256_text
from benchmark.paths import cache_dir
from benchmark.progress import progress

from ._lif_chain import Chain, Processed, process
from ._lif_files import check_exists, open_stack
from ._lif_regions import measure
from ._lif_table import SPLITS, Row, read_table
from ._lif_zarr import stored_files

FORMAT = 3  # raise it when layout, chain, regions or what is refused change: packs are rebuilt
TABLE = "scans.csv"
LEAST_TRACK = 20  # voxels of a true track in a tile that counts
NO_REGION = "no_candidate_region"
TASKS = ("lif-reconstruction", "lif-segmentation")
LABELS = {"track": "1 for voxels of a track, 0 for background", "instance": "number of the track, 0 for none"}
_CHAIN_FIELDS = {f.name for f in dataclasses.fields(Chain)}
_GUARD = 1  # rows of tiles between two sets


def frame_of(tile: tuple[int, int, int]) -> Frame:
    """Coordinates of tiles of this shape (z, y, x): x, y and z in voxels."""
    z, y, x = tile
    half = max(float(np.linalg.norm([x - 1, y - 1, z - 1])) / 2, 0.5)
    return Frame(((x - 1) / 2, (y - 1) / 2, (z - 1) / 2), 1 / half, (x, y, z), "voxel of 0.425 x 0.425 x 7 um")


@dataclass(frozen=True)
class TileDataset:
    """Tiles that are packed on this machine."""

    info: DatasetInfo
    revision: str
    files: Mapping[str, str]
    folder: Path  # of the pack
    manifest: Mapping[str, Any]
    root: Path
    table_name: str  # file of the table of scans in `root`
    chain: Chain

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits."""
        return SPLITS

    @property
    def table(self) -> list[dict[str, Any]]:
        """Every tile, selected or not: id, scan, split, row in the pack, candidate regions, true tracks."""
        return list(self.manifest["tiles"])

    def events(self, split: str, sample: str = "event") -> TileSource:
        """Tiles of one split."""
        return TileSource(self, split)

    def steps(self, scan: str) -> list[dict[str, Any]]:
        """Log of the chain's steps for a scan."""
        return list(self.manifest["scans"][scan]["steps"])

    @property
    def scans(self) -> tuple[str, ...]:
        """Names of the scans, sorted."""
        return tuple(sorted(self.manifest["scans"]))

    def processed(self, scan: str) -> Processed:
        """Apply the chain to a scan again, with a picture of every step."""
        row = next((r for r in read_table(self.root / self.table_name) if r.scan == scan), None)
        if row is None:
            raise DataError(f"There is no scan {scan}. One of {', '.join(self.scans)} was expected. Correct --scan.")
        return _process_scan(row, self.chain, pictures=True)

    def __reduce__(self) -> tuple[Any, ...]:
        return TileDataset, tuple(getattr(self, f.name) for f in dataclasses.fields(self))


class TileSource:
    """An `EventSource` over the kept tiles of a split."""

    def __init__(self, dataset: TileDataset, split: str) -> None:
        self._dataset = dataset
        self.shape: tuple[int, int, int] = dataset.chain.tile
        in_split = [t for t in dataset.manifest["tiles"] if t["split"] == split]
        tiles = sorted((t for t in in_split if t["place"] >= 0), key=lambda t: t["id"])
        self._rows = [int(t["place"]) for t in tiles]
        self.event_ids: tuple[str, ...] = tuple(t["id"] for t in tiles)
        # (n,) number of each tile's scan
        self.units: np.ndarray = np.unique([t["scan"] for t in tiles], return_inverse=True)[1]
        self.dropped = {NO_REGION: len(in_split) - len(tiles)} if len(in_split) > len(tiles) else {}
        self.labelled: bool = bool(dataset.manifest["labelled"])
        self.n_points = np.full(len(tiles), int(np.prod(self.shape)), dtype=np.int64)

    def __len__(self) -> int:
        return len(self.event_ids)

    @cached_property
    def _volume(self) -> np.ndarray:
        return self._map("volume", "<f4")

    @cached_property
    def _instance(self) -> np.ndarray:
        return self._map("instance", "<u2")

    def _map(self, name: str, dtype: str) -> np.ndarray:
        shape = (self._dataset.manifest["n_kept"], *self.shape)
        return np.memmap(self._dataset.folder / f"{name}.bin", dtype, "r", shape=shape).view(np.ndarray)

    def __getitem__(self, index: int) -> Event:
        index = index + len(self) if index < 0 else index
        if not 0 <= index < len(self):
            raise IndexError(f"tile {index} of {len(self)}")
        row = self._rows[index]
        labels = {}
        if self.labelled:
            instance = self._instance[row].astype(np.int64)
            labels = {"track": (instance > 0).astype(np.int64), "instance": instance}
        none = np.zeros((0, 3), np.float32), np.zeros(0, np.float32)
        return Event(self.event_ids[index], *none, labels, volume=self._volume[row].copy())


def open_tiles(root: Path, info: DatasetInfo, chain: Chain, revision: str, table: str = TABLE) -> TileDataset:
    """The tiles of the scans in a folder with the table of scans `table`, packed into the cache on first use.

    revision: names the content of the folder. Raises DataError for an invalid table, file or scan.
    """
    rows = read_table(root / table)
    settings = {name: getattr(chain, name) for name in sorted(_CHAIN_FIELDS)}
    files = _file_digests(root, rows, table)
    described = json.dumps([FORMAT, settings, sorted(files.items())], sort_keys=True)
    folder = cache_dir() / "tiles" / f"{info.name}-{sha256_text(described)[:20]}"

    def make() -> None:
        splits = _splits_of_scans(rows, chain)
        with whole_folder(folder, lambda f: _read_manifest(f) is not None) as temporary:
            write_pack_manifest(temporary, _pack(temporary, rows, chain, splits))

    manifest = open_or_make(folder, _read_manifest, make)
    short = sha256_text(json.dumps(settings, sort_keys=True))[:8]
    return TileDataset(
        info=dataclasses.replace(info, frame=frame_of(chain.tile)), revision=f"{revision}-{short}", files=files,
        folder=folder, manifest=manifest, root=root, table_name=table, chain=Chain(**settings),
    )  # fmt: skip


def content_of(root: Path, table: str = TABLE) -> str:
    """Names and digests of a table of scans and all files that it names, as a text. Raises DataError."""
    return json.dumps(sorted(_file_digests(root, read_table(root / table), table).items()))


def _file_digests(root: Path, rows: list[Row], table: str) -> dict[str, str]:
    """Path in the folder -> digest, of the table and every stack."""
    stacks = [p for row in rows for p in (row.file, row.labels) if p is not None]
    for path in stacks:
        check_exists(path)
    digests = {path: _digest(path) for path in (root / table, *stacks)}
    parts = ((row, f"{row.dataset or ''} {sorted(row.cuts.items())}") for row in rows)  # one file may hold several
    refuse_copies((f"Scan {row.scan} ({row.file})", f"{digests[row.file]} {part}") for row, part in parts)
    return {path.relative_to(root).as_posix(): digest for path, digest in digests.items()}


def _digest(path: Path) -> str:
    """Of a file, or of the sorted files of a Zarr folder."""
    if not path.is_dir():
        return file_digest(path)
    return sha256_text("\n".join(f"{name} {file_digest(path / name)}" for name in stored_files(path)))


def _read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a complete, unchanged pack of this format, or None."""
    return read_pack_manifest(folder, FORMAT)


def _process_scan(row: Row, chain: Chain, pictures: bool = False) -> Processed:
    stack = open_stack(row.file, row.dataset, row.axes)
    try:
        labels = None if row.labels is None else open_stack(row.labels, row.labels_dataset, row.axes)
        try:
            return process(stack, row, chain, labels, pictures)
        finally:
            if labels is not None:
                labels.close()
    finally:
        stack.close()


def _pack(folder: Path, rows: list[Row], chain: Chain, splits: Mapping[str, str]) -> dict[str, Any]:
    """Write the columns of a pack; returns its manifest."""
    labelled = all(row.labels is not None for row in rows)
    writers = {"volume": ColumnWriter(folder / "volume.bin", "<f4")}
    if labelled:
        writers["instance"] = ColumnWriter(folder / "instance.bin", "<u2")
    tiles: list[dict[str, Any]] = []
    scans: dict[str, Any] = {}
    n_kept = 0
    try:
        with progress("cutting scans into tiles", len(rows)) as bar:
            for done, row in enumerate(rows, start=1):
                scan = _process_scan(row, chain)
                scans[row.scan] = {"voxel_um": list(scan.voxel_um), "steps": [_step_entry(s) for s in scan.steps]}
                grid = [n // t for n, t in zip(scan.volume.shape, chain.tile, strict=True)]
                split_of_row = _split_of_rows(row, grid[1], chain) if splits[row.scan] == "block" else None
                for z, y, x in np.ndindex(*grid):
                    split = splits[row.scan] if split_of_row is None else split_of_row[y]
                    if split is None:
                        continue
                    corner = [i * t for i, t in zip((z, y, x), chain.tile, strict=True)]
                    tile_slices = tuple(slice(c, c + t) for c, t in zip(corner, chain.tile, strict=True))
                    volume = scan.volume[tile_slices]
                    truth = None if scan.labels is None else scan.labels[tile_slices]
                    regions = measure(volume, truth, LEAST_TRACK)
                    keep = chain.regions == "none" or regions[f"regions_{chain.regions}"] >= chain.min_regions
                    name = f"{row.scan}:z{z:02d}:y{y:02d}:x{x:02d}"
                    entry = {"id": name, "scan": row.scan, "split": split, "place": n_kept if keep else -1}
                    tiles.append({**entry, **dict(zip("zyx", corner, strict=True)), **regions})
                    if keep:
                        writers["volume"].append(volume)
                        if labelled:
                            writers["instance"].append(truth)
                        n_kept += 1
                bar.update(done)
    finally:
        for writer in writers.values():
            writer.close()
    if not n_kept:
        raise DataError(
            f"None of {len(tiles)} tiles has {chain.min_regions} candidate regions ({chain.regions}). At least one was "
            f"expected. Type --set data.regions=none to keep all tiles."
        )
    return {
        "format": FORMAT, "tile": list(chain.tile), "n_kept": n_kept, "labelled": labelled, "tiles": tiles,
        "scans": scans,
        "chain": {name: getattr(chain, name) for name in sorted(_CHAIN_FIELDS)},
    }  # fmt: skip


def _step_entry(step: Any) -> dict[str, Any]:
    return {"name": step.name, "shape": list(step.shape), **step.did}


def _splits_of_scans(rows: list[Row], chain: Chain) -> dict[str, str]:
    """The split of each scan, or `block` where each is split itself. Raises DataError."""
    by_table = rows[0].split is not None
    if chain.split == "block":
        return dict.fromkeys((row.scan for row in rows), "block")
    if chain.split == "table" and not by_table:
        raise DataError(
            "The table of scans has no column `split`, which --set data.split=table reads. One of train, val, test for "
            "each scan was expected. Add it, or type --set data.split=scan."
        )
    if by_table and chain.split != "scan":
        splits = {row.scan: str(row.split) for row in rows}
        missing = sorted(set(SPLITS) - set(splits.values()))
        if missing:
            raise DataError(
                f"The table of scans has no scan of the split {missing[0]}. Each of train, val, test was expected. "
                f"Correct its column `split`, or type --set data.split=scan."
            )
        return splits
    if len(rows) < len(SPLITS):
        raise DataError(
            f"The table names {len(rows)} scans, too few to give each set its own. At least 3 were expected. Type "
            f"--set data.split=block to split every scan along y."
        )
    order = sorted((row.scan for row in rows), key=lambda scan: hashlib.sha256(scan.encode()).hexdigest())
    n_test, n_val = (max(1, round(share * len(rows))) for share in (chain.test_share, chain.val_share))
    n_val = min(n_val, len(rows) - 2)
    n_test = min(n_test, len(rows) - 1 - n_val)
    return {s: "test" if i < n_test else "val" if i < n_test + n_val else "train" for i, s in enumerate(order)}


def _split_of_rows(row: Row, n_rows: int, chain: Chain) -> list[str | None]:
    """The split of each row of tiles along y; None for those between two sets, which are left out."""
    free = n_rows - 2 * _GUARD
    n_test, n_val = (max(1, round(share * n_rows)) for share in (chain.test_share, chain.val_share))
    if free < 3 or free - n_test - n_val < 1:
        raise DataError(
            f"Scan {row.scan}: {n_rows} rows of tiles along y are too few for three sets with a row between them. At "
            f"least {2 * _GUARD + n_test + n_val + 1} were expected. Type --set data.split=scan, or make "
            f"--set data.tile smaller."
        )
    n_train = free - n_test - n_val
    between: list[str | None] = [None] * _GUARD
    return ["train"] * n_train + between + ["val"] * n_val + between + ["test"] * n_test
