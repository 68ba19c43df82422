"""Primary particles of one event: a multi-particle vertex (MPV) and single-particle rain (MPR).

The algorithm is that of the generators that made PILArNet-M (MultiPartVertex and MultiPartRain of sbncode; Panda
paper, appendix B.1): a uniform multiplicity, particles drawn from weighted lists of which each has a minimum and a
maximum, momenta uniform in a range, isotropic directions; rain starts anywhere in a box that reaches beyond the image
and flies inward. The settings used for PILArNet-M are not published. Of the public ones, the vertex of
`run_larsoft_sim_mpvmpr_3d.fcl` (DeepLearnPhysics/Supera) agrees with the published events (times start at 0,
electrons and muons up to 1.7 GeV/c, protons below 0.7 GeV/c), and is the default here. The rain is chosen, within the
range of the public settings, to match the published mean numbers of voxels per class: its multiplicity is that of
`gen_mpvmpr.fcl`, its weights and its electrons and photons of up to 1 GeV are ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from benchmark.errors import ConfigError

from .truth import HALF_BOX_MM, PRIMARY_DTYPE

MASS_MEV = {
    11: 0.51099895,
    13: 105.6583755,
    22: 0.0,
    111: 134.9768,
    211: 139.57039,
    321: 493.677,
    2212: 938.27208816,
    2112: 939.56542,
}
"""Masses of the particles that can be generated, by |PDG number| (PDG 2024)."""


@dataclass(frozen=True)
class ParticleList:
    """Particles that are drawn together."""

    pdg: tuple[int, ...]  # one of these, with equal probability
    min_count: int  # at least so many of this list in one vertex (rain ignores it, as the original does)
    max_count: int  # at most so many of this list in one vertex or shower of rain
    weight: float  # relative probability of the list while it is not full
    range_mev: tuple[float, float]  # momentum (MeV/c) or kinetic energy (MeV), uniform in this range
    quantity: Literal["momentum", "kinetic"] = "momentum"  # what the range is of


@dataclass(frozen=True)
class VertexSettings:
    """The multi-particle vertex."""

    multiplicity: tuple[int, int] = (2, 6)  # particles per vertex, uniform, ends included
    inset_mm: float = 150.0  # distance of the vertex from the faces of the image box
    lists: tuple[ParticleList, ...] = (
        ParticleList((-11, 11, -13, 13), 1, 1, 1.0, (50.0, 2000.0)),
        ParticleList((111,), 0, 1, 1.0, (5.0, 500.0)),
        ParticleList((211, -211), 0, 2, 1.0, (50.0, 700.0)),
        ParticleList((2212,), 0, 4, 2.0, (50.0, 700.0)),
    )


@dataclass(frozen=True)
class RainSettings:
    """Single particles, each a separate interaction."""

    multiplicity: tuple[int, int] = (
        2,
        4,
    )  # particles per event, uniform, ends included; about one in four misses the box
    # The starting box reaches so far beyond the image box (negative: inside it). The original starts within a volume of
    # about 2.6 x 3.5 x 3.7 m, out of which the 2.3 m cube is cut at random around the energy that was deposited.
    margin_mm: float = 450.0
    inward: bool = True  # every component of the direction points to the centre of the starting box
    lists: tuple[ParticleList, ...] = (
        ParticleList((-13, 13), 0, 30, 6.0, (50.0, 2000.0)),
        ParticleList((11, -11, 22), 0, 30, 3.0, (0.0, 1000.0), "kinetic"),
        ParticleList((2212,), 0, 30, 1.0, (50.0, 700.0)),
    )


@dataclass(frozen=True)
class GeneratorSettings:
    """One event: one vertex and any number of showers of rain."""

    vertex: VertexSettings = VertexSettings()
    rain: tuple[RainSettings, ...] = (RainSettings(),)
    time_window_ns: tuple[float, float] = (0.0, 0.0)  # time of each vertex, uniform; the original has no jitter


def check_settings(settings: GeneratorSettings) -> None:
    """Raises `ConfigError` for settings without a possible event."""
    showers: tuple[VertexSettings | RainSettings, ...] = (settings.vertex, *settings.rain)
    for shower in showers:
        _check_multiplicity(shower)
    if settings.vertex.multiplicity[1] + sum(r.multiplicity[1] for r in settings.rain) == 0:
        raise ConfigError(
            "The generator is set to zero particles per event. At least one is needed. Raise a multiplicity."
        )
    if not 0 <= settings.vertex.inset_mm < HALF_BOX_MM:
        raise _bad("vertex inset", settings.vertex.inset_mm, f"0 to below {HALF_BOX_MM:g} mm")
    if not all(-HALF_BOX_MM < r.margin_mm <= 10 * HALF_BOX_MM for r in settings.rain):
        raise _bad(
            "rain margin",
            [r.margin_mm for r in settings.rain],
            f"above -{HALF_BOX_MM:g} and at most {10 * HALF_BOX_MM:g} mm",
        )
    low, high = settings.time_window_ns
    if not (np.isfinite(low) and np.isfinite(high) and low <= high):
        raise _bad("time window", (low, high), "a finite range in ns, low end first")


def _check_multiplicity(shower: VertexSettings | RainSettings) -> None:
    low, high = shower.multiplicity
    if not 0 <= low <= high:
        raise _bad("multiplicity", (low, high), "two counts, the low end first and not negative")
    if high > sum(entry.max_count for entry in shower.lists):
        raise _bad("multiplicity", (low, high), "no more particles than the lists' maxima add up to")
    if isinstance(shower, VertexSettings) and low < sum(entry.min_count for entry in shower.lists):
        raise _bad("multiplicity", (low, high), "at least as many particles as the lists' minima add up to")
    for entry in shower.lists:
        _check_list(entry)


def _check_list(entry: ParticleList) -> None:
    unknown = [p for p in entry.pdg if abs(p) not in MASS_MEV]
    if unknown or not entry.pdg:
        raise _bad("particle list", list(entry.pdg), f"PDG numbers among +-{sorted(MASS_MEV)}")
    if not 0 <= entry.min_count <= entry.max_count or entry.max_count < 1:
        raise _bad("particle list's counts", (entry.min_count, entry.max_count), "0 <= minimum <= maximum, at least 1")
    if not (np.isfinite(entry.weight) and entry.weight > 0):
        raise _bad("particle list's weight", entry.weight, "a number above 0")
    if entry.quantity not in ("momentum", "kinetic"):
        raise _bad("particle list's quantity", entry.quantity, "momentum or kinetic")
    low, high = entry.range_mev
    if not (np.isfinite(high) and 0 <= low <= high and high > 0):
        raise _bad(f"{entry.quantity} range", (low, high), "0 <= low <= high in MeV, and high above 0")


def _bad(quantity: str, value: object, expected: str) -> ConfigError:
    return ConfigError(
        f"The {quantity} of the event generator is {value}. Expected {expected}. Correct the simulation's settings."
    )


def generate(settings: GeneratorSettings, rng: np.random.Generator) -> npt.NDArray[np.void]:
    """Primaries of one event, (P,) `PRIMARY_DTYPE`: the vertex first, then the rain. P may be 0."""
    rows: list[tuple[float, ...]] = []
    vertex = settings.vertex
    half = HALF_BOX_MM - vertex.inset_mm
    n_vertices = 0
    chosen = _draw_lists(vertex.lists, vertex.multiplicity, rng, use_minima=True)
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


def _draw_lists(
    lists: tuple[ParticleList, ...], multiplicity: tuple[int, int], rng: np.random.Generator, use_minima: bool = False
) -> list[ParticleList]:
    """One list per particle: the minima first, then by weight; a full list is not drawn again."""
    n_particles = int(rng.integers(multiplicity[0], multiplicity[1] + 1))
    counts = np.array([entry.min_count if use_minima else 0 for entry in lists])
    weights = np.array([entry.weight if n < entry.max_count else 0.0 for n, entry in zip(counts, lists, strict=True)])
    chosen = [entry for n, entry in zip(counts, lists, strict=True) for _ in range(n)]
    while len(chosen) < n_particles:
        edges = np.cumsum(weights)
        index = int(np.searchsorted(edges, rng.uniform(0.0, edges[-1]), side="right"))
        chosen.append(lists[index])
        counts[index] += 1
        if counts[index] == lists[index].max_count:
            weights[index] = 0.0
    return chosen


def _particle(
    entry: ParticleList,
    vertex: int,
    start: tuple[float, ...],
    rng: np.random.Generator,
    inward: npt.NDArray[np.float64],
) -> tuple[float, ...]:
    """One row of `PRIMARY_DTYPE`. inward (3,): required sign of each direction component, 0 = free."""
    pdg = entry.pdg[rng.integers(len(entry.pdg))]
    value, mass = rng.uniform(*entry.range_mev), MASS_MEV[abs(pdg)]
    momentum = value if entry.quantity == "momentum" else np.sqrt(value * (value + 2 * mass))
    direction = rng.normal(size=3)
    # Mirroring a component is the same as drawing isotropic directions until all signs fit.
    direction = np.where(inward != 0, inward * np.abs(direction), direction) / np.linalg.norm(direction)
    return (pdg, vertex, *start, *(direction * momentum))
