"""Light-sheet scans: stacks of every format, and tables of scans as CSV and XLSX."""

from __future__ import annotations

import csv
import json
import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import openpyxl
import tifffile
from numcodecs import Zstd

from builders.lif_files import make_scan, row_of, write_table
from builders.zarr_files import HAS_FORMAT_3, write_array
from fuzz.arrays import NPY
from fuzz.events import every_event
from fuzz.mutations import JSON, NUMBERS, SIZES, TEXTS, Rng, pick
from fuzz.reader import Change, Reader

SHAPE = (6, 80, 24)
SETTINGS = {"tile": (5, 8, 8), "margin_um": (0.0, 0.0, 0.0), "regions": "none", "split": "block"}
BOMB = 700_000_000  # bytes that a chunk of a few unpacks to
SCAN = make_scan("a", SHAPE)[0]


def read(folder: Path, table: str = "scans.csv") -> Any:
    return every_event("lif-scans", folder, table=table, **SETTINGS)


def _make(folder: Path, file: str, write: Callable[[Path], object]) -> None:
    (folder / "data").mkdir()
    write(folder / "data" / file)
    write_table(folder / "data", [row_of("a", file)])


# --- TIFF ---


def _tiff(path: Path, **options: Any) -> None:
    tifffile.imwrite(path, SCAN, photometric="minisblack", **options)


def tags(path: Path, rng: Rng) -> None:
    """One number of a TIFF's directory is another."""
    with tifffile.TiffFile(path, mode="r+b") as file:
        tag = pick(rng, list(pick(rng, list(file.pages)).tags.values()))
        old = tag.value if isinstance(tag.value, tuple) else (tag.value,)
        if all(isinstance(v, int) for v in old):
            new = [pick(rng, (0, 1, 2, 3, 65_535, 2**32 - 1, 5, 8, 32_773, v + 1, v * 2)) for v in old]
            tag.overwrite(tuple(n % 2**16 if tag.dtype == 3 else n for n in new))
        else:
            tag.overwrite(pick(rng, TEXTS[:5]).encode("utf-8") if isinstance(tag.value, str) else tag.value)


def stacks(path: Path, rng: Rng) -> None:
    """The same stack in another type, shape, order, compression or description."""
    volume = SCAN.astype(pick(rng, ("u1", "i2", ">u2", "f4", "f8", "u4", "c8", "u2", "u2")))
    options: dict[str, Any] = {}
    what = int(rng.integers(6))
    if what == 0:
        volume = pick(rng, (volume[:1], volume[0], volume[None], volume[:, :, :, None], volume[:, :2, :2]))
    elif what == 1:
        options = {"metadata": {"axes": pick(rng, ("CYX", "TYX", "SYX", "QYX"))}, "ome": True}
    elif what == 2:
        options = {"compression": pick(rng, ("zlib", "lzma")), "predictor": pick(rng, (True, False))}
    elif what == 3:
        options = {"photometric": "miniswhite"}
    elif what == 4:
        options = {"tile": (16, 16)}
    else:
        options = {"description": pick(rng, TEXTS[:6]).encode("ascii", "ignore"), "metadata": None}
    try:
        tifffile.imwrite(path, volume, **{"photometric": "minisblack", **options})
    except (ValueError, TypeError, KeyError, tifffile.TiffFileError):  # no such combination: none of the pages is left
        path.write_bytes(path.read_bytes()[:8])


def pixels(path: Path, rng: Rng) -> None:
    """Slices that are constant, NaN or infinite."""
    volume = SCAN.astype("f4")
    volume[int(rng.integers(len(volume)))] = pick(rng, (0, np.nan, np.inf, 1e38, -1))
    tifffile.imwrite(path, volume, photometric="minisblack")


def bombs(path: Path, rng: Rng) -> None:
    """A compressed page that unpacks to hundreds of megabytes."""
    with tifffile.TiffFile(path) as file:
        page = pick(rng, list(file.pages))
        changed = [page.tags[name] for name in ("StripOffsets", "StripByteCounts")]
    content, bomb = bytearray(path.read_bytes()), _deflate_bomb()
    for tag, value in zip(changed, (len(content), len(bomb)), strict=True):
        content[tag.offset + 2 : tag.offset + 12] = struct.pack("<HII", 4, 1, value)  # type, count, value
    path.write_bytes(content + bomb)


@cache
def _deflate_bomb() -> bytes:
    return zlib.compress(bytes(BOMB), 1)


TIFF: Mapping[str, Change] = {"tags": tags, "stacks": stacks, "values": pixels}


# --- HDF5 ---


def _hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("scan", data=SCAN, chunks=(1, 80, 24), compression="gzip")


