"""Simulated data sets in MLTree's schema: many events in parallel, resumable.

A folder holds `cell_geo.npy`, `<split>/pions_0000.npy`, `<split>/mixtures_0000.npy`, ... and, when all exist, the
manifest `simulation.json`. ATLAS-like toy, not ATLAS simulation.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from benchmark.datasets._mltree_npy import write_geometry, write_tree
from benchmark.datasets._simulation import Simulation
from benchmark.io import atomic_write_json, sha256_file

from .plan import CONTENT, Piece, Plan, check_plan
from .simulate import cell_geometry, simulate_chunk

GEOMETRY = "cell_geo.npy"
NOTICE = (
    "These events are simulated by particlebench itself: an ATLAS-like toy, not ATLAS simulation. No score on them may "
    "be quoted as one on ATLAS samples."
)


def make_piece(plan: Plan, piece: Piece, work: Path) -> int:
    """Simulate a piece and store its file and checksum atomically. Returns the number of its events."""
    tree = simulate_chunk(piece.production, plan.seed, piece.split, piece.first, piece.n_events, plan.settings)
    path = piece.path(work)
    write_tree(path, tree)
    atomic_write_json(_checksum_path(path), {"sha256": sha256_file(path)})
    return piece.n_events


def is_finished(piece: Piece, work: Path) -> bool:
    """Is the piece's file stored and intact?"""
    path = piece.path(work)
    try:
        stored = json.loads(_checksum_path(path).read_text(encoding="utf-8"))
        return bool(stored["sha256"] == sha256_file(path))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def compile_all() -> None:
    """Compile the simulation, or load it from numba's cache."""
    simulate_chunk("mixtures", 0, "compile", 0, 2)


def _checksum_path(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _publish(plan: Plan, out: Path, work: Path) -> dict[str, str]:
    """Write the geometry and move the files into `out`; returns relative path -> SHA-256."""
    write_geometry(out / GEOMETRY, cell_geometry())
    written = {GEOMETRY: sha256_file(out / GEOMETRY)}
    pieces = plan.pieces()
    for piece in pieces:
        written[piece.name()] = json.loads(_checksum_path(piece.path(work)).read_text(encoding="utf-8"))["sha256"]
    for piece in pieces:
        (out / piece.name()).parent.mkdir(parents=True, exist_ok=True)
        os.replace(piece.path(work), out / piece.name())
    return written


SIMULATION = Simulation(
    title="simulating calorimeter events",
    notice=NOTICE,
    content=CONTENT,
    check=check_plan,
    pieces=Plan.pieces,
    make=make_piece,
    is_finished=is_finished,
    publish=_publish,
    warm_up=(compile_all,),
)
simulate_plan = SIMULATION.simulate
