"""A small intranuclear cascade and evaporation in argon.

The nucleus is a Fermi gas (p_F = 245 MeV/c, so 31 MeV) in a well of 39 MeV (8 MeV of separation
energy). A nucleon inside collides with probability `_RESCATTER` before it leaves; collisions are
two-body, isotropic at low energy and forward peaked (exp bt) above, Pauli blocked when a product
falls into the Fermi sea, and make a pion above about 350 MeV. Each struck nucleon leaves a hole;
holes and trapped nucleons excite the residue, which evaporates n, p and alpha particles (Maxwell
spectrum of temperature sqrt(E*/5), Coulomb barriers added) and cools by photons. This is
the simplest model in which energy balances; it does not follow the residue's A and Z.
"""

from __future__ import annotations

import math

import numpy as np

from benchmark.compiled import njit

from . import constants as k
from .kinematics import boost, three_body
from .rng import isotropic, rotate, uniform
from .state import add_particle

FERMI_MOMENTUM = 245.0  # MeV/c
FERMI_ENERGY = 31.4  # MeV
WELL = 39.4  # MeV
M_NUCLEON = 938.92
ALPHA = 1000020040
M_ALPHA = 3727.379
_RESCATTER = 0.40
_BARRIER = 4.0  # MeV, protons
_MAX = 24


@njit(cache=True)
def fermi_momentum(rng):
    """Momentum of a nucleon drawn from the Fermi sea."""
    p = FERMI_MOMENTUM * uniform(rng) ** (1.0 / 3.0)
    ux, uy, uz = isotropic(rng)
    return p * ux, p * uy, p * uz


@njit(cache=True)
def kinetic_of(px, py, pz, mass):
    """Kinetic energy (MeV)."""
    return math.sqrt(px * px + py * py + pz * pz + mass * mass) - mass


@njit(cache=True)
def emit(c, row, process, pdg, mass, kinetic, ux, uy, uz, x, y, z, t):
    """Add a particle of given kinetic energy and direction."""
    p = math.sqrt(kinetic * (kinetic + 2.0 * mass))
    add_particle(c, pdg, row, process, x, y, z, t, p * ux, p * uy, p * uz, mass)


@njit(cache=True)
def new_queue():
    """Empty nucleon list (_MAX, 4): charge, px, py, pz inside the nucleus."""
    return np.empty((_MAX, 4))


@njit(cache=True)
def put(queue, n, charge, px, py, pz):
    """Append a nucleon; returns the new length."""
    if n >= _MAX:
        return n
    queue[n, 0] = charge
    queue[n, 1] = px
    queue[n, 2] = py
    queue[n, 3] = pz
    return n + 1


@njit(cache=True)
def pick_charge(rng):
    """1 for a proton, 0 for a neutron, with argon's shares."""
    return 1.0 if uniform(rng) < 0.45 else 0.0


@njit(cache=True)
def collide(rng, p1, m1, p2, m2, slope, backward):
    """Two-body scattering of momenta p1, p2 (tuples); returns both momenta after it.

    The angle in the centre of mass follows exp(slope t); `backward` adds the 1 + 3 cos^2 of the Delta.
    """
    e1 = math.sqrt(p1[0] ** 2 + p1[1] ** 2 + p1[2] ** 2 + m1 * m1)
    e2 = math.sqrt(p2[0] ** 2 + p2[1] ** 2 + p2[2] ** 2 + m2 * m2)
    e = e1 + e2
    bx, by, bz = (p1[0] + p2[0]) / e, (p1[1] + p2[1]) / e, (p1[2] + p2[2]) / e
    qx, qy, qz = boost(p1[0], p1[1], p1[2], m1, -bx, -by, -bz)
    q = math.sqrt(qx * qx + qy * qy + qz * qz) + 1e-9
    a = 2.0 * q * q * slope
    u = uniform(rng)
    if backward:
        while True:
            cosine = 2.0 * uniform(rng) - 1.0
            if 4.0 * uniform(rng) < 1.0 + 3.0 * cosine * cosine:
                break
    elif a < 1e-3:
        cosine = 2.0 * u - 1.0
    else:
        cosine = 1.0 + math.log(u + (1.0 - u) * math.exp(-2.0 * a)) / a
    vx, vy, vz = rotate(qx / q, qy / q, qz / q, cosine, 2.0 * math.pi * uniform(rng))
    ox, oy, oz = boost(q * vx, q * vy, q * vz, m1, bx, by, bz)
    rx, ry, rz = boost(-q * vx, -q * vy, -q * vz, m2, bx, by, bz)
    return (ox, oy, oz), (rx, ry, rz)


@njit(cache=True)
def add_pion(c, row, process, charge, px, py, pz, x, y, z, t):
    """Emit a pion of charge -1, 0 or 1 with a given momentum."""
    if charge == 0:
        add_particle(c, 111, row, process, x, y, z, t, px, py, pz, k.M_PI0)
    else:
        add_particle(c, 211 * charge, row, process, x, y, z, t, px, py, pz, k.M_PI)


