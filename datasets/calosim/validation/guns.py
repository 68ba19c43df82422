"""Measurements on guns: matter, electromagnetic showers, photons in strips, hadronic showers.

Each function returns plain numbers; `checks` compares them with the expected ones.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.optimize import curve_fit
from scipy.special import gammainc

from benchmark.compiled import njit
from benchmark.datasets.calosim import electromagnetic
from benchmark.datasets.calosim.clusters import MOMENTS, Clusters, cluster_cells, make_labels
from benchmark.datasets.calosim.distributions import beta
from benchmark.datasets.calosim.electromagnetic import mean_profile, radial
from benchmark.datasets.calosim.geometry import (
    BORDERS_MM,
    DEPTH_LAMBDA,
    DEPTH_X0,
    ETA_SIZE,
    N_ETA,
    N_PHI,
    SOLENOID_MM,
    Floats,
    grid,
)
from benchmark.datasets.calosim.hadronic import mean_f_em, sigma_f_em
from benchmark.datasets.calosim.kinematics import MASS_GEV, eta_phi, two_body, vector
from benchmark.datasets.calosim.material import LAR
from benchmark.datasets.calosim.readout import Readout, make_readout, read_out
from benchmark.datasets.calosim.showers import ELECTRON, HADRON, PHOTON, run_showers
from benchmark.datasets.calosim.state import State, make_state
from benchmark.seeding import seed_from

_PION = MASS_GEV[211]
_E, _TOT = MOMENTS.index("E"), MOMENTS.index("ENG_CALIB_TOT")


def gun(
    kind: int, energy: float, eta: float = 0.3, phi: float = 0.05, radius_mm: float = SOLENOID_MM, row: int = 0
) -> list[float]:
    """A particle from the detector's middle, a row of `showers.COLUMNS`, placed at a radius."""
    u = np.array([math.cos(phi), math.sin(phi), math.sinh(eta)]) / math.cosh(eta)
    position = u * radius_mm * math.cosh(eta)
    is_hadron = kind == HADRON
    return [row, kind, energy, _PION if is_hadron else 0.0, float(is_hadron), 0.0, 1.2, *position, *u]


def shower_many(particles: list[list[float]], n: int, name: str) -> list[Floats]:
    """True energy (GeV) per layer, in dead matter and leaked, (8,), of n events of the same particles."""
    state, cells = make_state(), grid()
    rows = []
    for k in range(n):
        run_showers(state, np.array(particles), seed_from("calo-sim validation", name, k))
        touched = state.touched[: state.count[0]]
        layers = np.bincount(cells.layer[touched], state.truth[touched].sum(axis=1), minlength=6)
        rows.append(np.array([*layers, state.dead.sum(), state.total[0]]))
    return rows


class GunBench:
    """Guns with read-out and clusters."""

    def __init__(self) -> None:
        self.state: State = make_state()
        self.readout: Readout = make_readout()
        self.labels = make_labels()

    def clusters(self, particles: list[list[float]], seed: int, eta: float, phi: float) -> Clusters:
        """Clusters of one event; `readout.energy` holds its cells until the next."""
        run_showers(self.state, np.array(particles), seed)
        read_out(self.state, grid(), self.readout, np.array([eta]), np.array([phi]))
        return cluster_cells(self.state, self.readout, self.labels)


# ---- electromagnetic


def layer_shares(energy: float, n: int = 400) -> tuple[Floats, Floats]:
    """Mean shares of electrons in front, EMB1, EMB2, EMB3, beyond: measured, and of the analytic mean Gamma profile.

    Electrons at eta = 0 start at the front of the matter, so the layers' borders are depths.
    """
    rows = np.array(shower_many([gun(ELECTRON, energy, 0.0)], n, f"layers {energy}")) / energy
    measured = rows.mean(axis=0)
    front = rows[:, 6].mean()  # the gap's part of the dead matter is far below a percent
    ln_t, ln_alpha, _ = mean_profile(energy, False)
    alpha = math.exp(ln_alpha)
    rate = (alpha - 1.0) / math.exp(ln_t)
    cumulative = gammainc(alpha, rate * np.concatenate([[0.0], np.cumsum(DEPTH_X0[:4])]))
    shares = np.array([front, *measured[:3]])
    return np.append(shares, 1.0 - shares.sum()), np.append(np.diff(cumulative), 1.0 - cumulative[-1])


