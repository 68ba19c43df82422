"""Photons: Compton, photoelectric and pair production with XCOM's partial cross-sections.

Compton: Klein-Nishina, sampled after Butcher and Messel (Geant4 physics manual, "Compton scattering");
binding enters through XCOM's total only. Pairs: Bethe-Heitler with screening (same manual, "Gamma
conversion"), pairs in the field of electrons alike. Photoelectrons take the whole energy (the
K shell's 3.2 keV is deposited with them) in Sauter's direction. Rayleigh scattering is left out.
"""

from __future__ import annotations

import math

from benchmark.compiled import njit

from . import constants as k
from .electrons import radiation_cosine
from .rng import exponential, rotate, uniform
from .state import add_deposit, add_particle, hits_box, inside
from .tables import locate, lookup
from .truth import Process

_COMPTON = int(Process.COMPTON)
_PHOTOELECTRIC = int(Process.PHOTOELECTRIC)
_CONVERSION = int(Process.CONVERSION)
_SCREEN = 136.0 * k.Z_AR ** (-1.0 / 3.0)
_LOG_Z = 8.0 / 3.0 * math.log(k.Z_AR)
_COULOMB = 8.0 * 0.0197  # 8 f_c(Z = 18), above 50 MeV


@njit(cache=True)
def compton(rng, energy):
    """Scattered energy (MeV) and polar cosine of a Klein-Nishina collision."""
    kappa = energy / k.M_E
    low = 1.0 / (1.0 + 2.0 * kappa)
    a1 = -math.log(low)
    a2 = 0.5 * (1.0 - low * low)
    while True:
        if uniform(rng) * (a1 + a2) < a1:
            e = math.exp(-a1 * uniform(rng))
        else:
            e = math.sqrt(low * low + (1.0 - low * low) * uniform(rng))
        s = (1.0 - e) / (kappa * e)  # 1 - cos
        sin2 = s * (2.0 - s)
        if uniform(rng) < 1.0 - e * sin2 / (1.0 + e * e):
            return e * energy, 1.0 - s


@njit(cache=True)
def _sauter(rng, kinetic):
    """Polar cosine of a photoelectron (K shell, Sauter), after PENELOPE."""
    if kinetic > 5.0:
        return 1.0
    gamma = 1.0 + kinetic / k.M_E
    beta = math.sqrt(1.0 - 1.0 / (gamma * gamma))
    a = (1.0 - beta) / beta
    b = 0.5 * beta * gamma * (gamma - 1.0) * (gamma - 2.0)
    top = 2.0 * (1.0 / a + b)
    while True:
        u = uniform(rng)
        s = 2.0 * a / ((a + 2.0) ** 2 - 4.0 * u) * (2.0 * u + (a + 2.0) * math.sqrt(u))
        if uniform(rng) * top < (2.0 - s) * (1.0 / (a + s) + b):
            return max(-1.0, 1.0 - s)


@njit(cache=True)
def _screen(delta, which):
    if delta > 1.0:
        phi1 = 21.12 - 4.184 * math.log(delta + 0.952)
        phi2 = phi1
    else:
        phi1 = 20.867 - 3.242 * delta + 0.625 * delta * delta
        phi2 = 20.209 - 1.930 * delta - 0.086 * delta * delta
    return 3.0 * phi1 - phi2 if which == 1 else 1.5 * phi1 + 0.5 * phi2


@njit(cache=True)
def pair_share(rng, energy):
    """Share of the photon's energy that one member of the pair takes, at most 1/2."""
    least = k.M_E / energy
    if energy < 2.0:
        return least + (0.5 - least) * uniform(rng)
    f_z = _LOG_Z + (_COULOMB if energy > 50.0 else 0.0)
    delta_max = math.exp((42.24 - f_z) / 8.368) - 0.952
    delta_min = 4.0 * _SCREEN * least
    edge = 0.5 - 0.5 * math.sqrt(max(0.0, 1.0 - delta_min / delta_max))
    low = max(least, edge)
    width = 0.5 - low
    f10 = max(_screen(delta_min, 1) - f_z, 0.0)
    g10 = max(_screen(delta_min, 2) - f_z, 0.0)
    n1 = width * width * f10
    n2 = 1.5 * g10
    while True:
        if uniform(rng) * (n1 + n2) < n1:
            e = 0.5 - width * uniform(rng) ** (1.0 / 3.0)
            delta = _SCREEN * least / (e * (1.0 - e))
            if uniform(rng) * f10 <= _screen(delta, 1) - f_z:
                return e
        else:
            e = low + width * uniform(rng)
            delta = _SCREEN * least / (e * (1.0 - e))
            if uniform(rng) * g10 <= _screen(delta, 2) - f_z:
                return e


