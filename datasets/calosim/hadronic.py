"""Charged and neutral hadrons: ionisation, a first interaction, an electromagnetic and a hadronic part.

Before the interaction a charged hadron ionises; its depth is exponential in interaction lengths. There the energy is
split at random (mean of Groom and Wigmans, 1 - (E/E0)^(k-1)) into an electromagnetic part, GFLASH showers that begin at
the vertex or at later ones, and a hadronic part: prongs, of which two thirds ionise on their way, the harder ones to
interact again, the others to end in a cascade with a Gamma profile in interaction lengths (Bock et al., NIM 186 (1981)
533) and a broad exponential halo. Part of a cascade is invisible (nuclear binding) or escapes (neutrinos). Energies in
GeV, lengths in mm.
"""

from __future__ import annotations

import math

import numpy as np

from benchmark.compiled import njit

from . import electromagnetic
from .distributions import beta, exponential, gamma, gauss, perpendicular, poisson, rotate, uniform
from .geometry import REGION_LAYER, TILE_REGION
from .material import (
    ESCAPED,
    F_EM_E0_GEV,
    F_EM_K,
    HALO_MM,
    HALO_MM_PER_LAMBDA,
    INVISIBLE_LAR,
    INVISIBLE_TILE,
    MIP_DEAD,
    MIP_LAR,
    MIP_RESPONSE_LAR,
    MIP_RESPONSE_TILE,
    MIP_TILE,
    NEUTRON_SHARE,
    NEUTRON_WIDENING,
    RESPONSE_LAR,
    RESPONSE_TILE,
)
from .state import LEAK, N_REGIONS, along, deposit, trace

_PIECE_MM = 25.0  # ionisation is deposited in pieces of about this length
_PIECE_SIGMA2 = 0.25  # relative variance of a piece's ionisation
_BINDING_GEV = 2.0  # energy per independently fluctuating nuclear interaction
_MAX_PRONGS, _MAX_EM = 14, 10
_AGAIN_GEV, _MAX_GENERATION, _MAX_VERTICES = 3.0, 3, 40  # prongs above this energy interact again, so often at most
_TRANSVERSE_GEV = 0.5  # mean transverse momentum of secondaries
_PION_GEV = 0.13957
_MAX_SPOTS, _WIDENING = 500, 0.7


@njit(cache=True)
def mean_f_em(energy):
    """Mean electromagnetic share of a hadronic shower; at least 0.04 for charge exchange."""
    return max(1.0 - max(energy / F_EM_E0_GEV, 1.0) ** (F_EM_K - 1.0), 0.04)


@njit(cache=True)
def sigma_f_em(energy):
    """Its standard deviation: 0.19 at 10 GeV, 0.12 at 100 GeV."""
    return 0.19 * (max(energy, 0.5) / 10.0) ** -0.20


@njit(cache=True)
def ionise(c, n, x, y, z, ux, uy, uz, end_mm, kinetic, mass):
    """Deposit ionisation along the traced line up to `end_mm`. Returns (kinetic energy left, mm reached)."""
    reached = 0.0
    for k in range(n - 1):
        length = min(c.path[0, k + 1], end_mm) - c.path[0, k]
        if length <= 0.0:
            break
        region = int(c.path[3, k])
        in_tile, is_dead = region >= TILE_REGION, REGION_LAYER[region] < 0
        loss = MIP_TILE if in_tile else (MIP_DEAD if is_dead else MIP_LAR)
        response = MIP_RESPONSE_TILE if in_tile else MIP_RESPONSE_LAR
        pieces = int(length / _PIECE_MM) + 1
        for m in range(pieces):
            gamma_factor = 1.0 + kinetic / mass
            beta2 = 1.0 - 1.0 / (gamma_factor * gamma_factor)
            energy = loss * length / pieces / max(beta2, 0.05)
            energy *= gamma(c.rng, 1.0 / _PIECE_SIGMA2) * _PIECE_SIGMA2
            energy = min(energy, kinetic)
            s = c.path[0, k] + (m + 0.5) * length / pieces
            deposit(c, x + s * ux, y + s * uy, z + s * uz, 0.0, energy, 0.0, 0.0, response)
            kinetic -= energy
            reached = s
            if kinetic <= 1e-9:
                return 0.0, reached
    return kinetic, end_mm


