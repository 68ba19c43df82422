"""Liquid-argon events simulated here, in PILArNet-M's schema: the default data, made on first use in about a minute.

A fast Monte Carlo of our own (`benchmark.datasets.larsim`; what it models, and how it compares with PILArNet-M, is in
docs/lartpc_sim.md). It is no substitute for PILArNet-M, which comes from Geant4.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from benchmark.contracts import DatasetInfo, DatasetSpec
from benchmark.errors import DataError
from benchmark.paths import cache_dir

from ._pilarnet import FRAME, LABELS, PilarnetDataset, open_pilarnet
from .larsim.plan import Plan
from .larsim.production import MANIFEST, NOTICE, read_manifest, simulate_plan

INFO = DatasetInfo(
    name="lartpc-sim",
    summary="liquid-argon events simulated on first use, in PILArNet-M's schema; no download, no substitute for it",
    licence="Apache-2.0",
    citation="particlebench, fast liquid-argon simulation (docs/lartpc_sim.md)",
    frame=FRAME,
    energy_unit="MeV",
    tasks=("lartpc-segmentation", "lartpc-segmentation-5", "lartpc-token-probe"),
    labels=LABELS,
)
_log = logging.getLogger("particlebench")


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


def _open(config: Config, root: Path | None) -> PilarnetDataset:
    """A simulated folder: the given one as it is, or the cached one of these settings, made where it is missing."""
    if root is not None:
        return _read(root)
    plan = _plan(config)
    folder = cache_dir() / "datasets" / INFO.name / plan.revision()
    if not (folder / MANIFEST).is_file():
        _log.warning("%s %d events are made once and kept in %s.", NOTICE, plan.n_events, folder)
        simulate_plan(plan, folder)
    return _read(folder)


def _prepare(config: Config, root: Path | None) -> PilarnetDataset:
    """Simulate into the given folder, or into the cache; a finished folder of the same settings is opened."""
    if root is None or _is_made(root, _plan(config)):
        return _open(config, root)
    _log.warning("%s", NOTICE)
    simulate_plan(_plan(config), root)
    return _read(root)


def _is_made(root: Path, plan: Plan) -> bool:
    return (root / MANIFEST).is_file() and read_manifest(root).get("revision") == plan.revision()


def _read(root: Path) -> PilarnetDataset:
    if not root.is_dir():
        raise DataError(
            f"There is no folder {root}. A folder made by `data simulate` was expected. "
            f"Type `python -m benchmark data simulate --events 1000 --out {root}`, or leave --data away."
        )
    manifest = read_manifest(root)
    missing = [name for name in manifest.get("files", {}) if not (root / name).is_file()]
    if missing or "revision" not in manifest:
        raise DataError(
            f"{root} lacks {missing[0] if missing else 'its revision'}. A whole simulated data set was expected. "
            f"Delete the folder and simulate it again."
        )
    return open_pilarnet(root, INFO, revision=str(manifest["revision"]))


SPEC = DatasetSpec(info=INFO, config=Config, open=_open, prepare=_prepare)
