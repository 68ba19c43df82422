"""Showers: energy is conserved, GFLASH's mean profile comes out, hadrons and particles are what they should be."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmark.datasets.calosim import electromagnetic, hadronic, material
from benchmark.datasets.calosim.distributions import beta, gamma, perpendicular
from benchmark.datasets.calosim.generate import GeneratorSettings, check_settings, generate
from benchmark.datasets.calosim.geometry import grid
from benchmark.datasets.calosim.kinematics import MASS_GEV, mass_of, two_body, vector
from benchmark.datasets.calosim.readout import fluctuate, make_readout, read_out
from benchmark.datasets.calosim.showers import ELECTRON, HADRON, PHOTON, run_showers, shower_once
from benchmark.datasets.calosim.state import make_state
from benchmark.datasets.calosim.tracks import COLUMNS, make_tracks
from benchmark.datasets.calosim.validation import guns
from benchmark.errors import ConfigError


def rng(seed=1):
    return np.array([seed], np.uint64)


def everything(state):
    """True energy of all kinds in cells and dead matter, and what leaves, GeV."""
    return state.truth.sum() + state.dead.sum() + state.total[0]


# ---- conservation


@pytest.mark.parametrize("kind", [PHOTON, ELECTRON, HADRON])
@pytest.mark.parametrize("energy", [0.2, 3.0, 70.0, 2000.0])
@pytest.mark.parametrize("eta", [0.0, 1.15])
def test_energy_is_conserved(kind, energy, eta):
    for seed in range(8):
        state = shower_once(guns.gun(kind, energy, eta), seed)
        assert everything(state) == pytest.approx(energy, rel=1e-12)
        assert state.truth.min() >= 0 and state.dead.min() >= 0 and state.visible_em.min() >= 0


def test_energy_is_conserved_for_neutral_hadrons_and_baryons():
    for mass, charge, baryon in ((MASS_GEV[130], 0, 0), (MASS_GEV[2112], 0, 1), (MASS_GEV[2212], 1, 1)):
        particle = guns.gun(HADRON, 12.0)
        particle[3:6] = [mass, charge, baryon]
        for seed in range(5):
            assert everything(shower_once(particle, seed)) == pytest.approx(12.0, rel=1e-12)


def test_cells_know_their_leading_particles():
    near = [guns.gun(PHOTON, 10.0, 0.3, 0.05, row=3), guns.gun(HADRON, 30.0, 0.32, 0.07, row=5)]
    both = shower_once(near, 4)
    touched = both.touched[: both.count[0]]
    np.testing.assert_allclose(both.top_e[touched].sum(axis=1), both.truth[touched].sum(axis=1), rtol=1e-9)
    assert set(np.unique(both.top_row[touched])) == {-1, 3, 5}
    assert (np.diff(both.top_e[touched], axis=1) <= 0).all()
    assert (both.top_row[touched] >= 0).tolist() == (both.top_e[touched] > 0).tolist()


def test_only_the_three_leading_particles_of_a_cell_are_kept():
    same = [guns.gun(ELECTRON, e, row=k) for k, e in enumerate((1.0, 8.0, 4.0, 2.0))]
    state = shower_once(same, 1)
    hottest = int(state.truth.sum(axis=1).argmax())
    assert len(set(state.top_row[hottest].tolist())) == 3 and (np.diff(state.top_e[hottest]) <= 0).all()
    assert state.top_e[hottest].sum() <= state.truth[hottest].sum() + 1e-12


def test_an_event_leaves_nothing_behind():
    state = make_state()
    run_showers(state, np.array([guns.gun(HADRON, 300.0, 0.9)]), 1)
    run_showers(state, np.array([guns.gun(PHOTON, 5.0)]), 2)
    fresh = shower_once(guns.gun(PHOTON, 5.0), 2)
    for name in ("truth", "visible_em", "visible_had", "top_e", "top_row", "dead", "own"):
        np.testing.assert_array_equal(getattr(state, name), getattr(fresh, name))


# ---- GFLASH


def test_medium_is_that_of_lead_and_argon():
    """0.30 X0 per period (Geant4's atlasECAL), Moliere radius of a few cm."""
    assert material.LAR.inverse_fs == pytest.approx(0.30, abs=0.01)
    assert 30 < material.LAR.moliere_mm < 55 and 15 < material.TILE.moliere_mm < 25


@pytest.mark.parametrize("energy", [10.0, 100.0])
def test_electron_profile_is_the_mean_gamma(energy):
    measured, analytic = guns.layer_shares(energy, 300)
    np.testing.assert_allclose(measured, analytic, atol=0.03)
    assert measured.sum() == pytest.approx(1.0) == analytic.sum()


def test_mean_depth_of_drawn_profiles():
    """Fluctuations of ln T and ln alpha move the mean by a few per cent."""
    for energy in (5.0, 50.0, 500.0):
        measured, analytic = guns.mean_depth(energy, 3000)
        assert measured == pytest.approx(analytic, rel=0.05)


def test_depth_grows_with_the_logarithm_of_the_energy():
    depths = [math.exp(electromagnetic.mean_profile(e, False)[0]) for e in (1.0, 10.0, 100.0, 1000.0)]
    assert np.diff(depths) == pytest.approx(math.log(10), rel=0.01)


def test_nine_tenths_within_a_moliere_radius():
    for energy in (5.0, 50.0):
        assert guns.moliere_share(energy) == pytest.approx(0.9, abs=0.04)


def test_crowded_showers_have_the_same_profile_across():
    """The weights of few spots do not change the mean share of the cells around the axis."""
    state, cells = make_state(), grid()
    shares = []
    for energy in (80.0, 120.0):  # one below the largest number of spots, one above
        inside = []
        for seed in range(150):
            run_showers(state, np.array([guns.gun(ELECTRON, energy, 0.0125, 0.0123)]), seed)
            second = cells.layer == 1
            near = second & (np.abs(cells.eta - 0.0125) < 0.03) & (np.abs(cells.phi - 0.0123) < 0.03)
            inside.append(state.truth[near].sum() / state.truth[second].sum())
        shares.append(np.mean(inside))
    assert shares[0] == pytest.approx(shares[1], abs=0.01)


# ---- hadrons


def test_mean_and_spread_of_f_em():
    for energy in (2.0, 10.0, 100.0, 1000.0):
        drawn = guns.f_em(energy)
        assert drawn.mean() == pytest.approx(1 - energy ** (0.82 - 1), abs=0.02)
        assert drawn.std() == pytest.approx(hadronic.sigma_f_em(energy), rel=0.15)
        assert drawn.min() >= 0 and drawn.max() <= 1


def test_some_pions_pass_the_lar_section_as_minimum_ionising_particles():
    depth = guns.DEPTH_LAMBDA[:4].sum()
    rows = np.array(guns.shower_many([guns.gun(HADRON, 50.0, 0.0)], 1500, "mip"))
    quiet = rows[:, :3].sum(axis=1) < 0.6
    assert quiet.mean() == pytest.approx(math.exp(-depth / 1.2), abs=0.04)
    assert np.median(rows[quiet, :3].sum(axis=1)) == pytest.approx(0.6e-3 * 462.6, rel=0.1)


def test_slow_pions_stop():
    """200 MeV of kinetic energy end before Tile's second layer."""
    rows = np.array(guns.shower_many([guns.gun(HADRON, 0.34, 0.0)], 300, "slow"))
    assert rows[:, 4:6].mean() < 0.01 * 0.34


def test_hadrons_have_invisible_energy_and_photons_have_none():
    photon, pion = shower_once(guns.gun(PHOTON, 50.0), 1), shower_once(guns.gun(HADRON, 50.0), 3)
    assert photon.truth[:, 1:].sum() == 0 and photon.visible_had.sum() == 0
    non_em, invisible, escaped = pion.truth[:, 1:].sum(axis=0)
    assert 0.2 < invisible / (non_em + invisible + escaped) < 0.5 and 0 < escaped < invisible


# ---- random numbers and read-out


def test_distributions():
    state = rng()
    for shape in (0.3, 1.0, 7.5):
        drawn = np.array([gamma(state, shape) for _ in range(20_000)])
        assert drawn.mean() == pytest.approx(shape, rel=0.03) and drawn.var() == pytest.approx(shape, rel=0.08)
    drawn = np.array([beta(state, 0.3, 0.1) for _ in range(20_000)])
    assert drawn.mean() == pytest.approx(0.3, abs=0.005) and drawn.std() == pytest.approx(0.1, rel=0.05)
    for u in ((0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (0.6, 0.0, 0.8), (0.0, -0.6, -0.8)):
        frame = np.array([*u, *perpendicular(*u)]).reshape(3, 3)
        np.testing.assert_allclose(frame @ frame.T, np.eye(3), atol=1e-12)


def test_sampling_fluctuations_add_up():
    state = rng(2)
    whole = np.array([fluctuate(state, 4.0, 0.1) for _ in range(5000)])
    parts = np.array([sum(fluctuate(state, 0.4, 0.1) for _ in range(10)) for _ in range(5000)])
    for drawn in (whole, parts):
        assert drawn.mean() == pytest.approx(4.0, rel=0.01) and drawn.std() == pytest.approx(0.1 * 2.0, rel=0.05)


def test_noise_has_the_width_of_the_geometry_and_only_a_window():
    state, cells, out = shower_once(np.zeros((0, 13)), 5), grid(), make_readout()
    read_out(state, cells, out, np.array([0.3]), np.array([3.1]))
    rows = out.rows[: out.count[0]]
    assert np.abs(cells.eta[rows] - 0.3).max() < 0.6
    assert np.abs(np.angle(np.exp(1j * (cells.phi[rows] - 3.1)))).max() < 0.5
    pull = out.energy[rows] / cells.sigma_gev[rows]
    assert abs(pull.mean()) < 0.06 and pull.std() == pytest.approx(1.0, abs=0.04)
    assert np.count_nonzero(out.energy) == len(rows) == len(np.unique(rows))
    read_out(state, cells, out, np.array([]), np.array([]))
    assert out.count[0] == 0 and np.count_nonzero(out.energy) == 0


# ---- particles


def test_decays_conserve_four_momentum():
    generator = np.random.default_rng(1)
    parent = vector(12.0, MASS_GEV[111], 0.4, 1.0)
    for _ in range(20):
        one, two = two_body(parent, MASS_GEV[111], 0.0, 0.0, generator)
        np.testing.assert_allclose(one + two, parent, atol=1e-9)
        assert one[0] ** 2 == pytest.approx(one[1:] @ one[1:])
        cosine = one[1:] @ two[1:] / (one[0] * two[0])
        assert math.acos(min(cosine, 1.0)) >= 2 * MASS_GEV[111] / 12.0 * 0.999  # the smallest opening angle


def shots(production, n=1500):
    generator = np.random.default_rng(2)
    return [generate(production, GeneratorSettings(), generator) for _ in range(n)]


def test_single_pions_are_flat_and_half_neutral():
    events = shots("pions", 4000)
    first = np.array([e.pdg[0] for e in events])
    assert (first == 111).mean() == pytest.approx(0.5, abs=0.03)
    assert (first == 211).sum() / (np.abs(first) == 211).sum() == pytest.approx(0.5, abs=0.05)
    energy = np.array([e.momenta[0][0] for e in events])
    assert energy.min() >= 0.2 and energy.max() <= 2000
    counts, _ = np.histogram(np.log10(energy), 4)
    assert counts.min() > 0.85 * counts.max()
    assert {e.channel for e in events} == {900246, 900247}


def test_mixtures_have_their_shares_and_balance():
    events = shots("mixtures")
    channels = np.array([e.channel for e in events])
    for channel, share in ((900148, 0.35), (900147, 0.35), (364700, 0.30)):
        assert (channels == channel).mean() == pytest.approx(share, abs=0.05)
    for e in events:
        stable = [k for k in range(1, len(e.pdg)) if e.pdg[k] != 22]
        np.testing.assert_allclose(sum(e.momenta[k] for k in stable), e.momenta[0], rtol=1e-6, atol=1e-6)
        pions = sum(e.momenta[k][0] for k in stable if e.pdg[k] == 111)
        assert sum(e.momenta[k][0] for k in range(1, len(e.pdg)) if e.pdg[k] == 22) == pytest.approx(pions)
        if e.channel != 364700:
            assert len(stable) == 2 and len(e.charged) >= 1
        assert all(e.masses[k] == mass_of(e.pdg[k]) for k in stable)


def test_tracks_measure_what_was_shot():
    generator, pulls, n_lost = np.random.default_rng(3), [], 0
    events = [e for e in shots("pions", 4000) if e.pdg[0] != 111 and 5 < e.momenta[0][0] < 50]
    for e in events:
        rows = make_tracks(e, generator)
        n_lost += not rows
        pt = math.hypot(*e.momenta[0][1:3])
        for row in rows:
            named = dict(zip(COLUMNS, row, strict=True))
            pulls.append((pt / named["trackPt"] - 1) / math.hypot(0.01, 3e-4 * pt))
            assert named["trackEta_EMB2"] > -10 > -1e8 > named["trackEta_EME2"]
            assert named["trackTruthParticleIndex"] == 0 and abs(named["trackZ0"] - e.z0_mm) < 2
    assert np.std(pulls) == pytest.approx(1.0, abs=0.12) and abs(np.mean(pulls)) < 0.15
    assert n_lost / len(events) == pytest.approx(0.06, abs=0.03)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pion_gev": (5.0, 1.0)}, "pion energies"),
        ({"max_eta": 2.0}, "max_eta"),
        ({"shares": (0.5, 0.5, 0.5)}, "shares"),
        ({"z0_mm": -1.0}, "vertex's spread"),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        check_settings(GeneratorSettings(**changes))
