"""Simulated scans as files: OME-TIFF stacks with their truth, the tables of scans and tracks, resumable.

A folder holds `<scan>.ome.tif` (uint16 counts), `<scan>_truth.ome.tif` (uint16 numbers of objects), `scans.csv` (the
table that `lif-scans` reads), `tracks.csv` and, when all are there, the manifest `simulation.json`.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import numpy as np
import tifffile

from benchmark.datasets._simulation import Simulation
from benchmark.io import atomic_path, atomic_write_json, atomic_write_text, sha256_file

from .plan import CONTENT, Piece, Plan, check_plan
from .scan import make_scan

SCANS, TRACKS = "scans.csv", "tracks.csv"
NOTICE = (
    "These scans are simulated by particlebench itself: optics, densities and backgrounds are placeholders until they "
    "are calibrated on real scans. No score on them may be quoted as one on measured crystals."
)


def make_piece(plan: Plan, piece: Piece, work: Path) -> int:
    """Simulate a scan and store its files atomically, its metadata last."""
    scan = make_scan(plan, piece)
    image, truth = names(piece)
    write_stack(work / image, scan.image, plan.voxel_um, piece.name)
    write_stack(work / truth, scan.instance, plan.voxel_um, f"{piece.name} truth", compressed=True)
    metadata = {
        "files": {name: sha256_file(work / name) for name in (image, truth)},
        "lit": list(scan.lit),
        "noise": scan.noise,
        "tracks": scan.tracks,
    }
    atomic_write_json(piece.path(work), metadata)
    return piece.n_events


def names(piece: Piece) -> tuple[str, str]:
    """Files of a scan: counts and truth."""
    return f"{piece.name}.ome.tif", f"{piece.name}_truth.ome.tif"


def write_stack(
    path: Path, stack: np.ndarray, voxel_um: tuple[float, float, float], name: str, compressed: bool = False
) -> None:
    """Write (Z, Y, X) as OME-TIFF with its voxel size. Uncompressed stacks can be memory-mapped."""
    z, y, x = voxel_um
    metadata = {
        "axes": "ZYX", "Name": name, "UUID": str(uuid5(NAMESPACE_URL, f"particlebench {name}")),  # reproducible
        **{f"PhysicalSize{axis}": size for axis, size in zip("XYZ", (x, y, z), strict=True)},
        **{f"PhysicalSize{axis}Unit": "µm" for axis in "XYZ"},
    }  # fmt: skip
    with atomic_path(path) as partial_file:
        tifffile.imwrite(
            partial_file, stack, ome=True, photometric="minisblack", metadata=metadata, software="particlebench",
            compression="zlib" if compressed else None, bigtiff=stack.nbytes > 2**31,
        )  # fmt: skip


def is_finished(piece: Piece, work: Path) -> bool:
    """Are the scan's files stored and intact?"""
    try:
        metadata = json.loads(piece.path(work).read_text(encoding="utf-8"))
        return all(sha256_file(work / name) == digest for name, digest in metadata["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def _publish(plan: Plan, out: Path, work: Path) -> dict[str, str]:
    """Move the stacks into `out` and write the tables; returns file -> SHA-256."""
    metadata = {piece: json.loads(piece.path(work).read_text(encoding="utf-8")) for piece in plan.pieces()}
    z, y, x = plan.voxel_um
    scans, tracks = [], []
    for piece, entry in metadata.items():
        image, truth = names(piece)
        scans.append({
            "scan": piece.name, "file": image, "voxel_z_um": z, "voxel_y_um": y, "voxel_x_um": x,
            "y_min": entry["lit"][0], "y_max": entry["lit"][1], "labels": truth, "split": piece.split,
            "notes": f"simulated; background noise {entry['noise']:.3f} counts after a blur of 2 voxels",
        })  # fmt: skip
        tracks += [{"scan": piece.name, **row} for row in entry["tracks"]]
    for piece in metadata:
        for name in names(piece):
            os.replace(work / name, out / name)
    atomic_write_text(out / SCANS, _csv(scans))
    atomic_write_text(out / TRACKS, _csv(tracks))
    written = {name: digest for entry in metadata.values() for name, digest in entry["files"].items()}
    return {**written, **{name: sha256_file(out / name) for name in (SCANS, TRACKS)}}


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()


SIMULATION = Simulation(
    title="simulating scans",
    notice=NOTICE,
    content=CONTENT,
    check=check_plan,
    pieces=Plan.pieces,
    make=make_piece,
    is_finished=is_finished,
    publish=_publish,
)
simulate_plan = SIMULATION.simulate
