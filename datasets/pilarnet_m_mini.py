"""PILArNet-M-mini: 80 train, 20 val and 20 test events of PILArNet-M v2, for a first look at real files.

Source: DeepLearnPhysics/PILArNet-M-mini on Hugging Face, pinned to one commit.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmark.contracts import DatasetInfo, DatasetSpec

from ._pilarnet import CITATION, FRAME, LABELS, PilarnetDataset
from ._pilarnet_source import Repository, check_choice, open_local, prepare

INFO = DatasetInfo(
    name="pilarnet-m-mini",
    summary="120 events of PILArNet-M v2 (80 train, 20 val, 20 test)",
    licence="Apache-2.0",
    citation=CITATION,
    frame=FRAME,
    energy_unit="MeV",
    tasks=("lartpc-segmentation", "lartpc-segmentation-5", "lartpc-token-probe"),
    labels=LABELS,
)
REPOSITORY = Repository("DeepLearnPhysics/PILArNet-M-mini", "d7a0d1e3e5d6640808db71dcda34bc31991d9b3b")


@dataclass(frozen=True)
class Config:
    """What to fetch. Raises ValueError for values outside their range."""

    split: str = "all"  # what `data prepare` fetches: train, val, test or all

    def __post_init__(self) -> None:
        check_choice("split", self.split, ("all", *INFO.splits))


def _open(config: Config, root: Path | None) -> PilarnetDataset:
    return open_local(INFO, REPOSITORY.default_revision, root, None, 0)


def _prepare(config: Config, root: Path | None) -> PilarnetDataset:
    splits = INFO.splits if config.split == "all" else (config.split,)
    return prepare(INFO, REPOSITORY, REPOSITORY.default_revision, root, None, splits, 0)


SPEC = DatasetSpec(info=INFO, config=Config, open=_open, prepare=_prepare)
