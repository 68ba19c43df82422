"""Packed calorimeter events: MLTree's tables as flat, memory-mapped columns, built once per source file.

A pack is a folder with one raw binary file per column and a `manifest.json`, written last; a folder is built under a
temporary name and renamed whole (as `benchmark.data.packed`). The geometry is a pack of its own, whose rows the event
packs refer to. Columns beyond MLTree's are values too slow to compute for each sample:

    merged_*    an event's cells, each once by its id: energies of the clusters that share it summed
    point*      where tracks cross the layers at a fixed radius or |z|
    *_near      which cells and clusters are near a track
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from benchmark.data.digests import file_digest
from benchmark.data.packed import (
    ColumnWriter,
    open_or_make,
    read_pack_manifest,
    whole_folder,
    write_pack_manifest,
)
from benchmark.hardware.guarded import guarded
from benchmark.io import sha256_text
from benchmark.paths import cache_dir

from . import _mltree_npy, _mltree_root
from ._mltree import DISTANCE_MM, RADIUS_MM, SAMPLINGS, UNREACHED, CellGeo, MLTree
from ._mltree_check import check_geometry, check_tree

FORMAT = 2  # raise it when a column changes: packs are rebuilt
NEAR_CELL = 0.2  # dR of cells and of other tracks' points to a track, inclusive
NEAR_CLUSTER = 1.2  # dR of clusters to a track, exclusive
CELL_MM = 43.0  # one unit of length: the width of an EMB2 cell
BARREL_MM, ENDCAP_MM = 1500.0, 3700.0  # where depth is 0
ENDCAP = tuple(SAMPLINGS[n] for n in ("PreSamplerE", "EME1", "EME2", "EME3", "HEC0", "HEC1", "HEC2", "HEC3"))
REACHED_ABOVE = -20.0  # eta and phi of layers that a track does not reach are far below
GEO_COLUMNS = ("sampling", "eta", "phi", "r_perp_mm", "deta", "dphi", "sigma_gev", "depth")
POINT_COLUMNS = ("sampling", "eta", "phi", "r_perp_mm", "depth")
TRACK_COLUMNS: Mapping[str, str] = {
    "track_pt": "trackPt", "track_p": "trackP", "track_eta": "trackEta", "track_phi": "trackPhi", "track_z0": "trackZ0",
    "track_d0": "trackD0", "track_chi2": "trackChiSquared", "track_ndof": "trackNumberDOF",
}  # fmt: skip
CLUSTER_COLUMNS: Mapping[str, str] = {
    "cluster_e": "cluster_E", "cluster_eta": "cluster_Eta", "cluster_phi": "cluster_Phi",
    "em_probability": "cluster_EM_PROBABILITY", "hadronic_weight": "cluster_HAD_WEIGHT",
    "ooc_weight": "cluster_OOC_WEIGHT", "dm_weight": "cluster_DM_WEIGHT", "lc_energy": "cluster_E_LCCalib",
    "center_lambda": "cluster_CENTER_LAMBDA", "first_density": "cluster_FIRST_ENG_DENS",
    "true_energy": "cluster_ENG_CALIB_TOT",
}  # fmt: skip
# column -> type and further dimensions
_GEOMETRY: Mapping[str, tuple[str, tuple[int, ...]]] = {
    "table": ("<f4", (len(GEO_COLUMNS),)), "neighbours": ("<i4", (10,)), "cell_id": ("<i8", ()),
}  # fmt: skip
_EVENTS: Mapping[str, tuple[str, tuple[int, ...]]] = {
    "channel": ("<i8", ()), "n_truth": ("<i8", ()), "n_tracks": ("<i8", ()), "n_clusters": ("<i8", ()),
    "truth_pdg": ("<i8", ()), "truth_e": ("<f4", ()), "truth_charged": ("u1", ()),
    "track": ("<f4", (len(TRACK_COLUMNS),)), "track_truth": ("<i8", ()), "track_axis": ("<f4", (2,)),
    "track_layers": ("<f4", (len(SAMPLINGS), 2)), "track_cells": ("<i8", ()), "track_others": ("<i8", ()),
    "n_track_points": ("<i8", ()), "point": ("<f4", (len(POINT_COLUMNS),)),
    "cluster": ("<f4", (len(CLUSTER_COLUMNS),)), "n_cells": ("<i8", ()), "cluster_near": ("u1", ()),
    "cell_row": ("<i4", ()), "cell_e": ("<f4", ()), "cell_merged": ("<i4", ()),
    "hit_index": ("<i4", (3,)), "hit_e": ("<f4", (3,)),
    "n_merged": ("<i8", ()), "n_near": ("<i8", ()), "merged_row": ("<i4", ()), "merged_e": ("<f4", ()),
    "merged_cluster": ("<i4", ()),
}  # fmt: skip
_FIXED_LAYERS = [(SAMPLINGS[n], mm, n in RADIUS_MM) for n, mm in {**RADIUS_MM, **DISTANCE_MM}.items()]
_FIXED_LAYERS.sort()
_PAIRS_AT_ONCE = 2_000_000
P = TypeVar("P", bound="Pack")


def wrapped(angle: np.ndarray) -> np.ndarray:
    """An angle in [-pi, pi]."""
    principal: np.ndarray = angle - 2 * np.pi * np.rint(angle / (2 * np.pi))
    return principal


def distance(eta: np.ndarray, phi: np.ndarray, axis: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """float64 deta, dphi (wrapped) and dR of directions from axes (..., 2); the same here and for each sample."""
    deta = np.asarray(eta, np.float64) - np.asarray(axis[..., 0], np.float64)
    dphi = wrapped(np.asarray(phi, np.float64) - np.asarray(axis[..., 1], np.float64))
    return deta, dphi, np.sqrt(deta * deta + dphi * dphi)


def depth_of(sampling: np.ndarray, eta: np.ndarray, r_perp_mm: np.ndarray) -> np.ndarray:
    """Depth in units of CELL_MM: along the radius in the barrel, along |z| in the endcaps."""
    z_mm = np.abs(r_perp_mm * np.sinh(eta.astype(np.float64)))
    return np.where(np.isin(sampling, ENDCAP), z_mm - ENDCAP_MM, r_perp_mm - BARREL_MM) / CELL_MM


def is_charged(pdg: np.ndarray) -> np.ndarray:
    """(P,) bool by PDG number: leptons, W, hadrons by their quarks, nuclei by their protons."""
    code = np.abs(np.asarray(pdg, np.int64))
    first, second, third = (code // 1000) % 10, (code // 100) % 10, (code // 10) % 10

    def thirds(quark: np.ndarray) -> np.ndarray:
        return np.where(quark == 0, 0, np.where(quark % 2 == 0, 2, -1))

    meson = thirds(second) - thirds(third)  # of a quark and an antiquark
    baryon = thirds(first) + thirds(second) + thirds(third)
    hadron = np.where(first == 0, meson, baryon) != 0
    lepton = np.isin(code, (11, 13, 15, 17, 24, 37))
    charged: np.ndarray = np.where(code < 100, lepton, np.where(code >= 10**9, (code // 10_000) % 1000 > 0, hadron))
    return charged


class Pack:
    """A folder of columns, opened. They are mapped on first use, so a pack is cheap to send to another process."""

    def __init__(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        self.folder = folder
        self.manifest = manifest

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.folder, self.manifest)

    def __getattr__(self, name: str) -> np.ndarray:
        """A column by its name, memory-mapped once."""
        if name.startswith("_") or name not in self.manifest["columns"]:
            raise AttributeError(name)
        column = self.manifest["columns"][name]
        shape = tuple(column["shape"])
        if not np.prod(shape):
            mapped: np.ndarray = np.zeros(shape, column["dtype"])
        else:
            mapped = np.memmap(self.folder / f"{name}.bin", dtype=column["dtype"], mode="r", shape=shape)
        self.__dict__[name] = mapped.view(np.ndarray)
        return self.__dict__[name]  # type: ignore[no-any-return]


class Geometry(Pack):
    """cell_id (G,) int64; table (G, 8) float32, GEO_COLUMNS; neighbours (G, 10) int32 rows or -1."""


class EventPack(Pack):
    """E events of one file: the columns of `_EVENTS`, one after the other as in `MLTree`, and where each begins."""

    @cached_property
    def branches(self) -> frozenset[str]:
        """Branches of the source."""
        return frozenset(self.manifest["source"]["branches"])

    @property
    def n_events(self) -> int:
        """Number of events E."""
        return int(self.manifest["columns"]["n_truth"]["shape"][0])

    @cached_property
    def first_truth(self) -> np.ndarray:
        """(E+1,) int64: event e owns truth particles first_truth[e]:first_truth[e+1]."""
        return _ends(self.n_truth)

    @cached_property
    def first_track(self) -> np.ndarray:
        """(E+1,) int64."""
        return _ends(self.n_tracks)

    @cached_property
    def first_cluster(self) -> np.ndarray:
        """(E+1,) int64."""
        return _ends(self.n_clusters)

    @cached_property
    def first_cell(self) -> np.ndarray:
        """(K+1,) int64: cluster k owns cells first_cell[k]:first_cell[k+1]."""
        return _ends(self.n_cells)

    @cached_property
    def first_merged(self) -> np.ndarray:
        """(E+1,) int64."""
        return _ends(self.n_merged)

    @cached_property
    def first_point(self) -> np.ndarray:
        """(T+1,) int64: track t owns points first_point[t]:first_point[t+1]."""
        return _ends(self.n_track_points)


def geometry_pack(path: Path, cache: Path | None = None) -> Geometry:
    """The geometry of a file, packed on first use. Raises DataError."""
    digest = file_digest(path)
    folder = _pack_folder(cache, "cell_geo", {"format": FORMAT, "geometry": digest})
    return _open_or_build(Geometry, folder, "build_geometry", path, [{"file": path.name, "sha256": digest}])


def event_pack(path: Path, geometry: Geometry, cache: Path | None = None) -> EventPack:
    """The events of a file, checked and packed on first use. Raises DataError for damaged files."""
    digest = file_digest(path)
    source = {"format": FORMAT, "events": digest, "geometry": geometry.manifest["source"]["sha256"]}
    folder = _pack_folder(cache, path.stem, source)
    arguments = [{"file": path.name, "sha256": digest}, str(geometry.folder.absolute())]
    return _open_or_build(EventPack, folder, "build_events", path, arguments)


def build_geometry(report: Callable[[int], object], path: str, folder: str, source: dict[str, Any]) -> None:
    """Task of `guarded`: the pack of a geometry."""
    geo = (_mltree_root if _is_root(Path(path)) else _mltree_npy).read_geometry(Path(path))
    check_geometry(geo, path)
    depth = depth_of(geo.sampling, geo.eta, geo.r_perp_mm)
    columns = [depth if name == "depth" else getattr(geo, name) for name in GEO_COLUMNS]
    table = np.stack(columns, axis=1).astype(np.float32)
    part = {"table": table, "neighbours": geo.neighbours, "cell_id": geo.cell_id}
    _build(Path(folder), _GEOMETRY, [part], source)


def build_events(
    report: Callable[[int], object], path: str, folder: str, source: dict[str, Any], geometry_folder: str,
    step: str | int = _mltree_root.STEP,
) -> None:  # fmt: skip
    """Task of `guarded`: the pack of a file's events. step: of ROOT files, as for `_mltree_root.read_trees`."""
    geometry = Geometry(Path(geometry_folder), _manifest(Path(geometry_folder)) or {})
    geo = _cell_geo(geometry)
    file = Path(path)

    def parts() -> Iterator[dict[str, np.ndarray]]:
        n = 0
        for tree in _mltree_root.read_trees(file, step) if _is_root(file) else [_mltree_npy.read_tree(file)]:
            where = f"{path} (counted from event {n})" if n else path
            source["branches"] = sorted(
                name for table in ("events", "truth", "tracks", "clusters", "cells", "hits")
                for name in getattr(tree, table)
            )  # fmt: skip
            source["weights"] = source.get("weights", False) or _is_weighted(tree)
            yield columns_of(tree, check_tree(tree, geo, where), geometry)
            n += tree.n_events
            report(n)

    _build(Path(folder), _EVENTS, parts(), source)


