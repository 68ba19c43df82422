"""Opens a PILArNet data set from the user's folder or the download folder, and downloads it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark import hub as default_hub
from benchmark.contracts import DatasetInfo
from benchmark.errors import DataError
from benchmark.paths import cache_dir

from ._pilarnet import PilarnetDataset, has_splits, open_pilarnet
from ._pilarnet_download import LEDGER, Hub, download


@dataclass(frozen=True)
class Repository:
    """A data set repository of the Hugging Face hub."""

    name: str
    default_revision: str


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Raises ValueError for a value that is not one of the choices."""
    if value not in choices:
        raise ValueError(f"{name}={value!r} does not fit. One of {', '.join(choices)} was expected.")


def download_folder(info: DatasetInfo, revision: str) -> Path:
    """Default download folder of a revision."""
    return cache_dir() / "datasets" / info.name / revision


def open_local(
    info: DatasetInfo, revision: str, root: Path | None, version: str | None, n_files: int
) -> PilarnetDataset:
    """The data set in `root`, in `root/<revision>`, or (root None) in the download folder. Raises DataError."""
    if root is None:
        root = download_folder(info, revision)
        if not has_splits(root):
            raise DataError(
                f"{info.name} {revision} is not on this machine: there are no files in {root}. Downloaded files were "
                f"expected. Type `python -m benchmark data prepare {info.name}` (its --help says how to fetch a part), "
                f"or --data FOLDER for your own files."
            )
    elif not has_splits(root) and has_splits(root / revision):
        root = root / revision
    return open_pilarnet(root, info, version, max_files=n_files)


def prepare(
    info: DatasetInfo,
    repository: Repository,
    revision: str,
    root: Path | None,
    version: str | None,
    splits: Sequence[str],
    n_files: int,
    hub: Hub = default_hub,
) -> PilarnetDataset:
    """Download what is missing, check every event, pack it. Raises DataError.

    A folder with files from elsewhere is only checked and packed.
    """
    folder = download_folder(info, revision) if root is None else root
    if root is None or not has_splits(root) or (root / LEDGER).is_file():
        download(repository.name, revision, splits, n_files, folder, hub)
    dataset = open_local(info, revision, folder, version, n_files)
    for split in dataset.splits:
        if split in splits:
            dataset.events(split)
    return dataset
