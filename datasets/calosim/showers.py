"""Showers of all particles of an event: true energy per kind and particle in cells, in dead matter, and leaked.

The sum of all true energies in cells, of `State.dead` and of the leak is the sum of the particles' energies.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from benchmark.compiled import njit

from . import electromagnetic, hadronic
from .geometry import Floats
from .state import State, clear, close_particle, make_state

PHOTON, ELECTRON, HADRON = 0, 1, 2
# of a particle at its entry: row in the truth table, kind, energy, mass (GeV), charge, baryon (0, 1), mean depth of
# the first interaction (interaction lengths), position (mm), direction
COLUMNS = ("row", "kind", "energy", "mass", "charge", "baryon", "lambda", "x", "y", "z", "ux", "uy", "uz")


@njit(cache=True)
def _run(c, particles):
    clear(c)
    for k in range(len(particles)):
        p = particles[k]
        if p[1] == HADRON:
            hadronic.hadron(c, p[7], p[8], p[9], p[10], p[11], p[12], p[2], p[3], int(p[4]), p[5] > 0.0, p[6])
        else:
            electromagnetic.shower(c, p[7], p[8], p[9], p[10], p[11], p[12], p[2], p[1] == PHOTON, 1.0)
        if k == len(particles) - 1 or particles[k + 1][0] != p[0]:
            close_particle(c, int(p[0]))


def run_showers(state: State, particles: Floats, seed: int) -> None:
    """Shower (N, 13) particles, `COLUMNS`, sorted by row of the truth table, into `state`."""
    state.rng[0] = np.uint64(seed & 0xFFFFFFFFFFFFFFFF)
    _run(state, particles)


def shower_once(particles: npt.ArrayLike, seed: int) -> State:
    """A fresh state with the showers of `particles`, for studies and tests."""
    state = make_state()
    run_showers(state, np.atleast_2d(np.asarray(particles, dtype=np.float64)), seed)
    return state
