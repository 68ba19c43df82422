"""Cross-sections of hadrons on argon, as smooth curves through a few points (barn, MeV).

A simple model, good to 10-20%: reaction and elastic cross-sections of protons and pions read off
the systematics of measurements on Ca, Ar and Fe (Carlson 1996 for nucleons, Ashery et al. 1981
for pions around the Delta, LADS and LArIAT for argon), joined to the PDG interaction length
(119.7 g/cm2) at high energy; neutrons on 40Ar follow the shape of the evaluated total, inelastic
and capture cross-sections (ENDF/B), averaged over resonances, with the window near 57 keV.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from . import constants as k

Floats = npt.NDArray[np.float64]
Curve = tuple[tuple[float, float], ...]

PROTON_INELASTIC: Curve = (
    (3, 1e-6), (5, 0.03), (8, 0.35), (12, 0.68), (20, 0.83), (30, 0.80), (50, 0.70), (100, 0.56),
    (200, 0.48), (400, 0.48), (700, 0.52), (1000, 0.54), (2000, 0.555), (1e5, 0.555),
)  # fmt: skip
PROTON_ELASTIC: Curve = (
    (10, 1e-6), (20, 0.5), (40, 0.7), (70, 0.55), (100, 0.42), (200, 0.22), (400, 0.20),
    (1000, 0.27), (3000, 0.28), (1e5, 0.24),
)  # fmt: skip
PION_INELASTIC: Curve = (
    (5, 0.05), (20, 0.15), (50, 0.30), (85, 0.48), (125, 0.62), (165, 0.67), (205, 0.65), (250, 0.60),
    (315, 0.52), (400, 0.45), (500, 0.42), (700, 0.44), (1000, 0.46), (3000, 0.45), (1e5, 0.44),
)  # fmt: skip
PION_ELASTIC: Curve = (
    (5, 0.01), (30, 0.08), (60, 0.20), (100, 0.42), (150, 0.58), (200, 0.52), (300, 0.32),
    (500, 0.19), (1000, 0.19), (1e5, 0.16),
)  # fmt: skip
KAON_INELASTIC: Curve = ((10, 0.10), (100, 0.25), (300, 0.32), (1000, 0.37), (1e5, 0.40))

NEUTRON_ELASTIC: Curve = (
    (1e-9, 0.65), (1e-3, 0.55), (5e-3, 0.45), (0.02, 0.30), (0.045, 0.08), (0.057, 0.02), (0.07, 0.3),
    (0.08, 2.0), (0.1, 2.2), (0.2, 2.0), (0.5, 2.6), (1.0, 3.6), (2.0, 3.4), (3.0, 3.2), (5, 2.2),
    (8, 1.3), (14, 1.0), (20, 1.1), (40, 1.4), (70, 0.9), (100, 0.6), (200, 0.28), (400, 0.21),
    (1000, 0.27), (1e5, 0.26),
)  # fmt: skip
NEUTRON_INELASTIC: Curve = (
    (1.49, 1e-6), (1.6, 0.12), (2.0, 0.35), (3.0, 0.65), (4.0, 0.95), (6.0, 1.15), (10, 1.2), (14, 1.15),
    (20, 1.05), (30, 0.9), (50, 0.74), (100, 0.58), (200, 0.49), (400, 0.49), (1000, 0.54), (1e5, 0.555),
)  # fmt: skip
NEUTRON_CAPTURE: Curve = (
    (1e-9, 3.3), (2.53e-8, 0.66), (1e-4, 0.0105), (2e-3, 0.0025), (0.02, 0.0025), (0.1, 0.002),
    (1.0, 0.001), (10, 1e-4), (100, 1e-7), (1e5, 1e-9),
)  # fmt: skip


def curve(points: Curve, energy: Floats) -> Floats:
    """Log-log interpolation of a curve (barn)."""
    x, y = np.log(np.array(points)).T
    return np.exp(np.interp(np.log(energy), x, y))


def fill_hadrons(tab: Floats, grid: Floats) -> None:
    """Write macroscopic cross-sections (1/mm) of pi, K, p into the table array."""
    n = k.N_ATOMS_PER_BARN_MM
    tab[k.P, k.INELASTIC] = n * curve(PROTON_INELASTIC, grid)
    tab[k.P, k.ELASTIC] = n * curve(PROTON_ELASTIC, grid)
    tab[k.PI, k.INELASTIC] = n * curve(PION_INELASTIC, grid)
    tab[k.PI, k.ELASTIC] = n * curve(PION_ELASTIC, grid)
    tab[k.K, k.INELASTIC] = n * curve(KAON_INELASTIC, grid)


def fill_neutron(tab: Floats, grid: Floats) -> None:
    """Write macroscopic neutron cross-sections (1/mm) into the table array."""
    n = k.N_ATOMS_PER_BARN_MM
    tab[k.NEUTRON, k.N_ELASTIC] = n * curve(NEUTRON_ELASTIC, grid)
    inelastic = n * curve(NEUTRON_INELASTIC, grid)
    tab[k.NEUTRON, k.N_INELASTIC] = np.where(grid > 1.5, inelastic, 0.0)
    tab[k.NEUTRON, k.N_CAPTURE] = n * curve(NEUTRON_CAPTURE, grid)
    tab[k.NEUTRON, k.TOTAL] = tab[k.NEUTRON, 1:4].sum(axis=0)
