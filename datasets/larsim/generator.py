"""Primary particles of one event: a multi-particle vertex (MPV) and single-particle rain (MPR).

The algorithm and the default lists are those of the generators that made PILArNet-M (MultiPartVertex and MultiPartRain of
sbncode, settings of `gen_mpvmpr.fcl`; Panda paper, appendix B.1): a uniform multiplicity, particles drawn from weighted
lists of which each holds a maximum, kinetic energies uniform in a range, isotropic directions; rain starts anywhere in a box
that reaches beyond the image and flies inward. What the publications leave open is chosen here, and says so.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmark.errors import ConfigError

from .truth import HALF_BOX_MM, PRIMARY_DTYPE

MASS_MEV = {11: 0.51099895, 13: 105.6583755, 22: 0.0, 111: 134.9768, 211: 139.57039, 321: 493.677, 2212: 938.27208816, 2112: 939.56542}
"""Masses of the particles that can be generated, by |PDG number| (PDG 2024)."""


@dataclass(frozen=True)
class ParticleList:
    """Particles that are drawn together."""

    pdg: tuple[int, ...]  # one of these, with equal probability
    max_count: int  # at most so many of this list in one vertex or shower of rain
    weight: float  # relative probability of the list while it is not full
    kinetic_mev: tuple[float, float]  # kinetic energy, uniform in this range


@dataclass(frozen=True)
class VertexSettings:
    """The multi-particle vertex."""

    multiplicity: tuple[int, int] = (2, 7)  # particles per vertex, uniform, ends included
    inset_mm: float = 300.0  # distance of the vertex from the faces of the image box
    lists: tuple[ParticleList, ...] = (
        ParticleList((-11, 11, -13, 13), 1, 3.0, (0.0, 3000.0)),
        ParticleList((111,), 2, 1.0, (0.0, 1000.0)),
        ParticleList((211, -211), 2, 1.0, (0.0, 1000.0)),
        ParticleList((2212,), 4, 3.0, (0.0, 1000.0)),
        ParticleList((22,), 2, 1.0, (0.0, 1000.0)),
    )


_RAIN_LISTS = (
    ParticleList((-13, 13), 5, 5.0, (0.0, 20000.0)),
    ParticleList((-13, 13), 5, 5.0, (0.0, 2000.0)),
    ParticleList((11, -11), 2, 1.0, (0.0, 1000.0)),
    ParticleList((22,), 3, 2.0, (0.0, 1000.0)),
    ParticleList((2212,), 5, 1.0, (0.0, 1000.0)),
)


@dataclass(frozen=True)
class RainSettings:
    """Single particles, each its own interaction."""

    multiplicity: tuple[int, int]  # particles per event, uniform, ends included
    margin_mm: float = 200.0  # the starting box reaches so far beyond the image box (negative: inside it)
    inward: bool = True  # every component of the direction points to the centre of the starting box
    lists: tuple[ParticleList, ...] = _RAIN_LISTS


@dataclass(frozen=True)
class GeneratorSettings:
    """One event: one vertex and any number of showers of rain."""

    vertex: VertexSettings = VertexSettings()
    # The original rains 2-4 particles over a 18 m long cryostat and 3-5 near the vertex, and then cuts a 2.3 m cube out, so
    # the number inside the cube is not published; 0-4 gives PILArNet-M's mean number of particles and voxels.
    rain: tuple[RainSettings, ...] = (RainSettings(multiplicity=(0, 4)),)
    # Voxel times of the published events start at 2 to 11 ns whatever the interaction, so every vertex is at t = 0 unless
    # a window is set here (ns, uniform, drawn for each vertex).
    time_window_ns: tuple[float, float] = (0.0, 0.0)


def check_settings(settings: GeneratorSettings) -> None:
    """Refuse settings that describe no possible event. Raises `ConfigError`."""
    showers: tuple[VertexSettings | RainSettings, ...] = (settings.vertex, *settings.rain)
    for shower in showers:
        _check_multiplicity(shower)
    if settings.vertex.multiplicity[1] + sum(r.multiplicity[1] for r in settings.rain) == 0:
        raise ConfigError("The generator is set to zero particles per event. At least one is needed. Raise a multiplicity.")
    if not 0 <= settings.vertex.inset_mm < HALF_BOX_MM:
        raise _bad("vertex inset", settings.vertex.inset_mm, f"0 to below {HALF_BOX_MM:g} mm")
    if any(r.margin_mm <= -HALF_BOX_MM or r.margin_mm > 10 * HALF_BOX_MM for r in settings.rain):
        raise _bad("rain margin", [r.margin_mm for r in settings.rain], f"above -{HALF_BOX_MM:g} and at most {10 * HALF_BOX_MM:g} mm")
    low, high = settings.time_window_ns
    if not (np.isfinite(low) and np.isfinite(high) and low <= high):
        raise _bad("time window", (low, high), "a finite range in ns, low end first")


def _check_multiplicity(shower: VertexSettings | RainSettings) -> None:
    low, high = shower.multiplicity
    if not 0 <= low <= high:
        raise _bad("multiplicity", (low, high), "two counts, the low end first and not negative")
    if high > sum(entry.max_count for entry in shower.lists):
        raise _bad("multiplicity", (low, high), "no more particles than the lists' maxima add up to")
    for entry in shower.lists:
        _check_list(entry)


def _check_list(entry: ParticleList) -> None:
    unknown = [p for p in entry.pdg if abs(p) not in MASS_MEV]
    if unknown or not entry.pdg:
        raise _bad("particle list", list(entry.pdg), f"PDG numbers among +-{sorted(MASS_MEV)}")
    if entry.max_count < 1 or not (np.isfinite(entry.weight) and entry.weight > 0):
        raise _bad("particle list's maximum and weight", (entry.max_count, entry.weight), "at least 1 and above 0")
    low, high = entry.kinetic_mev
    if not (np.isfinite(high) and 0 <= low <= high and high > 0):
        raise _bad("kinetic energy range", (low, high), "0 <= low <= high in MeV, and high above 0")


def _bad(what: str, value: object, expected: str) -> ConfigError:
    return ConfigError(f"The {what} of the event generator is {value}. Expected {expected}. Correct the simulation's settings.")


def generate(settings: GeneratorSettings, rng: np.random.Generator) -> npt.NDArray[np.void]:
    """Primaries of one event, (P,) `PRIMARY_DTYPE`: the vertex first, then the rain. P may be 0 if the settings allow it."""
    rows: list[tuple[float, ...]] = []
    vertex = settings.vertex
    half = HALF_BOX_MM - vertex.inset_mm
    n_vertices = 0
    chosen = _draw_lists(vertex.lists, vertex.multiplicity, rng)
    if chosen:
        start = (*rng.uniform(-half, half, 3), rng.uniform(*settings.time_window_ns))
        rows += [_particle(entry, n_vertices, start, rng, np.zeros(3)) for entry in chosen]
        n_vertices += 1
    for rain in settings.rain:
        half = HALF_BOX_MM + rain.margin_mm
        for entry in _draw_lists(rain.lists, rain.multiplicity, rng):
            position = rng.uniform(-half, half, 3)
            start = (*position, rng.uniform(*settings.time_window_ns))
            inward = -np.sign(position) if rain.inward else np.zeros(3)
            rows.append(_particle(entry, n_vertices, start, rng, inward))
            n_vertices += 1
    return np.array(rows, dtype=PRIMARY_DTYPE)


def _draw_lists(lists: tuple[ParticleList, ...], multiplicity: tuple[int, int], rng: np.random.Generator) -> list[ParticleList]:
    """One list per particle; a list that is full is drawn no more."""
    weights = np.array([entry.weight for entry in lists])
    counts = np.zeros(len(lists), dtype=int)
    chosen = []
    for _ in range(rng.integers(multiplicity[0], multiplicity[1] + 1)):
        edges = np.cumsum(weights)
        index = int(np.searchsorted(edges, rng.uniform(0.0, edges[-1]), side="right"))
        chosen.append(lists[index])
        counts[index] += 1
        if counts[index] == lists[index].max_count:
            weights[index] = 0.0
    return chosen


def _particle(
    entry: ParticleList, vertex: int, start: tuple[float, ...], rng: np.random.Generator, inward: npt.NDArray[np.float64]
) -> tuple[float, ...]:
    """One row of `PRIMARY_DTYPE`. inward (3,): required sign of each direction component, 0 = free."""
    pdg = entry.pdg[rng.integers(len(entry.pdg))]
    kinetic, mass = rng.uniform(*entry.kinetic_mev), MASS_MEV[abs(pdg)]
    direction = rng.normal(size=3)
    # Mirroring a component is the same as drawing isotropic directions until all signs fit.
    direction = np.where(inward != 0, inward * np.abs(direction), direction) / np.linalg.norm(direction)
    momentum = direction * np.sqrt(kinetic * (kinetic + 2 * mass))
    return (pdg, vertex, *start, *momentum)
