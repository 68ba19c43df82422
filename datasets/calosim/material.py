"""What showers need to know of the matter: effective sampling media and the numbers of the hadronic model.

EM: Grindhammer and Peters, hep-ex/0001020, section 3 (effective medium, sampling variant). LAr: 1.53 mm lead and
4.2 mm argon (Geant4's atlasECAL.g4). Tile: 14 mm iron and 3 mm polystyrene. Numbers without a source in the comment
are toy choices.
"""

from __future__ import annotations

import math
from typing import NamedTuple


class Medium(NamedTuple):
    """An effective medium of GFLASH."""

    z: float  # charge number, weighted by mass
    critical_gev: float
    moliere_mm: float
    inverse_fs: float  # thickness of a period over X0
    one_minus_e_hat: float


def _medium(layers: tuple[tuple[float, float, float, float, float], ...]) -> Medium:
    """layers, absorber first: (thickness cm, density g/cm3, Z, A, X0 g/cm2)."""
    mass = [d * rho for d, rho, *_ in layers]
    w = [m / sum(mass) for m in mass]
    x0 = 1.0 / sum(wi / layer[4] for wi, layer in zip(w, layers, strict=True))  # g/cm2
    rho = sum(mass) / sum(layer[0] for layer in layers)
    critical = [2.66 * (x * z / a) ** 1.1 for _, _, z, a, x in layers]  # MeV
    inverse_rm = sum(wi * e / layer[4] for wi, e, layer in zip(w, critical, layers, strict=True)) / 21.2
    z = sum(wi * layer[2] for wi, layer in zip(w, layers, strict=True))
    e_hat = 1.0 / (1.0 + 0.007 * (layers[0][2] - layers[1][2]))
    thickness = sum(layer[0] for layer in layers)
    return Medium(z, 1e-3 * x0 * inverse_rm * 21.2, 10.0 / (inverse_rm * rho), thickness * rho / x0, 1.0 - e_hat)


LAR = _medium(((0.153, 11.35, 82.0, 207.2, 6.37), (0.42, 1.396, 18.0, 39.948, 19.55)))
TILE = _medium(((1.4, 7.874, 26.0, 55.845, 13.84), (0.3, 1.032, 5.62, 11.16, 43.79)))

# ---- electrons and photons
CONVERSION_X0 = 9.0 / 7.0
SPOTS_AT_1_GEV = 10.3 * math.log(LAR.z)  # GFLASH's number of spots of a sampling calorimeter, times E^0.959
MIN_SPOTS, MAX_SPOTS = 30, 4000  # the cap bounds the cost: a spot of a 2 TeV shower carries more energy

# ---- pions
PION_LAMBDA = 1.2  # mean depth of the first interaction in nuclear interaction lengths, pions; from memory
F_EM_K, F_EM_E0_GEV = 0.82, 1.0  # f_em = 1 - (E/E0)^(k - 1), Groom; Wigmans; from memory
E_OVER_H_LAR, E_OVER_H_TILE = 1.74, 1.35  # combined test beam, hep-ex/0004009; Tile from memory
INVISIBLE_LAR, INVISIBLE_TILE = 0.38, 0.32  # of a hadronic part: nuclear binding; from memory
ESCAPED = 0.02  # of the hadronic part: neutrinos
# visible energy of 1 GeV of ionisation by hadrons on the electron scale, so that e/h comes out
RESPONSE_LAR = 1.0 / E_OVER_H_LAR / (1.0 - INVISIBLE_LAR - ESCAPED)
RESPONSE_TILE = 1.0 / E_OVER_H_TILE / (1.0 - INVISIBLE_TILE - ESCAPED)
HALO_MM, HALO_MM_PER_LAMBDA = 20.0, 12.0  # scale r0 of the halo exp(-r / r0) at the start, and its growth
NEUTRON_SHARE, NEUTRON_WIDENING = 0.2, 4.0  # of a cascade, so much farther from its axis: evaporation neutrons
# a fast charged particle: true deposit, with the relativistic rise, GeV per mm along its path
MIP_LAR, MIP_TILE, MIP_DEAD = 0.60e-3, 1.10e-3, 0.45e-3
MIP_RESPONSE_LAR, MIP_RESPONSE_TILE = 1.30, 1.20  # mip/e of lead-argon and iron-scintillator

# ---- sampling fluctuations: sigma / E = a / sqrt(E / GeV)
SAMPLING_EM_LAR, SAMPLING_HAD_LAR = 0.10, 0.25
SAMPLING_EM_TILE, SAMPLING_HAD_TILE = 0.28, 0.45
CONSTANT_LAR, CONSTANT_TILE = 0.007, 0.03  # of a section's whole signal; ATLAS LAr from memory, Delphes' HCAL
