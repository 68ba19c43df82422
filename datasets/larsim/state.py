"""Growing lists of particles and deposits for compiled code, and the geometry of the box.

`State` bundles the arrays that every physics routine needs. Lists are preallocated; a full one sets the overflow flag,
and `transport.simulate_event` restarts the event with larger ones (the same seed gives the same event).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from benchmark.compiled import njit

from .constants import C_LIGHT, N_COLUMNS, N_GRID
from .truth import HALF_BOX_MM

_HALF = HALF_BOX_MM
N_PARTICLES, N_DEPOSITS, N_STACK, OVERFLOW = 0, 1, 2, 3


class State(NamedTuple):
    """Arrays of the current event."""

    rng: npt.NDArray[np.uint64]  # (1,)
    pint: npt.NDArray[np.int32]  # (P, 4) pdg, parent, process, vertex
    pflt: npt.NDArray[np.float64]  # (P, 8) x y z t px py pz mass
    didx: npt.NDArray[np.int32]  # (D,) particle row
    dflt: npt.NDArray[np.float32]  # (D, 8) x0 y0 z0 x1 y1 z1 de t
    stack: npt.NDArray[np.int32]  # (P,) rows still to be transported
    count: npt.NDArray[np.int64]  # (4,) particles, deposits, stack height, overflow flag
    tab: npt.NDArray[np.float64]  # (8, N_COLUMNS, N_GRID)


def make_state(n_particles: int, n_deposits: int, tab: npt.NDArray[np.float64]) -> State:
    """Empty lists with room for `n_particles` and `n_deposits`."""
    if tab.shape[1:] != (N_COLUMNS, N_GRID):
        raise ValueError(f"table array has shape {tab.shape}")
    return State(
        np.zeros(1, np.uint64),
        np.empty((n_particles, 4), np.int32),
        np.empty((n_particles, 8), np.float64),
        np.empty(n_deposits, np.int32),
        np.empty((n_deposits, 8), np.float32),
        np.empty(n_particles, np.int32),
        np.zeros(4, np.int64),
        tab,
    )


@njit(cache=True)
def add_particle(c, pdg, parent, process, x, y, z, t, px, py, pz, mass):
    """Append a particle, put it on the stack and return its row (-1 when the list is full)."""
    row = c.count[0]
    if row >= c.pint.shape[0]:
        c.count[3] = 1
        return -1
    c.pint[row, 0] = pdg
    c.pint[row, 1] = parent
    c.pint[row, 2] = process
    c.pint[row, 3] = c.pint[parent, 3] if parent >= 0 else -1
    f = c.pflt
    f[row, 0] = x
    f[row, 1] = y
    f[row, 2] = z
    f[row, 3] = t
    f[row, 4] = px
    f[row, 5] = py
    f[row, 6] = pz
    f[row, 7] = mass
    c.stack[c.count[2]] = row
    c.count[2] += 1
    c.count[0] = row + 1
    return row


@njit(cache=True)
def inside(x, y, z):
    """True in the box."""
    return abs(x) < _HALF and abs(y) < _HALF and abs(z) < _HALF


@njit(cache=True)
def hits_box(x, y, z, ux, uy, uz):
    """True when the ray from (x, y, z) along u meets the box (slab test)."""
    near = 0.0
    far = 1e30
    for i in range(3):
        p = x if i == 0 else (y if i == 1 else z)
        u = ux if i == 0 else (uy if i == 1 else uz)
        if abs(u) < 1e-12:
            if abs(p) >= _HALF:
                return False
        else:
            a = (-_HALF - p) / u
            b = (_HALF - p) / u
            if a > b:
                a, b = b, a
            near = max(near, a)
            far = min(far, b)
    return near < far


@njit(cache=True)
def _clip(x, y, z, dx, dy, dz):
    """Fractions (first, last) of the segment (x,y,z)+f*(dx,dy,dz) that lie in the box."""
    lo = 0.0
    hi = 1.0
    for i in range(3):
        p = x if i == 0 else (y if i == 1 else z)
        d = dx if i == 0 else (dy if i == 1 else dz)
        if abs(d) < 1e-12:
            if abs(p) >= _HALF:
                return 1.0, 0.0
        else:
            a = (-_HALF - p) / d
            b = (_HALF - p) / d
            if a > b:
                a, b = b, a
            lo = max(lo, a)
            hi = min(hi, b)
    return lo, hi


@njit(cache=True)
def add_deposit(c, row, x0, y0, z0, x1, y1, z1, de, t):
    """Append a deposit, clipped to the box."""
    if de <= 0.0:
        return
    if not (inside(x0, y0, z0) and inside(x1, y1, z1)):
        dx, dy, dz = x1 - x0, y1 - y0, z1 - z0
        lo, hi = _clip(x0, y0, z0, dx, dy, dz)
        if hi <= lo:
            return
        x1, y1, z1 = x0 + hi * dx, y0 + hi * dy, z0 + hi * dz
        x0, y0, z0 = x0 + lo * dx, y0 + lo * dy, z0 + lo * dz
        de *= hi - lo
    n = c.count[1]
    if n >= c.didx.shape[0]:
        c.count[3] = 1
        return
    c.didx[n] = row
    f = c.dflt
    f[n, 0] = x0
    f[n, 1] = y0
    f[n, 2] = z0
    f[n, 3] = x1
    f[n, 4] = y1
    f[n, 5] = z1
    f[n, 6] = de
    f[n, 7] = t
    c.count[1] = n + 1


@njit(cache=True)
def flight_time(length, momentum, mass):
    """Time (ns) to travel `length` mm."""
    return length * math.sqrt(1.0 + (mass / momentum) ** 2) / C_LIGHT
