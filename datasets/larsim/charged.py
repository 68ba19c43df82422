"""Transport of muons, pions, kaons and protons by condensed history.

Each step is limited by 2 mm, a fifth of the residual range, and the next discrete interaction:
knock-on electron, muon bremsstrahlung or pair, hadronic interaction, decay in flight. Loss comes
from the restricted range table (so that the mean does not depend on the step), with straggling
and scattering from `scatter`. The segment lies along the mean of the directions before and after,
which gives the lateral displacement. A particle that is outside the box and does not point at it
is dropped.
"""

from __future__ import annotations

import math

from benchmark.compiled import njit

from . import constants as k
from .decays import kaon_decay, muon_at_rest, pion_decay
from .hadronic import elastic_cosine, hadron_inelastic, kaon_at_rest, pion_at_rest
from .rng import exponential, rotate, uniform
from .scatter import scatter, straggle
from .state import add_deposit, add_particle, flight_time, hits_box, inside
from .tables import MUON_BREMS_CUT, MUON_PAIR_CUT, energy_at_range, locate, lookup
from .truth import Process

_DELTA_RAY = int(Process.DELTA_RAY)
_BREMS = int(Process.BREMS)
_PAIR = int(Process.PAIR_BY_CHARGED)


@njit(cache=True)
def _max_transfer(kinetic, mass):
    gamma = 1.0 + kinetic / mass
    ratio = k.M_E / mass
    return 2.0 * k.M_E * (gamma * gamma - 1.0) / (1.0 + 2.0 * gamma * ratio + ratio * ratio)


@njit(cache=True)
def _delta_energy(rng, kinetic, mass, spin_half):
    """Knock-on energy above the cut; 0 when the particle has become too slow."""
    top = _max_transfer(kinetic, mass)
    if top <= k.DELTA_CUT:
        return 0.0
    gamma = 1.0 + kinetic / mass
    beta2 = 1.0 - 1.0 / (gamma * gamma)
    bound = 1.0 + (top / (kinetic + mass)) ** 2 if spin_half else 1.0
    while True:
        e = k.DELTA_CUT / (1.0 - uniform(rng) * (1.0 - k.DELTA_CUT / top))
        weight = 1.0 - beta2 * e / top
        if spin_half:
            weight += 0.5 * (e / (kinetic + mass)) ** 2
        if uniform(rng) * bound < weight:
            return e


@njit(cache=True)
def emit_electron(c, row, process, x, y, z, t, ux, uy, uz, cosine, kinetic):
    """Add a knock-on electron at polar cosine `cosine` to the direction u."""
    vx, vy, vz = rotate(ux, uy, uz, min(1.0, cosine), 2.0 * math.pi * uniform(c.rng))
    p = math.sqrt(kinetic * (kinetic + 2.0 * k.M_E))
    add_particle(c, 11, row, process, x, y, z, t, p * vx, p * vy, p * vz, k.M_E)


@njit(cache=True)
def _muon_pair(c, row, x, y, z, t, ux, uy, uz, kinetic):
    """e+ e- with dN/de ~ 1/e^2 between the cut and a third of the energy; returns their energy."""
    end = kinetic / 3.0
    if end <= 2.0 * MUON_PAIR_CUT:
        return 0.0
    energy = MUON_PAIR_CUT / (1.0 - uniform(c.rng) * (1.0 - MUON_PAIR_CUT / end))
    share = 0.1 + 0.8 * uniform(c.rng)
    for i in range(2):
        total = energy * (share if i == 0 else 1.0 - share)
        kin = max(total - k.M_E, 1e-3)
        p = math.sqrt(kin * (kin + 2.0 * k.M_E))
        sign = 11 if i == 0 else -11
        add_particle(c, sign, row, _PAIR, x, y, z, t, p * ux, p * uy, p * uz, k.M_E)
    return energy


@njit(cache=True)
def _muon_brems(c, row, x, y, z, t, ux, uy, uz, kinetic):
    """A photon with dN/dk ~ (4/3 - 4/3 y + y^2) / k; returns its energy."""
    total = kinetic + k.M_MU
    low = MUON_BREMS_CUT / total
    if low >= 1.0:
        return 0.0
    while True:
        v = low ** uniform(c.rng)
        if uniform(c.rng) < 1.0 - v + 0.75 * v * v:
            break
    energy = min(v * total, kinetic)
    add_particle(c, 22, row, _BREMS, x, y, z, t, energy * ux, energy * uy, energy * uz, 0.0)
    return energy


@njit(cache=True)
def _at_rest(c, row, pdg, x, y, z, t):
    if abs(pdg) == 13:
        muon_at_rest(c, row, pdg, x, y, z, t)
    elif pdg == 211:
        t += k.TAU_PI * exponential(c.rng)
        pion_decay(c, row, pdg, x, y, z, t, 0.0, 0.0, 0.0)
    elif pdg == -211:
        pion_at_rest(c, row, x, y, z, t)
    elif pdg == 321:
        t += k.TAU_K * exponential(c.rng)
        kaon_decay(c, row, pdg, x, y, z, t, 0.0, 0.0, 0.0)
    elif pdg == -321:
        kaon_at_rest(c, row, x, y, z, t)


@njit(cache=True)
def _kind(pdg):
    a = abs(pdg)
    if a == 13:
        return k.MU
    if a == 211:
        return k.PI
    if a == 321:
        return k.K
    return k.P


