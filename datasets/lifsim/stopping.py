"""How ions lose energy in lithium fluoride: electronic stopping power, and energy along a track.

Protons: the fit of Andersen and Ziegler with the coefficients of ICRU Report 49 for lithium and fluorine, added up as
Bragg's rule says. Other ions: the proton of the same velocity times the square of an effective charge, Barkas' where
the ion is fast, and where it is slow the one that makes the ratio that of Lindhard and Scharff (Phys. Rev. 124 (1961)
128). Nuclear stopping is left out: it makes little light, and matters below some 10 keV per nucleon only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MOLECULES_PER_CM3 = 2.635 / 25.939 * 6.02214e23  # density in g/cm3 over g/mol
_KEV_PER_UM = MOLECULES_PER_CM3 * 1e-15 * 1e-4 * 1e-3  # of 1e-15 eV cm2 per molecule
_PROTON = {3: (1.411, 1.600, 725.6, 3013.0, 0.04578), 9: (2.085, 2.352, 2157.0, 2634.0, 0.01816)}  # by charge
_MEV_PER_NUCLEON = 931.494


@dataclass(frozen=True)
class Ion:
    """A particle that ionises the crystal."""

    name: str
    charge: int
    nucleons: int


ALPHA, TRITON = Ion("alpha", 2, 4), Ion("triton", 1, 3)
LITHIUM, FLUORINE = Ion("lithium", 3, 7), Ion("fluorine", 9, 19)


def stopping(ion: Ion, kev: np.ndarray) -> np.ndarray:
    """Electronic stopping power in keV/um of ions of these kinetic energies in keV."""
    per_nucleon = np.maximum(np.asarray(kev, np.float64), 1e-3) / ion.nucleons
    speed = np.sqrt(2 * per_nucleon / 1e3 / _MEV_PER_NUCLEON)  # v/c, far from relativistic
    barkas = (ion.charge * -np.expm1(-125 * speed * ion.charge ** (-2 / 3))) ** 2
    total = np.zeros_like(per_nucleon)
    for charge, coefficients in _PROTON.items():
        factor = np.maximum(barkas, _slow_ratio(ion.charge, charge)) if ion.charge > 1 else 1.0
        total += factor * _proton(per_nucleon, *coefficients)
    return total * _KEV_PER_UM


def _proton(kev: np.ndarray, a1: float, a2: float, a3: float, a4: float, a5: float) -> np.ndarray:
    """1e-15 eV cm2 per atom."""
    low, high = a2 * kev**0.45, a3 / kev * np.log1p(a4 / kev + a5 * kev)
    return np.where(kev < 10, a1 * np.sqrt(kev), low * high / (low + high))


def _slow_ratio(ion: int, target: int) -> float:
    """Stopping power of a slow ion over that of a proton as fast, by Lindhard and Scharff; charges of the nuclei."""
    size = target ** (2 / 3)
    return ion ** (7 / 6) * ((1 + size) / (ion ** (2 / 3) + size)) ** 1.5


def slowing_down(ion: Ion, kev: float, step_um: float) -> np.ndarray:
    """(n,) keV deposited by an ion of this energy in each step of its straight track, until it is at rest.

    The last step holds the remainder: the sum is the energy.
    """
    lost = []
    remaining = float(kev)
    while remaining > 0:
        middle = remaining - 0.5 * min(remaining, float(stopping(ion, np.array(remaining))) * step_um)
        loss = min(remaining, float(stopping(ion, np.array(middle))) * step_um)
        if remaining - loss < 1.0:
            loss = remaining
        lost.append(loss)
        remaining -= loss
    return np.array(lost)


def track_length(ion: Ion, kev: float, step_um: float = 0.02) -> float:
    """Length of the track in um."""
    return len(slowing_down(ion, kev, step_um)) * step_um
