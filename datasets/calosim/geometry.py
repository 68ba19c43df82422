"""The toy barrel: six layers of cells, the matter between them, noise, and neighbours.

ATLAS-like toy, not ATLAS simulation. Mid radii are `_mltree.RADIUS_MM`; the layers of a section touch, and the borders
that follow from that (EMB 1500 to 1962 mm, Tile 2300 to 3870 mm) reproduce every mid radius. Cell sizes: caloml-atlas
(ATLAS TDR granularity). Depths: LAr 4.3/16/2 X0 (Egede's thesis page; COCOA's default has 4/16/2) with 0.0139
interaction lengths per 0.30 X0 (Geant4's atlasECAL.g4); Tile 1.5/4.1/1.8 interaction lengths (COCOA). Noise: COCOA.
Toy choices: every layer ends at |eta| = 1.4, 2 X0 of aluminium-like matter in front, 0.5 interaction lengths of it
(a cryostat) between the sections, no presampler, no cracks.
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from benchmark.compiled import njit
from benchmark.datasets._mltree import RADIUS_MM, SAMPLINGS, CellGeo

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

LAYERS = ("EMB1", "EMB2", "EMB3", "TileBar0", "TileBar1", "TileBar2")
N_EM = 3  # the first layers are liquid argon
MAX_ETA = 1.4
ETA_SIZE = (0.003125, 0.025, 0.05, 0.1, 0.1, 0.2)
N_ETA = tuple(round(2 * MAX_ETA / size) for size in ETA_SIZE)
N_PHI = (64, 256, 256, 64, 64, 64)
N_CELLS = tuple(a * b for a, b in zip(N_ETA, N_PHI, strict=True))
FIRST = tuple(int(n) for n in np.concatenate([[0], np.cumsum(N_CELLS)]))  # a layer's first row; number of rows
SIGMA_GEV = (0.013, 0.034, 0.041, 0.075, 0.050, 0.025)

SOLENOID_MM = 1250.0  # the field ends here; straight lines beyond
# Regions along a particle: matter in front, the three LAr layers, the gap, the three Tile layers.
BORDERS_MM = np.array([SOLENOID_MM, 1500.0, 1564.36, 1883.42, 1962.62, 2300.0, 2600.0, 3390.0, 3870.0])
REGION_LAYER = np.array([-1, 0, 1, 2, -1, 3, 4, 5])  # -1: dead matter
TILE_REGION = 5  # the first region of the Tile section; the gap still counts as its front
_X0_PER_LAMBDA_LAR = 0.30 / 0.0139
_X0_PER_LAMBDA_ALUMINIUM = 39.7 / 8.897  # PDG, cm over cm
_X0_PER_LAMBDA_TILE = 200.0 / 22.4  # the section's own 200 mm per interaction length over ATLAS Tile's X0
DEPTH_X0 = np.array(
    [2.0, 4.3, 16.0, 2.0, 0.5 * _X0_PER_LAMBDA_ALUMINIUM, *(d * _X0_PER_LAMBDA_TILE for d in (1.5, 4.1, 1.8))]
)
DEPTH_LAMBDA = np.array(
    [2.0 / _X0_PER_LAMBDA_ALUMINIUM, *(d / _X0_PER_LAMBDA_LAR for d in (4.3, 16.0, 2.0)), 0.5, 1.5, 4.1, 1.8]
)
DEAD_ETA, DEAD_PHI = 28, 64  # 0.1 x 0.098 bins for the energy in dead matter
N_DEAD = DEAD_ETA * DEAD_PHI


class Grid(NamedTuple):
    """Columns per cell for the compiled code."""

    eta: Floats  # (G,)
    phi: Floats  # (G,) rad
    r_mm: Floats  # (G,)
    x_mm: Floats  # (G,)
    y_mm: Floats  # (G,)
    z_mm: Floats  # (G,)
    volume_mm3: Floats  # (G,)
    layer: npt.NDArray[np.int8]  # (G,) 0 to 5
    sigma_gev: Floats  # (G,)
    starts: Ints  # (G + 1,) where a cell's neighbours begin in `near`
    near: npt.NDArray[np.int32]  # (L,) rows: up to 8 in the layer first, then overlapping ones in adjacent layers
    n_same: npt.NDArray[np.int8]  # (G,) how many of them are in the same layer


_ETA_SIZE, _N_ETA, _N_PHI = np.array(ETA_SIZE), np.array(N_ETA), np.array(N_PHI)
_FIRST = np.array(FIRST)


@njit(cache=True)
def cell_at(layer, eta, phi):
    """Row of the cell of a layer at (eta, phi), or -1 outside of the barrel."""
    i = math.floor((eta + MAX_ETA) / _ETA_SIZE[layer])
    if i < 0 or i >= _N_ETA[layer]:
        return -1
    j = math.floor((phi + math.pi) * _N_PHI[layer] / (2.0 * math.pi)) % _N_PHI[layer]
    return _FIRST[layer] + i * _N_PHI[layer] + j


@njit(cache=True)
def dead_bin_at(eta, phi):
    """Bin of the map of dead matter, or -1 outside of the barrel."""
    i = math.floor((eta + MAX_ETA) / (2.0 * MAX_ETA) * DEAD_ETA)
    if i < 0 or i >= DEAD_ETA:
        return -1
    return i * DEAD_PHI + math.floor((phi + math.pi) * DEAD_PHI / (2.0 * math.pi)) % DEAD_PHI


def _indices() -> tuple[Ints, Ints, Ints]:
    """Layer, eta index and phi index of every row."""
    layer = np.repeat(np.arange(len(LAYERS)), N_CELLS)
    within = np.arange(FIRST[-1]) - np.array(FIRST)[layer]
    return layer, within // np.array(N_PHI)[layer], within % np.array(N_PHI)[layer]


@njit(cache=True)
def _overlaps(layer, i, j, other, out):
    """Rows of layer `other` that overlap cell (i, j) of `layer` in eta and phi; both divide the same intervals."""
    n = 0
    a, b = _N_ETA[layer], _N_ETA[other]
    c, d = _N_PHI[layer], _N_PHI[other]
    for p in range(i * b // a, ((i + 1) * b - 1) // a + 1):
        for q in range(j * d // c, ((j + 1) * d - 1) // c + 1):
            out[n] = _FIRST[other] + p * d + q
            n += 1
    return n


@njit(cache=True)
def _all_neighbours(layer, i, j):
    n_cells = len(layer)
    starts, n_same = np.zeros(n_cells + 1, np.int64), np.zeros(n_cells, np.int8)
    near, overlapping, n = np.empty(40 * n_cells, np.int32), np.empty(64, np.int64), 0
    for row in range(n_cells):
        own_layer = layer[row]
        for di in range(-1, 2):
            for dj in range(-1, 2):
                p, q = i[row] + di, (j[row] + dj) % _N_PHI[own_layer]
                if (di != 0 or dj != 0) and 0 <= p < _N_ETA[own_layer]:
                    near[n] = _FIRST[own_layer] + p * _N_PHI[own_layer] + q
                    n += 1
        n_same[row] = n - starts[row]
        for other in (own_layer - 1, own_layer + 1):
            if 0 <= other < len(_N_ETA):
                for m in range(_overlaps(own_layer, i[row], j[row], other, overlapping)):
                    near[n] = overlapping[m]
                    n += 1
        starts[row + 1] = n
    return starts, near[:n].copy(), n_same


@cache
def grid() -> Grid:
    """The cells as arrays for the compiled code; made once per process."""
    layer, i, j = _indices()
    eta = -MAX_ETA + (i + 0.5) * np.array(ETA_SIZE)[layer]
    phi = -math.pi + (j + 0.5) * 2 * math.pi / np.array(N_PHI)[layer]
    r = np.array([RADIUS_MM[name] for name in LAYERS])[layer]
    starts, near, n_same = _all_neighbours(layer, i, j)
    x, y, z = r * np.cos(phi), r * np.sin(phi), r * np.sinh(eta)
    sigma = np.array(SIGMA_GEV)[layer]
    return Grid(eta, phi, r, x, y, z, _volumes(layer, eta), layer.astype(np.int8), sigma, starts, near, n_same)


def _volumes(layer: Ints, eta: Floats) -> Floats:
    """(G,) mm3: between two radii, a wedge in phi, between the planes z = r sinh(eta) at the mid radius."""
    inner = np.array([BORDERS_MM[k] for k in np.flatnonzero(REGION_LAYER >= 0)])[layer]
    outer = np.array([BORDERS_MM[k + 1] for k in np.flatnonzero(REGION_LAYER >= 0)])[layer]
    size = np.array(ETA_SIZE)[layer]
    r = np.array([RADIUS_MM[name] for name in LAYERS])[layer]
    length = r * (np.sinh(eta + size / 2) - np.sinh(eta - size / 2))
    return 0.5 * (outer**2 - inner**2) * 2 * math.pi / np.array(N_PHI)[layer] * length


@cache
def cell_geometry() -> CellGeo:
    """The detector in MLTree's schema, rows in the order of the ids `sampling * 10^6 + i_eta * 10^3 + i_phi`."""
    layer, i, j = _indices()
    cells = grid()
    sampling = np.array([SAMPLINGS[name] for name in LAYERS])[layer]
    return CellGeo(
        cell_id=sampling * 1_000_000 + i * 1_000 + j,
        sampling=sampling,
        eta=cells.eta.astype(np.float32),
        phi=cells.phi.astype(np.float32),
        r_perp_mm=cells.r_mm.astype(np.float32),
        deta=np.array(ETA_SIZE, np.float32)[layer],
        dphi=(2 * math.pi / np.array(N_PHI)[layer]).astype(np.float32),
        volume_mm3=cells.volume_mm3.astype(np.float32),
        sigma_gev=cells.sigma_gev.astype(np.float32),
        neighbours=_neighbour_columns(layer, i, j),
    )


