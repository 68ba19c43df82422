"""Light-sheet scans of irradiated lithium fluoride, simulated here: default data of the detector, made on first use.

Tracks of alpha particles, tritons and recoils under a light-sheet microscope (`benchmark.datasets.lifsim`; what it
models is in docs/lif_sim.md), written as OME-TIFF and read by the reader of measured scans. Optics and densities are
placeholders until they are calibrated on real ones.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from benchmark.contracts import DatasetInfo, DatasetSpec
from benchmark.errors import DataError
from benchmark.paths import cache_dir

from ._lif_chain import Chain
from ._lif_tiles import LABELS, TASKS, TileDataset, frame_of, open_tiles
from .lifsim.plan import Physics, Plan
from .lifsim.production import MANIFEST, NOTICE, read_manifest, simulate_plan

INFO = DatasetInfo(
    name="lif-sim",
    summary="light-sheet scans of irradiated lithium fluoride, simulated on first use, as OME-TIFF; in tiles",
    licence="Apache-2.0",
    citation="particlebench, light-sheet simulation (docs/lif_sim.md)",
    frame=frame_of((5, 250, 250)),
    energy_unit="robust sigma of the tile",
    tasks=TASKS,
    labels=LABELS,
)
_log = logging.getLogger("particlebench")


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


def _open(config: Config, root: Path | None) -> TileDataset:
    """A simulated folder: the given one as it is, or the cached one of these settings, made where it is missing."""
    if root is not None:
        return _read(config, root)
    plan = _plan(config)
    folder = cache_dir() / "datasets" / INFO.name / plan.revision()
    if not (folder / MANIFEST).is_file():
        _log.warning("%s They are made once and kept in %s.", NOTICE, folder)
        simulate_plan(plan, folder)
    return _read(config, folder)


def _prepare(config: Config, root: Path | None) -> TileDataset:
    """Simulate into the given folder, or into the cache; a finished folder of the same settings is opened."""
    plan = _plan(config)
    if root is None or ((root / MANIFEST).is_file() and read_manifest(root).get("revision") == plan.revision()):
        return _open(config, root)
    _log.warning("%s", NOTICE)
    simulate_plan(plan, root)
    return _read(config, root)


def _read(config: Config, root: Path) -> TileDataset:
    if not root.is_dir():
        raise DataError(
            f"There is no folder {root}. A folder made by `data prepare {INFO.name}` was expected. "
            f"Type `python -m benchmark data prepare {INFO.name} --data {root}`, or leave --data away."
        )
    manifest = read_manifest(root)
    missing = sorted(name for name in manifest.get("files", {}) if not (root / name).is_file())
    if missing or "revision" not in manifest:
        raise DataError(
            f"{root} lacks {missing[0] if missing else 'its revision'}. A whole simulated data set was expected. "
            f"Delete the folder and simulate it again."
        )
    return open_tiles(root, INFO, config, str(manifest["revision"]))


SPEC = DatasetSpec(info=INFO, config=Config, open=_open, prepare=_prepare)
