"""ATLAS-simulated pions and cell-to-track events: a user's own folder of MLTree files, .root or .npy.

    <folder>/{train,val,test}/*.root or *.npy, and cell_geo.root or cell_geo.npy beside these folders or in the files

The events are of ATLAS and are not part of this project. The channel number or the truth particles decide which samples
an event gives: single pions give clusters and tracks, all others associations.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.contracts import DatasetInfo, DatasetSpec
from benchmark.data.digests import file_digest, refuse_copies
from benchmark.errors import DataError
from benchmark.io import sha256_text

from ._calo_pack import event_pack, geometry_pack
from ._calo_samples import FRAME, LABELS, SAMPLES, SOURCES, TASKS, Source
from ._event_files import SPLITS, event_prefix, split_files

INFO = DatasetInfo(
    name="atlas-pions",
    summary="a folder of MLTree files (.root or .npy) of ATLAS: single pions, and tracks with the cells around them",
    licence="that of the files, which are the ATLAS collaboration's; see who gave them to you",
    citation="ATLAS Collaboration, ATL-PHYS-PUB-2022-040 (pions); ATL-SOFT-PROC-2025-018 (cells to tracks)",
    frame=FRAME,
    energy_unit="GeV",
    tasks=TASKS,
    labels=LABELS,
)
SUFFIXES = (".npy", ".root")

_log = logging.getLogger("particlebench")


@dataclass(frozen=True)
class Config:
    """Which files. Raises ValueError for values outside their range."""

    files: int = 0  # only the first files of each split; 0 for all

    def __post_init__(self) -> None:
        if self.files < 0:
            raise ValueError(f"files={self.files} is out of range. 0 (all) or more was expected.")


class CalorimeterDataset:
    """The `Dataset` of a folder of MLTree files, made by `open_calorimeter`.

    files: path below the root -> checksum. revision: the name given to the content, else a hash over the files.
    """

    def __init__(
        self,
        root: Path,
        info: DatasetInfo,
        by_split: Mapping[str, Sequence[Path]],
        geometry: Path,
        prefixes: Mapping[str, str],
        cache: Path | None = None,
        revision: str | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        self.root = root
        self.info = info
        self.notes = notes  # for the user about this folder, one sentence each
        self._by_split = by_split  # split -> files
        self._geometry = geometry
        self._prefixes = prefixes  # sample -> prefix of the names of its files
        self._cache = cache
        paths = {p for files in by_split.values() for p in files} | {geometry}
        self.files: Mapping[str, str] = {_relative_path(root, p): file_digest(p) for p in sorted(paths)}
        refuse_copies((p, self.files[_relative_path(root, p)]) for s in self.splits for p in by_split[s])
        content = "\n".join(f"{name} {digest}" for name, digest in sorted(self.files.items()))
        self.revision = revision or f"mltree-{sha256_text(content)[:12]}"

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits in the folder."""
        return tuple(s for s in SPLITS if s in self._by_split)

    def events(self, split: str, sample: str = "event") -> Source:
        """Samples of one split, checked and packed into the cache on first use.

        sample: cluster | track | association. Raises DataError for another one, for a missing split and for
        damaged files.
        """
        if sample not in SOURCES:
            raise DataError(
                f"{self.info.name} has no sample {sample!r}. One of {', '.join(SAMPLES)} was expected. "
                f"Choose one of the tasks {', '.join(self.info.tasks)}."
            )
        if split not in self._by_split:
            raise DataError(
                f"{self.root} has no files for the split {split!r}; it has {', '.join(self.splits)}. The folder "
                f"{self.root / split} was expected. Choose another folder with --data."
            )
        prefix = self._prefixes.get(sample, "")
        files = [path for path in self._by_split[split] if path.name.startswith(prefix)]
        if not files:
            raise DataError(
                f"{self.root / split} has no file for {sample} samples. Files named {prefix}* were expected. "
                f"Choose another task, or another folder with --data."
            )
        for note in self.notes:
            _log.warning("%s", note)
        geometry = geometry_pack(self._geometry, self._cache)
        packs = [(event_prefix(self.root, split, path), event_pack(path, geometry, self._cache)) for path in files]
        weighted = sum(bool(pack.manifest["source"].get("weights")) for _, pack in packs)
        if weighted:
            _log.warning("mcEventWeight differs between events in %d files and is not used: all count once.", weighted)
        return SOURCES[sample](packs, geometry)


def open_calorimeter(
    root: Path,
    info: DatasetInfo,
    *,
    prefixes: Mapping[str, str] | None = None,
    max_files: int = 0,
    cache: Path | None = None,
    revision: str | None = None,
) -> CalorimeterDataset:
    """The dataset in `root`: train, val, test folders of .npy or .root files, and the geometry beside or in them.

    prefixes: sample -> prefix of the names of its files (default: all files). max_files: only the first files of each
    split, 0 for all. Raises DataError for missing files.
    """
    if not root.is_dir():
        raise DataError(
            f"There is no folder {root}. A folder with train, val or test and MLTree files (.npy or .root) in them was "
            f"expected. Check --data, or type `python -m benchmark data prepare --help`."
        )
    found = split_files(root, SUFFIXES, _is_geometry)
    by_split = found.first(max_files)
    if not by_split:
        raise DataError(
            f"{root} has no .npy or .root file in a folder train, val or test. MLTree files such as "
            f"{root / 'test' / 'pions_0000.npy'} were expected. Check --data."
        )
    first_events = next(paths[0] for paths in by_split.values())
    geometry = _geometry_file(root, first_events)
    return CalorimeterDataset(root, info, by_split, geometry, prefixes or {}, cache, revision, found.notes)


def _is_geometry(path: Path) -> bool:
    return path.name.startswith("cell_geo.")


def _geometry_file(root: Path, events: Path) -> Path:
    """cell_geo.npy or cell_geo.root of the folder, else the first file of events, which then holds the tree CellGeo."""
    for name in ("cell_geo.npy", "cell_geo.root"):
        for folder in (root, events.parent):
            if (folder / name).is_file():
                return folder / name
    if events.suffix == ".root":
        return events
    raise DataError(
        f"{root} has no cell_geo.npy or cell_geo.root. The detector's geometry beside the folders of events was "
        f"expected. Put the file there that was written with these events."
    )


def _relative_path(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


def _open(config: Config, root: Path | None) -> CalorimeterDataset:
    if root is None:
        raise DataError(
            f"{INFO.name} has no files of its own. A folder with train, val and test and MLTree files in them was "
            f"expected. Type --data FOLDER, or omit the data set for the simulated one."
        )
    return open_calorimeter(root, INFO, max_files=config.files)


SPEC = DatasetSpec(info=INFO, config=Config, open=_open, prepare=_open)
