"""Four-vectors (E, px, py, pz) in GeV, two-body decays, and the path from the vertex to the calorimeter."""

from __future__ import annotations

import math

import numpy as np

from .geometry import SOLENOID_MM, Floats

MASS_GEV = {22: 0.0, 111: 0.1349768, 211: 0.13957039, 321: 0.493677, 130: 0.497611, 2212: 0.93827209, 2112: 0.93956542}
CHARGE = {22: 0, 111: 0, 211: 1, 321: 1, 130: 0, 2212: 1, 2112: 0}
FIELD_T = 2.0


def mass_of(pdg: int) -> float:
    """Rest mass in GeV of a particle that showers."""
    return MASS_GEV[abs(pdg)]


def charge_of(pdg: int) -> int:
    """Charge in units of e."""
    return CHARGE[abs(pdg)] * (1 if pdg > 0 else -1)


def vector(energy: float, mass: float, eta: float, phi: float) -> Floats:
    """(4,) of a particle of total energy `energy` in a direction."""
    p = math.sqrt(max(energy * energy - mass * mass, 0.0))
    pt = p / math.cosh(eta)
    return np.array([energy, pt * math.cos(phi), pt * math.sin(phi), pt * math.sinh(eta)])


def boosted(rest: Floats, parent: Floats, mass: float) -> Floats:
    """(4,) `rest`, given in the rest frame of `parent` of mass `mass`, in the laboratory frame."""
    p = parent[1:]
    along = float(rest[1:] @ p)
    energy = (parent[0] * rest[0] + along) / mass
    return np.concatenate([[energy], rest[1:] + p * (along / (parent[0] + mass) + rest[0]) / mass])


def two_body(parent: Floats, mass: float, m1: float, m2: float, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """An isotropic decay of `parent` into particles of masses m1 and m2."""
    p = math.sqrt(max((mass**2 - (m1 + m2) ** 2) * (mass**2 - (m1 - m2) ** 2), 0.0)) / (2.0 * mass)
    cosine, phi = rng.uniform(-1.0, 1.0), rng.uniform(-math.pi, math.pi)
    sine = math.sqrt(1.0 - cosine * cosine)
    momentum = p * np.array([sine * math.cos(phi), sine * math.sin(phi), cosine])
    one = boosted(np.concatenate([[math.hypot(p, m1)], momentum]), parent, mass)
    two = boosted(np.concatenate([[math.hypot(p, m2)], -momentum]), parent, mass)
    return one, two


def eta_phi(p: Floats) -> tuple[float, float]:
    """Direction of a four-vector."""
    pt = math.hypot(p[1], p[2])
    return math.asinh(p[3] / max(pt, 1e-12)), math.atan2(p[2], p[1])


def entry(pt: float, eta: float, phi: float, charge: int, z0_mm: float) -> tuple[Floats, Floats] | None:
    """(position (3,) mm, direction (3,)) where a particle from (0, 0, z0) leaves the solenoid; None if it curls inside.

    A helix in `FIELD_T` up to the radius `SOLENOID_MM`, a straight line from there on.
    """
    bend = 0.0
    length = SOLENOID_MM  # along the arc, in the transverse plane
    if charge:
        radius = 1000.0 * pt / (0.299792458 * FIELD_T * abs(charge))  # mm
        if 2.0 * radius <= SOLENOID_MM * 1.001:
            return None
        half = math.asin(SOLENOID_MM / (2.0 * radius))
        bend, length = -math.copysign(2.0 * half, charge), 2.0 * half * radius
    exit_phi, direction_phi = phi + 0.5 * bend, phi + bend
    position = np.array(
        [SOLENOID_MM * math.cos(exit_phi), SOLENOID_MM * math.sin(exit_phi), z0_mm + length * math.sinh(eta)]
    )
    return position, np.array([math.cos(direction_phi), math.sin(direction_phi), math.sinh(eta)]) / math.cosh(eta)


def at_radius(position: Floats, direction: Floats, radius_mm: float) -> tuple[float, float]:
    """(eta, phi) where the straight line from `position` crosses a cylinder around the beam."""
    across2 = float(direction[0] ** 2 + direction[1] ** 2)
    b = float(position[0] * direction[0] + position[1] * direction[1])
    s = (-b + math.sqrt(b * b + across2 * (radius_mm**2 - float(position[0] ** 2 + position[1] ** 2)))) / across2
    x, y, z = position + s * direction
    return math.asinh(z / radius_mm), math.atan2(y, x)