def mean_depth(energy: float, n: int = 4000) -> tuple[float, float]:
    """Mean depth (X0) of drawn longitudinal profiles, and alpha T / (alpha - 1) of the mean parameters."""
    ln_t, ln_alpha, _ = mean_profile(energy, False)
    alpha = math.exp(ln_alpha)
    return float(_depths(make_state(), energy, n).mean()), alpha * math.exp(ln_t) / (alpha - 1.0)


@njit(cache=True)
def _depths(c, energy, n):
    c.rng[0] = 77
    result = np.empty(n)
    for k in range(n):
        t_max, alpha = electromagnetic.draw_profile(c, energy, False)
        result[k] = alpha * t_max / (alpha - 1.0)
    return result


def moliere_share(energy: float, radius: float = 1.0) -> float:
    """Share of a mean shower within `radius` Moliere radii: the radial profile over the longitudinal one."""
    ln_t, ln_alpha, _ = mean_profile(energy, False)
    alpha, t_max = math.exp(ln_alpha), math.exp(ln_t)
    t = np.linspace(0.1, 40.0, 400)
    weight = t ** (alpha - 1.0) * np.exp(-(alpha - 1.0) / t_max * t)
    inside = np.empty(len(t))
    for k, tau in enumerate(t / t_max):
        core, tail, share = radial(energy, tau, False)
        inside[k] = share * radius**2 / (radius**2 + core**2) + (1 - share) * radius**2 / (radius**2 + tail**2)
    return float((weight * inside).sum() / weight.sum())


def photon_responses(energies: tuple[float, ...], n: int = 1000) -> list[Floats]:
    """EM energy of all clusters over the true energy in them, of n photons per energy."""
    bench, result = GunBench(), []
    for energy in energies:
        responses = []
        for k in range(n):
            clusters = bench.clusters([gun(PHOTON, energy)], seed_from("photon", energy, k), 0.3, 0.05)
            if len(clusters.moments):
                responses.append(clusters.moments[:, _E].sum() / clusters.moments[:, _TOT].sum())
        result.append(np.array(responses))
    return result


def fit_resolution(energies: tuple[float, ...], responses: list[Floats]) -> tuple[float, float]:
    """(stochastic term, constant term) of (q84 - q16) / (2 median) = a / sqrt(E) (+) b (+) noise / E."""
    e = np.array(energies)
    widths = np.array([spread(r) for r in responses])

    def shape(x: Floats, a: float, b: float, noise: float) -> Floats:
        return np.sqrt(a * a / x + b * b + (noise / x) ** 2)

    (a, b, _), _ = curve_fit(shape, e, widths, p0=(0.1, 0.01, 0.3), sigma=widths)
    return abs(float(a)), abs(float(b))


def spread(values: Floats) -> float:
    """(q84 - q16) / (2 median)."""
    low, middle, high = np.percentile(values, [16, 50, 84])
    return float((high - low) / (2 * middle))


# ---- two photons in strips


def strip_profiles(energy: float, is_pion: bool, n: int, name: str = "") -> Floats:
    """(n, 64) energies (GeV) of the strips around the particle's direction at eta = 0.3, summed over 3 cells in phi."""
    bench, rng = GunBench(), np.random.default_rng(seed_from("strips", energy, is_pion, name))
    n_eta, n_phi = N_ETA[0], N_PHI[0]
    centre_eta = math.floor((0.3 + 1.4) / ETA_SIZE[0])
    centre_phi = math.floor((0.05 + math.pi) * n_phi / (2 * math.pi))
    profiles = np.empty((n, 64))
    for k in range(n):
        eta, phi = 0.3 + ETA_SIZE[0] * (rng.random() - 0.5), 0.05 + 0.09 * (rng.random() - 0.5)
        particles = [gun(PHOTON, energy, eta, phi)]
        if is_pion:
            pair = two_body(vector(energy, MASS_GEV[111], eta, phi), MASS_GEV[111], 0.0, 0.0, rng)
            particles = [gun(PHOTON, float(p[0]), *eta_phi(p)) for p in pair]
        bench.clusters(particles, seed_from("strips", energy, is_pion, name, k), 0.3, 0.05)
        cells = bench.readout.energy[: n_eta * n_phi].reshape(n_eta, n_phi)
        profiles[k] = cells[centre_eta - 32 : centre_eta + 32, centre_phi - 1 : centre_phi + 2].sum(axis=1)
    return profiles


