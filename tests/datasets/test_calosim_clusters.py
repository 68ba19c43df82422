"""Topological clusters against a plain Python version, splitting at maxima, shared cells, moments."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmark.datasets.calosim.clusters import MOMENTS, cluster_cells, make_labels
from benchmark.datasets.calosim.geometry import ETA_SIZE, N_PHI, cell_at, grid
from benchmark.datasets.calosim.readout import make_readout, read_out
from benchmark.datasets.calosim.showers import HADRON, PHOTON, shower_once
from benchmark.datasets.calosim.state import make_state
from benchmark.datasets.calosim.topological import find_clusters, find_peaks
from benchmark.datasets.calosim.validation import guns

CELLS = grid()
COLUMN = {name: k for k, name in enumerate(MOMENTS)}


def near(row):
    return CELLS.near[CELLS.starts[row] : CELLS.starts[row + 1]].tolist()


def patch(rng, n_hot=25, scale=3.0):
    """Rows of a small window over all layers with random energies in units of their noise."""
    window = (np.abs(CELLS.eta - 0.2) < 0.06) & (np.abs(CELLS.phi) < 0.12)
    rows = np.flatnonzero(window).astype(np.int32)
    energy = np.zeros(len(CELLS.eta))
    energy[rows] = CELLS.sigma_gev[rows] * rng.normal(0, 1, len(rows))
    hot = rng.choice(rows, n_hot, replace=False)
    energy[hot] += CELLS.sigma_gev[hot] * rng.exponential(scale, n_hot)
    return rows, energy


def plain_clusters(rows, energy):
    """4-2-0 in words: components of cells above 2 sigma with a seed, then each other cell to its most significant
    neighbour among them."""
    significance = {int(r): abs(energy[r]) / CELLS.sigma_gev[r] for r in rows}
    grown, clusters = {r for r, s in significance.items() if s > 2}, []
    while grown:
        todo, found = [grown.pop()], set()
        while todo:
            at = todo.pop()
            found.add(at)
            new = grown.intersection(near(at))
            grown -= new
            todo += new
        if any(significance[r] > 4 for r in found):
            clusters.append(found)
    cores = [frozenset(c) for c in clusters]
    for row in rows:
        if any(row in c for c in cores):
            continue
        touching = [(significance[o], k) for o in near(row) for k, c in enumerate(cores) if o in c]
        if touching:
            clusters[max(touching)[1]].add(int(row))
    return {frozenset(c) for c in clusters}


@pytest.mark.parametrize("seed", range(12))
def test_clusters_are_those_of_a_plain_version(seed):
    rows, energy = patch(np.random.default_rng(seed))
    label = np.full(len(CELLS.eta), -1, np.int32)
    n = find_clusters(energy, rows, CELLS, label)
    assert {frozenset(np.flatnonzero(label == k).tolist()) for k in range(n)} == plain_clusters(rows, energy)


def test_seeds_of_negative_energy_count_and_order_does_not():
    rows, energy = patch(np.random.default_rng(5), 0)
    energy[rows] = 0.1 * CELLS.sigma_gev[rows]
    row = cell_at(1, 0.21, 0.01)
    energy[row] = -5 * CELLS.sigma_gev[row]
    labels = []
    for order in (rows, rows[::-1].copy()):
        label = np.full(len(CELLS.eta), -1, np.int32)
        assert find_clusters(energy, order, CELLS, label) == 1
        labels.append(label)
    np.testing.assert_array_equal(*labels)
    assert set(np.flatnonzero(labels[0] == 0).tolist()) == {row, *near(row)} & set(rows.tolist())


# ---- splitting


def plain_peaks(cells, energy):
    mine = set(cells.tolist())
    deta = {r: ETA_SIZE[CELLS.layer[r]] for r in mine}

    def is_peak(row):
        others = [o for o in near(row) if o in mine]
        return energy[row] > 0.5 and len(others) >= 4 and all(energy[o] < energy[row] for o in others)

    def overlap(a, b):
        dphi = [2 * math.pi / N_PHI[CELLS.layer[r]] for r in (a, b)]
        apart = abs(math.remainder(CELLS.phi[a] - CELLS.phi[b], 2 * math.pi))
        return abs(CELLS.eta[a] - CELLS.eta[b]) < (deta[a] + deta[b]) / 2 - 1e-9 and apart < sum(dphi) / 2 - 1e-9

    peaks = {r for r in mine if is_peak(r)}
    first = {r for r in peaks if CELLS.layer[r] in (1, 2)}
    return first | {r for r in peaks - first if not any(overlap(r, f) for f in first)}


def test_peaks_are_those_of_a_plain_version():
    size = np.array(ETA_SIZE), 2 * math.pi / np.array(N_PHI)
    n_peaks = 0
    for seed in range(30):
        rows, energy = patch(np.random.default_rng(seed), 60, 15.0)
        energy *= 3
        label = np.full(len(CELLS.eta), -1, np.int32)
        for k in range(find_clusters(energy, rows, CELLS, label)):
            cells = np.flatnonzero(label == k).astype(np.int32)
            found = find_peaks(cells, energy, CELLS, label, *size)
            assert set(found.tolist()) == plain_peaks(cells, energy)
            n_peaks += len(found)
    assert n_peaks > 20


def measured(blobs, floor=0.12):
    """Read-out of a flat patch in EMB2 with blobs (eta, phi, GeV) on it."""
    out = make_readout()
    rows = np.flatnonzero((CELLS.layer == 1) & (np.abs(CELLS.eta - 0.2) < 0.2) & (np.abs(CELLS.phi) < 0.15))
    out.energy[rows] = floor
    for eta, phi, gev in blobs:
        row = cell_at(1, eta, phi)
        out.energy[row] += gev
        out.energy[near(row)] += 0.2 * gev * (CELLS.layer[near(row)] == 1)
    out.rows[: len(rows)] = rows
    out.is_active[rows] = 1
    out.count[0] = len(rows)
    return out


def test_two_blobs_are_split_and_shared_cells_keep_their_energy():
    out = measured([(0.14, 0.0, 8.0), (0.26, 0.03, 3.0)])
    state, labels = make_state(), make_labels()
    rows = out.rows[: out.count[0]]
    state.truth[rows, 0] = out.energy[rows]
    state.touched[: len(rows)], state.count[0] = rows, len(rows)
    clusters = cluster_cells(state, out, labels)
    assert len(clusters.moments) == 2
    assert clusters.moments[:, COLUMN["E"]].sum() == pytest.approx(out.energy.sum())
    assert clusters.moments[:, COLUMN["ENG_CALIB_TOT"]] == pytest.approx(clusters.moments[:, COLUMN["E"]])
    assert clusters.moments[0, COLUMN["Eta"]] == pytest.approx(0.14, abs=0.05)
    total = np.bincount(clusters.rows, clusters.energy, minlength=len(CELLS.eta))
    np.testing.assert_allclose(total[rows], out.energy[rows], atol=0.005)  # smaller shares are not written
    shared = np.unique(clusters.rows[clusters.energy < out.energy[clusters.rows] - 1e-9])
    twice = np.flatnonzero(np.bincount(clusters.rows, minlength=len(CELLS.eta)) == 2)
    assert len(twice) >= 5 and set(twice.tolist()) <= set(shared.tolist())
    np.testing.assert_allclose(total[twice], out.energy[twice], rtol=1e-12)
    _check_shares(out, clusters, shared)


def _check_shares(out, clusters, shared):
    """E1 / (E1 + r E2), r = exp((d1 - d2) / 5 cm), from the cells that are not shared."""
    ends = np.cumsum(clusters.n_cells)
    parts = [slice(0, ends[0]), slice(ends[0], ends[1])]
    place = np.stack([CELLS.x_mm, CELLS.y_mm, CELLS.z_mm], axis=1)
    sums, centres = [], []
    for part in parts:
        own = np.setdiff1d(clusters.rows[part], shared)
        sums.append(out.energy[own].sum())
        centres.append((out.energy[own, None] * place[own]).sum(axis=0) / sums[-1])
    for row in shared:
        d = [np.linalg.norm(place[row] - c) / 50.0 for c in centres]
        weight = sums[0] / (sums[0] + math.exp(d[0] - d[1]) * sums[1])
        found = clusters.energy[parts[0]][clusters.rows[parts[0]] == row]
        assert found == pytest.approx(weight * out.energy[row]) or (len(found) == 0 and weight < 0.05)


def test_a_blob_alone_is_not_split():
    clusters = cluster_cells(make_state(), measured([(0.2, 0.0, 8.0)]), make_labels())
    assert len(clusters.moments) == 1 and len(np.unique(clusters.rows)) == len(clusters.rows)


def event(particles, seed):
    state, out = shower_once(particles, seed), make_readout()
    read_out(state, CELLS, out, np.array([0.3]), np.array([0.05]))
    labels = make_labels()
    clusters = cluster_cells(state, out, labels)
    assert (labels.label == -1).all() and (labels.part == -1).all() and (labels.second == -1).all()
    return state, out, clusters


@pytest.mark.parametrize("seed", range(6))
def test_shares_of_cells_add_up_to_one_at_most(seed):
    """Energy and truth of a cell over all clusters: the whole cell, or less where a cluster below 0.5 GeV is gone."""
    particles = [guns.gun(HADRON, 60.0, 0.3, 0.05, row=0), guns.gun(HADRON, 40.0, 0.37, 0.0, row=1)]
    state, out, (moments, n_cells, rows, energy, truth, hit_row, hit_energy) = event(particles, seed)
    assert n_cells.sum() == len(rows) == len(energy) == len(truth) and (energy > 0.005).all()
    assert (moments[:, COLUMN["E"]] > 0.5).all() and (np.diff(moments[:, COLUMN["E"]]) <= 0).all()
    times = np.bincount(rows, minlength=len(CELLS.eta))
    assert times.max() <= 2
    weight = energy / out.energy[rows]
    assert weight.max() <= 1 + 1e-12 and (weight[times[rows] == 1] > 0.999).mean() > 0.9
    np.testing.assert_allclose(truth, weight[:, None] * state.truth[rows], atol=1e-12)
    twice = np.flatnonzero(times == 2)
    np.testing.assert_allclose(np.bincount(rows, energy, len(CELLS.eta))[twice], out.energy[twice])
    both = np.bincount(rows, truth.sum(axis=1), len(CELLS.eta))[twice]
    np.testing.assert_allclose(both, state.truth[twice].sum(axis=1), atol=1e-12)
    assert (hit_energy.sum(axis=1) <= truth.sum(axis=1) * (1 + 1e-9) + 1e-12).all()
    assert ((hit_row >= 0) == (hit_energy > 0)).all()


@pytest.mark.parametrize("seed", range(4))
def test_true_energy_is_in_clusters_or_beside_them(seed):
    state, _, (moments, *_) = event([guns.gun(HADRON, 50.0)], seed)
    inside, outside = moments[:, COLUMN["ENG_CALIB_TOT"]].sum(), moments[:, COLUMN["ENG_CALIB_OUT_T"]].sum()
    dead = moments[:, COLUMN["ENG_CALIB_DEAD_TOT"]].sum()
    assert inside + outside <= state.truth.sum() * (1 + 1e-9) and dead <= state.dead.sum() * (1 + 1e-9)
    assert inside + outside > 0.9 * state.truth.sum()


def test_moments_of_a_photon():
    _, _, (moments, _, rows, energy, *_) = event([guns.gun(PHOTON, 100.0)], 2)
    m = dict(zip(MOMENTS, moments[0], strict=True))
    assert m["E"] == pytest.approx(100, rel=0.06) and m["ENG_CALIB_TOT"] == pytest.approx(98, rel=0.03)
    assert m["Eta"] == pytest.approx(0.3, abs=0.003) and m["Phi"] == pytest.approx(0.05, abs=0.003)
    radius = m["CENTER_MAG"] / math.cosh(m["Eta"])
    assert 1650 < radius < 1800
    assert m["CENTER_LAMBDA"] == pytest.approx((radius - 1500) * math.cosh(m["Eta"]), rel=0.02)
    density = (energy**2 / CELLS.volume_mm3[rows]).sum() / energy.sum()
    assert m["FIRST_ENG_DENS"] == pytest.approx(density, rel=0.02)
    assert 0.5 < m["ISOLATION"] <= 1.0


def test_nothing_gives_no_cluster():
    clusters = cluster_cells(make_state(), make_readout(), make_labels())
    assert clusters.moments.shape == (0, len(MOMENTS)) and len(clusters.rows) == 0
