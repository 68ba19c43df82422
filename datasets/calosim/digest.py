"""Digest of fixed events: whether the simulation still makes the content of its revisions (`plan.CONTENT`)."""

from __future__ import annotations

import dataclasses

import numpy as np

from benchmark.datasets._identity import content_digest
from benchmark.datasets._mltree import CellGeo, MLTree

from .simulate import cell_geometry, simulate_chunk

N_EVENTS = {"pions": 120, "mixtures": 80}


def digest() -> str:
    """Digest of the geometry and of fixed events of each production, in all branches."""
    arrays = _arrays("geometry", cell_geometry())
    for production, n_events in N_EVENTS.items():
        arrays += _arrays(production, simulate_chunk(production, 0, "digest", 0, n_events))
    return content_digest(arrays)


def _arrays(name: str, tables: CellGeo | MLTree) -> list[tuple[str, np.ndarray]]:
    """Every column, in the order of names."""
    arrays = []
    for field in dataclasses.fields(tables):
        value = getattr(tables, field.name)
        columns = {"": value} if isinstance(value, np.ndarray) else value
        arrays += [(f"{name} {field.name} {column}", columns[column]) for column in sorted(columns)]
    return arrays