@njit(cache=True)
def hadron(c, x, y, z, ux, uy, uz, energy, mass, charge, is_baryon, lambda_factor):
    """Follow one hadron of total energy `energy` from a position (mm) along a unit vector and deposit all of it.

    lambda_factor: mean depth of the first interaction in interaction lengths. A baryon's mass stays what it is and is
    counted with what leaks out.
    """
    n = trace(c, x, y, z, ux, uy, uz)
    kinetic, released = energy - mass, mass
    if is_baryon:
        c.total[LEAK] += mass
        released = 0.0
    s, region = along(c, n, 2, lambda_factor * exponential(c.rng))
    if charge != 0:
        end = min(s, c.path[0, n - 1])
        kinetic, s_reached = ionise(c, n, x, y, z, ux, uy, uz, end, kinetic, mass)
        if kinetic <= 0.0:
            _stop(c, x + s_reached * ux, y + s_reached * uy, z + s_reached * uz, released, charge)
            return
    if region == N_REGIONS:
        c.total[LEAK] += kinetic + released
        return
    interact(c, x + s * ux, y + s * uy, z + s * uz, ux, uy, uz, kinetic + released)


@njit(cache=True)
def _stop(c, x, y, z, mass, charge):
    """A hadron at rest: a positive one decays (mostly into neutrinos), a negative one is captured by a nucleus."""
    if charge > 0:
        deposit(c, x, y, z, 0.25 * mass, 0.05 * mass, 0.0, 0.70 * mass, MIP_RESPONSE_LAR)
    else:
        deposit(c, x, y, z, 0.05 * mass, 0.35 * mass, 0.55 * mass, 0.05 * mass, RESPONSE_LAR)


@njit(cache=True)
def interact(c, x, y, z, ux, uy, uz, energy):
    """Deposit a shower of `energy` GeV that begins at (x, y, z)."""
    electromagnetic_part = energy * beta(c.rng, mean_f_em(energy), sigma_f_em(energy))
    vertices = np.empty((_MAX_VERTICES, 8))  # position, direction, energy, generation
    vertices[0] = (x, y, z, ux, uy, uz, energy - electromagnetic_part, 0.0)
    n_vertices, k = 1, 0
    while k < n_vertices:  # a vertex may append others
        n_vertices = _fragment(c, vertices, k, n_vertices)
        k += 1
    _electromagnetic_part(c, vertices[:n_vertices], electromagnetic_part)


@njit(cache=True)
def _turn(c, ux, uy, uz, energy):
    """A direction that a particle of `energy` takes with an exponential transverse momentum, at most 1 rad off."""
    angle = min(math.atan(_TRANSVERSE_GEV * exponential(c.rng) / max(energy, 1e-3)), 1.0)
    return rotate(ux, uy, uz, math.cos(angle), 2.0 * math.pi * uniform(c.rng))


@njit(cache=True)
def _electromagnetic_part(c, vertices, energy):
    """Neutral pions: the hardest from the first vertex, half of the others from any."""
    n_showers = 1 + min(poisson(c.rng, math.log(1.0 + energy)), _MAX_EM - 1)
    remaining = energy
    for k in range(n_showers):
        part = remaining if k == n_showers - 1 else remaining * (0.3 + 0.5 * uniform(c.rng))
        remaining -= part
        at = int(len(vertices) * uniform(c.rng)) if k > 0 and uniform(c.rng) < 0.5 else 0
        v = vertices[at]
        ux, uy, uz = _turn(c, v[3], v[4], v[5], part)
        electromagnetic.shower(c, v[0], v[1], v[2], ux, uy, uz, part, True, 0.5)


@njit(cache=True)
def _fragment(c, vertices, k, n_vertices):
    """Divide the hadronic energy at vertex k among prongs, flat in the logarithm of their energies."""
    energy = vertices[k, 6]
    n_prongs = 1 + min(poisson(c.rng, 0.7 + 1.5 * math.log(1.0 + energy)), _MAX_PRONGS - 1)
    remaining = energy
    for m in range(n_prongs):  # each takes a part of what is left
        share = 1.0 if m == n_prongs - 1 else 0.2 + 0.6 * uniform(c.rng)
        n_vertices = _prong(c, vertices, k, n_vertices, share * remaining)
        remaining -= share * remaining
    return n_vertices


