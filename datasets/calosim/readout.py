"""Measured cell energies: sampling fluctuations of the visible energy, and noise in windows around the particles.

Sampling: sigma / E = a / sqrt(E) in each cell, as a Gamma distribution, which is additive over cells. The signals of a
section have a common gain, the constant term of its resolution. Noise is simulated within `WINDOW` of where a particle
enters, not in the whole barrel: elsewhere it would give clusters far below the 0.5 GeV that are written.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from benchmark.compiled import njit

from .distributions import gamma, gauss, uniform
from .geometry import ETA_SIZE, FIRST, MAX_ETA, N_EM, N_ETA, N_PHI, Floats
from .material import (
    CONSTANT_LAR,
    CONSTANT_TILE,
    SAMPLING_EM_LAR,
    SAMPLING_EM_TILE,
    SAMPLING_HAD_LAR,
    SAMPLING_HAD_TILE,
)
from .state import N_TOUCHED

WINDOW = 0.4  # half side in eta and in phi
_ETA_SIZE, _N_ETA, _N_PHI, _FIRST = np.array(ETA_SIZE), np.array(N_ETA), np.array(N_PHI), np.array(FIRST)


class Readout(NamedTuple):
    """Measured cells of one event."""

    energy: Floats  # (G,) GeV on the electron scale; 0 for inactive cells
    rows: npt.NDArray[np.int32]  # (G,) the active cells
    is_active: npt.NDArray[np.int8]  # (G,)
    count: npt.NDArray[np.int64]  # (1,) number of active cells


def make_readout() -> Readout:
    """Nothing is active."""
    n = FIRST[-1]
    return Readout(np.zeros(n), np.zeros(n, np.int32), np.zeros(n, np.int8), np.zeros(1, np.int64))


@njit(cache=True)
def _activate(out, row):
    if out.is_active[row] == 0:
        out.is_active[row] = 1
        out.rows[out.count[0]] = row
        out.count[0] += 1


@njit(cache=True)
def _add_noise(out, grid, rng):
    """Gaussian noise of every active cell, in pairs (Box and Muller)."""
    for k in range(0, out.count[0], 2):
        size, angle = math.sqrt(-2.0 * math.log(uniform(rng))), 2.0 * math.pi * uniform(rng)
        out.energy[out.rows[k]] = grid.sigma_gev[out.rows[k]] * size * math.cos(angle)
        if k + 1 < out.count[0]:
            out.energy[out.rows[k + 1]] = grid.sigma_gev[out.rows[k + 1]] * size * math.sin(angle)


@njit(cache=True)
def _window(out, eta, phi):
    for layer in range(len(_N_ETA)):
        low = max(math.floor((eta - WINDOW + MAX_ETA) / _ETA_SIZE[layer]), 0)
        high = min(math.floor((eta + WINDOW + MAX_ETA) / _ETA_SIZE[layer]), _N_ETA[layer] - 1)
        per_rad = _N_PHI[layer] / (2.0 * math.pi)
        first, last = math.floor((phi - WINDOW + math.pi) * per_rad), math.floor((phi + WINDOW + math.pi) * per_rad)
        for i in range(low, high + 1):
            for j in range(first, last + 1):
                _activate(out, _FIRST[layer] + i * _N_PHI[layer] + j % _N_PHI[layer])


@njit(cache=True)
def fluctuate(rng, energy, a):
    """A measured energy whose mean is `energy` and whose standard deviation is a sqrt(energy)."""
    if energy <= 0.0:
        return 0.0
    shape = energy / (a * a)
    if shape < 1e-4:  # practically never visible
        return 0.0
    return gamma(rng, shape) * a * a


@njit(cache=True)
def read_out(c, grid, out, etas, phis):
    """Measure the cells of `c` (see `State`) with noise in windows around the directions (D,), (D,)."""
    for k in range(out.count[0]):
        out.is_active[out.rows[k]] = 0
        out.energy[out.rows[k]] = 0.0
    out.count[0] = 0
    for k in range(len(etas)):
        _window(out, etas[k], phis[k])
    _add_noise(out, grid, c.rng)
    gain_lar, gain_tile = 1.0 + CONSTANT_LAR * gauss(c.rng), 1.0 + CONSTANT_TILE * gauss(c.rng)
    for k in range(c.count[N_TOUCHED]):
        row = c.touched[k]
        _activate(out, row)
        in_em = grid.layer[row] < N_EM
        em = fluctuate(c.rng, c.visible_em[row], SAMPLING_EM_LAR if in_em else SAMPLING_EM_TILE)
        had = fluctuate(c.rng, c.visible_had[row], SAMPLING_HAD_LAR if in_em else SAMPLING_HAD_TILE)
        out.energy[row] += (em + had) * (gain_lar if in_em else gain_tile)
