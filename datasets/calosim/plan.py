"""Plan of a simulation: settings, seeds and numbers of events, and the identity of the content."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from benchmark.datasets._folders import check_disk
from benchmark.datasets._identity import Content, plain
from benchmark.errors import ConfigError

from .generate import PRODUCTIONS, GeneratorSettings, Production, check_settings

SPLITS = ("train", "val", "test")
FILE_EVENTS = 2000  # of one file, the unit of work and of resuming
BYTES_PER_EVENT = 25_000  # of a file; the margin is for mixtures
MAX_EVENTS = 10_000_000
FORMAT = 1  # of plans, files and manifests
# After a change of physics: the new digest (`digest.py`), which alone names the new content: named_by=(digest,).
CONTENT = Content(
    prefix="calo",
    digest="97ca35e073348c740a044c2e2d043a03c8f76ae683e734d0cb051a5012f7fbf1",
    named_by=(
        "2e81e214c643ef1878f4da75a38dd4b591105b46c6dcd3dfa826aa630ae105b1",
        "a3c2b0e6a0d56a8fc7318440162cb5ab92af19839708a76d0dde0ce077a126f0",
    ),
)
DEFAULT_PIONS = (18_000, 2_000, 6_000)  # in the order of SPLITS
DEFAULT_MIXTURES = (4_000, 500, 1_500)


class Piece(NamedTuple):
    """Events first..first + n_events - 1 of a production in a split: one file."""

    split: str
    production: Production
    number: int
    first: int
    n_events: int

    def name(self) -> str:
        """Path of the file in the data set's folder."""
        return f"{self.split}/{self.production}_{self.number:04d}.npy"

    def path(self, work: Path) -> Path:
        """Path of the file until the data set is complete."""
        return work / self.name()


@dataclass(frozen=True)
class Plan:
    """Description of a data set. Equal plans give equal events on any number of workers."""

    # split -> number of events
    pions: Mapping[str, int] = field(default_factory=lambda: dict(zip(SPLITS, DEFAULT_PIONS, strict=True)))
    mixtures: Mapping[str, int] = field(default_factory=lambda: dict(zip(SPLITS, DEFAULT_MIXTURES, strict=True)))
    seed: int = 1  # events of different seeds, and of different splits, are independent
    settings: GeneratorSettings = field(default_factory=GeneratorSettings)

    @property
    def n_events(self) -> int:
        """Events in all splits and productions."""
        return sum(sum(self.sizes(p).values()) for p in PRODUCTIONS)

    def sizes(self, production: Production) -> Mapping[str, int]:
        """Events of a production per split."""
        return self.pions if production == "pions" else self.mixtures

    def describe(self) -> dict[str, Any]:
        """JSON-able statement of everything that determines the files."""
        return CONTENT.describe({
            "format": FORMAT,
            **{production: dict(self.sizes(production)) for production in PRODUCTIONS},
            "seed": self.seed,
            "settings": plain(dataclasses.asdict(self.settings)),
        })  # fmt: skip

    def revision(self) -> str:
        """Name of the content: `calo-<first 12 hex digits>` of the description's hash."""
        return CONTENT.revision(self.describe())

    def aliases(self) -> tuple[str, ...]:
        """Names that earlier versions gave to the same content."""
        return CONTENT.aliases(self.describe())

    def pieces(self) -> list[Piece]:
        """The files, in order."""
        return [
            Piece(split, production, number, first, min(FILE_EVENTS, n_events - first))
            for production in PRODUCTIONS
            for split, n_events in self.sizes(production).items()
            for number, first in enumerate(range(0, n_events, FILE_EVENTS))
        ]


def check_plan(plan: Plan, out: Path) -> None:
    """Raises `ConfigError` for an invalid plan, or one too large for the disk."""
    for production in PRODUCTIONS:
        for split, n_events in plan.sizes(production).items():
            if split not in SPLITS:
                raise ConfigError(
                    f"There is no split {split!r}. Expected one of {', '.join(SPLITS)}. Correct the split."
                )
            if not isinstance(n_events, int) or isinstance(n_events, bool) or not 0 <= n_events <= MAX_EVENTS:
                raise ConfigError(
                    f"{n_events!r} {production} were requested for the split {split!r}. A whole number from 0 to "
                    f"{MAX_EVENTS:,} was expected. Give another number of events."
                )
    if plan.n_events == 0:
        raise ConfigError("No events were requested. At least one was expected. Give a number of events.")
    check_settings(plan.settings)
    check_disk(plan.n_events, BYTES_PER_EVENT * plan.n_events, out)