@njit(cache=True)
def produce_pion(c, row, process, p1, m1, p2, x, y, z, t):
    """a + N -> a + N + pi in phase space; emits the pion, returns (done, momenta of a and N)."""
    e1 = math.sqrt(p1[0] ** 2 + p1[1] ** 2 + p1[2] ** 2 + m1 * m1)
    e2 = math.sqrt(p2[0] ** 2 + p2[1] ** 2 + p2[2] ** 2 + M_NUCLEON**2)
    e = e1 + e2
    sx, sy, sz = p1[0] + p2[0], p1[1] + p2[1], p1[2] + p2[2]
    root_s = math.sqrt(max(e * e - sx * sx - sy * sy - sz * sz, 0.0))
    if root_s < m1 + M_NUCLEON + k.M_PI + 5.0:
        return False, p1, p2
    q = three_body(c.rng, root_s, m1, M_NUCLEON, k.M_PI)
    bx, by, bz = sx / e, sy / e, sz / e
    a = boost(q[0], q[1], q[2], m1, bx, by, bz)
    b = boost(q[3], q[4], q[5], M_NUCLEON, bx, by, bz)
    px, py, pz = boost(q[6], q[7], q[8], k.M_PI, bx, by, bz)
    charge = int(3.0 * uniform(c.rng)) - 1
    add_pion(c, row, process, charge, px, py, pz, x, y, z, t)
    return True, a, b


@njit(cache=True)
def cascade(c, row, process, queue, n, excitation, forced, x, y, z, t):
    """Let the nucleons of the queue collide and leave; then evaporate.

    `forced` makes the first nucleon collide at least once.
    """
    rng = c.rng
    i = 0
    tries = 0
    while i < n:
        p1 = (queue[i, 1], queue[i, 2], queue[i, 3])
        inner = kinetic_of(p1[0], p1[1], p1[2], M_NUCLEON)
        outer = inner - WELL
        barrier = _BARRIER if queue[i, 0] > 0.5 else 0.3
        if outer < barrier:
            excitation += max(inner - FERMI_ENERGY, 0.0)
            i += 1
            forced = False
            continue
        if forced or (tries < 40 and uniform(rng) < _RESCATTER):
            tries += 1
            if tries > 40:
                forced = False
            p2 = fermi_momentum(rng)
            target_kinetic = kinetic_of(p2[0], p2[1], p2[2], M_NUCLEON)
            is_produced = False
            if uniform(rng) < min(max((outer - 350.0) / 1100.0, 0.0), 0.7):
                is_produced, a, b = produce_pion(c, row, process, p1, M_NUCLEON, p2, x, y, z, t)
            if not is_produced:
                slope = 6.0e-6 * min(outer / 1000.0, 1.0)
                a, b = collide(rng, p1, M_NUCLEON, p2, M_NUCLEON, slope, False)
            ka = kinetic_of(a[0], a[1], a[2], M_NUCLEON)
            kb = kinetic_of(b[0], b[1], b[2], M_NUCLEON)
            if is_produced or (ka > FERMI_ENERGY and kb > FERMI_ENERGY):
                forced = False
                excitation += FERMI_ENERGY - target_kinetic
                queue[i, 1], queue[i, 2], queue[i, 3] = a[0], a[1], a[2]
                m = put(queue, n, pick_charge(rng), b[0], b[1], b[2])
                if m == n:
                    excitation += max(kb - FERMI_ENERGY, 0.0)
                n = m
                continue
            if forced:
                continue
        p = math.sqrt(p1[0] ** 2 + p1[1] ** 2 + p1[2] ** 2)
        ux, uy, uz = p1[0] / p, p1[1] / p, p1[2] / p
        if queue[i, 0] > 0.5:
            emit(c, row, process, 2212, k.M_P, outer, ux, uy, uz, x, y, z, t)
        else:
            emit(c, row, process, 2112, k.M_N, outer, ux, uy, uz, x, y, z, t)
        i += 1
    evaporate(c, row, process, excitation, x, y, z, t)


@njit(cache=True)
def evaporate(c, row, process, excitation, x, y, z, t):
    """Cool an excited residue by n, p, alpha and then by photons."""
    rng = c.rng
    for _ in range(30):
        if excitation < 10.0:
            break
        temperature = math.sqrt(excitation / 5.0)
        kinetic = -temperature * math.log(uniform(rng) * uniform(rng))
        u = uniform(rng)
        if u < 0.66:
            kinetic = max(kinetic, 0.05)
            cost = 9.0 + kinetic
            pdg, mass = 2112, k.M_N
        elif u < 0.88:
            kinetic += 3.5
            cost = 11.0 + kinetic
            pdg, mass = 2212, k.M_P
        else:
            kinetic += 6.0
            cost = 7.0 + kinetic
            pdg, mass = ALPHA, M_ALPHA
        if cost > excitation:
            if excitation < 13.0:
                break
            continue
        ux, uy, uz = isotropic(rng)
        emit(c, row, process, pdg, mass, kinetic, ux, uy, uz, x, y, z, t)
        excitation -= cost
    gamma_cascade(c, row, process, excitation, x, y, z, t)


@njit(cache=True)
def gamma_cascade(c, row, process, excitation, x, y, z, t):
    """Photons of about 2 MeV until the excitation is spent; the last goes through 1.46 MeV."""
    rng = c.rng
    while excitation > 0.1:
        energy = excitation
        if excitation > 2.2:
            energy = 0.4 + (min(excitation - 1.46, 4.5) - 0.4) * uniform(rng)
        elif excitation > 1.9:
            energy = excitation - 1.46
        ux, uy, uz = isotropic(rng)
        add_particle(c, 22, row, process, x, y, z, t, energy * ux, energy * uy, energy * uz, 0.0)
        excitation -= energy
