"""Samples of calorimeter events: one cluster, one charged pion with its track, or the cells around one track.

Coordinates are relative to the sample's axis, in units of one EMB2 cell (0.025 in eta, 2 pi/256 in phi, 43 mm in
depth). Samples with a track hold its crossings of the calorimeter's layers (category 0), then cells by growing distance
(category 1), then, for `association`, other tracks' crossings (category 2). Nothing is padded or truncated. Cells that
several clusters share appear once, with the sum of their energies. Follows the selections of gn4pions and JetPointNet.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from benchmark.contracts import Event, Frame
from benchmark.contracts.cells import CELL, FOCUS_HIT, N_LEADING, OTHER_HIT
from benchmark.data.ids import EventIds
from benchmark.errors import DataError
from benchmark.ops._jit import kernel

from ._calo_pack import (
    CLUSTER_COLUMNS,
    NEAR_CELL,
    REACHED_ABOVE,
    TRACK_COLUMNS,
    EventPack,
    Geometry,
    distance,
)

SAMPLES = ("association", "cluster", "track")
TASKS = ("pion-classification", "pion-regression", "pion-track-regression", "cell-to-track", "cell-to-track-binary")
ETA_UNIT, PHI_UNIT = 0.025, 2 * np.pi / 256
FRAME = Frame(
    centre=(0.0, 0.0, 25.0), scale=1.0 / 80.0, extent=(112.0, 112.0, 50.0), unit="EMB2 cell, about 43 mm"
)  # fmt: skip
LABELS = {
    "pion": "0 pi0, 1 pi+-",
    "true_energy": "GeV: calibration hits inside the cluster, or the energy of the pion",
    "log_true_energy": "log10 of it",
    "fractions": "(N, 3) share of each cell's true energy: the track's particle, other charged, neutral; 0 for tracks",
    "focus": "1 where more than half of a cell's true energy is of the track's particle, 0 elsewhere, -1 for tracks",
}
PI0, PIPM = 0, 1
PI0_CHANNEL, PIPM_CHANNEL = 900246, 900247  # mcChannelNumber
TRACK_PT_BELOW = 1e5  # GeV
HIT_BRANCHES = ("cluster_cell_hitsTruthIndex", "cluster_cell_hitsTruthE")
_MEASURED = tuple(name for name in CLUSTER_COLUMNS if name != "true_energy")
_E, _ETA, _PHI, _LC, _TRUE = (
    list(CLUSTER_COLUMNS).index(n) for n in ("cluster_e", "cluster_eta", "cluster_phi", "lc_energy", "true_energy")
)
_PT = list(TRACK_COLUMNS).index("track_pt")


@dataclass(frozen=True)
class Selection:
    """Samples of one pack, and the number of dropped objects per reason."""

    event: np.ndarray  # (n,) int64
    row: np.ndarray  # (n,) int64 of the pack's clusters or tracks
    ordinal: np.ndarray  # (n,) int64 the same within the event
    n_points: np.ndarray  # (n,) int64
    table: Mapping[str, np.ndarray]  # (n,) each
    dropped: Mapping[str, int]


@dataclass(frozen=True)
class _Cells:
    """Unordered cells of a sample with a track, and their clusters."""

    row: np.ndarray  # (n,) of the geometry
    energy: np.ndarray  # (n,) float32, GeV
    cluster: np.ndarray  # (n,) ordinal among `clusters`
    clusters: np.ndarray  # (c,) rows of the pack's clusters, in the file's order
    truth: np.ndarray | None = None  # (n, 3) GeV: the track's particle, other charged, neutral


class Source:
    """An `EventSource` over packs; ids are `<split>/<file>:<event>:<cluster or track>`, sorted."""

    sample = ""
    needs: tuple[str, ...] = ()  # branches

    def __init__(self, packs: Sequence[tuple[str, EventPack]], geometry: Geometry) -> None:
        self.packs = tuple(sorted(packs, key=lambda pair: f"{pair[0]}:"))  # in the order of the ids
        self.geometry = geometry
        self._check_branches()
        selections = [self._select(prefix, pack) for prefix, pack in self.packs]
        self._pack = np.repeat(np.arange(len(selections)), [len(s.event) for s in selections])
        self._event = np.concatenate([s.event for s in selections])
        self._row = np.concatenate([s.row for s in selections])
        self._ordinal = np.concatenate([s.ordinal for s in selections])
        self.n_points: np.ndarray = np.concatenate([s.n_points for s in selections]).astype(np.int64)
        self.table: Mapping[str, np.ndarray] = {
            name: np.concatenate([s.table[name] for s in selections]) for name in selections[0].table
        }
        reasons = sorted({reason for s in selections for reason in s.dropped})
        dropped = {reason: sum(s.dropped.get(reason, 0) for s in selections) for reason in reasons}
        self.dropped: Mapping[str, int] = {reason: n for reason, n in dropped.items() if n}
        if not len(self):
            reasons_text = ", ".join(f"{n} {reason}" for reason, n in self.dropped.items()) or "no events"
            raise DataError(
                f"{', '.join(prefix for prefix, _ in self.packs)} hold no {self.sample} sample ({reasons_text}). At "
                f"least one was expected. Choose another task, or other files."
            )

    @property
    def event_ids(self) -> EventIds:
        """Stable, unique, sorted ids."""
        return EventIds(len(self), self._id)

    @property
    def units(self) -> np.ndarray:
        """(n,) number of the collision event of each sample."""
        pairs = np.stack([self._pack, self._event], axis=1)
        return np.asarray(np.unique(pairs, axis=0, return_inverse=True)[1]).reshape(-1)

    def __len__(self) -> int:
        return len(self._event)

    def __getitem__(self, index: int) -> Event:
        index = index + len(self) if index < 0 else index
        if not 0 <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")
        pack, event, row = self.packs[self._pack[index]][1], int(self._event[index]), int(self._row[index])
        return self._build_event(index, pack, event, row, self._id(index))

    def _id(self, index: int) -> str:
        return f"{self.packs[self._pack[index]][0]}:{self._event[index]:07d}:{self._ordinal[index]:04d}"

    def _select(self, prefix: str, pack: EventPack) -> Selection:
        raise NotImplementedError

    def _build_event(self, index: int, pack: EventPack, event: int, row: int, name: str) -> Event:
        raise NotImplementedError

    def _check_branches(self) -> None:
        used = {*TRACK_COLUMNS.values(), *CLUSTER_COLUMNS.values()}
        for prefix, pack in self.packs:
            for branch in self.needs:
                if branch not in pack.branches:
                    raise DataError(
                        f"{prefix} has no branch {branch}, which {self.sample} samples are made of. "
                        f"{', '.join(self.needs)} were expected. Write the file with them, or choose another task."
                    )
            first, differing = self.packs[0], sorted(used & (pack.branches ^ self.packs[0][1].branches))
            if differing:
                raise DataError(
                    f"{prefix} and {first[0]} do not both have the branch {differing[0]}. The same branches were "
                    f"expected of all files of a split. Write the files alike."
                )


class ClusterSource(Source):
    """Clusters of single pions. Dropped: clusters of other events, without true energy, without cells."""

    sample = "cluster"
    needs = ("cluster_ENG_CALIB_TOT",)

    def _select(self, prefix: str, pack: EventPack) -> Selection:
        event = np.repeat(np.arange(pack.n_events), pack.n_clusters)
        pion = single_pions(pack)[event]
        true = pack.cluster[:, _TRUE]
        row, dropped = _apply_conditions({
            "not_a_single_pion": pion >= 0, "no_true_energy": true > 0, "no_cells": pack.n_cells > 0,
        })  # fmt: skip
        table = {
            "n_cells": pack.n_cells[row], "true_energy": true[row], "pion": pion[row],
            "abs_eta": np.abs(pack.cluster[row, _ETA]), "cluster_e": pack.cluster[row, _E],
        }  # fmt: skip
        ordinal = row - pack.first_cluster[event[row]]
        return Selection(event[row], row, ordinal, pack.n_cells[row], table, dropped)

    @cached_property
    def _scalars(self) -> tuple[tuple[str, int], ...]:
        """Names and columns of the scalars with an existing branch."""
        branches = self.packs[0][1].branches
        return tuple((n, i) for i, (n, b) in enumerate(CLUSTER_COLUMNS.items()) if n in _MEASURED and b in branches)

    def _build_event(self, index: int, pack: EventPack, event: int, row: int, name: str) -> Event:
        begin, end = pack.first_cell[row], pack.first_cell[row + 1]
        rows = pack.cell_row[begin:end].astype(np.int64)
        n = len(rows)
        cluster = pack.cluster[row]
        values = cluster.tolist()
        points = self.geometry.table[rows]  # (n, 8)
        coords, delta_r = _relative_coords(points, cluster[[_ETA, _PHI]])
        links, link_kinds = links_among(self.geometry.neighbours, rows)
        scalars = {key: values[i] for key, i in self._scalars}
        scalars["n_cells"] = float(n)
        features = _geometry_features(points) | {
            "cell": rows, "cluster": np.zeros(n, np.int64), "category": np.full(n, CELL),
            "track": np.full(n, -1), "track_pt": np.zeros(n, np.float32), "delta_r": delta_r,
            "track_distance": np.zeros(n, np.float32), "cluster_e_of_cell": np.full(n, cluster[_E]),
            "cluster_eta_of_cell": np.full(n, cluster[_ETA]), "cluster_phi_of_cell": np.full(n, cluster[_PHI]),
        }  # fmt: skip
        labels = {
            "pion": self.table["pion"][index], "true_energy": cluster[_TRUE],
            "log_true_energy": np.float32(np.log10(values[_TRUE])),
        }  # fmt: skip
        return Event(name, coords, pack.cell_e[begin:end].copy(), labels, features, scalars, links, link_kinds)


class TrackSource(Source):
    """Single charged pions with one track, and the clusters within dR < 1.2 of it. Dropped: events, by reason."""

    sample = "track"
    needs = ("trackEta", "trackEta_EMB2", "trackEta_EME2", "trackPhi", "trackPhi_EMB2", "trackPhi_EME2", "trackPt")

    def _select(self, prefix: str, pack: EventPack) -> Selection:
        charged = single_pions(pack) == PIPM
        first = pack.first_track[:-1]
        pt = np.zeros(pack.n_events, np.float32)
        pt[pack.n_tracks > 0] = pack.track[first[pack.n_tracks > 0], _PT]
        near = np.bincount(
            np.repeat(np.arange(pack.n_events), pack.n_clusters), pack.cluster_near, minlength=pack.n_events
        )
        event, dropped = _apply_conditions({
            "not_a_single_charged_pion": charged, "no_track": pack.n_tracks > 0, "several_tracks": pack.n_tracks < 2,
            "track_pt_out_of_range": pt < TRACK_PT_BELOW, "no_cluster_near_the_track": near > 0,
        })  # fmt: skip
        row = first[event]
        true = self._true_energy(prefix, pack, event)
        table = {
            "n_cells": pack.n_near[event], "true_energy": true, "pion": np.full(len(event), PIPM),
            "abs_eta": np.abs(pack.track_axis[row, 0]), "track_pt": pt[event],
        }  # fmt: skip
        n_points = pack.n_near[event] + pack.n_track_points[row]
        return Selection(event, row, np.zeros_like(row), n_points, table, dropped)

    def _true_energy(self, prefix: str, pack: EventPack, event: np.ndarray) -> np.ndarray:
        bad = pack.n_truth[event] < 1
        true = np.zeros(len(event), np.float32)
        true[~bad] = pack.truth_e[pack.first_truth[event[~bad]]]
        for index in np.flatnonzero(~(true > 0))[:1]:
            raise DataError(
                f"{prefix}, event {event[index]}: its first truth particle is missing or has no energy. A pion with "
                f"truthPartE above 0 GeV was expected. Write the file again."
            )
        return true

    def _build_event(self, index: int, pack: EventPack, event: int, row: int, name: str) -> Event:
        first, last = pack.first_cluster[event], pack.first_cluster[event + 1]
        near = pack.cluster_near[first:last].astype(bool)
        clusters = first + np.flatnonzero(near)
        begin, end = pack.first_merged[event], pack.first_merged[event + 1]
        rows = pack.merged_row[begin:end].astype(np.int64)
        if near.all():
            cells = _Cells(rows, pack.merged_e[begin:end].copy(), pack.merged_cluster[begin:end], clusters)
        else:
            cells = _collect_cluster_cells(pack, rows, clusters)
        true = float(pack.truth_e[pack.first_truth[event]])
        labels = {
            "pion": np.int64(PIPM), "true_energy": np.float32(true), "log_true_energy": np.float32(np.log10(true)),
        }  # fmt: skip
        return _track_event(name, pack, self.geometry, event, row, cells, labels, False)


class AssociationSource(Source):
    """Cells and tracks within dR <= 0.2 of each track that has a particle. Dropped: tracks, by reason."""

    sample = "association"
    needs = tuple(sorted((*TrackSource.needs, "trackTruthParticleIndex", *HIT_BRANCHES)))

    def _select(self, prefix: str, pack: EventPack) -> Selection:
        event = np.repeat(np.arange(pack.n_events), pack.n_tracks)
        row, dropped = _apply_conditions({
            "of_a_single_pion": (single_pions(pack) < 0)[event], "track_without_particle": pack.track_truth >= 0,
        })  # fmt: skip
        cells = pack.track_cells[row]
        table = {
            "n_cells": cells, "abs_eta": np.abs(pack.track_axis[row, 0]), "track_pt": pack.track[row, _PT],
        }  # fmt: skip
        n_points = cells + pack.n_track_points[row] + pack.track_others[row]
        return Selection(event[row], row, row - pack.first_track[event[row]], n_points, table, dropped)

    def _build_event(self, index: int, pack: EventPack, event: int, row: int, name: str) -> Event:
        begin, end = pack.first_merged[event], pack.first_merged[event + 1]
        rows = pack.merged_row[begin:end].astype(np.int64)
        axis = pack.track_axis[row]
        directions = self.geometry.table[rows, 1:3]
        inside = distance(directions[:, 0], directions[:, 1], axis)[2] <= NEAR_CELL
        cells = _collect_near_cells(pack, event, row, rows, inside)
        return _track_event(name, pack, self.geometry, event, row, cells, {}, True)


SOURCES: Mapping[str, type[Source]] = {s.sample: s for s in (AssociationSource, ClusterSource, TrackSource)}
_CHANNELS = {PI0_CHANNEL: PI0, PIPM_CHANNEL: PIPM}


def single_pions(pack: EventPack) -> np.ndarray:
    """(E,) int64 PI0 or PIPM of events of one pion, -1 elsewhere.

    By the channel number if it is one of the two; else by the truth: a single charged pion, or a neutral one
    with only photons and electrons of its decay.
    """
    event = np.repeat(np.arange(pack.n_events), pack.n_truth)
    n_other = np.bincount(event, ~np.isin(np.abs(pack.truth_pdg), (11, 22)), minlength=pack.n_events)
    pdg = np.zeros(pack.n_events, np.int64)
    has_truth = pack.n_truth > 0
    pdg[has_truth] = np.abs(pack.truth_pdg[pack.first_truth[:-1][has_truth]])
    pion = np.where((pdg == 111) & (n_other == 1), PI0, np.where((pdg == 211) & (pack.n_truth == 1), PIPM, -1))
    for channel, pion_type in _CHANNELS.items():
        pion = np.where(pack.channel == channel, pion_type, pion)
    return pion.astype(np.int64)


def _apply_conditions(conditions: Mapping[str, np.ndarray]) -> tuple[np.ndarray, dict[str, int]]:
    """Rows that meet every condition, and the number that fail each one first."""
    passing: np.ndarray | None = None
    dropped: dict[str, int] = {}
    for reason, condition in conditions.items():
        remaining = np.ones(len(condition), bool) if passing is None else passing
        passing = remaining & condition
        dropped[reason] = int(remaining.sum() - passing.sum())
    assert passing is not None
    return np.flatnonzero(passing), dropped


def _collect_cluster_cells(pack: EventPack, rows: np.ndarray, clusters: np.ndarray) -> _Cells:
    """Cells of some clusters of an event, merged; rows: of all its merged cells."""
    parts = [np.arange(pack.first_cell[k], pack.first_cell[k + 1]) for k in clusters]
    entry = np.concatenate(parts)
    ordinal = np.repeat(np.arange(len(clusters)), [len(p) for p in parts])
    merged_index, energy = pack.cell_merged[entry], pack.cell_e[entry]
    order = np.lexsort((-energy, merged_index))
    present, leading = np.unique(merged_index[order], return_index=True)
    total = np.bincount(merged_index, energy, minlength=len(rows))[present]
    return _Cells(rows[present], total.astype(np.float32), ordinal[order][leading], clusters)


def _collect_near_cells(pack: EventPack, event: int, row: int, rows: np.ndarray, inside: np.ndarray) -> _Cells:
    """Cells of an event around a track, with their true energy by particle category."""
    begin = pack.first_merged[event]
    first, last = pack.first_cluster[event], pack.first_cluster[event + 1]
    entries = slice(pack.first_cell[first], pack.first_cell[last])
    merged_index = pack.cell_merged[entries]
    near = np.flatnonzero(inside[merged_index])
    cluster_of_entry = np.repeat(np.arange(last - first), pack.n_cells[first:last])[near]
    has_near_cell = np.bincount(cluster_of_entry, minlength=last - first) > 0  # clusters with a near cell
    cells = np.flatnonzero(inside)
    local = np.cumsum(inside) - 1
    ordinal = np.cumsum(has_near_cell) - 1
    categories = _particle_categories(pack, event, row)[pack.hit_index[entries][near]]  # (k, 3)
    truth = np.bincount(
        (local[merged_index[near]][:, None] * 3 + categories).ravel(),
        pack.hit_e[entries][near].ravel(),
        minlength=3 * len(cells),
    ).reshape(-1, 3)
    return _Cells(
        rows[cells],
        pack.merged_e[begin + cells],
        ordinal[pack.merged_cluster[begin + cells]],
        first + np.flatnonzero(has_near_cell),
        truth,
    )


def _particle_categories(pack: EventPack, event: int, track: int) -> np.ndarray:
    """(n_truth + 1,) of each truth particle: 0 the track's, 1 charged, 2 neutral; the last, of index -1, is neutral."""
    begin, end = pack.first_truth[event], pack.first_truth[event + 1]
    categories = np.append(np.where(pack.truth_charged[begin:end], 1, 2), 2)
    categories[pack.track_truth[track]] = 0
    return categories


