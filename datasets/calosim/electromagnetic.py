"""Electromagnetic showers by GFLASH (Grindhammer and Peters, hep-ex/0001020, homogeneous and sampling variants).

Longitudinal: a Gamma distribution in X0 whose ln T and ln alpha fluctuate together. Radial: a core and a tail of the
form 2 r R^2 / (r^2 + R^2)^2. Each step along the axis has exactly its share of the profile, spread laterally over
spots. Energies in GeV, lengths in mm, depths in X0.
"""

from __future__ import annotations

import math

import numpy as np

from benchmark.compiled import njit

from .distributions import exponential, gauss, perpendicular, uniform
from .geometry import TILE_REGION
from .material import CONVERSION_X0, LAR, MAX_SPOTS, MIN_SPOTS, SPOTS_AT_1_GEV, TILE
from .state import along, deposit, trace

N_STEPS = 40
_MAX_SIGMA = 0.5  # of ln T and ln alpha, where the fits diverge at low energy
_BLOB_GEV = 0.03  # softer showers are one spot
_MAX_U = 0.9995  # cuts the tail at 45 radii
_FEW = 16  # spots of a step at least, where a real shower has as many


@njit(cache=True)
def mean_profile(energy, in_tile):
    """(ln T, ln alpha, ln y) of the mean sampling shower: GFLASH's eqs. for T and alpha with their sampling shifts."""
    critical = TILE.critical_gev if in_tile else LAR.critical_gev
    z = TILE.z if in_tile else LAR.z
    inverse_fs = TILE.inverse_fs if in_tile else LAR.inverse_fs
    one_minus = TILE.one_minus_e_hat if in_tile else LAR.one_minus_e_hat
    ln_y = math.log(max(energy / critical, 4.0))
    t = ln_y - 0.812 - 0.55 * inverse_fs - 0.69 * one_minus
    alpha = 0.81 + (0.458 + 2.26 / z) * ln_y - 0.476 * inverse_fs
    return math.log(max(t, 0.3)), math.log(max(alpha, 1.2)), ln_y


@njit(cache=True)
def draw_profile(c, energy, in_tile):
    """(T, alpha) of one shower."""
    mean_t, mean_alpha, ln_y = mean_profile(energy, in_tile)
    below_t, below_alpha = -2.5 + 1.25 * ln_y, -0.82 + 0.79 * ln_y
    sigma_t = min(1.0 / below_t, _MAX_SIGMA) if below_t > 0.0 else _MAX_SIGMA
    sigma_alpha = min(1.0 / below_alpha, _MAX_SIGMA) if below_alpha > 0.0 else _MAX_SIGMA
    rho = 0.784 - 0.023 * ln_y
    one, two = math.sqrt(0.5 * (1.0 + rho)) * gauss(c.rng), math.sqrt(0.5 * (1.0 - rho)) * gauss(c.rng)
    return math.exp(mean_t + sigma_t * (one + two)), max(math.exp(mean_alpha + sigma_alpha * (one - two)), 1.05)


@njit(cache=True)
def radial(energy, tau, in_tile):
    """(core radius, tail radius, share of the core) at tau = t / T, radii in units of the Moliere radius."""
    z = TILE.z if in_tile else LAR.z
    inverse_fs = TILE.inverse_fs if in_tile else LAR.inverse_fs
    one_minus = TILE.one_minus_e_hat if in_tile else LAR.one_minus_e_hat
    ln_e, fade = math.log(energy), math.exp(-tau)
    tau = min(tau, 6.0)
    core = 0.0251 + 0.00319 * ln_e + (0.1162 - 0.000381 * z) * tau
    core += -0.0203 * one_minus + 0.0397 * inverse_fs * fade
    tail = math.exp(-2.59 * (tau - 0.645)) + math.exp((0.3585 + 0.0421 * ln_e) * (tau - 0.645))
    tail = (0.659 - 0.00309 * z) * tail - 0.14 * one_minus - 0.495 * inverse_fs * fade
    q = (0.401 + 0.00187 * z - tau) / (1.313 - 0.0686 * ln_e)
    share = (2.632 - 0.00094 * z) * math.exp(q - math.exp(q))
    share += one_minus * (0.348 - 0.642 * inverse_fs * math.exp(-((tau - 1.0) ** 2)))
    core = min(max(core, 0.02), 1.0)
    return core, min(max(tail, core), 4.0), min(max(share, 0.02), 0.98)


