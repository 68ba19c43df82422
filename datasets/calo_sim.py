"""Calorimeter events simulated here, in MLTree's branches: default data of the calorimeter, made on first use.

A fast simulation of our own (`benchmark.datasets.calosim`; what it models is in docs/calo_sim.md): single pions for
clusters and tracks, mixtures of particles for cells to tracks. It is no substitute for ATLAS's Geant4 samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmark.contracts import DatasetInfo, DatasetSpec

from ._calo_samples import FRAME, LABELS, TASKS
from ._simulated import Simulated
from .atlas_pions import CalorimeterDataset, open_calorimeter
from .calosim.plan import Plan
from .calosim.production import SIMULATION

INFO = DatasetInfo(
    name="calo-sim",
    summary="pions and mixtures in a calorimeter, simulated on first use, in MLTree's branches; not ATLAS's own",
    licence="Apache-2.0",
    citation="particlebench, fast calorimeter simulation (benchmark.datasets.calosim)",
    frame=FRAME,
    energy_unit="GeV",
    tasks=TASKS,
    labels=LABELS,
)
PREFIXES = {"cluster": "pions", "track": "pions", "association": "mixtures"}  # of the files with each sample


@dataclass(frozen=True)
class Config:
    """How many events. Raises ValueError for values outside their range."""

    pions_train: int = 18000  # training events of one pion
    pions_val: int = 2000  # validation events of one pion
    pions_test: int = 6000  # test events of one pion
    mixtures_train: int = 4000  # training events of several particles
    mixtures_val: int = 500  # validation events of several particles
    mixtures_test: int = 1500  # test events of several particles
    seed: int = 1  # other seeds give independent events; so do the splits of one seed

    def __post_init__(self) -> None:
        for production in ("pions", "mixtures"):
            for split in INFO.splits:
                value = getattr(self, f"{production}_{split}")
                if value < 1:
                    raise ValueError(f"{production}_{split}={value} is out of range. At least 1 event was expected.")


def _plan(config: Config) -> Plan:
    pions, mixtures = (
        {s: getattr(config, f"{production}_{s}") for s in INFO.splits} for production in ("pions", "mixtures")
    )
    return Plan(pions=pions, mixtures=mixtures, seed=config.seed)


def _open_folder(_: Config, folder: Path, revision: str) -> CalorimeterDataset:
    return open_calorimeter(folder, INFO, prefixes=PREFIXES, revision=revision)


_SIMULATED = Simulated(INFO, SIMULATION, _plan, _open_folder)
SPEC = DatasetSpec(info=INFO, config=Config, open=_SIMULATED.open, prepare=_SIMULATED.prepare)