@njit(cache=True)
def _emit_delta(c, row, mass, spin_half, x, y, z, t, ux, uy, uz, energy):
    """A knock-on electron; returns its energy."""
    e = _delta_energy(c.rng, energy, mass, spin_half)
    if e > 0.0:
        p = math.sqrt(energy * (energy + 2.0 * mass))
        pe = math.sqrt(e * (e + 2.0 * k.M_E))
        cosine = e * (energy + mass + k.M_E) / (p * pe)
        emit_electron(c, row, _DELTA_RAY, x, y, z, t, ux, uy, uz, cosine, e)
    return e


@njit(cache=True)
def _interact(c, row, kind, choice, s_delta, s_brems, s_pair, s_inel, s_el, x, y, z, t, ux, uy, uz, energy):
    """The discrete process that `choice` picks; returns energy (-1 when the particle ends) and direction."""
    pdg, mass = c.pint[row, 0], c.pflt[row, 7]
    if choice < s_delta:
        spin_half = kind == k.MU or kind == k.P
        return energy - _emit_delta(c, row, mass, spin_half, x, y, z, t, ux, uy, uz, energy), ux, uy, uz
    choice -= s_delta
    if choice < s_brems:
        return energy - _muon_brems(c, row, x, y, z, t, ux, uy, uz, energy), ux, uy, uz
    choice -= s_brems
    if choice < s_pair:
        return energy - _muon_pair(c, row, x, y, z, t, ux, uy, uz, energy), ux, uy, uz
    choice -= s_pair
    if choice < s_inel:
        hadron_inelastic(c, row, pdg, x, y, z, t, ux, uy, uz, energy)
        return -1.0, ux, uy, uz
    p = math.sqrt(energy * (energy + 2.0 * mass))
    if choice < s_inel + s_el:
        cosine, recoil = elastic_cosine(c.rng, p)
        recoil = min(recoil, 0.5 * energy)
        add_deposit(c, row, x, y, z, x, y, z, recoil, t)
        vx, vy, vz = rotate(ux, uy, uz, cosine, 2.0 * math.pi * uniform(c.rng))
        return energy - recoil, vx, vy, vz
    b = p / (energy + mass)
    if kind == k.PI:
        pion_decay(c, row, pdg, x, y, z, t, b * ux, b * uy, b * uz)
    else:
        kaon_decay(c, row, pdg, x, y, z, t, b * ux, b * uy, b * uz)
    return -1.0, ux, uy, uz


@njit(cache=True)
def track_heavy(c, row):
    """Transport the mu, pi, K or p of a row until it stops, interacts, decays or leaves."""
    f = c.pflt
    pdg = c.pint[row, 0]
    kind = _kind(pdg)
    mass = f[row, 7]
    x, y, z, t = f[row, 0], f[row, 1], f[row, 2], f[row, 3]
    p = math.sqrt(f[row, 4] ** 2 + f[row, 5] ** 2 + f[row, 6] ** 2)
    if p <= 0.0:
        _at_rest(c, row, pdg, x, y, z, t)
        return
    ux, uy, uz = f[row, 4] / p, f[row, 5] / p, f[row, 6] / p
    energy = math.sqrt(p * p + mass * mass) - mass
    tab = c.tab
    rng = c.rng
    lifetime = k.TAU_PI if kind == k.PI else k.TAU_K
    decays = kind == k.PI or kind == k.K
    while True:
        in_box = inside(x, y, z)
        if not in_box and not hits_box(x, y, z, ux, uy, uz):
            return
        p = math.sqrt(energy * (energy + 2.0 * mass))
        beta2 = (p / (energy + mass)) ** 2
        grid = locate(energy)
        residual = lookup(tab, kind, k.RANGE, grid)
        limit = k.STEP_HEAVY if in_box else k.STEP_OUTSIDE
        step = min(limit, max(0.2 * residual, 0.2))
        stops = step >= residual
        if stops:
            step = residual
        s_delta = lookup(tab, kind, k.DELTA, grid)
        s_brems = lookup(tab, kind, k.BREMS, grid)
        s_pair = lookup(tab, kind, k.PAIR, grid)
        s_inel = lookup(tab, kind, k.INELASTIC, grid)
        s_el = lookup(tab, kind, k.ELASTIC, grid)
        s_decay = mass / (p * k.C_LIGHT * lifetime) if decays else 0.0
        total = s_delta + s_brems + s_pair + s_inel + s_el + s_decay
        interacts = False
        if total > 0.0:
            free = exponential(rng) / total
            if free < step:
                step = free
                interacts = True
                stops = False
        if stops:
            lost = energy
        else:
            energy_after = energy_at_range(tab, kind, residual - step, grid)
            top = _max_transfer(energy, mass)
            lost = straggle(rng, energy - energy_after, step, beta2, k.DELTA_CUT, top)
            if lost >= energy - 1e-3:
                lost = energy
                stops = True
                interacts = False
        cosine = scatter(rng, step, p, beta2)
        vx, vy, vz = rotate(ux, uy, uz, cosine, 2.0 * math.pi * uniform(rng))
        half = 0.5 * step
        x1, y1, z1 = x + half * (ux + vx), y + half * (uy + vy), z + half * (uz + vz)
        add_deposit(c, row, x, y, z, x1, y1, z1, lost, t)
        t += flight_time(step, p, mass)
        x, y, z, ux, uy, uz = x1, y1, z1, vx, vy, vz
        energy -= lost
        if stops:
            if inside(x, y, z):
                _at_rest(c, row, pdg, x, y, z, t)
            return
        if not interacts:
            continue
        choice = uniform(rng) * total
        energy, ux, uy, uz = _interact(
            c, row, kind, choice, s_delta, s_brems, s_pair, s_inel, s_el, x, y, z, t, ux, uy, uz, energy
        )
        if energy < 0.0:
            return
        if energy <= 2e-3:
            if inside(x, y, z):
                _at_rest(c, row, pdg, x, y, z, t)
            return