def _is_weighted(tree: MLTree) -> bool:
    weights = tree.events.get("mcEventWeight", np.ones(0))
    return bool(len(weights) and (weights != weights[0]).any())


def _is_root(path: Path) -> bool:
    return path.suffix.lower() == ".root"


def columns_of(tree: MLTree, rows: np.ndarray, geometry: Geometry) -> dict[str, np.ndarray]:
    """Every column of a pack from checked events. rows: of their cells in the geometry."""
    n_tracks = int(tree.n_tracks.sum())
    energy = np.asarray(tree.cells["cluster_cell_E"], np.float32)
    layers = _track_layers(tree.tracks, n_tracks)
    axis = _track_axis(tree.tracks, layers)
    merged = _merge_cells(tree, rows, energy, len(geometry.table))
    near, n_near = _near_clusters(tree, rows, axis, len(geometry.table))
    n_points, points = _track_points(layers)
    track_event = np.repeat(np.arange(tree.n_events), tree.n_tracks)
    cells = {
        "track_cells": _count_near(track_event, axis, merged["n_merged"], geometry.table[merged["merged_row"], 1:3]),
        "track_others": _count_near(track_event, axis, _per_event(n_points, track_event, tree.n_events), points[:, 1:3])
        - _count_own_near(axis, n_points, points),
    }
    hits = {
        "hit_index": tree.hits.get("cluster_cell_hitsTruthIndex", np.full((len(rows), 3), -1)),
        "hit_e": tree.hits.get("cluster_cell_hitsTruthE", np.zeros((len(rows), 3))),
    }
    return {
        "channel": tree.events.get("mcChannelNumber", np.zeros(tree.n_events)),
        "n_truth": tree.n_truth, "n_tracks": tree.n_tracks, "n_clusters": tree.n_clusters,
        "truth_pdg": tree.truth["truthPartPdgId"], "truth_e": tree.truth["truthPartE"],
        "truth_charged": is_charged(tree.truth["truthPartPdgId"]),
        "track": _stack_columns(tree.tracks, TRACK_COLUMNS, n_tracks),
        "track_truth": tree.tracks.get("trackTruthParticleIndex", np.full(n_tracks, -1)),
        "track_axis": axis, "track_layers": layers, "n_track_points": n_points, "point": points, **cells,
        "cluster": _stack_columns(tree.clusters, CLUSTER_COLUMNS, len(tree.n_cells)), "n_cells": tree.n_cells,
        "cluster_near": near, "n_near": n_near, "cell_row": rows, "cell_e": energy, **hits, **merged,
    }  # fmt: skip


