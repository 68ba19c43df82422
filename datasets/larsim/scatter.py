"""Multiple scattering and energy-loss straggling of one step.

Scattering is a mixed simulation (as in PENELOPE): collisions beyond an angle theta_h are drawn one
by one from the screened Rutherford cross-section with Moliere's screening angle (Lynch and Dahl
1991, eqs. 1-2), the rest is summed into a narrow distribution with the exact mean square angle.
Any number of steps therefore composes to Moliere's distribution with its tails, which a Gaussian of
Highland's width per step does not.

Straggling works alike: transfers above e_mid are drawn from the knock-on spectrum 1/T^2
(1 - beta^2 T / Tmax), the soft rest is Gaussian. This is Landau-Vavilov by construction, and the
mean is that of the stopping-power table.
"""

from __future__ import annotations

import math

from benchmark.compiled import njit

from .constants import CHI_C2_PER_MM, FINE_STRUCTURE, SCREENING, XI_PER_MM, Z_AR
from .rng import gauss, poisson, uniform

_HARD_PER_STEP = 0.6  # mean number of single collisions beyond theta_h
_FORM_FACTOR = 1.0e-4  # <r^2>/3 of the argon nucleus, 1/MeV^2
_THREE_ALPHA_Z2 = 3.34 * (Z_AR * FINE_STRUCTURE) ** 2


@njit(cache=True)
def _soft_cosine(rng, mean_square):
    """Cosine of a polar angle of density exp(a cos) whose mean cosine is exp(-<theta^2>/2)."""
    if mean_square < 0.02:
        return 1.0 + 0.5 * mean_square * math.log(uniform(rng))
    y = math.exp(-0.5 * mean_square)
    a = y * (3.0 - y * y) / (1.0 - y * y)  # inverse Langevin function (Cohen 1991)
    u = uniform(rng)
    return max(-1.0, 1.0 + math.log(u + (1.0 - u) * math.exp(-2.0 * a)) / a)


@njit(cache=True)
def scatter(rng, step, momentum, beta2):
    """Polar cosine of the deflection after `step` mm."""
    p2 = momentum * momentum
    chi_c2 = CHI_C2_PER_MM * step / (p2 * beta2)
    chi_a2 = SCREENING * (1.0 + _THREE_ALPHA_Z2 / beta2) / p2
    hard2 = min(chi_c2 / _HARD_PER_STEP, 1.0)
    ratio = hard2 / chi_a2
    cosine = _soft_cosine(rng, chi_c2 * max(math.log(1.0 + ratio) - ratio / (1.0 + ratio), 0.0))
    for _ in range(poisson(rng, min(chi_c2 / (hard2 + chi_a2), 20.0))):
        mu2 = (hard2 + chi_a2) / uniform(rng) - chi_a2  # 2 (1 - cos) of one collision
        if mu2 >= 4.0:
            continue
        if uniform(rng) > (1.0 - 0.25 * beta2 * mu2) * math.exp(-_FORM_FACTOR * p2 * mu2):
            continue
        c = 1.0 - 0.5 * mu2
        s = math.sqrt(max(0.0, 1.0 - c * c) * max(0.0, 1.0 - cosine * cosine))
        cosine = cosine * c - s * math.cos(2.0 * math.pi * uniform(rng))
    return min(1.0, max(-1.0, cosine))


@njit(cache=True)
def straggle(rng, mean, step, beta2, cut, top):
    """Energy (MeV) lost in a step with the given mean, to transfers below `cut`; top = Tmax."""
    xi = XI_PER_MM * step / beta2
    cut = min(cut, top)
    if xi > 3.0 * cut:
        sigma = math.sqrt(xi * cut * (1.0 - 0.5 * beta2 * cut / top))
        return _positive(rng, mean, sigma)
    middle = max(xi / 3.0, 1.0e-3)
    if middle >= cut:
        return mean
    hard = 0.0
    for _ in range(poisson(rng, xi * (1.0 / middle - 1.0 / cut))):
        transfer = middle / (1.0 - uniform(rng) * (1.0 - middle / cut))
        if uniform(rng) > beta2 * transfer / top:
            hard += transfer
    soft = mean - xi * (math.log(cut / middle) - beta2 * (cut - middle) / top)
    if soft <= 0.0:
        return mean
    return hard + _positive(rng, soft, math.sqrt(xi * middle))


@njit(cache=True)
def _positive(rng, mean, sigma):
    """Gaussian cut at 0 and 2 mean, or uniform between them when it would be cut hard."""
    if sigma > 0.6 * mean:
        return 2.0 * mean * uniform(rng)
    while True:
        value = mean + sigma * gauss(rng)
        if 0.0 < value < 2.0 * mean:
            return value
