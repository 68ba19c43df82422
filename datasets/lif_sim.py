"""Light-sheet scans of irradiated lithium fluoride, simulated here: default data of the detector, made on first use.

Tracks of alpha particles, tritons and recoils under a light-sheet microscope (`benchmark.datasets.lifsim`; what it
models is in docs/lif_sim.md), written as OME-TIFF and read by the reader of measured scans. Optics and densities are
placeholders until they are calibrated on real ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmark.contracts import DatasetInfo, DatasetSpec

from ._lif_chain import Chain
from ._lif_tiles import LABELS, TASKS, TileDataset, frame_of, open_tiles
from ._simulated import Simulated
from .lifsim.plan import Physics, Plan
from .lifsim.production import SIMULATION

INFO = DatasetInfo(
    name="lif-sim",
    summary="light-sheet scans of irradiated lithium fluoride, simulated on first use, as OME-TIFF; in tiles",
    licence="Apache-2.0",
    citation="particlebench, light-sheet simulation (benchmark.datasets.lifsim)",
    frame=frame_of((5, 250, 250)),
    energy_unit="robust sigma of the tile",
    tasks=TASKS,
    labels=LABELS,
)


@dataclass(frozen=True)
class Config(Chain):
    """Scans, and how they become tiles. Raises ValueError for values outside their range."""

    scans_train: int = 6  # training scans
    scans_val: int = 2  # validation scans
    scans_test: int = 3  # test scans
    shape: tuple[int, int, int] = (30, 1120, 1080)  # z, y, x voxels of a scan
    events_per_mm3: float = 1200.0  # mean density of reactions
    seed: int = 1  # other seeds give independent scans; so do the splits of one seed

    def __post_init__(self) -> None:
        super().__post_init__()
        for split in INFO.splits:
            value = getattr(self, f"scans_{split}")
            if value < 1:
                raise ValueError(f"scans_{split}={value} is out of range. At least 1 scan was expected.")
        if not self.events_per_mm3 >= 0:
            raise ValueError(f"events_per_mm3={self.events_per_mm3} is out of range. A number from 0 on was expected.")


def _plan(config: Config) -> Plan:
    scans = {split: getattr(config, f"scans_{split}") for split in INFO.splits}
    physics = Physics(events_per_mm3=config.events_per_mm3)
    return Plan(scans=scans, shape=config.shape, seed=config.seed, physics=physics)


def _open_folder(config: Config, folder: Path, revision: str) -> TileDataset:
    return open_tiles(folder, INFO, config, revision)


_SIMULATED = Simulated(INFO, SIMULATION, _plan, _open_folder)
SPEC = DatasetSpec(info=INFO, config=Config, open=_SIMULATED.open, prepare=_SIMULATED.prepare)
