"""Tracks of charged particles: measured helix parameters and the points where they reach the calorimeter's layers.

Toy choices: sigma(pt) / pt = sqrt(0.01^2 + (3e-4 pt / GeV)^2), drawn in 1 / pt; efficiency `EFFICIENCY` above
`MIN_PT_GEV` (the rest interacts before it leaves enough hits); angles and impact parameters with resolutions of a
silicon tracker; chi2 that follows its number of degrees of freedom.
"""

from __future__ import annotations

import math

import numpy as np

from benchmark.datasets._mltree import RADIUS_MM, SAMPLINGS, UNREACHED

from .generate import Shot
from .geometry import LAYERS, MAX_ETA
from .kinematics import at_radius, charge_of, entry, eta_phi

EFFICIENCY, MIN_PT_GEV, MAX_TRACK_ETA = 0.94, 0.4, 2.5
PION_MASS_GEV = 0.13957039  # of every track
COLUMNS = (
    "trackPt", "trackP", "trackMass", "trackEta", "trackPhi", "trackD0", "trackZ0", "trackChiSquared",
    "trackNumberDOF", "trackTruthParticleIndex",
    *(f"track{axis}_{layer}" for layer in SAMPLINGS for axis in ("Eta", "Phi")),
)  # fmt: skip
_AT = {layer: 10 + 2 * k for k, layer in enumerate(SAMPLINGS)}  # column of trackEta_X


def make_tracks(shot: Shot, rng: np.random.Generator) -> list[list[float]]:
    """A row of `COLUMNS` for each reconstructed track, hardest first. GeV, mm, rad."""
    rows = [_track(shot, row, rng) for row in shot.charged]
    return sorted((r for r in rows if r is not None), key=lambda r: -r[0])


def _track(shot: Shot, row: int, rng: np.random.Generator) -> list[float] | None:
    p = shot.momenta[row]
    pt = math.hypot(p[1], p[2])
    eta, phi = eta_phi(p)
    spread = math.hypot(0.01, 3e-4 * pt)
    lost, *normal = rng.random(), *rng.standard_normal(5)
    dof = int(rng.integers(30, 61))
    chi2 = 2.0 * rng.gamma(0.5 * dof)
    if pt < MIN_PT_GEV or abs(eta) > MAX_TRACK_ETA or lost > EFFICIENCY:
        return None
    measured = pt / max(abs(1.0 + spread * normal[0]), 1e-3)
    eta += 5e-4 * math.hypot(1.0, 2.0 / pt) * normal[1]
    phi = math.remainder(phi + 3e-4 * math.hypot(1.0, 3.0 / pt) * normal[2], 2 * math.pi)
    d0 = 0.02 * math.hypot(1.0, 5.0 / pt) * normal[3]
    z0 = shot.z0_mm + 0.08 * math.hypot(1.0, 3.0 / pt) * normal[4]
    values = [
        measured, measured * math.cosh(eta), PION_MASS_GEV, eta, phi, d0, z0, chi2, dof, row,
        *([UNREACHED] * (2 * len(SAMPLINGS))),
    ]  # fmt: skip
    _extrapolate(values, charge_of(shot.pdg[row]))
    return values


def _extrapolate(values: list[float], charge: int) -> None:
    """Fill trackEta_X and trackPhi_X of the layers that the measured track reaches."""
    leaves = entry(values[0], values[3], values[4], charge, values[6])
    if leaves is None:
        return
    for layer in LAYERS:
        eta, phi = at_radius(*leaves, RADIUS_MM[layer])
        if abs(eta) < MAX_ETA:
            values[_AT[layer]], values[_AT[layer] + 1] = eta, phi
