"""Stopping powers, ranges and cross-sections on one logarithmic grid of kinetic energy.

`build_tables` returns an array (8 kinds, 7 columns, 1024 energies) that all compiled routines
share; `locate` and `lookup` interpolate it linearly in the logarithm of energy.

Sources, kept thinned in `data/`: NIST ESTAR (electrons), PSTAR (protons), XCOM (photons), PDG muon
table (radiative losses). Heavy particles above 200 MeV per proton mass follow the Bethe formula
with the density effect (PDG review, "Passage of particles through matter", eqs. 34.5-34.7), below
5 MeV PSTAR at the same velocity, which includes shell corrections, with a blend in between. Knock-on cross-sections
are the textbook ones (Bhabha, Moller, spin 0 and 1/2), integrated here above `DELTA_CUT`.
"""

from __future__ import annotations

import math
from functools import lru_cache
from importlib import resources

import numpy as np
import numpy.typing as npt
from scipy.integrate import trapezoid

from benchmark.compiled import njit

from . import constants as k
from .hadron_data import fill_hadrons, fill_neutron

Floats = npt.NDArray[np.float64]

_LOG_MIN = math.log(k.GRID_MIN)
_LOG_STEP = (math.log(k.GRID_MAX) - _LOG_MIN) / (k.N_GRID - 1)
_N_LOG_MIN = math.log(k.NEUTRON_GRID_MIN)
_N_LOG_STEP = (math.log(k.GRID_MAX) - _N_LOG_MIN) / (k.N_GRID - 1)
_LAST = k.N_GRID - 2

GRID: Floats = np.exp(_LOG_MIN + _LOG_STEP * np.arange(k.N_GRID))  # MeV
NEUTRON_GRID: Floats = np.exp(_N_LOG_MIN + _N_LOG_STEP * np.arange(k.N_GRID))  # MeV

MASSES = np.array([k.M_MU, k.M_PI, k.M_K, k.M_P, k.M_E, k.M_E])
PER_MM = k.CM2_PER_G_TO_PER_MM


# ---------------------------------------------------------------- compiled look-up
@njit(cache=True)
def locate(kinetic):
    """Grid position of a kinetic energy (MeV) as a float, within the grid."""
    x = (math.log(kinetic) - _LOG_MIN) / _LOG_STEP
    return min(max(x, 0.0), _LAST + 0.999999)


@njit(cache=True)
def locate_neutron(kinetic):
    """Grid position on the neutron grid."""
    x = (math.log(kinetic) - _N_LOG_MIN) / _N_LOG_STEP
    return min(max(x, 0.0), _LAST + 0.999999)


@njit(cache=True)
def lookup(tab, kind, column, x):
    """Value at grid position x."""
    i = int(x)
    f = x - i
    return tab[kind, column, i] * (1.0 - f) + tab[kind, column, i + 1] * f


@njit(cache=True)
def energy_at_range(tab, kind, residual, x):
    """Kinetic energy (MeV) whose range is `residual` mm, searched downwards from position x."""
    i = int(x)
    row = tab[kind, 0]
    while i > 0 and row[i] > residual:
        i -= 1
    if i == 0 and row[0] > residual:
        return k.GRID_MIN * residual / row[0]
    f = (residual - row[i]) / (row[i + 1] - row[i])
    return math.exp(_LOG_MIN + _LOG_STEP * (i + f))


# ---------------------------------------------------------------- data files
def read_table(name: str) -> dict[str, Floats]:
    """Columns of `data/<name>.tsv` (numbers only) by their header."""
    lines = _lines(name)
    values = np.array([[float(v) for v in line.split("\t")] for line in lines[1:]])
    return {column: values[:, i] for i, column in enumerate(lines[0].split("\t"))}


def _lines(name: str) -> list[str]:
    text = (resources.files(__package__) / "data" / f"{name}.tsv").read_text()
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def read_reference_loss() -> list[tuple[str, float, float, float, float, float]]:
    """Rows of `dedx_vs_rr.tsv`: particle, range from, to (cm), 16%, median, 84% (MeV/cm)."""
    rows = [line.split("\t") for line in _lines("dedx_vs_rr")[1:]]
    return [(r[0], *(float(r[i]) for i in (1, 2, 4, 5, 6))) for r in rows]  # type: ignore[misc]


def _loglog(x: Floats, xp: Floats, yp: Floats) -> Floats:
    return np.exp(np.interp(np.log(x), np.log(xp), np.log(np.maximum(yp, 1e-30))))


