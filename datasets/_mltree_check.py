"""Checked tables from the branches of an MLTree file of either format; every defect is one `DataError`.

`assemble` combines jagged branches into an `MLTree`, `check` checks the values, `joined` finds each cell in the
geometry by its id, in any order.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from benchmark.errors import DataError

from ._mltree import (
    CELL_BRANCHES,
    CLUSTER_BRANCHES,
    EVENT_BRANCHES,
    HIT_BRANCHES,
    N_TRUTH_PER_CELL,
    NEIGHBOURS,
    SAMPLINGS,
    TRACK_BRANCHES,
    TRUTH_BRANCHES,
    CellGeo,
    MLTree,
)
from ._mltree_units import check_units

REMEDY = "Fetch or write the file again"
LAYER_BRANCHES = tuple(f"track{axis}_{layer}" for layer in SAMPLINGS for axis in ("Eta", "Phi"))
COUNTS: Mapping[str, str] = {"nTruthPart": "truth", "nTrack": "tracks", "nCluster": "clusters"}  # branch -> table
# needed by every sample; any other branch may be absent, and its users check for it
REQUIRED = ("cluster_E", "cluster_Eta", "cluster_Phi", "cluster_cell_ID", "cluster_cell_E", "truthPartPdgId",
            "truthPartE")  # fmt: skip
_INTEGERS = {
    "runNumber", "eventNumber", "mcChannelNumber", "truthPartPdgId", "trackNumberDOF", "trackTruthParticleIndex",
    "cluster_nCells", "cluster_cell_ID", "cluster_cell_hitsTruthIndex", *COUNTS,
}  # fmt: skip
# checked values: the columns of each table that the suite uses
_FINITE: Mapping[str, tuple[str, ...]] = {
    "truth": ("truthPartE",),
    "tracks": ("trackPt", "trackP", "trackEta", "trackPhi", "trackD0", "trackZ0", "trackChiSquared", *LAYER_BRANCHES),
    "clusters": (
        "cluster_E", "cluster_E_LCCalib", "cluster_Eta", "cluster_Phi", "cluster_ENG_CALIB_TOT",
        "cluster_EM_PROBABILITY", "cluster_HAD_WEIGHT", "cluster_OOC_WEIGHT", "cluster_DM_WEIGHT",
        "cluster_CENTER_LAMBDA", "cluster_FIRST_ENG_DENS",
    ),
}  # fmt: skip
_DEPTHS: Mapping[str, int] = {
    **dict.fromkeys((*EVENT_BRANCHES, *COUNTS), 0),
    **dict.fromkeys((*TRUTH_BRANCHES, *TRACK_BRANCHES, *LAYER_BRANCHES, *CLUSTER_BRANCHES), 1),
    **dict.fromkeys(CELL_BRANCHES, 2),
    **dict.fromkeys(HIT_BRANCHES, 3),
}


@dataclass(frozen=True)
class Jagged:
    """One branch: its flat numbers, and the counts per event, per cluster and per cell."""

    values: np.ndarray  # (n,)
    counts: tuple[np.ndarray, ...] = ()  # int64, one array per level; none where there is one number per event


def known(names: Iterable[str]) -> dict[str, int]:
    """Branch -> depth of jaggedness (0 per event, 1 per object, 2 per cell, 3 per hit) of those that are read."""
    present = set(names)
    return {name: depth for name, depth in sorted(_DEPTHS.items()) if name in present}


def require(names: Iterable[str], where: str) -> None:
    """Raises DataError for a file without the branches that every sample needs."""
    missing = sorted(set(REQUIRED) - set(names))
    if missing:
        raise DataError(
            f"{where} has no branch {missing[0]}. The branches of MLTree's EventTree were expected, at least "
            f"{', '.join(REQUIRED)}. Write the file with them."
        )


def assemble(branches: Mapping[str, Jagged], where: str) -> MLTree:
    """The tables of one file or of a step of it. Raises DataError for missing branches and inconsistent counts."""
    require(branches, where)
    per_cluster = branches["cluster_cell_E"].counts
    n = {
        "truth": branches["truthPartPdgId"].counts[0],
        "clusters": per_cluster[0],
        "tracks": branches["trackPt"].counts[0] if "trackPt" in branches else np.zeros(len(per_cluster[0]), np.int64),
    }
    groups: dict[str, tuple[str, ...]] = {
        "truth": TRUTH_BRANCHES, "tracks": (*TRACK_BRANCHES, *LAYER_BRANCHES), "clusters": CLUSTER_BRANCHES,
    }  # fmt: skip
    tables: dict[str, dict[str, np.ndarray]] = {}
    for table, names in groups.items():
        tables[table] = {
            name: _checked_column(branches, name, (n[table],), where) for name in names if name in branches
        }
    n_events = len(n["clusters"])
    events = {name: _checked_column(branches, name, (n_events,), where) for name in EVENT_BRANCHES if name in branches}
    for name, table in COUNTS.items():
        if name in branches and (table != "tracks" or "trackPt" in branches):
            _check_counts(np.asarray(branches[name].values, np.int64), n[table], f"{where}", name)
    listed = {
        name: without_tails(branches[name], name, per_cluster, where)
        for name in (*CELL_BRANCHES, *HIT_BRANCHES) if name in branches
    }  # fmt: skip
    cells = {name: _checked_column(listed, name, per_cluster, where) for name in CELL_BRANCHES if name in listed}
    hits = {name: _pad_hits(listed[name], name, per_cluster, where) for name in HIT_BRANCHES if name in listed}
    return MLTree(
        events, n["truth"], n["tracks"], n["clusters"], tables["truth"], tables["tracks"], tables["clusters"],
        per_cluster[1], cells, hits,
    )  # fmt: skip


def concatenated(trees: list[MLTree]) -> MLTree:
    """The steps of one file as one tree; at least one step."""

    def join(name: str) -> dict[str, np.ndarray]:
        return {key: np.concatenate([getattr(t, name)[key] for t in trees]) for key in getattr(trees[0], name)}

    def counts(name: str) -> np.ndarray:
        return np.concatenate([getattr(t, name) for t in trees])

    return MLTree(
        join("events"), counts("n_truth"), counts("n_tracks"), counts("n_clusters"), join("truth"), join("tracks"),
        join("clusters"), counts("n_cells"), join("cells"), join("hits"),
    )  # fmt: skip


def dtype_of(branch: str) -> type:
    """int64 for counts and ids, float32 for quantities."""
    return np.int64 if branch in _INTEGERS else np.float32


def _checked_column(
    branches: Mapping[str, Jagged], name: str, expected: tuple[np.ndarray | int, ...], where: str
) -> np.ndarray:
    branch = branches[name]
    if not branch.counts and len(branch.values) != expected[0]:
        raise DataError(
            f"{where} has {len(branch.values)} entries of {name} and {expected[0]} events. Equal numbers were "
            f"expected. {REMEDY}."
        )
    for counts, expected_counts in zip(branch.counts, expected, strict=False):
        _check_counts(counts, np.asarray(expected_counts), where, name)
    values, dtype = np.asarray(branch.values), dtype_of(name)
    if dtype is np.int64 and values.dtype.kind == "f":
        with np.errstate(invalid="ignore"):
            is_whole = np.isfinite(values) & (values == np.floor(values)) & (np.abs(values) < 2.0**53)
        for index in np.flatnonzero(~is_whole)[:1]:
            raise DataError(
                f"{where}: {name} has the value {values[index]} at {index}. Whole numbers were expected. {REMEDY}."
            )
    return values.astype(dtype, copy=False)


def _check_counts(counts: np.ndarray, expected: np.ndarray, where: str, name: str) -> None:
    if len(counts) != len(expected):
        raise DataError(
            f"{where} has {len(counts)} entries of {name} where other branches have {len(expected)}. Equal numbers "
            f"were expected. {REMEDY}."
        )
    for index in np.flatnonzero(counts != expected)[:1]:
        raise DataError(
            f"{where}, entry {index}: {name} counts {counts[index]} where the other branches have {expected[index]}. "
            f"Equal numbers were expected. {REMEDY}."
        )


def without_tails(branch: Jagged, name: str, per_cluster: tuple[np.ndarray, ...], where: str) -> Jagged:
    """A branch of cells or hits, cut to the cells that are listed.

    MLTreeMaker lists the cells above an energy threshold, and may make vectors as long as the cluster has cells, whose
    ends stay empty (hits) or zero. Raises DataError for a longer vector with anything else at its end.
    """
    n_listed, n_given = per_cluster[1], branch.counts[1]
    if len(n_given) != len(n_listed) or not (n_given > n_listed).any() or (n_given < n_listed).any():
        return branch
    place = np.arange(n_given.sum()) - np.repeat(np.cumsum(n_given) - n_given, n_given)
    is_listed = place < np.repeat(n_listed, n_given)  # (all cells,)
    is_empty = branch.counts[2] == 0 if len(branch.counts) > 2 else branch.values == 0
    for cell in np.flatnonzero(~is_listed & ~is_empty)[:1]:
        cluster = int(np.searchsorted(np.cumsum(n_given), cell, side="right"))
        raise DataError(
            f"{where}: cluster {cluster} lists {n_listed[cluster]} cells and has {name} for {place[cell] + 1}. Nothing "
            f"after the last listed cell was expected. Write the file with {name} of the listed cells."
        )
    if len(branch.counts) > 2:
        counts = branch.counts[2][is_listed]
        return Jagged(branch.values, (branch.counts[0], n_listed, counts))
    return Jagged(branch.values[is_listed], (branch.counts[0], n_listed))


def _pad_hits(branch: Jagged, name: str, per_cluster: tuple[np.ndarray, ...], where: str) -> np.ndarray:
    """(M, 3) of the leading particles of each cell; -1 (index) or 0 (energy) where there are fewer."""
    for level_counts, expected in zip(branch.counts[:2], per_cluster, strict=True):
        _check_counts(level_counts, expected, where, name)
    counts = branch.counts[2]
    dtype = dtype_of(name)
    if len(counts) and (counts == N_TRUTH_PER_CELL).all():
        return np.asarray(branch.values, dtype=dtype).reshape(-1, N_TRUTH_PER_CELL)
    for cell in np.flatnonzero(counts > N_TRUTH_PER_CELL)[:1]:
        raise DataError(
            f"{where}: cell {cell} has {counts[cell]} entries of {name}. At most {N_TRUTH_PER_CELL}, the leading "
            f"particles, were expected. Write the file with that number."
        )
    padded: np.ndarray = np.full((len(counts), N_TRUTH_PER_CELL), -1 if dtype is np.int64 else 0, dtype=dtype)
    padded[np.arange(N_TRUTH_PER_CELL) < counts[:, None]] = branch.values
    return padded


def joined(tree: MLTree, geo: CellGeo) -> np.ndarray:
    """(M,) int64 rows of the geometry, by id. Raises DataError for a cell missing in the geometry."""
    return _geometry_rows(tree, geo, "the events")


def check(tree: MLTree, geo: CellGeo, where: str) -> np.ndarray:
    """`joined`, after all values are checked. Raises DataError naming the file, the event and the cluster."""
    check_geometry(geo, where)
    return check_tree(tree, geo, where)


def check_geometry(geo: CellGeo, where: str) -> None:
    """Raises DataError for a table that is not whole. Its cells are checked where events use them."""
    n = len(geo.cell_id)
    for name in ("sampling", "eta", "phi", "r_perp_mm", "deta", "dphi", "volume_mm3", "sigma_gev", "neighbours"):
        if len(getattr(geo, name)) != n:
            _refuse(where, f"cell_geo has {len(getattr(geo, name))} entries of {name} and {n} cells", "Equal numbers")
    if n == 0:
        _refuse(where, "cell_geo has no cells", "The detector's cells")
    if geo.neighbours.shape != (n, len(NEIGHBOURS)):
        _refuse(where, f"cell_geo has neighbours of shape {geo.neighbours.shape}", f"({n}, {len(NEIGHBOURS)})")
    for row in np.flatnonzero(((geo.neighbours < -1) | (geo.neighbours >= n)).any(axis=1))[:1]:
        _refuse(where, f"cell {geo.cell_id[row]} has the neighbours {geo.neighbours[row].tolist()}",
                f"Rows of cell_geo, 0 to {n - 1}, or -1")  # fmt: skip


def check_tree(tree: MLTree, geo: CellGeo, where: str) -> np.ndarray:
    """`check` with a geometry that is already checked: (M,) int64 its rows."""
    _check_lengths(tree, where)
    for table, n in (("truth", tree.n_truth), ("tracks", tree.n_tracks), ("clusters", tree.n_clusters)):
        columns = getattr(tree, table)
        for name in (name for name in _FINITE[table] if name in columns):
            for row in np.flatnonzero(~np.isfinite(columns[name]))[:1]:
                _refuse(_object_location(where, n, row, table), f"{name} is {columns[name][row]}", "A finite number")
    if "cluster_nCells" in tree.clusters:
        for row in np.flatnonzero(tree.clusters["cluster_nCells"] < tree.n_cells)[:1]:
            _refuse(_object_location(where, tree.n_clusters, row, "clusters"),
                    f"cluster_nCells is {tree.clusters['cluster_nCells'][row]} and there are {tree.n_cells[row]} cells",
                    "At least the number of listed cells")  # fmt: skip
    _check_truth_index(tree, where)
    for name in (name for name in CELL_BRANCHES[1:] if name in tree.cells):
        for row in np.flatnonzero(~np.isfinite(tree.cells[name]))[:1]:
            _refuse(_cell_location(where, tree, row), f"{name} is {tree.cells[name][row]}", "A finite number")
    _check_hits(tree, where)
    rows = _geometry_rows(tree, geo, where)
    _check_used_cells(geo, np.unique(rows), where)
    check_units(tree, geo, rows, where)
    key = np.sort(np.repeat(np.arange(len(tree.n_cells)), tree.n_cells) * len(geo.cell_id) + rows)
    for index in np.flatnonzero(np.diff(key) == 0)[:1]:
        cluster, row = divmod(int(key[index]), len(geo.cell_id))
        _refuse(_object_location(where, tree.n_clusters, cluster, "clusters"),
                f"the cell {geo.cell_id[row]} occurs twice in it", "Each cell once")  # fmt: skip
    return rows


def _check_used_cells(geo: CellGeo, used: np.ndarray, where: str) -> None:
    """Cells that events use. Others, as those of the forward calorimeter, may hold anything."""
    twice = np.isin(geo.cell_id, geo.cell_id[used])
    ids, n = np.unique(geo.cell_id[twice], return_counts=True)
    for index in np.flatnonzero(n > 1)[:1]:
        _refuse(where, f"the cell id {ids[index]} occurs twice in cell_geo", "Each id once")
    for row in used[~np.isin(geo.sampling[used], list(SAMPLINGS.values()))][:1]:
        _refuse(where, f"cell {geo.cell_id[row]} has the sampling {geo.sampling[row]}", "One of 0 to 20",
                "Leave out the clusters of the forward calorimeter when you write the file")  # fmt: skip
    for name in ("eta", "phi", "r_perp_mm", "deta", "dphi", "sigma_gev"):
        for row in used[~np.isfinite(getattr(geo, name)[used])][:1]:
            _refuse(where, f"cell {geo.cell_id[row]} has {name} = {getattr(geo, name)[row]}", "A finite number")


def _check_lengths(tree: MLTree, where: str) -> None:
    lengths = {
        "events": tree.n_events, "truth": tree.n_truth.sum(), "tracks": tree.n_tracks.sum(),
        "clusters": tree.n_clusters.sum(), "cells": tree.n_cells.sum(), "hits": tree.n_cells.sum(),
    }  # fmt: skip
    for name in ("n_truth", "n_tracks", "n_clusters", "n_cells"):
        counts = getattr(tree, name)
        if len(counts) != (len(tree.n_cells) if name == "n_cells" else tree.n_events) or (counts < 0).any():
            _refuse(where, f"{name} has {len(counts)} entries for {tree.n_events} events, or negative ones",
                    "One number of 0 or more each")  # fmt: skip
    if len(tree.n_cells) != lengths["clusters"]:
        _refuse(where, f"n_cells has {len(tree.n_cells)} entries and there are {lengths['clusters']} clusters",
                "Equal numbers")  # fmt: skip
    for table, n in lengths.items():
        for name, values in sorted(getattr(tree, table).items()):
            if len(values) != n:
                _refuse(where, f"{name} has {len(values)} entries where the counts ask for {n}", "Equal numbers")


def _check_truth_index(tree: MLTree, where: str) -> None:
    if "trackTruthParticleIndex" not in tree.tracks:
        return
    index, limit = tree.tracks["trackTruthParticleIndex"], np.repeat(tree.n_truth, tree.n_tracks)
    for row in np.flatnonzero((index < -1) | (index >= limit))[:1]:
        _refuse(_object_location(where, tree.n_tracks, row, "tracks"),
                f"its truth index is {index[row]} and the event has {limit[row]} truth particles",
                "A row of them, or -1 for a track without one,")  # fmt: skip


def _check_hits(tree: MLTree, where: str) -> None:
    if "cluster_cell_hitsTruthE" in tree.hits:
        energy = tree.hits["cluster_cell_hitsTruthE"]
        for row in np.flatnonzero(~(np.isfinite(energy) & (energy >= 0)).all(axis=1))[:1]:
            _refuse(_cell_location(where, tree, row), f"cluster_cell_hitsTruthE is {energy[row].tolist()}",
                    "Finite energies of 0 GeV or more")  # fmt: skip
    if "cluster_cell_hitsTruthIndex" in tree.hits:
        index = tree.hits["cluster_cell_hitsTruthIndex"]
        limit = np.repeat(np.repeat(tree.n_truth, tree.n_clusters), tree.n_cells)
        for row in np.flatnonzero(((index < -1) | (index >= limit[:, None])).any(axis=1))[:1]:
            _refuse(_cell_location(where, tree, row),
                    f"its truth indices are {index[row].tolist()} and the event has {limit[row]} truth particles",
                    "Rows of them, or -1,")  # fmt: skip


def _geometry_rows(tree: MLTree, geo: CellGeo, where: str) -> np.ndarray:
    ids = tree.cells["cluster_cell_ID"]
    if not len(geo.cell_id):
        _refuse(where, "the geometry has no cells", "The detector's cells")
    order = np.argsort(geo.cell_id, kind="stable")
    ordered = geo.cell_id[order]
    position = np.minimum(np.searchsorted(ordered, ids), len(ordered) - 1)
    for row in np.flatnonzero(ordered[position] != ids)[:1]:
        _refuse(_cell_location(where, tree, row), f"the cell id {ids[row]} is not in the geometry", "An id of cell_geo",
                "Give the cell_geo file that belongs to these events")  # fmt: skip
    return order[position].astype(np.int64)


def _cell_location(where: str, tree: MLTree, row: int) -> str:
    cluster = int(np.searchsorted(np.cumsum(tree.n_cells), row, side="right"))
    first = int(tree.n_cells[:cluster].sum())
    return f"{_object_location(where, tree.n_clusters, cluster, 'clusters')}, cell {row - first}"


def _object_location(where: str, counts: np.ndarray, row: int, table: str) -> str:
    """Text that names the file, the event and one of its objects."""
    event = int(np.searchsorted(np.cumsum(counts), row, side="right"))
    object_name = {"clusters": "cluster", "tracks": "track", "truth": "truth particle"}[table]
    return f"{where}, event {event}, {object_name} {row - int(counts[:event].sum())}"


def _refuse(where: str, problem: str, expected: str, remedy: str = REMEDY) -> NoReturn:
    verb = "was" if expected.startswith(("A ", "An ", "One ", "Each ")) else "were"
    raise DataError(f"{where}: {problem}. {expected.rstrip(',')} {verb} expected. {remedy}.")
