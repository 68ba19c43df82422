"""MLTree's tables in memory: events, truth, tracks, clusters and cells as flat columns, named like its branches.

MLTree is the ATLAS ntuple of single pions and of cell-to-track samples (ML4Pions): tree `EventTree`, one entry per
event, and `CellGeo`, one entry for the detector. Energies and momenta in GeV, lengths in mm, angles in rad. Files of
the same content, `.root` or `.npy`, become `MLTree` and `CellGeo` and are written from them; readers and the simulation
return these two.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

N_TRUTH_PER_CELL = 3  # leading particles that MLTree stores for a cell
# CaloSampling numbers of ATLAS by the name that the branches use
SAMPLINGS: Mapping[str, int] = {
    "PreSamplerB": 0, "EMB1": 1, "EMB2": 2, "EMB3": 3, "PreSamplerE": 4, "EME1": 5, "EME2": 6, "EME3": 7, "HEC0": 8,
    "HEC1": 9, "HEC2": 10, "HEC3": 11, "TileBar0": 12, "TileBar1": 13, "TileBar2": 14, "TileGap1": 15, "TileGap2": 16,
    "TileGap3": 17, "TileExt0": 18, "TileExt1": 19, "TileExt2": 20,
}  # fmt: skip
# layers at a fixed radius, mm
RADIUS_MM: Mapping[str, float] = {
    "EMB1": 1532.18, "EMB2": 1723.89, "EMB3": 1923.02, "TileBar0": 2450.0, "TileBar1": 2995.0, "TileBar2": 3630.0,
    "TileGap1": 3215.0, "TileGap2": 3630.0, "TileGap3": 2246.5, "TileExt0": 2450.0, "TileExt1": 2870.0,
    "TileExt2": 3480.0,
}  # fmt: skip
# layers at a fixed |z|, mm
DISTANCE_MM: Mapping[str, float] = {
    "EME1": 3790.03, "EME2": 3983.68, "EME3": 4195.84, "HEC0": 4461.25, "HEC1": 4869.5, "HEC2": 5424.5, "HEC3": 5905.0,
}  # fmt: skip
UNREACHED = -1e9  # trackEta_X and trackPhi_X of a layer that the track does not reach
# in the order of the branches; -1 unless there is exactly one such neighbour
NEIGHBOURS = (
    "prevInPhi", "nextInPhi", "prevInEta", "nextInEta", "prevInSamp", "nextInSamp", "prevSubDet", "nextSubDet",
    "prevSuperCalo", "nextSuperCalo",
)  # fmt: skip

EVENT_BRANCHES = ("runNumber", "eventNumber", "mcChannelNumber", "mcEventWeight")
TRUTH_BRANCHES = (
    "truthPartPdgId", "truthPartPt", "truthPartE", "truthPartMass", "truthPartEta", "truthPartPhi",
)  # fmt: skip
TRACK_BRANCHES = (
    "trackPt",
    "trackP",
    "trackMass",
    "trackEta",
    "trackPhi",
    "trackD0",
    "trackZ0",
    "trackChiSquared",
    "trackNumberDOF",
    "trackTruthParticleIndex",
)  # fmt: skip; and trackEta_X, trackPhi_X of the layers X
CLUSTER_BRANCHES = (
    "cluster_E", "cluster_E_LCCalib", "cluster_Pt", "cluster_Eta", "cluster_Phi", "cluster_nCells",
    "cluster_ENG_CALIB_TOT", "cluster_ENG_CALIB_OUT_T", "cluster_ENG_CALIB_DEAD_TOT", "cluster_EM_PROBABILITY",
    "cluster_HAD_WEIGHT", "cluster_OOC_WEIGHT", "cluster_DM_WEIGHT", "cluster_CENTER_MAG", "cluster_CENTER_LAMBDA",
    "cluster_FIRST_ENG_DENS", "cluster_ISOLATION",
)  # fmt: skip
CELL_BRANCHES = (
    "cluster_cell_ID", "cluster_cell_E", "cluster_cell_hitsE_EM", "cluster_cell_hitsE_nonEM",
    "cluster_cell_hitsE_Invisible", "cluster_cell_hitsE_Escaped",
)  # fmt: skip
HIT_BRANCHES = ("cluster_cell_hitsTruthIndex", "cluster_cell_hitsTruthE")


@dataclass(frozen=True)
class CellGeo:
    """The detector's G cells, a row each, in any order of their ids."""

    cell_id: np.ndarray  # (G,) int64, unique
    sampling: np.ndarray  # (G,) int64, values of SAMPLINGS
    eta: np.ndarray  # (G,) float32, of the cell's centre
    phi: np.ndarray  # (G,) float32, rad in [-pi, pi)
    r_perp_mm: np.ndarray  # (G,) float32
    deta: np.ndarray  # (G,) float32, size
    dphi: np.ndarray  # (G,) float32, size, rad
    volume_mm3: np.ndarray  # (G,) float32
    sigma_gev: np.ndarray  # (G,) float32, noise
    neighbours: np.ndarray  # (G, 10) int64 rows of this table in the order of NEIGHBOURS, or -1


@dataclass(frozen=True)
class MLTree:
    """E events with their truth particles, tracks, clusters and the cells of clusters, each one after the other.

    The dictionaries are by branch; rows of event e come before those of event e + 1, cells of cluster k before those of
    cluster k + 1. `n_*` say how many rows belong to each event, `n_cells` to each cluster. A cell that two clusters
    share is in both, each time with its share of the energy.
    """

    events: Mapping[str, np.ndarray]  # (E,) each, EVENT_BRANCHES
    n_truth: np.ndarray  # (E,) int64
    n_tracks: np.ndarray  # (E,) int64
    n_clusters: np.ndarray  # (E,) int64
    truth: Mapping[str, np.ndarray]  # (sum n_truth,) each, TRUTH_BRANCHES; particle 0 is the primary
    tracks: Mapping[str, np.ndarray]  # (sum n_tracks,) each, TRACK_BRANCHES and trackEta_X, trackPhi_X
    clusters: Mapping[str, np.ndarray]  # (K,) each, CLUSTER_BRANCHES
    n_cells: np.ndarray  # (K,) int64
    cells: Mapping[str, np.ndarray]  # (M,) each, CELL_BRANCHES
    # (M, 3) each, HIT_BRANCHES: rows of the event's truth particles by falling energy, and energies; -1 and 0 for none
    hits: Mapping[str, np.ndarray]

    @property
    def n_events(self) -> int:
        """Number of events E."""
        return len(self.n_clusters)