# ---------------------------------------------------------------- heavy charged particles
def density_effect(beta_gamma: Floats) -> Floats:
    """Sternheimer's delta for liquid argon."""
    x = np.log10(beta_gamma)
    high = 2.0 * math.log(10.0) * x - k.STERNHEIMER_C
    middle = high + k.STERNHEIMER_A * np.maximum(k.STERNHEIMER_X1 - x, 0.0) ** k.STERNHEIMER_K
    return np.where(x < k.STERNHEIMER_X0, 0.0, np.where(x < k.STERNHEIMER_X1, middle, high))


def max_transfer(kinetic: Floats, mass: float) -> Floats:
    """Largest energy (MeV) given to a free electron."""
    gamma = 1.0 + kinetic / mass
    bg2 = gamma**2 - 1.0
    ratio = k.M_E / mass
    return 2.0 * k.M_E * bg2 / (1.0 + 2.0 * gamma * ratio + ratio**2)


def bethe_loss(kinetic: Floats, mass: float, cut: float) -> Floats:
    """Mean loss (MeV/mm) to electrons that take less than `cut` MeV (PDG eq. 34.8)."""
    gamma = 1.0 + kinetic / mass
    bg2 = gamma**2 - 1.0
    beta2 = bg2 / gamma**2
    top = max_transfer(kinetic, mass)
    limit = np.minimum(top, cut)
    bracket = 0.5 * np.log(2.0 * k.M_E * bg2 * limit / k.MEAN_EXCITATION**2)
    bracket -= 0.5 * beta2 * (1.0 + limit / top) + 0.5 * density_effect(np.sqrt(bg2))
    return 2.0 * k.XI_PER_MM / beta2 * np.maximum(bracket, 0.1)


def heavy_loss(kinetic: Floats, mass: float) -> Floats:
    """Restricted loss (MeV/mm) below `DELTA_CUT`: PSTAR at low velocity, Bethe above."""
    pstar = read_table("proton_pstar")
    proton = kinetic * k.M_P / mass  # same velocity
    low = _loglog(np.minimum(proton, 9.0e3), pstar["T_MeV"], pstar["stopping"]) * PER_MM
    low *= bethe_loss(kinetic, mass, k.DELTA_CUT) / bethe_loss(proton, k.M_P, 1e9)
    # shell corrections fade: PSTAR alone below 5 MeV per proton mass, Bethe alone above 200 MeV
    weight = np.clip(np.log(proton / 5.0) / math.log(40.0), 0.0, 1.0)
    slow = proton < 3.0  # below, Bethe's ratio is meaningless
    pure = _loglog(np.maximum(proton, 1e-3), pstar["T_MeV"], pstar["stopping"]) * PER_MM
    high = bethe_loss(kinetic, mass, k.DELTA_CUT)
    return np.where(slow, pure, (1.0 - weight) * low + weight * high)


def delta_rate(kinetic: Floats, mass: float, spin_half: bool) -> Floats:
    """Knock-on electrons above `DELTA_CUT` per mm."""
    gamma = 1.0 + kinetic / mass
    beta2 = 1.0 - 1.0 / gamma**2
    top = np.maximum(max_transfer(kinetic, mass), k.DELTA_CUT)
    total = 1.0 / k.DELTA_CUT - 1.0 / top - beta2 / top * np.log(top / k.DELTA_CUT)
    if spin_half:
        total += (top - k.DELTA_CUT) / (2.0 * (kinetic + mass) ** 2)
    return k.XI_PER_MM / beta2 * np.maximum(total, 0.0)


def integrate_range(kinetic: Floats, loss: Floats) -> Floats:
    """CSDA range (mm) by trapezoids in log T; below the grid the loss is taken as constant."""
    y = kinetic / loss
    steps = 0.5 * (y[1:] + y[:-1]) * np.diff(np.log(kinetic))
    start: float = 2.0 * y[0]  # loss ~ sqrt(T) at the lowest velocities
    return np.concatenate([[start], start + np.cumsum(steps)])


# Radiative processes of muons: photons (pairs) above these energies are emitted, below spread.
MUON_BREMS_CUT = 5.0  # MeV
MUON_PAIR_CUT = 4.0  # MeV


