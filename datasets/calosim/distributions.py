"""Distributions of the showers, on top of the liquid-argon simulation's generator."""

from __future__ import annotations

import math

from benchmark.compiled import njit
from benchmark.datasets.larsim.rng import exponential, gauss, poisson, rotate, uniform

__all__ = ["beta", "exponential", "gamma", "gauss", "perpendicular", "poisson", "rotate", "uniform"]


@njit(cache=True)
def gamma(rng, shape):
    """Gamma of scale 1 (Marsaglia and Tsang 2000; below shape 1 by their power of a uniform)."""
    boost = 1.0
    if shape < 1.0:
        boost = uniform(rng) ** (1.0 / shape)
        shape += 1.0
    d = shape - 1.0 / 3.0
    c = 1.0 / math.sqrt(9.0 * d)
    while True:
        x = gauss(rng)
        v = (1.0 + c * x) ** 3
        if v > 0.0 and math.log(uniform(rng)) < 0.5 * x * x + d - d * v + d * math.log(v):
            return boost * d * v


@njit(cache=True)
def beta(rng, mean, sigma):
    """Beta distribution of a mean and a standard deviation; a sigma above 0.95 of the largest possible is lowered."""
    variance = min(sigma * sigma, 0.9 * mean * (1.0 - mean))
    total = mean * (1.0 - mean) / variance - 1.0
    a, b = gamma(rng, mean * total), gamma(rng, (1.0 - mean) * total)
    return a / max(a + b, 1e-300)


@njit(cache=True)
def perpendicular(ux, uy, uz):
    """Two unit vectors that make a right-handed frame with the unit vector u."""
    if abs(uz) < 0.9:
        norm = math.sqrt(ux * ux + uy * uy)
        ax, ay, az = -uy / norm, ux / norm, 0.0
    else:
        norm = math.sqrt(uy * uy + uz * uz)
        ax, ay, az = 0.0, -uz / norm, uy / norm
    return ax, ay, az, uy * az - uz * ay, uz * ax - ux * az, ux * ay - uy * ax
