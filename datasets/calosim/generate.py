"""Generated particles: single pions, and mixtures of resonances and dijet-like bundles.

Single pions as in the ATLAS sample: flat in phi, eta and log E; half are neutral, the others of either charge.
Mixtures are our own choices after the slides' list (single rho, single Delta, dijets): rho -> pi+- pi0; Delta -> N pi
with a charged track; a bundle of charged and neutral hadrons from the fragmentation of one parton with a falling
spectrum. Energies in GeV. ATLAS-like toy, not ATLAS simulation.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from benchmark.errors import ConfigError

from .geometry import MAX_ETA, Floats
from .kinematics import MASS_GEV, entry, eta_phi, mass_of, two_body, vector

Production = Literal["pions", "mixtures"]
PRODUCTIONS: tuple[Production, ...] = ("pions", "mixtures")
CHANNEL = {"pi0": 900246, "pi": 900247, "rho": 900148, "delta": 900147, "dijet": 364700}  # mcChannelNumber
_RHO = (0.77526, 0.1491, 0.40, 1.15)  # mass, width (PDG), and the range in which they are drawn, GeV
_DELTA = (1.232, 0.117, 1.09, 1.60)
# Deltas with a charged track: Delta, nucleon, pion
_DELTA_DECAYS = ((2224, 2212, 211), (2214, 2212, 111), (2214, 2112, 211), (2114, 2212, -211), (1114, 2112, -211))
_DELTA_SHARES = (0.25, 0.25 * 2 / 3, 0.25 / 3, 0.25, 0.25)
_HADRONS = (211, -211, 111, 321, -321, 130, 2212, -2212, 2112)  # of a bundle, with shares after LEP's multiplicities
_HADRON_SHARES = (0.27, 0.27, 0.27, 0.04, 0.04, 0.04, 0.025, 0.02, 0.025)


@dataclass(frozen=True)
class GeneratorSettings:
    """Ranges and shares of the particles that are shot."""

    max_eta: float = 1.2  # |eta| of generated particles
    pion_gev: tuple[float, float] = (0.2, 2000.0)  # single pions, flat in log E
    resonance_gev: tuple[float, float] = (2.0, 200.0)  # rho and Delta, flat in log E
    parton_pt_gev: tuple[float, float] = (20.0, 400.0)  # bundles, falling as pt^-3
    shares: tuple[float, float, float] = (0.35, 0.35, 0.30)  # rho, Delta, bundles among the mixtures
    z0_mm: float = 42.5  # spread of the vertex: that of ATLAS's trackZ0 in gn4pions' scaling


class Shot(NamedTuple):
    """One event before the detector. T truth particles, of which particle 0 was shot."""

    channel: int
    pdg: list[int]  # (T,)
    momenta: list[Floats]  # (T,) of (4,) E, px, py, pz
    masses: list[float]  # (T,)
    showering: list[tuple[int, int, Floats]]  # rows that reach the detector: (row of truth, pdg, (4,))
    charged: list[int]  # rows of truth that leave a track
    z0_mm: float


def check_settings(s: GeneratorSettings) -> None:
    """Raises ConfigError for settings that nothing can be drawn from."""
    for name, (low, high) in (
        ("pion energies", s.pion_gev), ("resonance energies", s.resonance_gev), ("parton momenta", s.parton_pt_gev),
    ):  # fmt: skip
        if not 0.15 <= low < high <= 1e4:
            raise ConfigError(
                f"The {name} are {low} to {high} GeV. Rising limits from 0.15 to 10000 were expected. "
                f"Correct the simulation's settings."
            )
    if not 0 < s.max_eta <= MAX_ETA:
        raise ConfigError(
            f"max_eta is {s.max_eta}. A number above 0 and at most {MAX_ETA} was expected. "
            f"Correct the simulation's settings."
        )
    if len(s.shares) != 3 or min(s.shares) < 0 or not math.isclose(sum(s.shares), 1.0, abs_tol=1e-6):
        raise ConfigError(
            f"The shares are {s.shares}. Three numbers of at least 0 with the sum 1 were expected. "
            f"Correct the simulation's settings."
        )
    if not 0 <= s.z0_mm <= 200:
        raise ConfigError(
            f"The vertex's spread is {s.z0_mm} mm. A number from 0 to 200 was expected. "
            f"Correct the simulation's settings."
        )


def generate(production: Production, settings: GeneratorSettings, rng: np.random.Generator) -> Shot:
    """Draw one event."""
    z0 = rng.normal(0.0, settings.z0_mm)
    if production == "pions":
        return _single_pion(settings, rng, z0)
    process = int(rng.choice(3, p=settings.shares))
    return (_rho, _delta, _bundle)[process](settings, rng, z0)


class _Builder:
    """Collects truth particles; photons of neutral pions come last, the energy in cells belongs to the pion."""

    def __init__(self, channel: int, z0: float) -> None:
        self.shot = Shot(channel, [], [], [], [], [], z0)
        self.photons: list[Floats] = []

    def add(self, pdg: int, p: Floats, mass: float) -> int:
        self.shot.pdg.append(pdg)
        self.shot.momenta.append(p)
        self.shot.masses.append(mass)
        return len(self.shot.pdg) - 1

    def add_final(self, pdg: int, p: Floats, rng: np.random.Generator) -> None:
        mass = mass_of(pdg)
        row = self.add(pdg, p, mass)
        if pdg == 111:
            pair = two_body(p, mass, 0.0, 0.0, rng)
            self.photons += pair
            self.shot.showering.extend((row, 22, photon) for photon in pair)
            return
        self.shot.showering.append((row, pdg, p))
        if abs(pdg) in (211, 321, 2212):
            self.shot.charged.append(row)

    def finish(self) -> Shot:
        for photon in self.photons:
            self.add(22, photon, 0.0)
        return self.shot


def _log_uniform(limits: tuple[float, float], rng: np.random.Generator) -> float:
    return math.exp(rng.uniform(math.log(limits[0]), math.log(limits[1])))


def _direction(settings: GeneratorSettings, rng: np.random.Generator) -> tuple[float, float]:
    return rng.uniform(-settings.max_eta, settings.max_eta), rng.uniform(-math.pi, math.pi)


def _single_pion(settings: GeneratorSettings, rng: np.random.Generator, z0: float) -> Shot:
    pdg = int(rng.choice((111, 111, 211, -211)))
    builder = _Builder(CHANNEL["pi0" if pdg == 111 else "pi"], z0)
    energy = _log_uniform(settings.pion_gev, rng)
    builder.add_final(pdg, vector(energy, mass_of(pdg), *_direction(settings, rng)), rng)
    return builder.finish()


def _breit_wigner(mass: float, width: float, low: float, high: float, rng: np.random.Generator) -> float:
    """A mass of the non-relativistic shape between two limits."""
    a, b = math.atan(2 * (low - mass) / width), math.atan(2 * (high - mass) / width)
    return mass + 0.5 * width * math.tan(rng.uniform(a, b))


def _resonance(
    builder: _Builder, pdg: int, mass: float, daughters: tuple[int, int], settings: GeneratorSettings,
    rng: np.random.Generator,
) -> Shot:  # fmt: skip
    energy = max(_log_uniform(settings.resonance_gev, rng), 1.05 * mass)
    p = vector(energy, mass, *_direction(settings, rng))
    builder.add(pdg, p, mass)
    parts = two_body(p, mass, mass_of(daughters[0]), mass_of(daughters[1]), rng)
    for daughter, part in zip(daughters, parts, strict=True):
        builder.add_final(daughter, part, rng)
    return builder.finish()


def _rho(settings: GeneratorSettings, rng: np.random.Generator, z0: float) -> Shot:
    sign = 1 if rng.random() < 0.5 else -1
    mass = _breit_wigner(*_RHO, rng)
    return _resonance(_Builder(CHANNEL["rho"], z0), sign * 213, mass, (sign * 211, 111), settings, rng)


def _delta(settings: GeneratorSettings, rng: np.random.Generator, z0: float) -> Shot:
    pdg, nucleon, pion = _DELTA_DECAYS[int(rng.choice(len(_DELTA_DECAYS), p=_DELTA_SHARES))]
    mass = _breit_wigner(*_DELTA, rng)
    return _resonance(_Builder(CHANNEL["delta"], z0), pdg, mass, (nucleon, pion), settings, rng)


def _bundle(settings: GeneratorSettings, rng: np.random.Generator, z0: float) -> Shot:
    """Hadrons take shares z of the remaining energy, density 3 (1 - z)^2, and transverse momenta of 0.35 GeV."""
    low, high = settings.parton_pt_gev
    pt = (low**-2 + rng.random() * (high**-2 - low**-2)) ** -0.5
    eta, phi = _direction(settings, rng)
    parton = vector(pt * math.cosh(eta), 0.0, eta, phi)
    axis = parton[1:] / parton[0]
    side = np.cross(axis, [0.0, 0.0, 1.0])
    side /= np.linalg.norm(side)
    up = np.cross(axis, side)
    remaining, hadrons = parton[0], []
    while remaining > 1.0 and len(hadrons) < 14:
        share = remaining * (1.0 - rng.random() ** (1.0 / 3.0)) if len(hadrons) < 13 else remaining
        remaining -= share
        pdg = int(rng.choice(_HADRONS, p=_HADRON_SHARES))
        a, b = rng.normal(0.0, 0.35, 2)
        p = max(share, 0.3) * axis + a * side + b * up
        hadrons.append((pdg, np.concatenate([[math.sqrt(float(p @ p) + MASS_GEV[abs(pdg)] ** 2)], p])))
    builder = _Builder(CHANNEL["dijet"], z0)
    total = np.sum([p for _, p in hadrons], axis=0)
    mass2 = float(total[0] ** 2 - total[1:] @ total[1:])
    builder.add(int(rng.choice((1, 2, 21))), total, math.sqrt(max(mass2, 0.0)))
    for pdg, p in hadrons:
        builder.add_final(pdg, p, rng)
    return builder.finish()


def enters(shot: Shot) -> list[tuple[int, int, Floats, tuple[Floats, Floats] | None]]:
    """Of each showering particle: row, pdg, (4,) momentum and exit from the solenoid (None: it curls inside)."""
    result = []
    for row, pdg, p in shot.showering:
        eta, phi = eta_phi(p)
        charge = 0 if pdg == 22 else (1 if pdg > 0 else -1) * (abs(pdg) in (211, 321, 2212))
        result.append((row, pdg, p, entry(math.hypot(p[1], p[2]), eta, phi, charge, shot.z0_mm)))
    return result