def _fill_muon_radiation(tab: Floats) -> None:
    table = read_table("muon_pdg")
    tab_t = GRID
    soft = _loglog(tab_t, table["T_MeV"], table["photonuclear"])
    brems = np.interp(tab_t, table["T_MeV"], table["brems"])
    pair = np.interp(tab_t, table["T_MeV"], table["pair"])
    top = tab_t + k.M_MU
    # photons: k dN/dk = const * (4/3 - 4/3 y + y^2), so the energy above k1 is nearly all of it
    y = np.minimum(MUON_BREMS_CUT / top, 1.0)
    energy = lambda v: 4.0 / 3.0 * v - 2.0 / 3.0 * v**2 + v**3 / 3.0  # noqa: E731
    hard_fraction = 1.0 - energy(y) / energy(np.ones(1))
    number = 4.0 / 3.0 * np.log(1.0 / y) - 4.0 / 3.0 * (1 - y) + 0.5 * (1 - y**2)
    tab[k.MU, k.BREMS] = np.where(y < 1, brems * number / (energy(np.ones(1)) * top), 0.0) * PER_MM
    # pairs: dN/de ~ 1/e^2 from the cut to T/3; the mean of that spectrum fixes the rate
    end = np.maximum(tab_t / 3.0, 1.01 * MUON_PAIR_CUT)
    mean = np.log(end / MUON_PAIR_CUT) / (1.0 / MUON_PAIR_CUT - 1.0 / end)
    # pairs from 2 m_e to the cut carry the share ln(cut/1) / ln(end/1) of the loss
    share = np.log(end / MUON_PAIR_CUT) / np.log(end)
    tab[k.MU, k.PAIR] = np.where(end > 2 * MUON_PAIR_CUT, pair * share / mean, 0.0) * PER_MM
    soft = soft + np.where(y < 1, brems * (1 - hard_fraction), brems)
    soft = soft + np.where(end > 2 * MUON_PAIR_CUT, pair * (1 - share), pair)
    tab[k.MU, k.LOSS] += soft * PER_MM


# ---------------------------------------------------------------- electrons
def moller_density(eps: Floats, kinetic: Floats) -> Floats:
    """Moller d(Sigma)/d(eps) in 1/mm, eps = transfer / T up to 1/2."""
    gamma = 1.0 + kinetic / k.M_E
    beta2 = 1.0 - 1.0 / gamma**2
    x = (2.0 * gamma - 1.0) / gamma**2
    value = (1.0 - 1.0 / gamma) ** 2 + (1.0 / eps - x) / eps + (1.0 / (1.0 - eps) - x) / (1.0 - eps)
    return k.XI_PER_MM / (beta2 * kinetic) * value


def bhabha_density(eps: Floats, kinetic: Floats) -> Floats:
    """Bhabha d(Sigma)/d(eps) in 1/mm, eps = transfer / T up to 1."""
    gamma = 1.0 + kinetic / k.M_E
    beta2 = 1.0 - 1.0 / gamma**2
    y = 1.0 / (gamma + 1.0)
    b1, b2 = 2.0 - y**2, (1.0 - 2.0 * y) * (3.0 + y**2)
    b4 = (1.0 - 2.0 * y) ** 3
    b3 = (1.0 - 2.0 * y) ** 2 + b4
    value = 1.0 / (beta2 * eps**2) - b1 / eps + b2 - b3 * eps + b4 * eps**2
    return k.XI_PER_MM / kinetic * value


def _moments(density, kinetic: Floats, last: float) -> tuple[Floats, Floats]:
    """Number (1/mm) and energy (MeV/mm) of knock-ons above the cut."""
    first = k.DELTA_CUT / kinetic
    open_ = first < last
    first = np.where(open_, first, 0.5 * last)
    u = np.linspace(0.0, 1.0, 129)[:, None]
    eps = first * (last / first) ** u * (1.0 - 1e-12)  # (129, N) log-spaced
    value = density(eps, kinetic) * eps
    scale = np.log(last / first)
    number = trapezoid(value, u, axis=0) * scale
    energy = trapezoid(value * eps, u, axis=0) * scale * kinetic
    return np.where(open_, number, 0.0), np.where(open_, energy, 0.0)


def brems_shape(y: Floats, kinetic: Floats) -> Floats:
    """k dSigma/dk of Bethe-Heitler with screening (Koch and Motz 3BS), unnormalised; y = k / T."""
    total = kinetic + k.M_E
    photon = y * kinetic
    remaining = total - photon
    delta = 136.0 * k.Z_AR ** (-1.0 / 3.0) * photon * k.M_E / (total * np.maximum(remaining, 1e-9))
    phi1 = np.where(delta <= 1, 20.867 - 3.242 * delta + 0.625 * delta**2, _tail(delta))
    phi2 = np.where(delta <= 1, 20.209 - 1.930 * delta - 0.086 * delta**2, _tail(delta))
    log_z = math.log(k.Z_AR) * 4.0 / 3.0
    ratio = remaining / total
    value = (1.0 + ratio**2) * (phi1 - log_z) - 2.0 / 3.0 * ratio * (phi2 - log_z)
    return np.maximum(value, 0.05)


def _tail(delta: Floats) -> Floats:
    return 21.12 - 4.184 * np.log(delta + 0.952)