@njit(cache=True)
def shower(c, x, y, z, ux, uy, uz, energy, is_photon, y_factor):
    """Develop one shower from a position (mm) along a unit vector and deposit all of its energy.

    is_photon: begins after a conversion. y_factor: the profile is that of an electron of `y_factor * energy` (0.5 for
    the two photons of a neutral pion that are one shower).
    """
    n = trace(c, x, y, z, ux, uy, uz)
    start = CONVERSION_X0 * exponential(c.rng) if is_photon else 0.0
    if energy < _BLOB_GEV:
        s, _ = along(c, n, 1, start + 1.0)
        deposit(c, x + s * ux, y + s * uy, z + s * uz, energy, 0.0, 0.0, 0.0, 0.0)
        return
    _, region = along(c, n, 1, start)
    in_tile = region >= TILE_REGION
    t_max, alpha = draw_profile(c, y_factor * energy, in_tile)
    rate = (alpha - 1.0) / t_max
    dt = (alpha + 5.0 * math.sqrt(alpha)) / rate / N_STEPS
    norm = 0.0
    for k in range(N_STEPS):
        norm += math.exp((alpha - 1.0) * math.log((k + 0.5) * dt) - rate * (k + 0.5) * dt)
    natural = max(SPOTS_AT_1_GEV * energy**0.959, MIN_SPOTS)
    spots = min(natural, MAX_SPOTS)
    frame = perpendicular(ux, uy, uz)
    for k in range(N_STEPS):
        middle = (k + 0.5) * dt
        share = math.exp((alpha - 1.0) * math.log(middle) - rate * middle) / norm
        n_spots = max(int(max(spots * share, min(natural * share, _FEW)) + uniform(c.rng)), 1)
        crowd = min(natural / spots, natural * share / n_spots)
        t0, tau = start + k * dt, middle / t_max
        _step(c, n, x, y, z, ux, uy, uz, frame, t0, dt, share * energy, n_spots, crowd, energy, tau)


@njit(cache=True)
def _scales(c, n, depth, energy, tau):
    """(core mm, tail mm, share of the core) of a step."""
    _, region = along(c, n, 1, depth)
    in_tile = region >= TILE_REGION
    core, tail, share = radial(energy, tau, in_tile)
    moliere = TILE.moliere_mm if in_tile else LAR.moliere_mm
    return core * moliere, tail * moliere, share


@njit(cache=True)
def _spot(c, x, y, z, ux, uy, uz, frame, s, r, energy):
    """Deposit `energy` at the distance r from the axis, at a random angle."""
    angle = 2.0 * math.pi * uniform(c.rng)
    a, b = r * math.cos(angle), r * math.sin(angle)
    deposit(
        c,
        x + s * ux + a * frame[0] + b * frame[3],
        y + s * uy + a * frame[1] + b * frame[4],
        z + s * uz + a * frame[2] + b * frame[5],
        energy,
        0.0,
        0.0,
        0.0,
        0.0,
    )


@njit(cache=True)
def _step(c, n, x, y, z, ux, uy, uz, frame, t0, dt, part, n_spots, crowd, energy, tau):
    """Spread `part` GeV of the step from depth t0 to t0 + dt over spots.

    crowd: real spots per simulated spot. Up to 1 all have equal weight; towards 2 and above, half
    of them are put in the tail and lighter ones farther out (1 - u = (1 - v)^k with v uniform weighs k (1 - v)^(k - 1),
    k up to 3), so that no heavy spot lands in a cell of its own.
    """
    core, tail, share = _scales(c, n, t0 + 0.5 * dt, energy, tau)
    bias = min(max(crowd - 1.0, 0.0), 1.0)
    k, in_core = 1.0 + 2.0 * bias, (1.0 - bias) * share + 0.5 * bias
    radii, weights = np.empty(n_spots), np.empty(n_spots)
    for m in range(n_spots):
        is_core = uniform(c.rng) < in_core
        rest = uniform(c.rng)  # 1 - v
        u = min(1.0 - rest**k, _MAX_U)
        radii[m] = (core if is_core else tail) * math.sqrt(u / (1.0 - u))
        weights[m] = k * rest ** (k - 1.0) * (share / in_core if is_core else (1.0 - share) / (1.0 - in_core))
    weights *= part / weights.sum()
    for m in range(n_spots):
        s, _ = along(c, n, 1, t0 + dt * uniform(c.rng))
        _spot(c, x, y, z, ux, uy, uz, frame, s, radii[m], weights[m])