def _stack_columns(columns: Mapping[str, np.ndarray], names: Mapping[str, str], n: int) -> np.ndarray:
    """(n, C) float32; NaN where the source has no such branch."""
    absent = np.full(n, np.nan)
    return np.stack([columns.get(branch, absent) for branch in names.values()], axis=1).astype(np.float32)


def _track_layers(tracks: Mapping[str, np.ndarray], n: int) -> np.ndarray:
    """(T, 21, 2) float32 eta and phi of each track in each sampling; UNREACHED where not reached or unknown."""
    unknown = np.full(n, UNREACHED)
    by_layer = [
        np.stack([tracks.get(f"track{axis}_{layer}", unknown) for axis in ("Eta", "Phi")], axis=1)
        for layer in sorted(SAMPLINGS, key=SAMPLINGS.__getitem__)
    ]
    layers = np.stack(by_layer, axis=1).astype(np.float32)
    return np.where((layers > REACHED_ABOVE).all(axis=2, keepdims=True), layers, np.float32(UNREACHED))


def _track_axis(tracks: Mapping[str, np.ndarray], layers: np.ndarray) -> np.ndarray:
    """(T, 2) direction of each track at the calorimeter: in EMB2, else in EME2, else as measured."""
    n = len(layers)
    axis = np.stack([tracks.get(name, np.zeros(n)) for name in ("trackEta", "trackPhi")], axis=1).astype(np.float32)
    for layer in ("EME2", "EMB2"):
        at_layer = layers[:, SAMPLINGS[layer]]  # (T, 2)
        axis = np.where(at_layer > REACHED_ABOVE, at_layer, axis)
    return axis


