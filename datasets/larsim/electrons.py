"""Electrons and positrons: condensed history with knock-ons, bremsstrahlung and annihilation.

Loss below the cuts comes from ESTAR (see `tables`); knock-on electrons above `DELTA_CUT` are Moller or
Bhabha, photons above `GAMMA_CUT` follow Bethe-Heitler with screening normalised to ESTAR's radiative
loss, positrons annihilate in flight (Heitler) and at rest. Angles of radiation: Tsai's
distribution as sampled in Geant4's manual, theta ~ u m / E.
"""

from __future__ import annotations

import math

from benchmark.compiled import njit

from . import constants as k
from .decays import two_photons
from .rng import exponential, rotate, uniform
from .scatter import scatter, straggle
from .state import add_deposit, add_particle, flight_time, hits_box, inside
from .tables import energy_at_range, locate, lookup
from .truth import Process

_IONISATION = int(Process.IONISATION_ELECTRON)
_BREMS = int(Process.BREMS)
_ANNIHILATION = int(Process.ANNIHILATION)
_SCREEN = 136.0 * k.Z_AR ** (-1.0 / 3.0)
_LOG_Z43 = math.log(k.Z_AR) * 4.0 / 3.0


@njit(cache=True)
def radiation_cosine(rng, total):
    """Polar cosine between an electron of total energy (MeV) and its photon (or pair member)."""
    a = 0.625 if uniform(rng) < 0.25 else 1.875
    theta = -math.log(uniform(rng) * uniform(rng)) / a * k.M_E / total
    return math.cos(min(theta, math.pi))


@njit(cache=True)
def _brems_shape(y, kinetic):
    total = kinetic + k.M_E
    remaining = max(total - y * kinetic, 1e-9)
    delta = _SCREEN * y * kinetic * k.M_E / (total * remaining)
    if delta <= 1.0:
        phi1 = 20.867 - 3.242 * delta + 0.625 * delta * delta
        phi2 = 20.209 - 1.930 * delta - 0.086 * delta * delta
    else:
        phi1 = 21.12 - 4.184 * math.log(delta + 0.952)
        phi2 = phi1
    ratio = remaining / total
    value = (1.0 + ratio * ratio) * (phi1 - _LOG_Z43) - 2.0 / 3.0 * ratio * (phi2 - _LOG_Z43)
    return max(value, 0.05)


@njit(cache=True)
def brems_energy(rng, kinetic):
    """Photon energy (MeV) above the cut for an electron of a kinetic energy above it."""
    low = k.GAMMA_CUT / kinetic
    bound = 1.02 * _brems_shape(low, kinetic)
    while True:
        y = low ** uniform(rng)
        if uniform(rng) * bound < _brems_shape(y, kinetic):
            return y * kinetic


@njit(cache=True)
def _moller_energy(rng, kinetic):
    gamma = 1.0 + kinetic / k.M_E
    x = (2.0 * gamma - 1.0) / (gamma * gamma)
    g2 = (1.0 - 1.0 / gamma) ** 2
    low = k.DELTA_CUT / kinetic
    bound = max(1.0, 0.25 * g2 + 2.0 - x)
    while True:
        e = low / (1.0 - uniform(rng) * (1.0 - 2.0 * low))
        r = e / (1.0 - e)
        if uniform(rng) * bound < g2 * e * e + 1.0 - x * e + r * r - x * e * r:
            return e * kinetic


@njit(cache=True)
def _bhabha_energy(rng, kinetic):
    gamma = 1.0 + kinetic / k.M_E
    beta2 = 1.0 - 1.0 / (gamma * gamma)
    y = 1.0 / (gamma + 1.0)
    w = 1.0 - 2.0 * y
    b1, b2, b4 = 2.0 - y * y, w * (3.0 + y * y), w * w * w
    b3 = w * w + b4
    low = k.DELTA_CUT / kinetic
    while True:
        e = low / (1.0 - uniform(rng) * (1.0 - low))
        if uniform(rng) < 1.0 - beta2 * e * (b1 - e * (b2 - e * (b3 - e * b4))):
            return e * kinetic


@njit(cache=True)
def _annihilate_in_flight(c, row, x, y, z, t, ux, uy, uz, kinetic):
    """e+ e- -> 2 gamma with an electron at rest (Heitler's energy spectrum)."""
    rng = c.rng
    gamma = 1.0 + kinetic / k.M_E
    root = math.sqrt((gamma - 1.0) / (gamma + 1.0))
    low = 0.5 * (1.0 - root)
    g1 = (gamma + 1.0) ** 2
    while True:
        e = low * ((0.5 * (1.0 + root)) / low) ** uniform(rng)
        if uniform(rng) < 1.0 - e + (2.0 * gamma * e - 1.0) / (e * g1):
            break
    total = kinetic + 2.0 * k.M_E
    p = math.sqrt(kinetic * (kinetic + 2.0 * k.M_E))
    first = e * total
    cosine = min(1.0, max(-1.0, (e * (gamma + 1.0) - 1.0) / (e * math.sqrt(gamma * gamma - 1.0))))
    vx, vy, vz = rotate(ux, uy, uz, cosine, 2.0 * math.pi * uniform(rng))
    ax, ay, az = first * vx, first * vy, first * vz
    add_particle(c, 22, row, _ANNIHILATION, x, y, z, t, ax, ay, az, 0.0)
    bx, by, bz = p * ux - ax, p * uy - ay, p * uz - az
    add_particle(c, 22, row, _ANNIHILATION, x, y, z, t, bx, by, bz, 0.0)


