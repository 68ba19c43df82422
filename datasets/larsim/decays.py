"""Decays: muon (Michel spectrum, bound mu- and its capture), charged and neutral pions, kaons.

Michel: dN/dx = 2 x^2 (3 - 2x), x = 2E/m_mu (Michel 1950; PDG "Muon decay parameters"), unpolarised.
A mu- at rest falls into the 1s orbit; a fraction `MU_CAPTURE_FRACTION` is captured (mean life
568 ns), the rest decays with the orbital motion (rms Z alpha m_mu per Bohr) folded in.
Neutrinos are not recorded.
"""

from __future__ import annotations

import math

from benchmark.compiled import njit

from . import constants as k
from .hadronic import muon_capture
from .kinematics import boost, three_body, two_body_momentum
from .rng import exponential, gauss, isotropic, uniform
from .state import add_particle
from .truth import Process

_DECAY = int(Process.DECAY)
_PI0_DECAY = int(Process.PI0_DECAY)
_ORBIT = k.Z_AR * k.FINE_STRUCTURE / math.sqrt(3.0)  # rms velocity of a bound mu- per axis


@njit(cache=True)
def michel_energy(rng):
    """Total electron energy (MeV) of a free muon decay at rest."""
    while True:
        x = uniform(rng)
        if uniform(rng) < x * x * (3.0 - 2.0 * x):
            return max(x * 0.5 * k.M_MU * (1.0 + (k.M_E / k.M_MU) ** 2), k.M_E * 1.01)


@njit(cache=True)
def muon_at_rest(c, row, pdg, x, y, z, t):
    """Decay or capture of a stopped muon."""
    rng = c.rng
    bx = by = bz = 0.0
    if pdg == 13:
        t += k.TAU_MU_MINUS_AR * exponential(rng)
        if uniform(rng) < k.MU_CAPTURE_FRACTION:
            muon_capture(c, row, x, y, z, t)
            return
        bx, by, bz = _ORBIT * gauss(rng), _ORBIT * gauss(rng), _ORBIT * gauss(rng)
    else:
        t += k.TAU_MU * exponential(rng)
    energy = michel_energy(rng)
    p = math.sqrt(max(energy * energy - k.M_E * k.M_E, 0.0))
    ux, uy, uz = isotropic(rng)
    px, py, pz = boost(p * ux, p * uy, p * uz, k.M_E, bx, by, bz)
    add_particle(c, 11 if pdg == 13 else -11, row, _DECAY, x, y, z, t, px, py, pz, k.M_E)


@njit(cache=True)
def two_photons(c, row, process, x, y, z, t, mass, bx, by, bz):
    """A mass at rest (moving with velocity b in the laboratory) goes to two photons."""
    ux, uy, uz = isotropic(c.rng)
    p = 0.5 * mass
    px, py, pz = boost(p * ux, p * uy, p * uz, 0.0, bx, by, bz)
    add_particle(c, 22, row, process, x, y, z, t, px, py, pz, 0.0)
    px, py, pz = boost(-p * ux, -p * uy, -p * uz, 0.0, bx, by, bz)
    add_particle(c, 22, row, process, x, y, z, t, px, py, pz, 0.0)


@njit(cache=True)
def pi0_decay(c, row):
    """pi0 -> 2 gamma where it was made (c tau = 25 nm); the Dalitz mode (1.2%) is left out."""
    f = c.pflt
    px, py, pz, mass = f[row, 4], f[row, 5], f[row, 6], f[row, 7]
    e = math.sqrt(px * px + py * py + pz * pz + mass * mass)
    two_photons(c, row, _PI0_DECAY, f[row, 0], f[row, 1], f[row, 2], f[row, 3], mass, px / e, py / e, pz / e)


@njit(cache=True)
def pion_decay(c, row, pdg, x, y, z, t, bx, by, bz):
    """pi -> mu nu, of a pion moving with velocity b."""
    p = two_body_momentum(k.M_PI, k.M_MU, 0.0)
    ux, uy, uz = isotropic(c.rng)
    px, py, pz = boost(p * ux, p * uy, p * uz, k.M_MU, bx, by, bz)
    add_particle(c, -13 if pdg > 0 else 13, row, _DECAY, x, y, z, t, px, py, pz, k.M_MU)


@njit(cache=True)
def kaon_decay(c, row, pdg, x, y, z, t, bx, by, bz):
    """K -> mu nu 64%, pi pi0 21%, 3 pi 5.6% and 1.8%, pi0 e nu 5%, pi0 mu nu 3% (phase space)."""
    sign = 1 if pdg > 0 else -1
    u = uniform(c.rng)
    if u < 0.636:
        _pair(c, row, -13 * sign, k.M_MU, 0, 0.0, x, y, z, t, bx, by, bz)
    elif u < 0.843:
        _pair(c, row, 211 * sign, k.M_PI, 111, k.M_PI0, x, y, z, t, bx, by, bz)
    else:
        m1, m2, m3 = k.M_PI0, k.M_E, 0.0
        d1, d2, d3 = 111, -11 * sign, 0
        if u < 0.899:
            m1, m2, m3 = k.M_PI, k.M_PI, k.M_PI
            d1, d2, d3 = 211 * sign, 211 * sign, -211 * sign
        elif u < 0.917:
            m1, m2, m3 = k.M_PI0, k.M_PI, k.M_PI0
            d1, d2, d3 = 111, 211 * sign, 111
        elif u < 0.951:
            m2 = k.M_MU
            d2 = -13 * sign
        q = three_body(c.rng, k.M_K, m1, m2, m3)
        _emit(c, row, d1, m1, q[0], q[1], q[2], x, y, z, t, bx, by, bz)
        _emit(c, row, d2, m2, q[3], q[4], q[5], x, y, z, t, bx, by, bz)
        _emit(c, row, d3, m3, q[6], q[7], q[8], x, y, z, t, bx, by, bz)


@njit(cache=True)
def _pair(c, row, d1, m1, d2, m2, x, y, z, t, bx, by, bz):
    p = two_body_momentum(k.M_K, m1, m2)
    ux, uy, uz = isotropic(c.rng)
    _emit(c, row, d1, m1, p * ux, p * uy, p * uz, x, y, z, t, bx, by, bz)
    _emit(c, row, d2, m2, -p * ux, -p * uy, -p * uz, x, y, z, t, bx, by, bz)


@njit(cache=True)
def _emit(c, row, pdg, mass, px, py, pz, x, y, z, t, bx, by, bz):
    if pdg == 0:  # neutrino
        return
    px, py, pz = boost(px, py, pz, mass, bx, by, bz)
    add_particle(c, pdg, row, _DECAY, x, y, z, t, px, py, pz, mass)
