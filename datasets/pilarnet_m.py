"""PILArNet-M: 1.2 million simulated liquid-argon events, 768^3 voxels of 3 mm, with semantic and particle labels.

Local folders in the same HDF5 schema open here too. Source: card of DeepLearnPhysics/PILArNet-M on Hugging Face;
PoLAr-MAE, arXiv:2502.02558.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from benchmark.contracts import DatasetInfo, DatasetSpec

from ._pilarnet import CITATION, FRAME, LABELS, PilarnetDataset
from ._pilarnet_source import Repository, check_choice, open_local, prepare

INFO = DatasetInfo(
    name="pilarnet-m",
    summary="1.2 million simulated liquid-argon events, semantic and particle labels; 160 GB, or any folder like it",
    licence="Apache-2.0",
    citation=CITATION,
    frame=FRAME,
    energy_unit="MeV",
    tasks=("lartpc-segmentation", "lartpc-segmentation-5", "lartpc-token-probe"),
    labels=LABELS,
)
REPOSITORY = Repository("DeepLearnPhysics/PILArNet-M", default_revision="v2")


@dataclass(frozen=True)
class Config:
    """Which files. Raises ValueError for values outside their range."""

    revision: str = "auto"  # v1, v2 or v3; auto: what the local files are, and v2 from the hub
    split: str = "all"  # what `data prepare` fetches: train, val, test or all
    files: int = 0  # only the first files of each split; 0 for all

    def __post_init__(self) -> None:
        check_choice("revision", self.revision, ("auto", "v1", "v2", "v3"))
        check_choice("split", self.split, ("all", *INFO.splits))
        if self.files < 0:
            raise ValueError(f"files={self.files} is out of range. 0 (all) or more was expected.")


def _revision(config: Config) -> str:
    return REPOSITORY.default_revision if config.revision == "auto" else config.revision


def _version(config: Config) -> str | None:
    return None if config.revision == "auto" else config.revision


def _open(config: Config, root: Path | None) -> PilarnetDataset:
    return open_local(INFO, _revision(config), root, _version(config), config.files)


def _prepare(config: Config, root: Path | None) -> PilarnetDataset:
    splits = INFO.splits if config.split == "all" else (config.split,)
    return prepare(INFO, REPOSITORY, _revision(config), root, _version(config), splits, config.files)


SPEC = DatasetSpec(info=INFO, config=Config, open=_open, prepare=_prepare)
