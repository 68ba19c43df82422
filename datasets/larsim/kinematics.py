"""Relativistic kinematics for compiled code: boosts, two-body and three-body decays."""

from __future__ import annotations

import math

from benchmark.compiled import njit

from .rng import isotropic, uniform


@njit(cache=True)
def boost(px, py, pz, mass, bx, by, bz):
    """Momentum (MeV/c) seen from a frame in which the present one moves with velocity b."""
    b2 = bx * bx + by * by + bz * bz
    if b2 <= 0.0:
        return px, py, pz
    gamma = 1.0 / math.sqrt(max(1.0 - b2, 1e-15))
    energy = math.sqrt(px * px + py * py + pz * pz + mass * mass)
    bp = bx * px + by * py + bz * pz
    scale = (gamma - 1.0) * bp / b2 + gamma * energy
    return px + scale * bx, py + scale * by, pz + scale * bz


@njit(cache=True)
def two_body_momentum(total, m1, m2):
    """Momentum (MeV/c) of each daughter of a mass `total` at rest; 0 below threshold."""
    if total <= m1 + m2:
        return 0.0
    a = (total * total - (m1 + m2) ** 2) * (total * total - (m1 - m2) ** 2)
    return 0.5 * math.sqrt(a) / total


@njit(cache=True)
def three_body(rng, total, m1, m2, m3):
    """Momenta of three daughters of a mass `total` at rest, uniform in phase space.

    Returns nine numbers: px, py, pz of 1, 2, 3. Needs total > m1 + m2 + m3.
    """
    low = m1 + m2
    high = total - m3
    bound = two_body_momentum(total, low, m3) * two_body_momentum(high, m1, m2)
    while True:
        m12 = low + (high - low) * uniform(rng)
        q = two_body_momentum(m12, m1, m2)
        p = two_body_momentum(total, m12, m3)
        if uniform(rng) * bound <= p * q:
            break
    ux, uy, uz = isotropic(rng)
    vx, vy, vz = isotropic(rng)
    e12 = math.sqrt(p * p + m12 * m12)
    bx, by, bz = -p * ux / e12, -p * uy / e12, -p * uz / e12
    ax, ay, az = boost(q * vx, q * vy, q * vz, m1, bx, by, bz)
    cx, cy, cz = boost(-q * vx, -q * vy, -q * vz, m2, bx, by, bz)
    return ax, ay, az, cx, cy, cz, p * ux, p * uy, p * uz
