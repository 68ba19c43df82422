"""The steps of particle flow on one sample: match a track to clusters, expect a deposit, subtract it cell by cell.

After ATLAS, EPJC 77 (2017) 466, section 6; titles in quotation marks are of its parts. Energies in GeV, angles in rad.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from benchmark.contracts import PointBatch
from benchmark.contracts.cells import ABSENT_GEV

from ._classical import quantity

N_SAMPLINGS = 28  # CaloSampling numbers of ATLAS
N_RINGS = 16  # of a layer; the last one is everything beyond
SECOND_LAYERS = (2, 6)  # EMB2, EME2: where a track's position is compared with clusters
LEAST_WIDTH = 0.05  # of a cluster in eta and phi; ours: clusters of one cell have none
_PER_BIN, _MOST_BINS = 50, 12  # labelled samples per point of a table, and points at most
_SPREAD_QUANTILES = (0.16, 0.5, 0.84)


class Constants(NamedTuple):
    """The publication's numbers, see the configuration of `particle_flow`."""

    least_e_over_p: float
    match_distance: float
    split_significance: float
    cone: float
    remnant_sigmas: float


class Table(NamedTuple):
    """A quantity's centre and spread as functions of log10 of an energy, linear between K points, constant outside."""

    at: np.ndarray  # (K,) rising, log10 of GeV
    centre: np.ndarray  # (K,)
    spread: np.ndarray  # (K,) above 0

    def __call__(self, energy_gev: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
        """Centre and spread at energies."""
        x = np.log10(np.maximum(energy_gev, ABSENT_GEV))
        return np.interp(x, self.at, self.centre), np.interp(x, self.at, self.spread)


def learn_table(energy_gev: np.ndarray, values: np.ndarray, least_spread: float, *, robust: bool) -> Table:
    """A point for each of at most 12 equally full bins of (n,) energies, at least 50 rows each where there are so many.

    robust: median and half the distance between the 16th and 84th percentile; else mean and standard deviation.
    """
    x = np.log10(np.maximum(energy_gev, ABSENT_GEV))
    order = np.argsort(x, kind="stable")
    bins = np.array_split(order, int(np.clip(len(x) // _PER_BIN, 1, _MOST_BINS)))
    points: dict[float, tuple[float, float]] = {}
    for rows in bins:
        low, middle, high = np.quantile(values[rows], _SPREAD_QUANTILES)
        of_bin = (middle, (high - low) / 2) if robust else (values[rows].mean(), values[rows].std())
        points[float(x[rows].mean())] = (float(of_bin[0]), max(float(of_bin[1]), least_spread))
    at = sorted(points)
    return Table(np.array(at), np.array([points[a][0] for a in at]), np.array([points[a][1] for a in at]))


class Cells(NamedTuple):
    """The n cells of a sample."""

    rows: np.ndarray  # (n,) int64 their points in the sample
    energy: np.ndarray  # (n,) GeV, not below 0
    sampling: np.ndarray  # (n,) int64
    eta: np.ndarray  # (n,)
    phi: np.ndarray  # (n,)
    ring_width: np.ndarray  # (n,) half the cell's diagonal: no disc of this radius misses every cell
    cluster: np.ndarray  # (n,) int64 place in the clusters, -1 for none


class Clusters(NamedTuple):
    """The K clusters of a sample; parts of them may lie outside of it."""

    energy: np.ndarray  # (K,) GeV, of the whole cluster
    eta: np.ndarray  # (K,)
    phi: np.ndarray  # (K,)
    eta_width: np.ndarray  # (K,) standard deviation of the cells' displacements from the barycentre
    phi_width: np.ndarray  # (K,)


class Track(NamedTuple):
    """A track, extrapolated to every layer; where it does not reach one, it is at its place in the second layer."""

    number: int  # 0: the focus track
    p: float  # GeV
    pt: float  # GeV
    eta: np.ndarray  # (N_SAMPLINGS,)
    phi: np.ndarray  # (N_SAMPLINGS,)
    second_eta: float
    second_phi: float


def wrap(phi: np.ndarray) -> np.ndarray:
    """Angles in [-pi, pi)."""
    wrapped: np.ndarray = (phi + math.pi) % (2 * math.pi) - math.pi
    return wrapped


def cells_of(batch: PointBatch) -> tuple[Cells, Clusters]:
    """Cells and clusters of a batch with one event."""
    column = {
        name: quantity(batch, name, "point_info")
        for name in ("category", "sampling", "eta", "phi", "deta", "dphi", "cluster", "cluster_e_of_cell",
                     "cluster_eta_of_cell", "cluster_phi_of_cell")
    }  # fmt: skip
    rows = np.flatnonzero(column["category"] == 1)
    here = {name: values[rows] for name, values in column.items()}
    energy = np.maximum(np.asarray(batch.energy, np.float64)[rows], 0)
    number, place = np.unique(here["cluster"], return_inverse=True)
    place = place.reshape(-1)
    n_none = int((number < 0).sum())
    members = [np.flatnonzero(place == k) for k in range(n_none, len(number))]

    def width(angle: np.ndarray) -> np.ndarray:
        return np.array([max(math.sqrt(np.mean(angle[m] ** 2)), LEAST_WIDTH) for m in members])

    cells = Cells(
        rows, energy, here["sampling"].astype(np.int64), here["eta"], here["phi"],
        np.hypot(here["deta"], here["dphi"]) / 2, np.maximum(place - n_none, -1),
    )  # fmt: skip
    clusters = Clusters(
        # cells that clusters share count once in a sample, so that either number may be the larger one
        np.array([max(here["cluster_e_of_cell"][m].max(), energy[m].sum()) for m in members]),
        np.array([here["cluster_eta_of_cell"][m[0]] for m in members]),
        np.array([here["cluster_phi_of_cell"][m[0]] for m in members]),
        width(here["eta"] - here["cluster_eta_of_cell"]),
        width(wrap(here["phi"] - here["cluster_phi_of_cell"])),
    )
    return cells, clusters


def tracks_of(batch: PointBatch) -> list[Track]:
    """Tracks of a batch with one event, the highest pT first. The focus track's momentum is the measured one.

    Other tracks' momenta are made of pT and eta in the second layer.
    """
    column = {n: quantity(batch, n, "point_info") for n in ("category", "track", "sampling", "eta", "phi", "track_pt")}
    of_focus = {n: float(quantity(batch, n)[0]) for n in ("track_p", "track_pt", "track_eta", "track_phi")}
    hits = column["category"] != 1
    tracks = []
    for number in sorted({0, *column["track"][hits].astype(int).tolist()}):
        rows = np.flatnonzero(hits & (column["track"] == number))
        rows = rows[np.argsort(column["sampling"][rows], kind="stable")]
        sampling = column["sampling"][rows].astype(np.int64)
        second = [i for i, s in zip(rows, sampling, strict=True) if s in SECOND_LAYERS] or list(rows[:1])
        if second:
            place = float(column["eta"][second[0]]), float(column["phi"][second[0]])
        else:
            place = of_focus["track_eta"], of_focus["track_phi"]
        eta, phi = (np.full(N_SAMPLINGS, value) for value in place)
        eta[sampling], phi[sampling] = column["eta"][rows], column["phi"][rows]
        pt = of_focus["track_pt"] if number == 0 else float(column["track_pt"][rows[0]])
        p = of_focus["track_p"] if number == 0 else pt * math.cosh(place[0])
        tracks.append(Track(number, max(p, ABSENT_GEV), pt, eta, phi, *place))
    return sorted(tracks, key=lambda t: (-t.pt, t.number))


def rings(cells: Cells, track: Track) -> tuple[np.ndarray, np.ndarray]:
    """(n,) ring of each cell around the track in its layer, numbered over all layers, and (n,) distance to the track.

    Rings of a layer are equally wide and so wide that each holds a cell ("cell-by-cell subtraction").
    """
    away = np.hypot(cells.eta - track.eta[cells.sampling], wrap(cells.phi - track.phi[cells.sampling]))
    ring = np.minimum((away / np.maximum(cells.ring_width, 1e-6)).astype(np.int64), N_RINGS - 1)
    return cells.sampling * N_RINGS + ring, away


def ring_area(cells: Cells, ring: np.ndarray) -> np.ndarray:
    """(n,) area in eta and phi of each cell's ring."""
    inner = ring % N_RINGS
    area: np.ndarray = math.pi * (2 * inner + 1) * np.maximum(cells.ring_width, 1e-6) ** 2
    return area


def matched(
    track: Track, clusters: Clusters, left_gev: np.ndarray, deposit: float, sigma: float, constants: Constants
) -> np.ndarray:
    """(K,) bool the clusters that the track's deposit is taken from; none where no cluster is close.

    "Matching tracks to topo-clusters" and "recovering split showers". The closest one is in units of its widths; where
    it has too little energy, the shower is split, and clusters in a cone belong to it as well. left_gev (K,) is what is
    left of the clusters.
    """
    chosen = np.zeros(len(left_gev), dtype=bool)
    deta, dphi = clusters.eta - track.second_eta, wrap(clusters.phi - track.second_phi)
    distance = np.hypot(deta / clusters.eta_width, dphi / clusters.phi_width)
    distance = np.where(left_gev > constants.least_e_over_p * track.p, distance, np.inf)
    if not len(distance) or distance.min() > constants.match_distance:
        return chosen
    best = int(np.argmin(distance))
    chosen[best] = True
    if (left_gev[best] - deposit) / sigma < -constants.split_significance:
        chosen |= np.hypot(deta, dphi) < constants.cone
    return chosen


def subtract(
    track: Track, cells: Cells, clusters: Clusters, left: np.ndarray, e_over_p: Table, density: np.ndarray,
    constants: Constants,
) -> np.ndarray:  # fmt: skip
    """(n,) share of each cell's energy that the track takes, at most `left` (n,), what tracks before it left.

    "Cell-by-cell subtraction" and "remnant removal". density (N_SAMPLINGS * N_RINGS,) is how densely a track should
    leave energy in each ring.
    """
    centre, spread = e_over_p(track.p)
    deposit, sigma = float(centre) * track.p, float(spread) * track.p
    inside = cells.cluster >= 0
    gone = np.bincount(
        cells.cluster[inside], ((1 - left) * cells.energy)[inside], minlength=len(clusters.energy)
    )  # (K,) GeV
    left_gev = clusters.energy - gone
    chosen = matched(track, clusters, left_gev, deposit, sigma, constants)
    taken = np.zeros(len(left))
    members = np.flatnonzero(inside)[chosen[cells.cluster[inside]]]
    if not len(members):
        return taken
    # all of it where less is there than expected, or what would remain is no more than a fluctuation
    if left_gev[chosen].sum() - deposit < constants.remnant_sigmas * sigma:
        taken[members] = left[members]
        return taken
    taken[members] = left[members] * ring_shares(track, cells, members, left, deposit, density)
    return taken


def ring_shares(
    track: Track, cells: Cells, members: np.ndarray, left: np.ndarray, deposit: float, density: np.ndarray
) -> np.ndarray:
    """(m,) which part of what is left of the cells `members` (m,) is removed: `deposit` GeV in all, or everything.

    Ring after ring, whatever the layer, the densest expected one first; a part of the last ring. Among rings that the
    labelled samples never saw energy in, the nearest first.
    """
    ring, away = rings(cells, track)
    number, place, count = np.unique(ring[members], return_inverse=True, return_counts=True)
    place = place.reshape(-1)
    energy = np.bincount(place, (left * cells.energy)[members])  # (R,) GeV
    mean_away = np.bincount(place, away[members]) / count
    order = np.lexsort((number, mean_away, -density[number]))
    before = np.concatenate([[0.0], np.cumsum(energy[order])[:-1]])
    wanted = np.clip(deposit - before, 0, energy[order])
    share = np.empty(len(number))
    positive = energy[order] > 0
    share[order] = np.where(positive, wanted / np.where(positive, energy[order], 1.0), before < deposit)
    return share[place]
