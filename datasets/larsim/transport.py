"""Entry point of the transport: primaries in, particles and energy deposits out.

Particles wait on a stack and are followed one at a time to their end, so the deposits of one particle
are contiguous. All random numbers come from the event's 64-bit seed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from benchmark.compiled import njit
from benchmark.errors import BenchmarkError

from . import constants as k
from .charged import track_heavy
from .decays import pi0_decay
from .electrons import track_electron
from .neutrons import track_neutron
from .photons import track_photon
from .rng import uniform
from .state import State, add_deposit, make_state
from .tables import build_tables
from .truth import DEPOSIT_DTYPE, PARTICLE_DTYPE, PRIMARY_DTYPE, EventTruth

MASS_BY_PDG: dict[int, float] = {
    11: k.M_E, -11: k.M_E, 13: k.M_MU, -13: k.M_MU, 22: 0.0, 111: k.M_PI0, 211: k.M_PI, -211: k.M_PI,
    321: k.M_K, -321: k.M_K, 2212: k.M_P, 2112: k.M_N,
}  # fmt: skip
"""Masses (MeV) of the particles that can be transported."""

_START_PARTICLES, _START_DEPOSITS = 1 << 15, 1 << 18
_MAX_DEPOSITS = 1 << 26
_buffers: list[State] = []  # one reusable set of lists per process


@njit(cache=True)
def _recoil(c, row):
    """A nucleus stops at once: its range is far below a voxel."""
    f = c.pflt
    m = f[row, 7]
    p2 = f[row, 4] ** 2 + f[row, 5] ** 2 + f[row, 6] ** 2
    x, y, z = f[row, 0], f[row, 1], f[row, 2]
    add_deposit(c, row, x, y, z, x, y, z, p2 / (np.sqrt(p2 + m * m) + m), f[row, 3])


@njit(cache=True)
def _run(c):
    for _ in range(4):  # decorrelates neighbouring seeds
        uniform(c.rng)
    while c.count[2] > 0 and c.count[3] == 0:
        c.count[2] -= 1
        row = c.stack[c.count[2]]
        pdg = c.pint[row, 0]
        if pdg == 22:
            track_photon(c, row)
        elif pdg == 11 or pdg == -11:
            track_electron(c, row)
        elif pdg == 2112:
            track_neutron(c, row)
        elif pdg == 111:
            pi0_decay(c, row)
        elif pdg > 1000000000:
            _recoil(c, row)
        else:
            track_heavy(c, row)


def simulate_event(primaries: npt.NDArray[np.void], seed: int) -> EventTruth:
    """Transport the primaries of one event through liquid argon.

    `primaries` is (N,) `PRIMARY_DTYPE` (mm, ns, MeV/c); `seed` any integer, of which 64 bits are used. The same
    primaries and seed give the same truth on any worker. Raises `BenchmarkError` for a particle
    that is not modelled, a momentum or position that is not finite, or an event too large.
    """
    masses = _check(primaries)
    if not _buffers:
        _buffers.append(make_state(_START_PARTICLES, _START_DEPOSITS, build_tables()))
    while True:
        truth = _attempt(_buffers[0], primaries, masses, seed)
        if truth is not None:
            return truth
        n_particles, n_deposits = _buffers[0].stack.size, _buffers[0].didx.size
        if n_deposits > _MAX_DEPOSITS:
            raise BenchmarkError(
                f"an event of {len(primaries)} primaries makes more than {n_deposits} deposits. "
                "Expected an event of some hundred GeV at most. Lower the energies or the number of particles."
            )
        factor = max(2, 2 * len(primaries) // n_particles)
        _buffers[0] = make_state(factor * n_particles, factor * n_deposits, _buffers[0].tab)


def run_state(state: State, primaries: npt.NDArray[np.void], seed: int) -> EventTruth:
    """Like `simulate_event` with lists and tables of the caller (for studies with altered physics)."""
    truth = _attempt(state, primaries, _check(primaries), seed)
    if truth is None:
        raise BenchmarkError(
            f"{state.didx.size} deposits are too few for this event. Expected longer lists. "
            "Call make_state with larger numbers."
        )
    return truth


def _attempt(
    state: State, primaries: npt.NDArray[np.void], masses: npt.NDArray[np.float64], seed: int
) -> EventTruth | None:
    """One attempt; None when the lists are too short."""
    if len(primaries) > state.stack.size:
        return None
    _load(state, primaries, masses, seed)
    _run(state)
    return None if state.count[3] else _collect(state)


def _check(primaries: npt.NDArray[np.void]) -> npt.NDArray[np.float64]:
    if primaries.dtype != PRIMARY_DTYPE:
        raise BenchmarkError(
            f"primaries have dtype {primaries.dtype}. Expected truth.PRIMARY_DTYPE. "
            "Build them with numpy.zeros(n, PRIMARY_DTYPE)."
        )
    unknown = sorted({int(p) for p in primaries["pdg"]} - set(MASS_BY_PDG))
    if unknown:
        raise BenchmarkError(
            f"particle numbers {unknown} are not modelled. Expected some of {sorted(MASS_BY_PDG)}. "
            "Choose particles from that list."
        )
    for name in ("x", "y", "z", "t", "px", "py", "pz"):
        if not np.isfinite(primaries[name]).all():
            raise BenchmarkError(
                f"a primary's {name} is not finite. Expected mm, ns and MeV/c. Correct the generator's settings."
            )
    return np.array([MASS_BY_PDG[int(p)] for p in primaries["pdg"]], dtype=np.float64)


def _load(state: State, primaries: npt.NDArray[np.void], masses: npt.NDArray[np.float64], seed: int) -> None:
    """Put the primaries on an emptied stack, the first on top."""
    n = len(primaries)
    state.count[:] = (n, 0, n, 0)
    state.rng[0] = np.uint64(seed & 0xFFFFFFFFFFFFFFFF)
    state.pint[:n, 0] = primaries["pdg"]
    state.pint[:n, 1] = -1
    state.pint[:n, 2] = 0
    state.pint[:n, 3] = primaries["vertex"]
    for i, name in enumerate(("x", "y", "z", "t", "px", "py", "pz")):
        state.pflt[:n, i] = primaries[name]
    state.pflt[:n, 7] = masses
    state.stack[:n] = np.arange(n - 1, -1, -1)


def _collect(state: State) -> EventTruth:
    n, d = int(state.count[0]), int(state.count[1])
    particles: npt.NDArray[Any] = np.empty(n, PARTICLE_DTYPE)
    for i, name in enumerate(("pdg", "parent", "process", "vertex")):
        particles[name] = state.pint[:n, i]
    for i, name in enumerate(("x", "y", "z", "t", "px", "py", "pz", "mass")):
        particles[name] = state.pflt[:n, i]
    deposits: npt.NDArray[Any] = np.empty(d, DEPOSIT_DTYPE)
    deposits["particle"] = state.didx[:d]
    for i, name in enumerate(("x0", "y0", "z0", "x1", "y1", "z1", "de", "t")):
        deposits[name] = state.dflt[:d, i]
    return EventTruth(particles, deposits)
