"""Reactions of neutrons in the crystal, the ions they release, and the energy deposits of the ions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .plan import Physics
from .stopping import ALPHA, FLUORINE, LITHIUM, TRITON, Ion, slowing_down

STEP_UM = 0.25  # along a track
ALPHA_KEV, TRITON_KEV = 2050.0, 2730.0  # of the capture of a thermal neutron on lithium-6


@dataclass(frozen=True)
class Track:
    """One ion from its creation to rest."""

    ion: Ion
    kev: float
    places: np.ndarray  # (n, 3) z, y, x in um of the middles of its steps
    deposits: np.ndarray  # (n,) keV
    light: np.ndarray  # (n,) keV times the local, fluctuating light yield

    @property
    def ends(self) -> tuple[np.ndarray, np.ndarray]:
        """First and last position."""
        return self.places[0], self.places[-1]

    @property
    def length_um(self) -> float:
        """Along the track."""
        return len(self.deposits) * STEP_UM


@dataclass(frozen=True)
class Reaction:
    """Reaction of one neutron: one object in the image, even with two ions."""

    kind: str  # capture | recoil
    tracks: tuple[Track, ...]


def draw_reactions(physics: Physics, size_um: tuple[float, float, float], rng: np.random.Generator) -> list[Reaction]:
    """The reactions in a volume of this size (z, y, x): a Poisson number, uniform in position, isotropic."""
    density = physics.events_per_mm3 * rng.lognormal(-0.5 * physics.density_spread**2, physics.density_spread)
    n = rng.poisson(density * np.prod(size_um) * 1e-9)
    return [_reaction(physics, rng.uniform(0, 1, 3) * size_um, rng) for _ in range(n)]


def _reaction(physics: Physics, vertex: np.ndarray, rng: np.random.Generator) -> Reaction:
    direction = _direction(rng)
    if rng.random() < physics.thermal_share:
        alpha = _track(ALPHA, ALPHA_KEV, vertex, -direction, physics, rng)
        kink = rng.random() < physics.kink_share
        return Reaction("capture", (alpha, _track(TRITON, TRITON_KEV, vertex, direction, physics, rng, kink)))
    ion = FLUORINE if rng.random() < physics.fluorine_share else LITHIUM
    kev = physics.recoil_least_kev + rng.exponential(physics.recoil_kev)
    return Reaction("recoil", (_track(ion, kev, vertex, direction, physics, rng),))


def _track(
    ion: Ion, kev: float, start: np.ndarray, direction: np.ndarray, physics: Physics, rng: np.random.Generator,
    kink: bool = False,
) -> Track:  # fmt: skip
    deposits = slowing_down(ion, kev, STEP_UM)
    n = len(deposits)
    directions = np.tile(direction, (n, 1))
    if kink:
        kink_step = rng.integers(n // 4, max(n // 4 + 1, 3 * n // 4))
        directions[kink_step:] = _turned(direction, rng.uniform(np.pi / 9, np.pi / 3), rng)
    positions = start + STEP_UM * (np.cumsum(directions, axis=0) - 0.5 * directions)
    return Track(ion, kev, positions, deposits, deposits * _yield(n, physics, rng))


def _yield(n: int, physics: Physics, rng: np.random.Generator) -> np.ndarray:
    """(n,) light per energy along a track: lognormal with mean 1, correlated over `bead_um`."""
    share = np.exp(-STEP_UM / physics.bead_um)
    noise = rng.normal(size=n)
    values = np.empty(n)
    values[0] = noise[0]
    for i in range(1, n):
        values[i] = share * values[i - 1] + np.sqrt(1 - share**2) * noise[i]
    return np.exp(physics.beading * values - 0.5 * physics.beading**2)


def _direction(rng: np.random.Generator) -> np.ndarray:
    vector = rng.normal(size=3)
    return vector / np.linalg.norm(vector)


def _turned(direction: np.ndarray, angle: float, rng: np.random.Generator) -> np.ndarray:
    """A unit vector at this angle (radians) to the direction."""
    side = np.cross(direction, _direction(rng))
    return np.cos(angle) * direction + np.sin(angle) * side / np.linalg.norm(side)