def datasets(path: Path, rng: Rng) -> None:
    """A dataset of another type or rank, that claims more than there is, or lies elsewhere."""
    with h5py.File(path, "r+") as file:
        del file["scan"]
        what = int(rng.integers(11))
        many = pick(rng, (10**4, 10**5, 10**8, 10**12))
        if what == 0:
            file.create_dataset("scan", (many, 80, 24), "u2")
        elif what == 1:
            file.create_dataset("scan", (6, many, many), "f8", chunks=(1, 1000, 1000), compression="gzip")
        elif what == 2:
            file.create_dataset("scan", SHAPE, "u2", external=[(pick(rng, ("/dev/zero", "/etc/passwd")), 0, 2**40)])
        elif what == 3:
            file["scan"] = h5py.ExternalLink(pick(rng, ("/dev/zero", "../x.h5", path.name)), "scan")
        elif what == 4:
            place = pick(rng, ("scan", "g/scan"))
            file[place] = h5py.SoftLink(pick(rng, ("/scan", "scan", "/", "/nowhere", "/g/h")))
        elif what == 9:
            file["g/scan"] = h5py.ExternalLink(pick(rng, ("/dev/zero", "../x.h5", path.name)), "scan")
        elif what == 10:
            array = file.create_dataset("scan", data=SCAN, chunks=(1, 80, 24), compression="gzip")
            array.id.write_direct_chunk((int(rng.integers(6)), 0, 0), _deflate_bomb())
        elif what == 5:
            file["scan"] = file["/"]
        elif what == 6:
            dtype = pick(rng, ("S3", "c16", [("a", "i4")], h5py.vlen_dtype("f4"), h5py.string_dtype(), bool, "f2"))
            file.create_dataset("scan", SHAPE, dtype)
        elif what == 7:
            file.create_dataset("scan", data=SCAN, maxshape=(None, None, None), chunks=(3, 7, 5), fletcher32=True)
            file.create_dataset(pick(rng, ("other", "g/h/i", "é")), data=SCAN)
        else:
            volume = SCAN.astype("f4")
            volume[int(rng.integers(6))] = pick(rng, (np.nan, np.inf, 0.0, 1e38))
            file.create_dataset("scan", data=volume)


# --- Zarr ---


def _zarr(path: Path, version: int) -> None:
    write_array(path, SCAN, (2, 40, 24), version)


def _chunks(path: Path) -> list[Path]:
    return sorted(p for p in path.rglob("*") if p.is_file() and p.name not in (".zarray", ".zattrs", "zarr.json"))


def store(path: Path, rng: Rng) -> None:
    """Chunks that are missing, links, folders, empty, or unpack to a gigabyte."""
    chunk = pick(rng, _chunks(path))
    content = chunk.read_bytes()
    chunk.unlink()
    what = int(rng.integers(6))
    if what == 1:
        chunk.symlink_to(pick(rng, ("/dev/zero", "/dev/full", chunk.name, "../../../../../etc/passwd")))
    elif what == 2:
        chunk.mkdir()
    elif what == 3:
        chunk.write_bytes(content[: int(rng.integers(len(content)))])
    elif what == 4:
        chunk.write_bytes(_zstd_bomb())
    elif what == 5:
        os.mkfifo(chunk)


@cache
def _zstd_bomb() -> bytes:
    return bytes(Zstd(level=1).encode(bytes(BOMB)))


def zarr_sizes(path: Path, rng: Rng) -> None:
    """Absurd sizes in the description of an array."""
    description = pick(rng, sorted(path.rglob(".zarray")) or sorted(path.rglob("zarr.json")))
    content = json.loads(description.read_text())
    grid = content.get("chunk_grid", {}).get("configuration", {})
    holder, name = pick(rng, ((content, "shape"), (grid, "chunk_shape") if grid else (content, "chunks")))
    holder[name] = [pick(rng, (*SIZES, n)) for n in holder[name]]
    description.write_text(json.dumps(content))


ZARR: Mapping[str, Change] = {"store": store, "claims": zarr_sizes}


# --- tables ---


def make_table(folder: Path, suffix: str) -> None:
    _make(folder, "a.tif", _tiff)
    if suffix == ".xlsx":
        rows = list(csv.reader((folder / "data" / "scans.csv").read_text().splitlines()))
        _write_xlsx(folder / "data" / "scans.xlsx", [[_number(c) for c in row] for row in rows])


def _number(text: str) -> Any:
    try:
        return float(text)
    except ValueError:
        return text


def _write_xlsx(path: Path, rows: list[list[Any]]) -> None:
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    book.save(path)


