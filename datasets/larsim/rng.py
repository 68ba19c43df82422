"""Random numbers for compiled code: a SplitMix64 state in a `(1,)` uint64 array.

Steele, Lea, Flood (2014), "Fast splittable pseudorandom number generators". The state is passed
explicitly, so an event depends on its seed alone.
"""

from __future__ import annotations

import math

import numpy as np

from benchmark.compiled import njit

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX2 = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
_TO_UNIT = 1.0 / 9007199254740992.0  # 2**-53


@njit(cache=True)
def uniform(rng):
    """A float in the open interval (0, 1)."""
    s = rng[0] + _GOLDEN
    rng[0] = s
    s = (s ^ (s >> _S30)) * _MIX1
    s = (s ^ (s >> _S27)) * _MIX2
    s = s ^ (s >> _S31)
    return (np.float64(s >> _S11) + 0.5) * _TO_UNIT


@njit(cache=True)
def exponential(rng):
    """Unit exponential."""
    return -math.log(uniform(rng))


@njit(cache=True)
def gauss(rng):
    """Standard normal (Box-Muller, one of the pair)."""
    return math.sqrt(-2.0 * math.log(uniform(rng))) * math.cos(2.0 * math.pi * uniform(rng))


@njit(cache=True)
def poisson(rng, mean):
    """Poisson count for small means (product of uniforms); the mean must be below about 30."""
    limit = math.exp(-mean)
    n = 0
    product = uniform(rng)
    while product > limit:
        n += 1
        product *= uniform(rng)
    return n


@njit(cache=True)
def isotropic(rng):
    """A unit vector, uniform on the sphere."""
    c = 2.0 * uniform(rng) - 1.0
    s = math.sqrt(1.0 - c * c)
    phi = 2.0 * math.pi * uniform(rng)
    return s * math.cos(phi), s * math.sin(phi), c


@njit(cache=True)
def rotate(ux, uy, uz, cos_theta, phi):
    """Unit vector at polar angle theta and azimuth phi about the unit vector (ux, uy, uz)."""
    s = math.sqrt(max(0.0, 1.0 - cos_theta * cos_theta))
    a = s * math.cos(phi)
    b = s * math.sin(phi)
    perp2 = ux * ux + uy * uy
    if perp2 < 1e-12:
        sign = 1.0 if uz > 0.0 else -1.0
        return a, sign * b, sign * cos_theta
    perp = math.sqrt(perp2)
    vx = (ux * uz * a - uy * b) / perp + ux * cos_theta
    vy = (uy * uz * a + ux * b) / perp + uy * cos_theta
    vz = -perp * a + uz * cos_theta
    norm = 1.0 / math.sqrt(vx * vx + vy * vy + vz * vz)  # stops the drift of repeated rotations
    return vx * norm, vy * norm, vz * norm
