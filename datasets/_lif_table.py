"""The table of scans: file, voxel size and used part of each scan. CSV or XLSX."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmark.errors import DataError
from benchmark.paths import stays_inside

from ._table_file import is_file, number_of, read_rows

REQUIRED = ("scan", "file", "voxel_z_um", "voxel_y_um", "voxel_x_um")
CUTS = ("z_min", "z_max", "y_min", "y_max", "x_min", "x_max")  # voxels, half-open
OPTIONAL = (*CUTS, "labels", "split", "dataset", "labels_dataset", "axes", "notes")
AXES = "zyx"  # the only value of the column `axes`
SPLITS = ("train", "val", "test")
_WHOLE = re.compile(r"[0-9]{1,9}([.,]0)?", re.ASCII)  # not 1.000, which may be a thousand
EXAMPLE = "scan,file,voxel_z_um,voxel_y_um,voxel_x_um,y_min,y_max / 696,696.tif,7,0.425,0.425,120,2890"


@dataclass(frozen=True)
class Row:
    """One scan."""

    scan: str
    file: Path
    voxel_um: tuple[float, float, float]  # z, y, x
    cuts: Mapping[str, int]  # some of CUTS
    labels: Path | None = None  # stack of the same shape: number of the track that a voxel belongs to, 0 for none
    split: str | None = None
    dataset: str | None = None  # array inside an HDF5 file or a Zarr group
    labels_dataset: str | None = None
    axes: str | None = None  # AXES: these they are, whatever the files say of themselves

    def limits(self, shape: tuple[int, int, int]) -> tuple[slice, slice, slice]:
        """The part of a volume that the cuts leave. Raises DataError for one that lies beyond the volume."""
        slices = []
        for axis, n in zip("zyx", shape, strict=True):
            low, high = self.cuts.get(f"{axis}_min", 0), self.cuts.get(f"{axis}_max", n)
            if not 0 <= low < high <= n:
                raise DataError(
                    f"Scan {self.scan}: the cut {axis}_min={low}, {axis}_max={high} does not fit its {n} voxels along "
                    f"{axis}. 0 <= min < max <= {n} was expected. Correct the table of scans."
                )
            slices.append(slice(low, high))
        return slices[0], slices[1], slices[2]


def read_table(path: Path) -> list[Row]:
    """The scans of a table, sorted by name; files lie in its folder. Raises DataError, which names row and column."""
    if not is_file(path):
        raise DataError(
            f"There is no table of scans {path}. A CSV or XLSX file with the columns {', '.join(REQUIRED)} was "
            f"expected. Write one, for example: {EXAMPLE}."
        )
    lines = read_rows(path, (*REQUIRED, *OPTIONAL))
    if not lines:
        raise DataError(f"{path} is empty. A row of column names, and a row for each scan, was expected. Fill it in.")
    names = lines[0][1]
    _check_columns(path, names)
    rows = [_row(path, number, dict(zip(names, cells, strict=True))) for number, cells in lines[1:]]
    if not rows:
        raise DataError(f"{path} names no scan. At least one row was expected. Add your scans.")
    scans = [row.scan for row in rows]
    duplicates = sorted(scan for scan, n in Counter(scans).items() if n > 1)
    if duplicates:
        raise DataError(
            f"{path} names the scan {duplicates[0]} twice. Each scan once was expected. Rename or remove one."
        )
    if len({row.split is None for row in rows}) > 1:
        raise DataError(f"{path} gives a split for some scans only. All or none was expected. Fill the column `split`.")
    return sorted(rows, key=lambda row: row.scan)


def _check_columns(path: Path, names: list[str]) -> None:
    known = (*REQUIRED, *OPTIONAL)
    unknown = [n for n in names if n not in known]
    if unknown or len(set(names)) < len(names):
        problem = f"an unknown column {unknown[0]!r}" if unknown else "a column twice"
        raise DataError(f"{path} has {problem}. Some of {', '.join(known)} were expected. Correct the first row.")
    for name in REQUIRED:
        if name not in names:
            hint = " (voxel sizes that files state are not reliable)" if name.startswith("voxel") else ""
            raise DataError(
                f"{path} has no column {name}. {', '.join(REQUIRED)} were expected{hint}. Add it, for example: "
                f"{EXAMPLE}."
            )


def _row(path: Path, number: int, texts: Mapping[str, str]) -> Row:
    def fail(column: str, expected: str) -> DataError:
        scan = (texts.get("scan") or "?")[:60]
        return DataError(
            f"{path}, row {number} (scan {scan}): {column} is {texts.get(column, '')[:100]!r}. {expected} was "
            f"expected. Correct the table of scans."
        )

    def size(column: str) -> float:
        try:
            value = number_of(texts[column])
        except ValueError:
            raise fail(column, "A voxel size in um") from None
        if not (math.isfinite(value) and value > 0):
            raise fail(column, "A voxel size in um, above 0,")
        return value

    def scan_path(column: str) -> Path:
        relative = texts[column].replace("\\", "/")
        if not stays_inside(relative) or ":" in relative:
            raise fail(column, "A path inside the table's folder")
        return path.parent / relative

    cuts = {}
    for column in CUTS:
        if texts.get(column):
            if not _WHOLE.fullmatch(texts[column]):
                raise fail(column, "A whole number of voxels")
            cuts[column] = int(re.split("[.,]", texts[column])[0])
    scan = texts["scan"]
    if not scan.strip(".") or any(c in scan for c in ":/\\") or not scan.isprintable() or len(scan) > 100:
        raise fail("scan", "A name of at most 100 characters, without : and slashes,")
    if not texts["file"]:
        raise fail("file", "The name of a file")
    split = texts.get("split") or None
    if split not in (None, *SPLITS):
        raise fail("split", f"One of {', '.join(SPLITS)}")
    if texts.get("axes", "").lower() not in ("", AXES):
        raise fail("axes", f"{AXES}, or nothing,")
    z, y, x = (size(f"voxel_{axis}_um") for axis in "zyx")
    return Row(
        scan=scan, file=scan_path("file"), voxel_um=(z, y, x), cuts=cuts,
        labels=scan_path("labels") if texts.get("labels") else None, split=split, dataset=texts.get("dataset") or None,
        labels_dataset=texts.get("labels_dataset") or None, axes=texts.get("axes", "").lower() or None,
    )  # fmt: skip