def csv_cells(path: Path, rng: Rng) -> None:
    """A cell, row or column that is other, absent or double; other separators."""
    rows = list(csv.reader(path.read_text().splitlines()))
    row = pick(rng, rows)
    at = int(rng.integers(len(row)))
    what = int(rng.integers(8))
    if what < 3:
        row[at] = pick(rng, (*TEXTS, *map(str, NUMBERS[:-3]), "nan", "inf", "1e400", "7,5", '"', "a.TIF", "./a.tif"))
    elif what == 3:
        rows[int(rng.integers(2))] = row[:at]
    elif what == 4:
        rows.append(list(row))
    elif what == 5:
        row.insert(at, pick(rng, ("z_min", "split", "labels", "dataset", "notes", "")))
    elif what == 6:
        rows = [[*rows[0], "z_min"], [*rows[1], pick(rng, ("-1", "1", "99", "1e300", "nan", "0.5", "9" * 400))]]
    text = "\n".join(pick(rng, (",", ",", ";", "\t")).join(r) for r in rows)
    path.write_bytes((text * (2000 if what == 7 else 1)).encode("utf-8", "surrogatepass"))


def xlsx_cells(path: Path, rng: Rng) -> None:
    """A cell of another type, at the end of the sheet, or many."""
    book = openpyxl.load_workbook(path)
    sheet = book.active
    what = int(rng.integers(5))
    if what < 2:
        value = pick(rng, ("", None, True, "=1+1", "é" * 40, -1, 1e308, "nan", "../x.tif", "/dev/zero", 0))
        sheet.cell(pick(rng, (1, 2, 3)), int(rng.integers(1, 7)), value)
    elif what == 2:
        sheet.cell(pick(rng, (1, 1_048_576)), pick(rng, (1, 16_384)), "far")
    elif what == 3:
        book.create_sheet("first", 0)
    else:
        sheet.append([c.value for c in sheet[2]])
    book.save(path)


def members(path: Path, rng: Rng) -> None:
    """A part of the XLSX archive: absent, damaged, an exploding text or archive, or in another folder."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name = pick(rng, [*parts, *["xl/worksheets/sheet1.xml"] * 5])
    what = int(rng.integers(5))
    if what == 0:
        del parts[name]
    elif what == 1:
        at = int(rng.integers(len(parts[name])))
        parts[name] = parts[name][:at] + rng.bytes(3) + parts[name][at + 3 :]
    elif what == 2:
        more = pick(rng, (b" " * 300_000_000, b"<c/>" * 800_000, b"<c/>" * 4_000_000, b"<row/>" * 2_000_000))
        parts[name] = parts[name].replace(b"</row>", more + b"</row>" if b"c" in more else b"</row>" + more, 1)
    elif what == 3:
        entities = "".join(f'<!ENTITY l{k} "{f"&l{k - 1};" * 10}">' for k in range(1, 12))
        parts[name] = f'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY l0 "ha">{entities}]><l>&l11;</l>'.encode()
    else:
        parts["../../escaped.xml"] = b"x"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for part, content in parts.items():
            archive.writestr(part, content)


def _zarr_reader(version: int) -> list[Reader]:
    make = partial(_make, file="a.zarr", write=partial(_zarr, version=version))
    name = ".zarray" if version == 2 else "zarr.json"
    return [
        Reader(f"zarr-{version}", make, "data/a.zarr", read, ZARR, only_own=True),
        Reader(f"zarr-{version}-chunks", make, "data/a.zarr/[0c]*" if version == 2 else "data/a.zarr/c/*/*/*", read),
        Reader(f"zarr-{version}-metadata", make, f"data/a.zarr/{name}", read, JSON, is_text=True),
    ]


READERS = (
    Reader("tiff", partial(_make, file="a.tif", write=_tiff), "data/a.tif", read, TIFF),
    Reader("tiff-compressed", partial(_make, file="a.tif", write=partial(_tiff, compression="zlib")), "data/a.tif",
           read, {"tags": tags, "bombs": bombs}),
    Reader("ome-tiff", partial(_make, file="a.ome.tif", write=partial(_tiff, ome=True, metadata={"axes": "ZYX"})),
           "data/a.ome.tif", read, {"tags": tags}),
    Reader("scan-npy", partial(_make, file="a.npy", write=lambda p: np.save(p, SCAN)), "data/a.npy", read, NPY),
    Reader("scan-hdf5", partial(_make, file="a.h5", write=_hdf5), "data/a.h5", read, {"claims": datasets}),
    *_zarr_reader(2), *(_zarr_reader(3) if HAS_FORMAT_3 else []),
    Reader("scans-csv", partial(make_table, suffix=".csv"), "data/scans.csv", read, {"cells": csv_cells}, is_text=True),
    Reader("scans-xlsx", partial(make_table, suffix=".xlsx"), "data/scans.xlsx", partial(read, table="scans.xlsx"),
           {"cells": xlsx_cells, "members": members}),
)  # fmt: skip
