"""Neutrons: elastic scattering with recoils, inelastic photons, capture.

Cross-sections from `hadron_data`. Elastic: diffractive above a few hundred keV, else isotropic; the recoil nucleus is a
row of its own when it takes more than `ROW_CUT`. Inelastic below 7 MeV excites a level of 40Ar and emits its photons,
below 20 MeV goes through an evaporating compound, above through the cascade. Capture emits the 6.1 MeV photon cascade
of 41Ar; it is rare in the box: a slowing neutron mostly leaves through the window at 57 keV (free path 20 m) or by
diffusion, and is not scattered back.
"""

from __future__ import annotations

import math

from benchmark.compiled import njit

from . import constants as k
from .hadronic import elastic_cosine, emit_neutron, nucleon_inelastic
from .nucleus import evaporate, gamma_cascade
from .rng import exponential, isotropic, rotate, uniform
from .state import add_particle, flight_time, hits_box, inside
from .tables import locate_neutron, lookup
from .truth import Process

_ELASTIC = int(Process.NEUTRON_ELASTIC)
_INELASTIC = int(Process.NEUTRON_INELASTIC)
_CAPTURE = int(Process.NEUTRON_CAPTURE)
_AR40 = 1000180400
_THERMAL = 1.1e-8  # MeV, 3/2 kT at 87 K
_LEVELS = (1.461, 2.121, 2.524, 2.893, 3.208, 3.515, 3.681, 3.942, 4.324, 4.769, 5.166, 5.610)


@njit(cache=True)
def _level_photons(c, row, kinetic, x, y, z, t):
    """Excite a level below the available energy; returns the excitation (MeV)."""
    available = kinetic * k.M_AR / (k.M_AR + k.M_N)
    n = 0
    while n < len(_LEVELS) and _LEVELS[n] < available:
        n += 1
    if n == 0:
        return 0.0
    first = uniform(c.rng) < 0.3  # the 2+ state is favoured
    level = _LEVELS[0] if first else _LEVELS[min(int(uniform(c.rng) * n), n - 1)]
    gamma_cascade(c, row, _INELASTIC, level, x, y, z, t)
    return level


@njit(cache=True)
def _inelastic(c, row, kinetic, x, y, z, t, ux, uy, uz):
    if kinetic > 20.0:
        nucleon_inelastic(c, row, _INELASTIC, False, x, y, z, t, ux, uy, uz, kinetic)
        return
    if kinetic > 7.0:
        evaporate(c, row, _INELASTIC, kinetic + 6.1, x, y, z, t)
        return
    level = _level_photons(c, row, kinetic, x, y, z, t)
    emit_neutron(c, row, _INELASTIC, max(0.95 * (kinetic - level), 1e-3), x, y, z, t)


@njit(cache=True)
def _capture(c, row, x, y, z, t):
    """41Ar photons: the main cascade through 1.354 MeV, or a statistical one (6.1 MeV in all)."""
    if uniform(c.rng) > 0.55:
        gamma_cascade(c, row, _CAPTURE, 6.099, x, y, z, t)
        return
    for i in range(3):
        e = 4.745 if i == 0 else (1.187 if i == 1 else 0.167)
        ux, uy, uz = isotropic(c.rng)
        add_particle(c, 22, row, _CAPTURE, x, y, z, t, e * ux, e * uy, e * uz, 0.0)


@njit(cache=True)
def track_neutron(c, row):
    """Transport the neutron of a row until it is absorbed, interacts inelastically or leaves."""
    f = c.pflt
    x, y, z, t = f[row, 0], f[row, 1], f[row, 2], f[row, 3]
    p = math.sqrt(f[row, 4] ** 2 + f[row, 5] ** 2 + f[row, 6] ** 2)
    if p <= 0.0:
        return
    ux, uy, uz = f[row, 4] / p, f[row, 5] / p, f[row, 6] / p
    energy = math.sqrt(p * p + k.M_N**2) - k.M_N
    rng = c.rng
    while True:
        energy = max(energy, _THERMAL)
        p = math.sqrt(energy * (energy + 2.0 * k.M_N))
        grid = locate_neutron(energy)
        total = lookup(c.tab, k.NEUTRON, k.TOTAL, grid)
        step = exponential(rng) / total
        x, y, z = x + step * ux, y + step * uy, z + step * uz
        t += flight_time(step, p, k.M_N)
        if not inside(x, y, z) and not hits_box(x, y, z, ux, uy, uz):
            return
        choice = uniform(rng) * total
        elastic = lookup(c.tab, k.NEUTRON, k.N_ELASTIC, grid)
        if choice >= elastic:
            if choice < elastic + lookup(c.tab, k.NEUTRON, k.N_INELASTIC, grid):
                _inelastic(c, row, energy, x, y, z, t, ux, uy, uz)
            else:
                _capture(c, row, x, y, z, t)
            return
        cosine, recoil = elastic_cosine(rng, p)
        vx, vy, vz = rotate(ux, uy, uz, cosine, 2.0 * math.pi * uniform(rng))
        recoil = min(recoil, 0.5 * energy)
        if recoil > k.ROW_CUT and inside(x, y, z):
            qx, qy, qz = p * (ux - vx), p * (uy - vy), p * (uz - vz)
            add_particle(c, _AR40, row, _ELASTIC, x, y, z, t, qx, qy, qz, k.M_AR)
        ux, uy, uz = vx, vy, vz
        if energy > 2.0 * _THERMAL:
            energy -= recoil
