"""Liquid-argon events simulated here, in PILArNet-M's schema: the default data, made on first use in about a minute.

A fast Monte Carlo of our own (`benchmark.datasets.larsim`; what it models, and how it compares with PILArNet-M, is in
docs/lartpc_sim.md). It is no substitute for PILArNet-M, which comes from Geant4.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmark.contracts import DatasetInfo, DatasetSpec

from ._pilarnet import FRAME, LABELS, PilarnetDataset, open_pilarnet
from ._simulated import Simulated
from .larsim.plan import Plan
from .larsim.production import SIMULATION

INFO = DatasetInfo(
    name="lartpc-sim",
    summary="liquid-argon events simulated on first use, in PILArNet-M's schema; no download, no substitute for it",
    licence="Apache-2.0",
    citation="particlebench, fast liquid-argon simulation (benchmark.datasets.larsim)",
    frame=FRAME,
    energy_unit="MeV",
    tasks=("lartpc-segmentation", "lartpc-segmentation-5", "lartpc-token-probe"),
    labels=LABELS,
)


@dataclass(frozen=True)
class Config:
    """How many events. Raises ValueError for values outside their range."""

    train: int = 3000  # training events
    val: int = 200  # validation events
    test: int = 400  # test events
    seed: int = 1  # other seeds give independent events; so do the splits of one seed

    def __post_init__(self) -> None:
        for name in ("train", "val", "test"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} is out of range. At least 1 event was expected.")


def _plan(config: Config) -> Plan:
    return Plan({"train": config.train, "val": config.val, "test": config.test}, seed=config.seed)


def _open_folder(_: Config, folder: Path, revision: str) -> PilarnetDataset:
    return open_pilarnet(folder, INFO, revision=revision)


_SIMULATED = Simulated(INFO, SIMULATION, _plan, _open_folder)
SPEC = DatasetSpec(info=INFO, config=Config, open=_SIMULATED.open, prepare=_SIMULATED.prepare)