def _track_event(
    name: str,
    pack: EventPack,
    geometry: Geometry,
    event: int,
    track: int,
    cells: _Cells,
    labels: Mapping[str, np.ndarray],
    has_others: bool,
) -> Event:
    """A sample around a track: its crossings, cells by distance, and with has_others other tracks' crossings.

    labels: of the event; labels of points are added where the cells have true energies.
    """
    axis = pack.track_axis[track]
    track_points = pack.point[pack.first_point[track] : pack.first_point[track + 1]]
    other_points, other_pt, other_number = (
        _other_points(pack, event, track)
        if has_others
        else (track_points[:0], track_points[:0, 0], track_points[:0, 0])
    )
    n_own, n_cells = len(track_points), len(cells.row)
    n, cell_slice = n_own + n_cells + len(other_points), slice(n_own, n_own + n_cells)
    table = geometry.table[cells.row]
    order = np.argsort(distance(table[:, 1], table[:, 2], axis)[2], kind="stable")
    rows = cells.row[order]
    points = np.zeros((n, geometry.table.shape[1]), np.float32)  # columns of GEO_COLUMNS
    points[cell_slice] = table[order]
    for part, crossings in ((slice(n_own), track_points), (slice(cell_slice.stop, n), other_points)):
        points[part, :4] = crossings[:, :4]
        points[part, 7] = crossings[:, 4]
    coords, delta_r = _relative_coords(points, axis)
    category = np.repeat([FOCUS_HIT, CELL, OTHER_HIT], [n_own, n_cells, len(other_points)])

    def column(start: Any, of_cells: Any, of_others: Any, dtype: type) -> np.ndarray:
        values: np.ndarray = np.full(n, start, dtype)
        values[cell_slice] = of_cells
        values[cell_slice.stop :] = of_others
        return values

    of_cell = pack.cluster[cells.clusters[cells.cluster[order]]][:, [_E, _ETA, _PHI]]  # (cells, 3)
    features = _geometry_features(points) | {
        "cell": column(-1, rows, -1, np.int64),
        "cluster": column(-1, cells.cluster[order], -1, np.int64),
        "category": category,
        "track": column(0, -1, other_number, np.int64),
        "track_pt": column(pack.track[track, _PT], 0, other_pt, np.float32),
        "delta_r": delta_r,
        "track_distance": _track_distance(points, pack.track_layers[track], axis),
        **{
            f"cluster_{quantity}_of_cell": column(0, of_cell[:, i], 0, np.float32)
            for i, quantity in enumerate(("e", "eta", "phi"))
        },
    }
    if cells.truth is not None:
        labels = {**labels, **_point_labels(cells.truth[order], n, cell_slice)}
    links, link_kinds = links_among(geometry.neighbours, rows)
    energy = column(0, cells.energy[order], 0, np.float32)
    return Event(name, coords, energy, labels, features, _scalars(pack, track, cells), links + n_own, link_kinds)


