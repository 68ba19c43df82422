"""Plan of a simulation: settings, seeds and numbers of events, and the identity of the content."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmark.datasets._folders import check_disk
from benchmark.datasets._identity import Content, plain
from benchmark.errors import ConfigError

from .generator import GeneratorSettings, check_settings
from .images import ImageSettings
from .writer import CLUSTER_COLUMNS, Version

SPLITS = ("train", "val", "test")
BYTES_PER_EVENT = 200_000  # a v2 event takes 140 kB on average; the margin is for large events
MAX_EVENTS = 10_000_000
FORMAT = 1  # of plans, shards and manifests
# After a change of physics: the new digest (`digest.py`), which alone names the new content: named_by=(digest,).
CONTENT = Content(
    prefix="sim",
    digest="14fc90d7d2f7fda1982588af64a3525acb88a68e57a1d1968cf203105529c5d2",
    named_by=(
        "3210d754fb7d81f82689c7d9e43d6c0324b08df27e48b6618a1733fbd5906c7c",
        "d7819b71e2546837aff576544cdc05b47b1b0bbf6ad631e4a1e3d29361b70e21",
        "8b0dae0ea65a53c518aac8fcb2b8d76f4a23d2502a2ff29a13e13b87d5f4bb46",
        "cfb7867ca627e43be736e7071c79521a7295f18e42a9e3f2095d508efe058861",
        "35a85ba9b6e8400080c7de72e36de0708829bea1477486a72a0044dd6a3019f6",
    ),
)


@dataclass(frozen=True)
class SimulationSettings:
    """Everything that determines an event besides its seed and the code."""

    generator: GeneratorSettings = field(default_factory=GeneratorSettings)
    images: ImageSettings = field(default_factory=ImageSettings)


@dataclass(frozen=True)
class Plan:
    """Description of a data set. Equal plans give equal events on any number of workers."""

    events: Mapping[str, int]  # split -> number of events, in the order train, val, test
    seed: int = 1  # events of different seeds, and of different splits, are independent
    version: Version = "v2"  # schema of the files
    settings: SimulationSettings = field(default_factory=SimulationSettings)

    @property
    def n_events(self) -> int:
        """Events in all splits."""
        return sum(self.events.values())

    def describe(self) -> dict[str, Any]:
        """JSON-able statement of everything that determines the files."""
        settings = dataclasses.asdict(self.settings)
        return CONTENT.describe({
            "format": FORMAT,
            "events": dict(self.events),
            "seed": self.seed,
            "version": self.version,
            "settings": plain(settings),
        })  # fmt: skip

    def revision(self) -> str:
        """Name of the content: `sim-<first 12 hex digits>` of the description's hash."""
        return CONTENT.revision(self.describe())

    def aliases(self) -> tuple[str, ...]:
        """Names that earlier versions gave to the same content."""
        return CONTENT.aliases(self.describe())


def check_plan(plan: Plan, out: Path) -> None:
    """Raises `ConfigError` for an invalid plan, or one too large for the disk."""
    for split, n_events in plan.events.items():
        if split not in SPLITS:
            raise ConfigError(f"There is no split {split!r}. Expected one of {', '.join(SPLITS)}. Correct the split.")
        if not isinstance(n_events, int) or isinstance(n_events, bool) or not 1 <= n_events <= MAX_EVENTS:
            raise ConfigError(
                f"{n_events!r} events were requested for the split {split!r}. A whole number from 1 to {MAX_EVENTS:,} "
                f"was expected. Give another number with --events."
            )
    if not plan.events:
        raise ConfigError("No events were requested. At least one was expected. Give a number with --events.")
    if plan.version not in CLUSTER_COLUMNS:
        raise ConfigError(f"There is no schema {plan.version!r} to write. Expected v2 or v1. Correct the version.")
    check_settings(plan.settings.generator)
    _check_images(plan.settings.images)
    # pieces stay on disk until their file is complete
    check_disk(plan.n_events, 2 * BYTES_PER_EVENT * plan.n_events, out)


def _check_images(settings: ImageSettings) -> None:
    voxels, labels = settings.voxels, settings.labels
    values = {
        "piece length": voxels.piece_mm, "drift field": voxels.field_kv_per_cm, "density": voxels.density_g_cm3,
        "work function": voxels.work_function_ev, "delta size": labels.delta_size, "Compton size": labels.compton_size,
    }  # fmt: skip
    for name, value in values.items():
        if not 0 < value < float("inf"):
            raise ConfigError(
                f"The {name} is {value}. A number above 0 was expected. Correct the simulation's settings."
            )
    if not 0 <= voxels.threshold_mev < float("inf"):
        raise ConfigError(
            f"The energy threshold of a voxel is {voxels.threshold_mev} MeV. At least 0 was expected. "
            f"Correct the simulation's settings."
        )