def _brems(kinetic: Floats, radiative: Floats) -> tuple[Floats, Floats]:
    """Photons above `GAMMA_CUT` per mm and the loss (MeV/mm) to softer ones, normalised to ESTAR."""
    u = np.linspace(0.0, 1.0, 257)[:, None]
    whole = trapezoid(brems_shape(u, kinetic), u, axis=0) * kinetic
    norm = radiative * PER_MM / whole  # 1/mm
    first = np.minimum(k.GAMMA_CUT / kinetic, 1.0)
    y = first ** (1.0 - u)
    number = trapezoid(brems_shape(y, kinetic), u, axis=0) * -np.log(first)
    soft = trapezoid(brems_shape(u * first, kinetic), u, axis=0) * first * kinetic
    return norm * number, norm * soft


def _annihilation(kinetic: Floats) -> Floats:
    """Heitler's two-photon annihilation in flight, 1/mm."""
    g = 1.0 + kinetic / k.M_E
    root = np.sqrt(g**2 - 1.0)
    bracket = (g**2 + 4 * g + 1) / (g**2 - 1) * np.log(g + root) - (g + 3) / root
    pi_r2_n = k.XI_PER_MM / (2.0 * k.M_E)  # pi r_e^2 times electrons per mm^3
    return pi_r2_n * bracket / (g + 1.0)


def _fill_electrons(tab: Floats) -> None:
    estar = read_table("electron_estar")
    collision = _loglog(np.maximum(GRID, 0.01), estar["T_MeV"], estar["collision"]) * PER_MM
    radiative = _loglog(np.maximum(GRID, 0.01), estar["T_MeV"], estar["radiative"])
    collision *= np.where(GRID < 0.01, (0.01 / GRID) ** 0.6, 1.0)
    photons, soft = _brems(GRID, radiative)
    number, energy = _moments(moller_density, GRID, 0.5)
    restricted = collision - energy
    for kind in (k.ELECTRON, k.POSITRON):
        tab[kind, k.LOSS] = restricted + soft
        tab[kind, k.BREMS] = photons
        tab[kind, k.RANGE] = integrate_range(GRID, tab[kind, k.LOSS])
    tab[k.ELECTRON, k.DELTA] = number
    tab[k.POSITRON, k.DELTA] = _moments(bhabha_density, GRID, 1.0)[0]
    tab[k.POSITRON, k.ANNIHILATION] = _annihilation(GRID)


# ---------------------------------------------------------------- photons
def photon_coefficients(energy: Floats) -> dict[str, Floats]:
    """XCOM mass coefficients (cm2/g) at the given energies (MeV): compton, photoelectric, pair."""
    table = read_table("photon_xcom")
    e = table["E_MeV"]
    out = {name: _loglog(energy, e, table[name]) for name in ("compton", "photoelectric")}
    pair = np.zeros_like(energy)
    for name, threshold in (("pair_nuclear", 2 * k.M_E), ("pair_electron", 4 * k.M_E)):
        use = table[name] > 0
        # XCOM interpolates sigma / (1 - threshold / E)^3, which is smooth down to the threshold
        reduced = np.log(table[name][use] / (1.0 - threshold / e[use]) ** 3)
        above = energy > threshold
        factor = np.where(above, 1.0 - threshold / np.maximum(energy, threshold), 0.0) ** 3
        pair += np.exp(np.interp(np.log(energy), np.log(e[use]), reduced)) * factor
    out["pair"] = pair
    return out


def _fill_photons(tab: Floats) -> None:
    mass = photon_coefficients(GRID)
    tab[k.PHOTON, k.COMPTON] = mass["compton"] * PER_MM
    tab[k.PHOTON, k.PHOTO] = mass["photoelectric"] * PER_MM
    tab[k.PHOTON, k.TOTAL] = (mass["compton"] + mass["photoelectric"] + mass["pair"]) * PER_MM


@lru_cache(maxsize=1)
def build_tables() -> Floats:
    """The table array (8, N_COLUMNS, N_GRID) of all kinds; built once per process (0.1 s)."""
    tab = np.zeros((8, k.N_COLUMNS, k.N_GRID))
    for kind in (k.MU, k.PI, k.K, k.P):
        mass = float(MASSES[kind])
        tab[kind, k.LOSS] = heavy_loss(GRID, mass)
        tab[kind, k.DELTA] = delta_rate(GRID, mass, kind in (k.MU, k.P))
    _fill_muon_radiation(tab)
    for kind in (k.MU, k.PI, k.K, k.P):
        tab[kind, k.RANGE] = integrate_range(GRID, tab[kind, k.LOSS])
    fill_hadrons(tab, GRID)
    _fill_electrons(tab)
    _fill_photons(tab)
    fill_neutron(tab, NEUTRON_GRID)
    return tab