def _other_points(pack: EventPack, event: int, track: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(o, 5) crossings of other tracks within NEAR_CELL, their tracks' pT, and numbers from 1 by ascending pT."""
    first, last = pack.first_track[event], pack.first_track[event + 1]
    points = pack.point[pack.first_point[first] : pack.first_point[last]]
    owner = np.repeat(np.arange(first, last), pack.n_track_points[first:last])
    near = (owner != track) & (distance(points[:, 1], points[:, 2], pack.track_axis[track])[2] <= NEAR_CELL)
    points, owner = points[near], owner[near]
    tracks = np.unique(owner)
    ascending = tracks[np.argsort(pack.track[tracks, _PT], kind="stable")]
    rank = np.zeros(last - first, np.int64)
    rank[ascending - first] = np.arange(1, len(ascending) + 1)
    number = rank[owner - first]
    order = np.argsort(number, kind="stable")
    return points[order], pack.track[owner[order], _PT], number[order]


def _track_distance(points: np.ndarray, layers: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """(N,) float32, in EMB2 cells: distance to the track's crossing of the point's layer, or to its axis."""
    reference = np.where(layers > REACHED_ABOVE, layers, axis)[points[:, 0].astype(np.int64)]  # (N, 2)
    deta, dphi, _ = distance(points[:, 1], points[:, 2], reference)
    return np.hypot(deta / ETA_UNIT, dphi / PHI_UNIT).astype(np.float32)


def _point_labels(truth_gev: np.ndarray, n: int, here: slice) -> dict[str, np.ndarray]:
    """fractions (N, 3) float32 and focus (N,) int64; cells without true energy are neutral."""
    total = truth_gev.sum(axis=1, keepdims=True)
    shares = np.where(total > 0, truth_gev / np.where(total > 0, total, 1), (0.0, 0.0, 1.0))
    fractions, focus = np.zeros((n, 3), np.float32), np.full(n, -1)
    fractions[here] = shares
    focus[here] = fractions[here, 0] > 0.5
    return {"fractions": fractions, "focus": focus}


def _scalars(pack: EventPack, track: int, cells: _Cells) -> dict[str, float]:
    """Measured values of the track and of the sample's clusters."""
    scalars = {
        name: value
        for (name, branch), value in zip(TRACK_COLUMNS.items(), pack.track[track].tolist(), strict=True)
        if branch in pack.branches
    }
    clusters = pack.cluster[cells.clusters]
    energies = clusters[:, _E].tolist()
    scalars |= {"n_clusters": float(len(energies)), "sum_e": float(sum(energies))}
    if "cluster_E_LCCalib" in pack.branches:
        scalars["sum_lc_e"] = float(sum(clusters[:, _LC].tolist()))
    leading = (energies + [0.0] * N_LEADING)[:N_LEADING]
    return scalars | {f"cluster_e_{i}": e for i, e in enumerate(leading)}


def _relative_coords(points: np.ndarray, axis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, 3) float32 coordinates in EMB2 cells around an axis, and (N,) float32 dR to it."""
    deta, dphi, delta_r = distance(points[:, 1], points[:, 2], axis)
    coords = np.empty((len(points), 3), np.float32)
    coords[:, 0] = deta / ETA_UNIT
    coords[:, 1] = dphi / PHI_UNIT
    coords[:, 2] = points[:, 7]
    return coords, delta_r.astype(np.float32)


def _geometry_features(points: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "sampling": points[:, 0].astype(np.int64), "eta": points[:, 1], "phi": points[:, 2], "r_perp_mm": points[:, 3],
        "deta": points[:, 4], "dphi": points[:, 5], "sigma_gev": points[:, 6],
    }  # fmt: skip


@kernel
def links_among(neighbours: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(E, 2) sender and receiver among n different cells, and (E,) kind: the sender is that neighbour of the receiver.

    Sorted by receiver, then kind. neighbours: (G, 10) rows or -1; rows: (n,) int64 of the cells.
    """
    n, n_kinds = len(rows), neighbours.shape[1]
    size = 2
    while size < 2 * n:
        size *= 2
    table = np.full(size, -1, np.int64)  # open addressing: index of each row in `rows`
    for i in range(n):
        slot = (rows[i] * 2654435761) % size
        while table[slot] >= 0:
            slot = (slot + 1) % size
        table[slot] = i
    links = np.empty((n * n_kinds, 2), np.int64)
    kinds = np.empty(n * n_kinds, np.int64)
    n_links = 0
    for i in range(n):
        for kind in range(n_kinds):
            row = neighbours[rows[i], kind]
            if row < 0:
                continue
            slot = (np.int64(row) * 2654435761) % size
            while table[slot] >= 0 and rows[table[slot]] != row:
                slot = (slot + 1) % size
            if table[slot] >= 0:
                links[n_links, 0] = table[slot]
                links[n_links, 1] = i
                kinds[n_links] = kind
                n_links += 1
    return links[:n_links].copy(), kinds[:n_links].copy()