@njit(cache=True)
def _prong(c, vertices, k, n_vertices, energy):
    """One secondary of vertex k: it flies on, ionises if it is charged, and ends in a new vertex or in a cascade."""
    x, y, z, generation = vertices[k, 0], vertices[k, 1], vertices[k, 2], vertices[k, 7]
    ux, uy, uz = _turn(c, vertices[k, 3], vertices[k, 4], vertices[k, 5], energy)
    n = trace(c, x, y, z, ux, uy, uz)
    s = 0.0
    is_local = energy < 0.1 or uniform(c.rng) < 0.35  # nuclear fragments
    if not is_local:
        s, region = along(c, n, 2, exponential(c.rng))
        if uniform(c.rng) < 0.67:
            energy, s = ionise(c, n, x, y, z, ux, uy, uz, min(s, c.path[0, n - 1]), energy, _PION_GEV)
        if region == N_REGIONS:
            c.total[LEAK] += energy
            return n_vertices
    if energy <= 0.0:
        return n_vertices
    x, y, z = x + s * ux, y + s * uy, z + s * uz
    if not is_local and energy > _AGAIN_GEV and generation < _MAX_GENERATION and n_vertices < _MAX_VERTICES:
        vertices[n_vertices] = (x, y, z, ux, uy, uz, energy, generation + 1.0)
        return n_vertices + 1
    _cascade(c, x, y, z, ux, uy, uz, energy)
    return n_vertices


@njit(cache=True)
def _cascade(c, x, y, z, ux, uy, uz, energy):
    """Spots with a Gamma profile along the direction and an exponential halo that widens with depth.

    Where a cascade has more spots than are made, they are drawn from a wider halo with weights, so that no heavy spot
    lands far out.
    """
    n = trace(c, x, y, z, ux, uy, uz)
    ln_e = math.log(max(energy, 0.3))
    shape = max(0.616 + 0.318 * ln_e, 0.45) * math.exp(0.2 * gauss(c.rng))
    rate = (0.910 - 0.024 * ln_e) * math.exp(0.2 * gauss(c.rng))
    natural = 12.0 + 14.0 * energy
    n_spots = int(min(natural, _MAX_SPOTS))
    widening = 1.0 + _WIDENING * min(max(natural / n_spots - 1.0, 0.0), 1.0)
    interactions = math.sqrt(max(energy / _BINDING_GEV, 1.0))
    luck = uniform(c.rng)
    frame = perpendicular(ux, uy, uz)
    depths, radii, weights = np.empty(n_spots), np.empty(n_spots), np.empty(n_spots)
    for k in range(n_spots):
        depths[k] = gamma(c.rng, shape) / rate
        relative = -widening * math.log(uniform(c.rng) * uniform(c.rng))
        radii[k] = relative * (HALO_MM + HALO_MM_PER_LAMBDA * min(depths[k], 3.0))
        if uniform(c.rng) < NEUTRON_SHARE:
            radii[k] *= NEUTRON_WIDENING
        weights[k] = math.exp(-relative * (1.0 - 1.0 / widening))
    weights *= energy / weights.sum()
    for k in range(n_spots):
        s, region = along(c, n, 2, depths[k])
        in_tile = region >= TILE_REGION
        mean = INVISIBLE_TILE if in_tile else INVISIBLE_LAR
        invisible = mean + (luck ** (1.0 / mean - 1.0) - mean) / interactions  # u^k has the mean 1 / (k + 1)
        invisible = min(invisible, 1.0 - ESCAPED)
        angle = 2.0 * math.pi * uniform(c.rng)
        a, b = radii[k] * math.cos(angle), radii[k] * math.sin(angle)
        deposit(
            c,
            x + s * ux + a * frame[0] + b * frame[3],
            y + s * uy + a * frame[1] + b * frame[4],
            z + s * uz + a * frame[2] + b * frame[5],
            0.0,
            weights[k] * (1.0 - invisible - ESCAPED),
            weights[k] * invisible,
            weights[k] * ESCAPED,
            RESPONSE_TILE if in_tile else RESPONSE_LAR,
        )