def _neighbour_columns(layer: Ints, i: Ints, j: Ints) -> Ints:
    """(G, 10) in the order of NEIGHBOURS, an entry where there is exactly one such cell.

    Layers of one section are "Samp", the step between LAr and Tile is "SuperCalo" (our reading of the names); the toy
    has no neighbours of the kind "SubDet", which join barrel and endcap.
    """
    n_eta, n_phi, first = np.array(N_ETA)[layer], np.array(N_PHI)[layer], np.array(FIRST)[layer]
    columns = np.full((len(layer), 10), -1, dtype=np.int64)
    columns[:, 0] = first + i * n_phi + (j - 1) % n_phi
    columns[:, 1] = first + i * n_phi + (j + 1) % n_phi
    columns[:, 2] = np.where(i > 0, first + (i - 1) * n_phi + j, -1)
    columns[:, 3] = np.where(i < n_eta - 1, first + (i + 1) * n_phi + j, -1)
    for step, same_section, across in ((-1, 4, 8), (1, 5, 9)):
        for own_layer in range(len(LAYERS)):
            other = own_layer + step
            coarser = 0 <= other < len(LAYERS) and N_ETA[own_layer] >= N_ETA[other] and N_PHI[own_layer] >= N_PHI[other]
            if coarser:  # then exactly one cell of the other layer overlaps
                in_layer = layer == own_layer
                column = same_section if (own_layer < N_EM) == (other < N_EM) else across
                p, q = i[in_layer] * N_ETA[other] // N_ETA[own_layer], j[in_layer] * N_PHI[other] // N_PHI[own_layer]
                columns[in_layer, column] = FIRST[other] + p * N_PHI[other] + q
    return columns
