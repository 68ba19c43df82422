"""Units of MLTree's values: energies in GeV, lengths in mm, angles in rad. Files in other units are refused.

A file in MeV has the same shapes and passes every other check; a model trained on it looks as if it worked.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from benchmark.errors import DataError

from ._mltree import CellGeo, MLTree

MOST_GEV = 7000.0  # a proton of the LHC's beams; nothing in an event has more
TYPICAL_CELL_GEV = 10.0  # the median cell of clusters has some 0.1 GeV
MASS_GEV: Mapping[int, float] = {  # by the absolute PDG number
    13: 0.10566, 111: 0.13498, 130: 0.49761, 211: 0.13957, 310: 0.49761, 321: 0.49368, 2112: 0.93957,
    2212: 0.93827,
}  # fmt: skip
RADII_MM = (1000.0, 6000.0)  # the barrel's cells lie between 1.4 and 4.3 m
_BARREL = (0, 1, 2, 3, 12, 13, 14)  # presampler, EMB1 to 3, TileBar0 to 2
_ENERGIES = (("truth", "truthPartE"), ("clusters", "cluster_E"), ("clusters", "cluster_ENG_CALIB_TOT"))
_GEV = "Divide energies, momenta and masses by 1000 when you write the file, if they are in MeV"
_MM = "Write lengths in mm"


def check_units(tree: MLTree, geo: CellGeo, rows: np.ndarray, where: str) -> None:
    """Raises DataError for values that no event in GeV, mm and rad has. rows: of the cells, in the geometry."""
    ratio = _mass_ratio(tree)
    if ratio > 100:
        _refuse(where, f"its truth particles have {ratio:,.0f} times their masses", "truthPartMass in GeV was", _GEV)
    for table, branch in _ENERGIES:
        values = getattr(tree, table).get(branch, np.zeros(0))
        if len(values) and values.max() > MOST_GEV:
            expected = f"At most {MOST_GEV:,.0f} GeV, the energy of a proton of the LHC, was"
            _refuse(where, f"{branch} reaches {values.max():,.0f}", expected, _GEV)
    energy = np.abs(tree.cells["cluster_cell_E"])
    if len(energy) and np.median(energy) > TYPICAL_CELL_GEV:
        _refuse(where, f"half of its cells have more than {np.median(energy):,.0f}", "cluster_cell_E in GeV was", _GEV)
    radius = geo.r_perp_mm[rows][np.isin(geo.sampling[rows], _BARREL)]
    if len(radius) and not RADII_MM[0] < np.median(radius) < RADII_MM[1]:
        expected = f"{RADII_MM[0]:,.0f} to {RADII_MM[1]:,.0f} mm were"
        _refuse(where, f"cell_geo_rPerp of its barrel's cells is about {np.median(radius):,.1f}", expected, _MM)
    for name in ("eta", "phi"):
        largest = float(np.abs(getattr(geo, name)[rows]).max()) if len(rows) else 0.0
        if largest > 2 * np.pi:
            _refuse(where, f"cell_geo_{name} reaches {largest:,.0f}", "Pseudorapidities, and angles in rad, were",
                    "Write angles in rad")  # fmt: skip


def _mass_ratio(tree: MLTree) -> float:
    """Median of mass over known mass of the truth particles; 1 where the file has no masses."""
    if "truthPartMass" not in tree.truth:
        return 1.0
    pdg = np.abs(tree.truth["truthPartPdgId"])
    known = np.array([MASS_GEV.get(int(code), np.nan) for code in pdg])
    ratios = (tree.truth["truthPartMass"] / known)[np.isfinite(known) & np.isfinite(tree.truth["truthPartMass"])]
    return float(np.median(ratios)) if len(ratios) else 1.0


def _refuse(where: str, problem: str, expected: str, remedy: str) -> None:
    raise DataError(f"{where}: {problem}. {expected} expected. {remedy}.")
