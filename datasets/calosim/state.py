"""Arrays of one event in flight: energy in cells by kind, energy per particle, energy in dead matter."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from benchmark.compiled import njit
from benchmark.datasets._mltree import N_TRUTH_PER_CELL

from .geometry import (
    BORDERS_MM,
    DEPTH_LAMBDA,
    DEPTH_X0,
    FIRST,
    MAX_ETA,
    N_DEAD,
    REGION_LAYER,
    Floats,
    cell_at,
    dead_bin_at,
)

EM, NON_EM, INVISIBLE, ESCAPED = 0, 1, 2, 3  # kinds of true energy, as ATLAS's calibration hits
N_TOUCHED, N_OF_PARTICLE = 0, 1  # indices in State.count
LEAK = 0  # index in State.total: energy that leaves the barrel or is never released
N_REGIONS = len(REGION_LAYER)
_X0_PER_MM = DEPTH_X0 / np.diff(BORDERS_MM)
_LAMBDA_PER_MM = DEPTH_LAMBDA / np.diff(BORDERS_MM)
BEHIND_MM_PER_X0, BEHIND_MM_PER_LAMBDA = 22.4, 200.0  # beyond the barrel a shower continues as in Tile, uncounted


class State(NamedTuple):
    """Written by the showers, read by the clusters. Energies in GeV, G cells."""

    rng: npt.NDArray[np.uint64]  # (1,)
    truth: Floats  # (G, 4) by kind
    visible_em: Floats  # (G,) on the electron scale, before fluctuations, from electrons and photons
    visible_had: Floats  # (G,) the same from hadrons
    own: Floats  # (G,) all kinds, of the current particle
    touched: npt.NDArray[np.int32]  # (G,) rows with energy, in order of first touch
    touched_own: npt.NDArray[np.int32]  # (G,) rows with energy of the current particle
    is_touched: npt.NDArray[np.int8]  # (G,)
    top_e: Floats  # (G, 3) leading particles by falling energy
    top_row: npt.NDArray[np.int32]  # (G, 3) their rows, -1 for none
    dead: Floats  # (N_DEAD,) all kinds, in dead matter
    total: Floats  # (1,)
    count: npt.NDArray[np.int64]  # (2,)
    path: Floats  # (4, N_REGIONS + 2) of the current straight line: mm, X0, lambda, region


def make_state() -> State:
    """An empty event."""
    n = FIRST[-1]
    return State(
        rng=np.zeros(1, np.uint64),
        truth=np.zeros((n, 4)),
        visible_em=np.zeros(n),
        visible_had=np.zeros(n),
        own=np.zeros(n),
        touched=np.zeros(n, np.int32),
        touched_own=np.zeros(n, np.int32),
        is_touched=np.zeros(n, np.int8),
        top_e=np.zeros((n, N_TRUTH_PER_CELL)),
        top_row=np.full((n, N_TRUTH_PER_CELL), -1, np.int32),
        dead=np.zeros(N_DEAD),
        total=np.zeros(1),
        count=np.zeros(2, np.int64),
        path=np.zeros((4, N_REGIONS + 2)),
    )


@njit(cache=True)
def clear(c):
    """Empty the cells that the last event touched."""
    for k in range(c.count[N_TOUCHED]):
        row = c.touched[k]
        c.visible_em[row] = 0.0
        c.visible_had[row] = 0.0
        c.is_touched[row] = 0
        for m in range(4):
            c.truth[row, m] = 0.0
        for m in range(c.top_e.shape[1]):
            c.top_e[row, m] = 0.0
            c.top_row[row, m] = -1
    c.dead[:] = 0.0
    c.total[:] = 0.0
    c.count[:] = 0


@njit(cache=True)
def deposit(c, x, y, z, em, non_em, invisible, escaped, response):
    """Deposit energies (GeV) of four kinds at a position (mm). response: visible part of `non_em`, on the EM scale."""
    energy = em + non_em + invisible + escaped
    r = math.sqrt(x * x + y * y)
    if r >= BORDERS_MM[N_REGIONS] or r < 1.0:
        c.total[LEAK] += energy
        return
    eta, phi = math.asinh(z / r), math.atan2(y, x)
    if eta <= -MAX_ETA or eta >= MAX_ETA:
        c.total[LEAK] += energy
        return
    region = 0
    while r >= BORDERS_MM[region + 1]:
        region += 1
    layer = REGION_LAYER[region]
    if layer < 0:
        c.dead[dead_bin_at(eta, phi)] += energy
        return
    row = cell_at(layer, eta, phi)
    if c.is_touched[row] == 0:
        c.is_touched[row] = 1
        c.touched[c.count[N_TOUCHED]] = row
        c.count[N_TOUCHED] += 1
    if c.own[row] == 0.0:
        c.touched_own[c.count[N_OF_PARTICLE]] = row
        c.count[N_OF_PARTICLE] += 1
    c.own[row] += max(energy, 1e-30)
    c.truth[row, EM] += em
    c.truth[row, NON_EM] += non_em
    c.truth[row, INVISIBLE] += invisible
    c.truth[row, ESCAPED] += escaped
    c.visible_em[row] += em
    c.visible_had[row] += response * non_em


@njit(cache=True)
def close_particle(c, particle):
    """Add the current particle's cell energies to the cells' leading three."""
    last = c.top_e.shape[1] - 1
    for k in range(c.count[N_OF_PARTICLE]):
        row = c.touched_own[k]
        energy = c.own[row]
        c.own[row] = 0.0
        if energy <= c.top_e[row, last]:
            continue
        m = last
        while m > 0 and c.top_e[row, m - 1] < energy:
            c.top_e[row, m] = c.top_e[row, m - 1]
            c.top_row[row, m] = c.top_row[row, m - 1]
            m -= 1
        c.top_e[row, m] = energy
        c.top_row[row, m] = particle
    c.count[N_OF_PARTICLE] = 0


@njit(cache=True)
def trace(c, x, y, z, ux, uy, uz):
    """Follow a straight line outward; fills `c.path` and returns the number n of its points.

    Point 0 is the start, the others are the borders that the line crosses; path[3, k] is the region between the points
    k and k + 1.
    """
    r2, across2, b = x * x + y * y, ux * ux + uy * uy, x * ux + y * uy
    across2 = max(across2, 1e-6)
    region = 0
    while region < N_REGIONS and r2 >= BORDERS_MM[region + 1] ** 2:
        region += 1
    c.path[0, 0] = 0.0
    c.path[1, 0] = 0.0
    c.path[2, 0] = 0.0
    n = 1
    while region < N_REGIONS:
        border = BORDERS_MM[region + 1]
        s = (-b + math.sqrt(max(b * b + across2 * (border * border - r2), 0.0))) / across2
        step = max(s - c.path[0, n - 1], 0.0)
        c.path[3, n - 1] = region
        c.path[0, n] = c.path[0, n - 1] + step
        c.path[1, n] = c.path[1, n - 1] + step * _X0_PER_MM[region]
        c.path[2, n] = c.path[2, n - 1] + step * _LAMBDA_PER_MM[region]
        n += 1
        region += 1
    c.path[3, n - 1] = N_REGIONS
    return n


@njit(cache=True)
def along(c, n, which, depth):
    """(mm along the traced line, region) of a depth in X0 (which = 1) or interaction lengths (which = 2)."""
    k = 0
    while k < n - 1 and c.path[which, k + 1] <= depth:
        k += 1
    if k == n - 1:
        mm_per_unit = BEHIND_MM_PER_X0 if which == 1 else BEHIND_MM_PER_LAMBDA
        return c.path[0, k] + (depth - c.path[which, k]) * mm_per_unit, N_REGIONS
    share = (depth - c.path[which, k]) / (c.path[which, k + 1] - c.path[which, k])
    return c.path[0, k] + share * (c.path[0, k + 1] - c.path[0, k]), int(c.path[3, k])
