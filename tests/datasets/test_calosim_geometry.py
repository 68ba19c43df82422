"""The toy barrel: sizes, depths, and neighbours, held against loops over all pairs of cells."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmark.datasets._mltree import NEIGHBOURS, RADIUS_MM, SAMPLINGS
from benchmark.datasets.calosim import geometry as g
from benchmark.datasets.calosim.kinematics import at_radius, entry
from benchmark.datasets.calosim.state import N_REGIONS, along, make_state, trace


@pytest.fixture(scope="module")
def geo():
    return g.cell_geometry()


def test_every_layer_covers_the_barrel_once(geo):
    assert len(np.unique(geo.cell_id)) == len(geo.cell_id) == sum(g.N_CELLS)
    for k, name in enumerate(g.LAYERS):
        mine = geo.sampling == SAMPLINGS[name]
        assert (geo.deta[mine] * geo.dphi[mine]).sum(dtype=float) == pytest.approx(2 * g.MAX_ETA * 2 * math.pi, 1e-5)
        assert np.unique(geo.r_perp_mm[mine]).tolist() == [np.float32(RADIUS_MM[name])]
        assert geo.sigma_gev[mine].max() == np.float32(g.SIGMA_GEV[k]) > 0
    assert geo.phi.min() >= -math.pi and geo.phi.max() < math.pi and np.abs(geo.eta).max() < g.MAX_ETA
    assert [geo.deta[geo.sampling == s][0] for s in (1, 2, 3)] == pytest.approx([0.003125, 0.025, 0.05])


def test_borders_give_back_the_mid_radii():
    for region, layer in enumerate(g.REGION_LAYER):
        if layer >= 0:
            middle = 0.5 * (g.BORDERS_MM[region] + g.BORDERS_MM[region + 1])
            assert middle == pytest.approx(RADIUS_MM[g.LAYERS[layer]], abs=1.0)


def test_types_are_those_of_the_schema(geo):
    assert geo.cell_id.dtype == geo.sampling.dtype == geo.neighbours.dtype == np.int64
    for name in ("eta", "phi", "r_perp_mm", "deta", "dphi", "volume_mm3", "sigma_gev"):
        assert getattr(geo, name).dtype == np.float32 and np.isfinite(getattr(geo, name)).all()
    assert geo.volume_mm3.min() > 0 and geo.neighbours.shape == (len(geo.cell_id), 10)


def _overlaps(geo, row, others):
    """(N,) bool by intervals: independent of the indices that the module uses."""
    eta = np.minimum(geo.eta[others] + geo.deta[others] / 2, geo.eta[row] + geo.deta[row] / 2)
    eta -= np.maximum(geo.eta[others] - geo.deta[others] / 2, geo.eta[row] - geo.deta[row] / 2)
    apart = np.abs(np.angle(np.exp(1j * (geo.phi[others].astype(float) - geo.phi[row]))))
    return (eta > 1e-5) & ((geo.dphi[others] + geo.dphi[row]) / 2 - apart > 1e-5)


def _touching(geo, row, mine):
    """Rows of the same layer beside a cell, by distance."""
    d_eta = np.abs(geo.eta[mine] - geo.eta[row]) / geo.deta[row]
    d_phi = np.abs(np.angle(np.exp(1j * (geo.phi[mine].astype(float) - geo.phi[row])))) / geo.dphi[row]
    return mine[(d_eta < 1.5) & (d_phi < 1.5) & (d_eta + d_phi > 0.5)]


def _some_rows():
    rng = np.random.default_rng(3)
    edges = [f + k for f, n in zip(g.FIRST, g.N_CELLS, strict=False) for k in (0, n - 1)]
    return np.concatenate([edges, *(rng.integers(f, f + n, 6) for f, n in zip(g.FIRST, g.N_CELLS, strict=False))])


def test_neighbours_of_clustering_against_all_pairs(geo):
    cells = g.grid()
    for row in _some_rows():
        found = cells.near[cells.starts[row] : cells.starts[row + 1]]
        layer = cells.layer[row]
        expected = set(_touching(geo, row, np.flatnonzero(cells.layer == layer)).tolist())
        assert set(found[: cells.n_same[row]].tolist()) == expected
        for other in (layer - 1, layer + 1):
            mine = np.flatnonzero(cells.layer == other)
            expected |= set(mine[_overlaps(geo, row, mine)].tolist())
        assert set(found.tolist()) == expected and len(found) == len(expected)


def test_neighbour_columns_are_filled_where_there_is_exactly_one(geo):
    layers = [SAMPLINGS[name] for name in g.LAYERS]
    for row in _some_rows():
        at = layers.index(geo.sampling[row])
        mine = np.flatnonzero(geo.sampling == layers[at])
        same = dict.fromkeys(NEIGHBOURS, -1)
        for other in _touching(geo, row, mine):
            d_eta = geo.eta[other] - geo.eta[row]
            d_phi = math.remainder(float(geo.phi[other]) - float(geo.phi[row]), 2 * math.pi)
            if abs(d_eta) < 1e-5:
                same["nextInPhi" if d_phi > 0 else "prevInPhi"] = other
            elif abs(d_phi) < 1e-5:
                same["nextInEta" if d_eta > 0 else "prevInEta"] = other
        for step, word in ((-1, "prev"), (1, "next")):
            if 0 <= at + step < len(layers):
                beside = np.flatnonzero(geo.sampling == layers[at + step])
                beside = beside[_overlaps(geo, row, beside)]
                kind = "InSamp" if (at < g.N_EM) == (at + step < g.N_EM) else "SuperCalo"
                same[word + kind] = beside[0] if len(beside) == 1 else -1
        assert geo.neighbours[row].tolist() == [same[name] for name in NEIGHBOURS]


def test_cells_are_found_by_their_centres(geo):
    for row in _some_rows():
        layer = int(g.grid().layer[row])
        assert g.cell_at(layer, float(geo.eta[row]), float(geo.phi[row])) == row
    assert g.cell_at(0, 1.401, 0.0) == g.cell_at(0, -1.401, 0.0) == -1


@pytest.mark.parametrize("eta", [0.0, 0.8, -1.2])
def test_depth_along_a_line_grows_with_cosh_eta(eta):
    state = make_state()
    u = np.array([1.0, 0.0, math.sinh(eta)]) / math.cosh(eta)
    start = u * g.SOLENOID_MM * math.cosh(eta)
    n = trace(state, *start, *u)
    assert n == N_REGIONS + 1
    assert state.path[1, n - 1] == pytest.approx(g.DEPTH_X0.sum() * math.cosh(eta))
    assert state.path[2, n - 1] == pytest.approx(g.DEPTH_LAMBDA.sum() * math.cosh(eta))
    s, region = along(state, n, 1, 2.0 * math.cosh(eta) + 0.01)
    assert region == 1 and s == pytest.approx(250.0 * math.cosh(eta), rel=0.01)


def test_charged_particles_bend_and_slow_ones_curl():
    place, direction = entry(10.0, 0.4, 0.3, 1, 20.0)
    radius = 10e3 / (0.299792458 * 2.0)
    assert np.hypot(*place[:2]) == pytest.approx(g.SOLENOID_MM)
    bend = 2 * math.asin(g.SOLENOID_MM / (2 * radius))
    assert math.atan2(direction[1], direction[0]) == pytest.approx(0.3 - bend)
    assert np.linalg.norm(direction) == pytest.approx(1.0)
    mirrored, _ = entry(10.0, 0.4, 0.3, -1, 20.0)
    assert math.atan2(place[1], place[0]) + math.atan2(mirrored[1], mirrored[0]) == pytest.approx(0.6)
    assert entry(0.3, 0.0, 0.0, 1, 0.0) is None and entry(0.3, 0.0, 0.0, 0, 0.0) is not None
    eta, phi = at_radius(*entry(50.0, 0.7, 1.0, 0, 0.0), 2000.0)
    assert (eta, phi) == (pytest.approx(0.7), pytest.approx(1.0))