def second_maximum(profiles: Floats) -> Floats:
    """(n,) depth of the valley before the second highest strip maximum, GeV: a measure of two separate photons."""
    result = np.zeros(len(profiles))
    for k, p in enumerate(profiles):
        peak = int(p.argmax())
        for step in (-1, 1):
            lowest, best = p[peak], 0.0
            at = peak + step
            while 0 <= at < len(p):
                lowest = min(lowest, p[at])
                best = max(best, p[at] - lowest)
                at += step
            result[k] = max(result[k], best)
    return result


def auc(score: Floats, is_signal: np.ndarray) -> float:
    """Share of (signal, background) pairs in order; ties count half."""
    order = np.argsort(score, kind="stable")
    _, inverse, counts = np.unique(score[order], return_inverse=True, return_counts=True)
    ranks = np.empty(len(score))
    ends = np.cumsum(counts)
    ranks[order] = (ends - 0.5 * (counts - 1))[inverse]
    n_signal = int(is_signal.sum())
    n_other = len(score) - n_signal
    if n_signal == 0 or n_other == 0:
        return float("nan")
    return float((ranks[is_signal].sum() - n_signal * (n_signal + 1) / 2) / (n_signal * n_other))


# ---- hadronic


@njit(cache=True)
def _shares(rng, energy, n):
    result = np.empty(n)
    for k in range(n):
        result[k] = beta(rng, mean_f_em(energy), sigma_f_em(energy))
    return result


def f_em(energy: float, n: int = 20_000) -> Floats:
    """(n,) drawn electromagnetic shares."""
    return _shares(np.array([seed_from("f_em", energy)], np.uint64), energy, n)


def tile_shares(energy: float, n: int = 400) -> tuple[Floats, Floats]:
    """Mean shares in the three Tile layers of pions that interact at once at its front, and those of Bock's profile.

    The interaction depth is set to 0; shares of the energy in the three layers.
    """
    particle = gun(HADRON, energy, 0.0, radius_mm=BORDERS_MM[5] + 0.1)
    particle[6] = 1e-9
    rows = np.array(shower_many([particle], n, f"tile {energy}"))[:, 3:6]
    measured = rows.sum(axis=0) / rows.sum()
    ln_e = math.log(energy)
    a, b, w = 0.616 + 0.318 * ln_e, 0.220, 0.463
    d = 0.910 - 0.024 * ln_e
    depth_lambda = np.concatenate([[0.0], np.cumsum(DEPTH_LAMBDA[5:8])])
    depth_x0 = np.concatenate([[0.0], np.cumsum(DEPTH_X0[5:8])])
    cumulative = w * gammainc(a, b * depth_x0) + (1 - w) * gammainc(a, d * depth_lambda)
    expected = np.diff(cumulative) / cumulative[-1]
    return measured, expected


def tile_responses(energy: float, n: int = 300) -> Floats:
    """Sum of clusters' EM energy over the pion's, of pions that interact at once at the front of Tile."""
    bench, responses = GunBench(), []
    for k in range(n):
        particle = gun(HADRON, energy, 0.3, radius_mm=BORDERS_MM[5] + 0.1)
        particle[6] = 1e-9
        clusters = bench.clusters([particle], seed_from("tile", energy, k), 0.3, 0.05)
        responses.append(clusters.moments[:, _E].sum() / energy)
    return np.array(responses)


def calorimeter_depth(eta: float = 0.0) -> dict[str, float]:
    """X0 and interaction lengths along a line from the detector's middle."""
    factor = math.cosh(eta)
    return {
        "EM X0": factor * DEPTH_X0[1:4].sum(),
        "EM lambda": factor * DEPTH_LAMBDA[1:4].sum(),
        "Tile lambda": factor * DEPTH_LAMBDA[5:].sum(),
        "all lambda": factor * DEPTH_LAMBDA.sum(),
        "lambda per X0": DEPTH_LAMBDA[1:4].sum() / DEPTH_X0[1:4].sum(),
        "Moliere mm": LAR.moliere_mm,
        "critical MeV": 1e3 * LAR.critical_gev,
    }