@njit(cache=True)
def _radiate(c, row, x, y, z, t, ux, uy, uz, energy):
    """A bremsstrahlung photon; returns its energy (0 when the electron has become too slow)."""
    if energy <= k.GAMMA_CUT:
        return 0.0
    photon = brems_energy(c.rng, energy)
    cosine = radiation_cosine(c.rng, energy + k.M_E)
    wx, wy, wz = rotate(ux, uy, uz, cosine, 2.0 * math.pi * uniform(c.rng))
    add_particle(c, 22, row, _BREMS, x, y, z, t, photon * wx, photon * wy, photon * wz, 0.0)
    return photon


@njit(cache=True)
def _knock_on(c, row, pdg, x, y, z, t, ux, uy, uz, energy):
    """Moller or Bhabha scattering; returns the energy and direction that are left."""
    rng = c.rng
    if energy * (0.5 if pdg == 11 else 1.0) <= k.DELTA_CUT:
        return energy, ux, uy, uz
    e = _moller_energy(rng, energy) if pdg == 11 else _bhabha_energy(rng, energy)
    p = math.sqrt(energy * (energy + 2.0 * k.M_E))
    q = math.sqrt(e * (e + 2.0 * k.M_E))
    cosine = e * (energy + 2.0 * k.M_E) / (p * q)
    wx, wy, wz = rotate(ux, uy, uz, min(1.0, cosine), 2.0 * math.pi * uniform(rng))
    add_particle(c, 11, row, _IONISATION, x, y, z, t, q * wx, q * wy, q * wz, k.M_E)
    rx, ry, rz = p * ux - q * wx, p * uy - q * wy, p * uz - q * wz
    r = math.sqrt(rx * rx + ry * ry + rz * rz)
    if r <= 0.0:
        return energy - e, ux, uy, uz
    return energy - e, rx / r, ry / r, rz / r


@njit(cache=True)
def _stop(c, row, pdg, x, y, z, t):
    if pdg == -11 and inside(x, y, z):
        two_photons(c, row, _ANNIHILATION, x, y, z, t, 2.0 * k.M_E, 0.0, 0.0, 0.0)


@njit(cache=True)
def _step_length(energy, residual, p, beta, in_box):
    """2 mm at most, a quarter of the range, and short enough for 0.3 rad2 of scattering."""
    if not in_box:
        return min(k.STEP_OUTSIDE, max(0.2 * residual, 0.3))
    bending = 0.3 * k.X0_MM * (p * beta / 19.0) ** 2
    return min(k.STEP_ELECTRON, max(0.3, min(0.25 * residual, bending)))


@njit(cache=True)
def track_electron(c, row):
    """Transport the e- or e+ of a row until it stops or leaves."""
    f = c.pflt
    pdg = c.pint[row, 0]
    kind = k.ELECTRON if pdg == 11 else k.POSITRON
    x, y, z, t = f[row, 0], f[row, 1], f[row, 2], f[row, 3]
    p = math.sqrt(f[row, 4] ** 2 + f[row, 5] ** 2 + f[row, 6] ** 2)
    if p <= 0.0:
        _stop(c, row, pdg, x, y, z, t)
        return
    ux, uy, uz = f[row, 4] / p, f[row, 5] / p, f[row, 6] / p
    energy = math.sqrt(p * p + k.M_E**2) - k.M_E
    tab = c.tab
    rng = c.rng
    while True:
        in_box = inside(x, y, z)
        if not in_box and not hits_box(x, y, z, ux, uy, uz):
            return
        grid = locate(energy)
        residual = lookup(tab, kind, k.RANGE, grid)
        if energy < k.ELECTRON_STOP:  # a straight end of half the (crooked) range
            s = 0.5 * residual
            x1, y1, z1 = x + s * ux, y + s * uy, z + s * uz
            add_deposit(c, row, x, y, z, x1, y1, z1, energy, t)
            _stop(c, row, pdg, x1, y1, z1, t)
            return
        p = math.sqrt(energy * (energy + 2.0 * k.M_E))
        beta2 = (p / (energy + k.M_E)) ** 2
        step = _step_length(energy, residual, p, math.sqrt(beta2), in_box)
        s_delta = lookup(tab, kind, k.DELTA, grid)
        s_brems = lookup(tab, kind, k.BREMS, grid)
        s_ann = lookup(tab, kind, k.ANNIHILATION, grid) if pdg == -11 else 0.0
        total = s_delta + s_brems + s_ann
        free = exponential(rng) / total
        interacts = free < step
        if interacts:
            step = free
        energy_after = energy_at_range(tab, kind, max(residual - step, 0.0), grid)
        top = 0.5 * energy if pdg == 11 else energy
        lost = min(straggle(rng, energy - energy_after, step, beta2, k.DELTA_CUT, top), energy)
        cosine = scatter(rng, step, p, beta2)
        vx, vy, vz = rotate(ux, uy, uz, cosine, 2.0 * math.pi * uniform(rng))
        half = 0.5 * step
        x1, y1, z1 = x + half * (ux + vx), y + half * (uy + vy), z + half * (uz + vz)
        add_deposit(c, row, x, y, z, x1, y1, z1, lost, t)
        t += flight_time(step, p, k.M_E)
        x, y, z, ux, uy, uz = x1, y1, z1, vx, vy, vz
        energy -= lost
        if energy <= 1e-3:
            _stop(c, row, pdg, x, y, z, t)
            return
        if not interacts:
            continue
        choice = uniform(rng) * total
        if choice < s_brems:
            energy -= _radiate(c, row, x, y, z, t, ux, uy, uz, energy)
        elif choice < s_brems + s_delta:
            energy, ux, uy, uz = _knock_on(c, row, pdg, x, y, z, t, ux, uy, uz, energy)
        else:
            _annihilate_in_flight(c, row, x, y, z, t, ux, uy, uz, energy)
            return
        if energy <= 1e-3:
            _stop(c, row, pdg, x, y, z, t)
            return
