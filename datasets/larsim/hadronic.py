"""Nuclear interactions of pions, kaons and protons, and captures at rest.

Where an interaction happens follows the cross-sections of `hadron_data`; what comes out follows the
cascade of `nucleus`. Pion channels (shares after Ashery et al. 1981): absorption on a nucleon pair,
charge exchange, pion production, and quasi-elastic scattering for the rest. Elastic scattering on the
nucleus is diffractive, exp(-B q^2) with B = 170 / GeV^2.
"""

from __future__ import annotations

import math

from benchmark.compiled import njit

from . import constants as k
from .kinematics import boost, two_body_momentum
from .nucleus import (
    FERMI_ENERGY,
    M_NUCLEON,
    WELL,
    add_pion,
    cascade,
    collide,
    emit,
    evaporate,
    fermi_momentum,
    gamma_cascade,
    kinetic_of,
    new_queue,
    pick_charge,
    produce_pion,
    put,
)
from .rng import exponential, isotropic, uniform
from .state import add_particle
from .truth import Process

_INELASTIC = int(Process.HADRON_INELASTIC)
_PI_ABSORPTION = int(Process.PI_ABSORPTION)
_MU_CAPTURE = int(Process.MU_CAPTURE)
_ELASTIC_SLOPE = 1.7e-4  # 1/MeV^2
_X_RAY = 0.644  # MeV, muonic argon 2p-1s


@njit(cache=True)
def elastic_cosine(rng, momentum):
    """Polar cosine and recoil energy (MeV) of diffractive scattering on the nucleus."""
    top = 4.0 * momentum * momentum
    q2 = -math.log(1.0 - uniform(rng) * (1.0 - math.exp(-_ELASTIC_SLOPE * top))) / _ELASTIC_SLOPE
    return max(-1.0, 1.0 - 2.0 * q2 / top), q2 / (2.0 * k.M_AR)


@njit(cache=True)
def nucleon_inelastic(c, row, process, proton, x, y, z, t, ux, uy, uz, kinetic):
    """Cascade of a nucleon that enters the nucleus."""
    inner = kinetic + WELL
    p = math.sqrt(inner * (inner + 2.0 * M_NUCLEON))
    queue = new_queue()
    n = put(queue, 0, 1.0 if proton else 0.0, p * ux, p * uy, p * uz)
    cascade(c, row, process, queue, n, 0.0, True, x, y, z, t)


@njit(cache=True)
def _absorb(c, row, process, charge, px, py, pz, energy, x, y, z, t):
    """Pion of total energy `energy` on a nucleon pair, which shares it back to back."""
    rng = c.rng
    a = fermi_momentum(rng)
    b = fermi_momentum(rng)
    ka = kinetic_of(a[0], a[1], a[2], M_NUCLEON)
    kb = kinetic_of(b[0], b[1], b[2], M_NUCLEON)
    sx, sy, sz = px + a[0] + b[0], py + a[1] + b[1], pz + a[2] + b[2]
    e = energy + ka + kb + 2.0 * M_NUCLEON
    root_s = math.sqrt(max(e * e - sx * sx - sy * sy - sz * sz, (2.0 * M_NUCLEON) ** 2))
    q = two_body_momentum(root_s, M_NUCLEON, M_NUCLEON)
    vx, vy, vz = isotropic(rng)
    queue = new_queue()
    like_pair = uniform(rng) < 0.2  # pp for pi-, nn for pi+; otherwise a pn pair
    if charge < 0:
        z1, z2 = (1.0, 0.0) if like_pair else (0.0, 0.0)
    elif charge > 0:
        z1, z2 = (1.0, 0.0) if like_pair else (1.0, 1.0)
    else:
        z1, z2 = pick_charge(rng), pick_charge(rng)
    bx, by, bz = sx / e, sy / e, sz / e
    p1 = boost(q * vx, q * vy, q * vz, M_NUCLEON, bx, by, bz)
    p2 = boost(-q * vx, -q * vy, -q * vz, M_NUCLEON, bx, by, bz)
    n = put(queue, 0, z1, p1[0], p1[1], p1[2])
    n = put(queue, n, z2, p2[0], p2[1], p2[2])
    holes = 2.0 * FERMI_ENERGY - ka - kb
    cascade(c, row, process, queue, n, holes, False, x, y, z, t)


@njit(cache=True)
def _ramp(value, x0, y0, x1, y1):
    f = min(max((value - x0) / (x1 - x0), 0.0), 1.0)
    return y0 + f * (y1 - y0)


