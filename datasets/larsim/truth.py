"""Records passed from the liquid-argon transport to the labels: particles and energy deposits.

Units everywhere: mm, ns, MeV, MeV/c. The detector frame has its origin at the centre of the
2304 mm box, so a point is inside when all |coordinates| are below `HALF_BOX_MM`.
Particle numbers follow the PDG Monte Carlo scheme; nuclei and nuclear fragments are above 1e9.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

HALF_BOX_MM = 1152.0  # 768 voxels of 3 mm, centred on the origin


class Process(IntEnum):
    """Creation process of a particle. The numbers are stored in `PARTICLE_DTYPE`."""

    PRIMARY = 0
    PHOTOELECTRIC = 1
    COMPTON = 2
    CONVERSION = 3  # e+ e- pair by a photon
    PAIR_BY_CHARGED = 4  # e+ e- pair by a muon (or another charged particle)
    IONISATION_ELECTRON = 5  # knock-on electron of an electron or a positron
    DELTA_RAY = 6  # knock-on electron of a muon, pion, kaon or proton
    BREMS = 7
    ANNIHILATION = 8
    DECAY = 9
    MU_CAPTURE = 10
    HADRON_INELASTIC = 11  # products of an inelastic pion, kaon or proton interaction
    NEUTRON_INELASTIC = 12
    NEUTRON_CAPTURE = 13
    NEUTRON_ELASTIC = 14  # recoil nucleus
    PI_ABSORPTION = 15  # pi- stopped in the argon and absorbed by a nucleus
    PI0_DECAY = 16


PRIMARY_DTYPE = np.dtype(
    [
        ("pdg", "i4"),
        ("vertex", "i4"),  # number of the generator's vertex = interaction
        ("x", "f8"),
        ("y", "f8"),
        ("z", "f8"),
        ("t", "f8"),
        ("px", "f8"),
        ("py", "f8"),
        ("pz", "f8"),
    ]
)
"""A generated particle: start (mm, ns) and momentum (MeV/c)."""

PARTICLE_DTYPE = np.dtype(
    [
        ("pdg", "i4"),
        ("parent", "i4"),  # row of the parent, -1 for a primary
        ("process", "i4"),  # a `Process`
        ("vertex", "i4"),  # inherited from the primary
        ("x", "f8"),
        ("y", "f8"),
        ("z", "f8"),
        ("t", "f8"),
        ("px", "f8"),
        ("py", "f8"),
        ("pz", "f8"),
        ("mass", "f8"),
    ]
)
"""A transported particle: creation point (mm, ns), momentum there (MeV/c) and mass (MeV)."""

DEPOSIT_DTYPE = np.dtype(
    [
        ("particle", "i4"),  # row in the particle table
        ("x0", "f4"),
        ("y0", "f4"),
        ("z0", "f4"),
        ("x1", "f4"),
        ("y1", "f4"),
        ("z1", "f4"),
        ("de", "f4"),
        ("t", "f4"),
    ]
)
"""Energy (MeV) deposited evenly along a straight segment (mm) inside the box, at time t (ns)."""


class EventTruth(NamedTuple):
    """Output of the transport for one event."""

    particles: npt.NDArray[np.void]  # (P,) PARTICLE_DTYPE; a parent stands before its daughters
    deposits: npt.NDArray[np.void]  # (D,) DEPOSIT_DTYPE; rows of one particle are contiguous