@njit(cache=True)
def _convert(c, row, energy, x, y, z, t, ux, uy, uz):
    rng = c.rng
    share = pair_share(rng, energy)
    if uniform(rng) < 0.5:
        share = 1.0 - share
    phi = 2.0 * math.pi * uniform(rng)
    for i in range(2):
        total = energy * (share if i == 0 else 1.0 - share)
        kinetic = max(total - k.M_E, 1e-4)
        p = math.sqrt(kinetic * (kinetic + 2.0 * k.M_E))
        cosine = radiation_cosine(rng, total)
        vx, vy, vz = rotate(ux, uy, uz, cosine, phi + math.pi * i)
        pdg = 11 if i == 0 else -11
        add_particle(c, pdg, row, _CONVERSION, x, y, z, t, p * vx, p * vy, p * vz, k.M_E)


@njit(cache=True)
def _electron(c, row, process, kinetic, vx, vy, vz, x, y, z, t):
    if kinetic < k.ROW_CUT:
        add_deposit(c, row, x, y, z, x, y, z, kinetic, t)
        return
    p = math.sqrt(kinetic * (kinetic + 2.0 * k.M_E))
    add_particle(c, 11, row, process, x, y, z, t, p * vx, p * vy, p * vz, k.M_E)


@njit(cache=True)
def next_interaction(rng, tab, energy):
    """Free path (mm) of a photon and its next process: a `Process` number."""
    grid = locate(energy)
    total = lookup(tab, k.PHOTON, k.TOTAL, grid)
    step = exponential(rng) / total
    choice = uniform(rng) * total - lookup(tab, k.PHOTON, k.COMPTON, grid)
    if choice < 0.0:
        return step, _COMPTON
    if choice < lookup(tab, k.PHOTON, k.PHOTO, grid) or energy <= 2.0 * k.M_E:
        return step, _PHOTOELECTRIC
    return step, _CONVERSION


@njit(cache=True)
def track_photon(c, row):
    """Transport the photon of a row until it is absorbed or leaves."""
    f = c.pflt
    x, y, z, t = f[row, 0], f[row, 1], f[row, 2], f[row, 3]
    energy = math.sqrt(f[row, 4] ** 2 + f[row, 5] ** 2 + f[row, 6] ** 2)
    if energy <= 0.0:
        return
    ux, uy, uz = f[row, 4] / energy, f[row, 5] / energy, f[row, 6] / energy
    rng = c.rng
    while True:
        if energy < k.ROW_CUT:
            add_deposit(c, row, x, y, z, x, y, z, energy, t)
            return
        step, process = next_interaction(rng, c.tab, energy)
        x, y, z = x + step * ux, y + step * uy, z + step * uz
        t += step / k.C_LIGHT
        if not inside(x, y, z) and not hits_box(x, y, z, ux, uy, uz):
            return
        if process == _COMPTON:
            scattered, cosine = compton(rng, energy)
            phi = 2.0 * math.pi * uniform(rng)
            vx, vy, vz = rotate(ux, uy, uz, cosine, phi)
            kinetic = energy - scattered
            px = energy * ux - scattered * vx
            py = energy * uy - scattered * vy
            pz = energy * uz - scattered * vz
            p = math.sqrt(px * px + py * py + pz * pz) + 1e-12
            _electron(c, row, _COMPTON, kinetic, px / p, py / p, pz / p, x, y, z, t)
            energy, ux, uy, uz = scattered, vx, vy, vz
        elif process == _PHOTOELECTRIC:
            cosine = _sauter(rng, energy)
            vx, vy, vz = rotate(ux, uy, uz, cosine, 2.0 * math.pi * uniform(rng))
            _electron(c, row, _PHOTOELECTRIC, energy, vx, vy, vz, x, y, z, t)
            return
        else:
            _convert(c, row, energy, x, y, z, t, ux, uy, uz)
            return