@njit(cache=True)
def _pion_inelastic(c, row, charge, x, y, z, t, ux, uy, uz, kinetic):
    rng = c.rng
    absorb = _ramp(kinetic, 220.0, 0.40, 600.0, 0.12) if kinetic > 80.0 else 0.5
    exchange = 0.15
    produce = _ramp(kinetic, 350.0, 0.0, 1100.0, 0.6)
    p = math.sqrt(kinetic * (kinetic + 2.0 * k.M_PI))
    u = uniform(rng)
    if u < absorb:
        e = kinetic + k.M_PI
        _absorb(c, row, _INELASTIC, charge, p * ux, p * uy, p * uz, e, x, y, z, t)
        return
    p1 = (p * ux, p * uy, p * uz)
    new_charge = charge
    if u < absorb + exchange:
        new_charge = 0
    for _ in range(20):
        p2 = fermi_momentum(rng)
        target_kinetic = kinetic_of(p2[0], p2[1], p2[2], M_NUCLEON)
        is_produced = False
        if uniform(rng) < produce:
            is_produced, a, b = produce_pion(c, row, _INELASTIC, p1, k.M_PI, p2, x, y, z, t)
        if not is_produced:
            slope = 6.0e-6 * min(kinetic / 800.0, 1.0)
            a, b = collide(rng, p1, k.M_PI, p2, M_NUCLEON, slope, kinetic < 300.0)
        kb = kinetic_of(b[0], b[1], b[2], M_NUCLEON)
        if is_produced or kb > FERMI_ENERGY:
            break
    add_pion(c, row, _INELASTIC, new_charge, a[0], a[1], a[2], x, y, z, t)
    queue = new_queue()
    n = put(queue, 0, pick_charge(rng), b[0], b[1], b[2])
    cascade(c, row, _INELASTIC, queue, n, FERMI_ENERGY - target_kinetic, False, x, y, z, t)


@njit(cache=True)
def _kaon_inelastic(c, row, pdg, x, y, z, t, ux, uy, uz, kinetic):
    rng = c.rng
    p = math.sqrt(kinetic * (kinetic + 2.0 * k.M_K))
    p1 = (p * ux, p * uy, p * uz)
    p2 = fermi_momentum(rng)
    target_kinetic = kinetic_of(p2[0], p2[1], p2[2], M_NUCLEON)
    a, b = collide(rng, p1, k.M_K, p2, M_NUCLEON, 0.0, False)
    add_particle(c, pdg, row, _INELASTIC, x, y, z, t, a[0], a[1], a[2], k.M_K)
    queue = new_queue()
    n = put(queue, 0, pick_charge(rng), b[0], b[1], b[2])
    cascade(c, row, _INELASTIC, queue, n, FERMI_ENERGY - target_kinetic, False, x, y, z, t)


@njit(cache=True)
def hadron_inelastic(c, row, pdg, x, y, z, t, ux, uy, uz, kinetic):
    """Inelastic interaction of a proton, pion or kaon; the projectile ends."""
    if kinetic <= 0.0:
        return
    if pdg == 2212:
        nucleon_inelastic(c, row, _INELASTIC, True, x, y, z, t, ux, uy, uz, kinetic)
    elif abs(pdg) == 211:
        charge = 1 if pdg > 0 else -1
        _pion_inelastic(c, row, charge, x, y, z, t, ux, uy, uz, kinetic)
    else:
        _kaon_inelastic(c, row, pdg, x, y, z, t, ux, uy, uz, kinetic)


@njit(cache=True)
def pion_at_rest(c, row, x, y, z, t):
    """pi- absorbed by the nucleus after its atomic cascade (prompt)."""
    _absorb(c, row, _PI_ABSORPTION, -1, 0.0, 0.0, 0.0, k.M_PI, x, y, z, t)


@njit(cache=True)
def muon_capture(c, row, x, y, z, t):
    """mu- capture: the muonic X ray, then a residue excited to 15 MeV on average.

    The neutrino takes the rest. About one neutron and one photon per capture come out.
    """
    rng = c.rng
    if uniform(rng) < 0.8:
        ux, uy, uz = isotropic(rng)
        e = _X_RAY
        add_particle(c, 22, row, _MU_CAPTURE, x, y, z, t, e * ux, e * uy, e * uz, 0.0)
    excitation = min(3.0 + 12.0 * exponential(rng), 80.0)
    if excitation < 10.0:
        gamma_cascade(c, row, _MU_CAPTURE, excitation, x, y, z, t)
    else:
        evaporate(c, row, _MU_CAPTURE, excitation, x, y, z, t)


@njit(cache=True)
def kaon_at_rest(c, row, x, y, z, t):
    """K- N -> Lambda pi on a bound nucleon, the Lambda decaying at once to p pi- or n pi0."""
    rng = c.rng
    ux, uy, uz = isotropic(rng)
    p = 250.0
    add_pion(c, row, _INELASTIC, 0 if uniform(rng) < 0.5 else -1, p * ux, p * uy, p * uz, x, y, z, t)
    e = math.sqrt(p * p + 1115.683**2)
    bx, by, bz = -p * ux / e, -p * uy / e, -p * uz / e
    vx, vy, vz = isotropic(rng)
    q = 101.0
    px, py, pz = boost(q * vx, q * vy, q * vz, k.M_P, bx, by, bz)
    kx, ky, kz = boost(-q * vx, -q * vy, -q * vz, k.M_PI, bx, by, bz)
    charged = uniform(rng) < 0.64
    nucleon, mass = (2212, k.M_P) if charged else (2112, k.M_N)
    add_particle(c, nucleon, row, _INELASTIC, x, y, z, t, px, py, pz, mass)
    add_pion(c, row, _INELASTIC, -1 if charged else 0, kx, ky, kz, x, y, z, t)
    evaporate(c, row, _INELASTIC, 15.0, x, y, z, t)


@njit(cache=True)
def emit_neutron(c, row, process, kinetic, x, y, z, t):
    """Isotropic neutron."""
    ux, uy, uz = isotropic(c.rng)
    emit(c, row, process, 2112, k.M_N, kinetic, ux, uy, uz, x, y, z, t)
