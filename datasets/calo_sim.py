"""Calorimeter events simulated here, in MLTree's branches: default data of the calorimeter, made on first use.

A fast simulation of our own (`benchmark.datasets.calosim`; what it models is in docs/calo_sim.md): single pions for
clusters and tracks, mixtures of particles for cells to tracks. It is no substitute for ATLAS's Geant4 samples.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from benchmark.contracts import DatasetInfo, DatasetSpec
from benchmark.errors import DataError
from benchmark.paths import cache_dir

from ._calo_samples import FRAME, LABELS, TASKS
from .atlas_pions import CalorimeterDataset, open_calorimeter
from .calosim.plan import Plan
from .calosim.production import MANIFEST, NOTICE, read_manifest, simulate_plan

INFO = DatasetInfo(
    name="calo-sim",
    summary="pions and mixtures in a calorimeter, simulated on first use, in MLTree's branches; not ATLAS's own",
    licence="Apache-2.0",
    citation="particlebench, fast calorimeter simulation (docs/calo_sim.md)",
    frame=FRAME,
    energy_unit="GeV",
    tasks=TASKS,
    labels=LABELS,
)
PREFIXES = {"cluster": "pions", "track": "pions", "association": "mixtures"}  # of the files with each sample
_log = logging.getLogger("particlebench")


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
        for kind in ("pions", "mixtures"):
            for split in INFO.splits:
                value = getattr(self, f"{kind}_{split}")
                if value < 1:
                    raise ValueError(f"{kind}_{split}={value} is out of range. At least 1 event was expected.")


def _plan(config: Config) -> Plan:
    pions, mixtures = ({s: getattr(config, f"{kind}_{s}") for s in INFO.splits} for kind in ("pions", "mixtures"))
    return Plan(pions=pions, mixtures=mixtures, seed=config.seed)


def _open(config: Config, root: Path | None) -> CalorimeterDataset:
    """A simulated folder: the given one as it is, or the cached one of these settings, made where it is missing."""
    if root is not None:
        return _read(root)
    plan = _plan(config)
    folder = cache_dir() / "datasets" / INFO.name / plan.revision()
    if not (folder / MANIFEST).is_file():
        _log.warning("%s They are made once and kept in %s.", NOTICE, folder)
        simulate_plan(plan, folder)
    return _read(folder)


def _prepare(config: Config, root: Path | None) -> CalorimeterDataset:
    """Simulate into the given folder, or into the cache; a finished folder of the same settings is opened."""
    plan = _plan(config)
    if root is None or ((root / MANIFEST).is_file() and read_manifest(root).get("revision") == plan.revision()):
        return _open(config, root)
    _log.warning("%s", NOTICE)
    simulate_plan(plan, root)
    return _read(root)


def _read(root: Path) -> CalorimeterDataset:
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
    return open_calorimeter(root, INFO, prefixes=PREFIXES, revision=str(manifest["revision"]))


SPEC = DatasetSpec(info=INFO, config=Config, open=_open, prepare=_prepare)