def _merge_cells(tree: MLTree, rows: np.ndarray, energy: np.ndarray, n_geo: int) -> dict[str, np.ndarray]:
    """Each event's cells once: the sum of their energies, and the cluster with the largest share."""
    cluster_event = np.repeat(np.arange(tree.n_events), tree.n_clusters)
    cell_event = np.repeat(cluster_event, tree.n_cells)
    ordinal = np.arange(len(tree.n_cells)) - _ends(tree.n_clusters)[cluster_event]
    key, merged_index = np.unique(cell_event * n_geo + rows, return_inverse=True)
    n_merged = _per_event(np.ones(len(key), np.int64), key // n_geo, tree.n_events)
    order = np.lexsort((-energy, merged_index))
    leading = order[np.searchsorted(merged_index[order], np.arange(len(key)))]  # ties: the first cluster
    return {
        "cell_merged": merged_index - _ends(n_merged)[cell_event],
        "n_merged": n_merged,
        "merged_row": key % n_geo,
        "merged_e": np.bincount(merged_index, energy, minlength=len(key)),
        "merged_cluster": np.repeat(ordinal, tree.n_cells)[leading],
    }


def _near_clusters(tree: MLTree, rows: np.ndarray, axis: np.ndarray, n_geo: int) -> tuple[np.ndarray, np.ndarray]:
    """(K,) clusters within NEAR_CLUSTER of their event's only track, and (E,) the number of different cells in them."""
    cluster_event = np.repeat(np.arange(tree.n_events), tree.n_clusters)
    single = tree.n_tracks == 1
    track_axis = np.zeros((tree.n_events, 2), np.float32)
    track_axis[single] = axis[_ends(tree.n_tracks)[:-1][single]]
    eta, phi = tree.clusters["cluster_Eta"], tree.clusters["cluster_Phi"]
    near = single[cluster_event] & (distance(eta, phi, track_axis[cluster_event])[2] < NEAR_CLUSTER)
    in_near = np.repeat(near, tree.n_cells)
    key = np.unique((np.repeat(cluster_event, tree.n_cells) * n_geo + rows)[in_near])
    return near, _per_event(np.ones(len(key), np.int64), key // n_geo, tree.n_events)


def _track_points(layers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(T,) number of points and (X, 5) POINT_COLUMNS of every track in the fixed layers."""
    sampling = np.array([s for s, _, _ in _FIXED_LAYERS])
    mm = np.array([mm for _, mm, _ in _FIXED_LAYERS])
    is_radius = np.array([is_radius for _, _, is_radius in _FIXED_LAYERS])
    at_layers = layers[:, sampling].astype(np.float64)  # (T, 19, 2)
    track, layer = np.nonzero(at_layers[:, :, 0] > REACHED_ABOVE)
    eta, phi = at_layers[track, layer].T
    r_perp = np.where(is_radius[layer], mm[layer], mm[layer] / np.maximum(np.abs(np.sinh(eta)), 1e-3))
    depth = depth_of(sampling[layer], eta, r_perp)
    points = np.stack([sampling[layer], eta, phi, r_perp, depth], axis=1).astype(np.float32)
    return np.bincount(track, minlength=len(layers)), points


def _count_near(track_event: np.ndarray, axis: np.ndarray, counts: np.ndarray, directions: np.ndarray) -> np.ndarray:
    """(T,) number of the event's directions (rows of (n, 2), counts per event) within NEAR_CELL of each track."""
    begin = _ends(counts)[track_event]
    n = counts[track_event]
    n_near = np.zeros(len(track_event), np.int64)
    chunk = np.cumsum(n) // _PAIRS_AT_ONCE
    for part in np.unique(chunk):
        tracks = np.flatnonzero(chunk == part)
        index = np.repeat(tracks, n[tracks])
        row = begin[index] + np.arange(len(index)) - np.repeat(_ends(n[tracks])[:-1], n[tracks])
        near = distance(directions[row, 0], directions[row, 1], axis[index])[2] <= NEAR_CELL
        n_near += np.bincount(index, near, minlength=len(n_near)).astype(np.int64)
    return n_near


def _count_own_near(axis: np.ndarray, n_points: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(T,) number of each track's own points within NEAR_CELL of it."""
    track = np.repeat(np.arange(len(n_points)), n_points)
    near = distance(points[:, 1], points[:, 2], axis[track])[2] <= NEAR_CELL
    return np.bincount(track, near, minlength=len(n_points)).astype(np.int64)


def _per_event(values: np.ndarray, event: np.ndarray, n_events: int) -> np.ndarray:
    return np.bincount(event, values, minlength=n_events).astype(np.int64)


def _ends(counts: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _cell_geo(geometry: Geometry) -> CellGeo:
    """The columns of a packed geometry that joining needs."""
    table = geometry.table
    return CellGeo(
        geometry.cell_id, table[:, 0].astype(np.int64), table[:, 1], table[:, 2], table[:, 3], table[:, 4], table[:, 5],
        np.zeros(len(table), np.float32), table[:, 6], geometry.neighbours,
    )  # fmt: skip


def _pack_folder(cache: Path | None, stem: str, source: Mapping[str, Any]) -> Path:
    return (cache or cache_dir() / "packed").absolute() / f"{stem}-{sha256_text(repr(sorted(source.items())))[:16]}"


def _open_or_build(pack_class: type[P], folder: Path, task: str, path: Path, arguments: Sequence[Any]) -> P:
    """The pack in `folder`; if missing, a process of its own makes it by a task of this module. Raises DataError."""
    sent = [str(path.absolute()), str(folder), *arguments]
    return pack_class(folder, open_or_make(folder, _manifest, lambda: guarded(f"{__name__}:{task}", sent, [path])))


def _build(
    folder: Path,
    columns: Mapping[str, tuple[str, tuple[int, ...]]],
    parts: Iterable[Mapping[str, np.ndarray]],
    source: Mapping[str, Any],
) -> None:
    with whole_folder(folder, lambda f: _manifest(f) is not None) as temporary:
        written = _write(temporary, columns, parts)
        write_pack_manifest(temporary, {"format": FORMAT, "columns": written, "source": dict(source)})


def _write(
    folder: Path,
    columns: Mapping[str, tuple[str, tuple[int, ...]]],
    parts: Iterable[Mapping[str, np.ndarray]],
) -> dict[str, Any]:
    """Append every part to the columns' files; returns their manifest entries."""
    writers = {name: ColumnWriter(folder / f"{name}.bin", dtype) for name, (dtype, _) in columns.items()}
    lengths = dict.fromkeys(columns, 0)
    try:
        for part in parts:
            for name, writer in writers.items():
                writer.append(part[name])
                lengths[name] += len(part[name])
    finally:
        for writer in writers.values():
            writer.close()
    return {name: {"dtype": dtype, "shape": [lengths[name], *further]} for name, (dtype, further) in columns.items()}


def _manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest of a complete, unchanged pack of this format, or None."""
    return read_pack_manifest(folder, FORMAT)
