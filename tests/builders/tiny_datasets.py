"""A tiny folder of every dataset: written for readers, simulated for those that make their events."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmark import registry
from benchmark.contracts import Dataset, DatasetSpec
from benchmark.settings import override
from builders import calo_files, lif_files, pilarnet_files


@dataclass(frozen=True)
class Recipe:
    """Settings that differ from the defaults, and what writes the files; None: the dataset simulates them."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    write: Callable[[Path], Path] | None = None


@dataclass(frozen=True)
class Made:
    """A dataset that is on this machine, and how to open it again."""

    spec: DatasetSpec
    config: Any
    folder: Path
    dataset: Dataset

    def again(self, folder: Path | None = None) -> Dataset:
        """The same dataset, or a copy of its folder, opened anew."""
        return self.spec.open(self.config, folder or self.folder)

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits that are present."""
        return tuple(getattr(self.dataset, "splits", self.spec.info.splits))


def _pilarnet(root: Path) -> Path:
    rng = np.random.default_rng(3)
    sizes = {"train": 5, "val": 2, "test": 3}
    return pilarnet_files.write_folder(root, {s: pilarnet_files.make_events(rng, n) for s, n in sizes.items()})


def _calorimeter(root: Path) -> Path:
    rng = np.random.default_rng(4)
    return calo_files.write_folder(root, rng, calo_files.make_geometry(rng))


_EVENTS = {"train": 4, "val": 2, "test": 3}
_TILES = {"tile": (5, 40, 40), "margin_um": (7.0, 0.0, 5.0), "regions": "none"}
_SCANS = {"scans_train": 1, "scans_val": 1, "scans_test": 1, "shape": (10, 160, 140), "events_per_mm3": 12_000.0}
RECIPES = {
    "atlas-pions": Recipe(write=_calorimeter),
    "calo-sim": Recipe({f"{kind}_{split}": 12 for kind in ("pions", "mixtures") for split in _EVENTS}),
    "lartpc-sim": Recipe(_EVENTS),
    "lif-scans": Recipe(lif_files.CHAIN, lif_files.write_folder),
    "lif-sim": Recipe({**_SCANS, **_TILES}),
    "pilarnet-m": Recipe(write=_pilarnet),
    "pilarnet-m-mini": Recipe(write=_pilarnet),
}


def make(name: str, root: Path, data: Path | None = None) -> Made:
    """A dataset in a tiny folder below `root`, or in the user's own folder. Skips one without a recipe and folder."""
    spec = registry.dataset_spec(name)
    if data is not None:
        return Made(spec, spec.config(), data, spec.open(spec.config(), data))
    recipe = RECIPES.get(spec.info.name)
    if recipe is None:
        pytest.skip(f"no small folder of {spec.info.name}: give one with --dataset {name} --data FOLDER")
    config = override(spec.config(), recipe.settings, "data")
    if recipe.write is not None:
        folder = recipe.write(root / "data")
        return Made(spec, config, folder, spec.open(config, folder))
    with pytest.MonkeyPatch.context() as patched:  # starting processes takes longer than these events
        patched.setattr("benchmark.datasets._simulation.available_cores", lambda: 1)
        return Made(spec, config, root / "data", spec.prepare(config, root / "data"))
