"""Small folders of light-sheet scans, as users have them."""

from __future__ import annotations

import csv

import numpy as np
import tifffile
from scipy.ndimage import gaussian_filter

from benchmark.seeding import generator

SHAPE = (12, 90, 96)  # of a scan
CHAIN = {"tile": (5, 20, 20), "margin_um": (7.0, 0.0, 2.0), "min_regions": 1, "regions": "none"}


def make_scan(name: str, shape=SHAPE) -> tuple[np.ndarray, np.ndarray]:
    """Counts (uint16) with some bright lines, and the numbers of the lines."""
    rng = generator("lif_files", name)
    counts, labels = rng.normal(500, 20, shape), np.zeros(shape, np.uint16)
    for number in range(1, 9):
        line = np.zeros(shape)
        place = rng.uniform(0.15, 0.85, 3) * shape
        step = np.array([0.15, *rng.normal(size=2)])
        for t in np.arange(-6, 6, 0.5):
            z, y, x = np.clip(np.rint(place + t * step), 0, np.array(shape) - 1).astype(int)
            line[z, y, x] += 1
        line = gaussian_filter(line, (1, 1.5, 1.5))
        counts += 900 * line / line.max()
        labels[line > 0.3 * line.max()] = number
    return np.rint(counts).astype(np.uint16), labels


def write_table(folder, rows, name="scans.csv"):
    """A table of scans from dictionaries."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    with (folder / name).open("w", newline="") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(rows)


def row_of(scan: str, file: str, **more):
    """A row with voxels of 7 x 0.425 x 0.425 um."""
    return {"scan": scan, "file": file, "voxel_z_um": 7, "voxel_y_um": 0.425, "voxel_x_um": 0.425, **more}


def write_folder(folder, scans=("a", "b", "c", "d"), labelled=True, shape=SHAPE, **more):
    """TIFF stacks of these scans, their labels, and the table."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for scan in scans:
        counts, labels = make_scan(scan, shape)
        tifffile.imwrite(folder / f"{scan}.tif", counts, photometric="minisblack")
        row = row_of(scan, f"{scan}.tif", **more)
        if labelled:
            tifffile.imwrite(folder / f"{scan}_labels.tif", labels, photometric="minisblack", compression="zlib")
            row["labels"] = f"{scan}_labels.tif"
        rows.append(row)
    write_table(folder, rows)
    return folder
