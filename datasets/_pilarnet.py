"""A folder of PILArNet HDF5 files as a `Dataset`: `<root>/{train,val,test}/*.h5`, packed once, then memory-mapped.

Real PILArNet-M, its mini version and simulated events in the same schema all open here.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from benchmark.contracts import DatasetInfo, Frame
from benchmark.data.digests import file_digest, refuse_copies
from benchmark.data.packed import PackedSource
from benchmark.errors import DataError
from benchmark.io import sha256_text

from ._event_files import SPLIT_FOLDERS, SPLITS, EventFiles, event_prefix, split_files
from ._pilarnet_h5 import GRID, Schema, side_file
from ._pilarnet_pack import pack_of, schemas

SUFFIXES = (".h5", ".hdf5", ".hdf")
CITATION = (
    "DeepLearnPhysics, PILArNet-M (Hugging Face); S. Young et al., Particle Trajectory Representation Learning with "
    "Masked Point Modeling, arXiv:2502.02558"
)

# 768^3 voxels of 3 mm. The cube's corners lie on the unit sphere, as in PoLAr-MAE (`center_and_scale`).
FRAME = Frame(
    centre=(GRID / 2, GRID / 2, GRID / 2),
    scale=1.0 / (GRID / 2 * 3.0**0.5),
    extent=(float(GRID), float(GRID), float(GRID)),
    unit="voxel of 3 mm",
)

LABELS = {
    "semantic": "0 shower, 1 track, 2 Michel electron, 3 delta ray, 4 low-energy scatter",
    "fragment": "id of the contiguous piece of a particle; -1 for low-energy scatters",
    "group": "id of the particle, an electromagnetic shower being one; -1 for low-energy scatters",
    "interaction": "id of the vertex that the particle comes from; -1 for low-energy scatters",
    "pid": "0 photon, 1 electron, 2 muon, 3 pion, 4 proton; -1 for low-energy scatters (schema v2 on)",
    "is_primary": "1 where the particle comes directly from the vertex (schema v3)",
    "cluster": "ordinal of the cluster in the event",
}

_log = logging.getLogger("particlebench")


class PilarnetDataset:
    """The `Dataset` of one folder, made by `open_pilarnet`.

    version: schema of all files. files: path below the root -> checksum (`benchmark.data.digests.file_digest`), side
    files included. revision: the name given to the content; else the schema and a hash over the HDF5 files.
    """

    def __init__(
        self,
        root: Path,
        info: DatasetInfo,
        by_split: Mapping[str, Mapping[Path, Schema]],
        cache: Path | None = None,
        revision: str | None = None,
        notes: tuple[str, ...] = (),
    ) -> None:
        self.root = root
        self.info = info
        self.version = next(s.version for files in by_split.values() for s in files.values())
        self._by_split = by_split  # split -> path -> schema, files in the order of their events' ids
        self._cache = cache
        self._notes = notes
        paths = [p for files in by_split.values() for h5 in files for p in (h5, side_file(h5)) if p.is_file()]
        self.files: Mapping[str, str] = {p.relative_to(root).as_posix(): file_digest(p) for p in sorted(paths)}
        refuse_copies((p, self.files[p.relative_to(root).as_posix()]) for s in self.splits for p in by_split[s])
        self.revision = revision or f"{self.version}-{_content_hash(self.files)[:12]}"

    @property
    def splits(self) -> tuple[str, ...]:
        """Splits in the folder."""
        return tuple(s for s in SPLITS if s in self._by_split)

    @cached_property
    def notes(self) -> tuple[str, ...]:
        """Notes for the user about this folder, one sentence each."""
        missing = [h5 for files in self._by_split.values() for h5 in files if not side_file(h5).is_file()]
        about = "is missing: points per event are computed from the clusters."
        return (*self._notes, *(f"{side_file(path)} {about}" for path in missing))

    def events(self, split: str) -> PackedSource:
        """Events of one split, validated and packed into the cache on first use.

        Raises DataError for a missing split and for damaged files.
        """
        if split not in self._by_split:
            raise DataError(
                f"{self.root} has no .h5 files for the split {split!r}; it has {', '.join(self.splits)}. The folder "
                f"{self.root / split} was expected. Choose another folder with --data, or prepare that split."
            )
        for note in self.notes:
            _log.warning("%s", note)
        packs = []
        for path, schema in self._by_split[split].items():
            name = path.relative_to(self.root).as_posix()
            packs.append((event_prefix(self.root, split, path), pack_of(path, name, schema, self._cache)))
        return PackedSource(packs)


def _content_hash(files: Mapping[str, str]) -> str:
    """Hash of the HDF5 files only: side files hold no further information."""
    of_events = sorted((name, digest) for name, digest in files.items() if not name.endswith(".npy"))
    return sha256_text("\n".join(f"{name} {digest}" for name, digest in of_events))


def open_pilarnet(
    root: Path,
    info: DatasetInfo,
    version: str | None = None,
    cache: Path | None = None,
    *,
    max_files: int = 0,
    revision: str | None = None,
) -> PilarnetDataset:
    """The dataset in `root`, which holds at least one of the folders train, val, test with .h5 files.

    version: the schema that all files must have, "v1", "v2" or "v3"; None takes it from the files. cache: folder of
    packed events (default `cache_dir()/packed`). max_files: only the first files of each split, 0 for all. revision:
    name of the exact content; None derives one from the schema and the files' checksums. Every file's header is checked
    here, its events when `events(split)` packs them. Raises DataError for missing or damaged files.
    """
    found = _files(root)
    by_split = {split: schemas(paths, version) for split, paths in found.first(max_files).items()}
    versions = {schema.version: path for files in by_split.values() for path, schema in files.items()}
    if len(versions) > 1:
        (first, path), (second, second_path) = sorted(versions.items())[:2]
        raise DataError(
            f"{root} mixes schemas: {path} is {first} and {second_path} is {second}. One schema was expected. "
            f"Keep each in a folder of its own."
        )
    return PilarnetDataset(root, info, by_split, cache, revision, found.notes)


def has_splits(root: Path) -> bool:
    """Whether there are HDF5 files in a folder of a split."""
    return root.is_dir() and bool(split_files(root, SUFFIXES, _is_side_file).by_split)


def _is_side_file(path: Path) -> bool:
    return path.name.endswith("_points.npy")


def _files(root: Path) -> EventFiles:
    """HDF5 files of the splits. Raises DataError where there is none."""
    if not root.is_dir():
        raise DataError(
            f"There is no folder {root}. A folder with train, val or test and PILArNet .h5 files in them was expected. "
            f"Check --data, or type `python -m benchmark data prepare --help`."
        )
    found = split_files(root, SUFFIXES, _is_side_file)
    if found.by_split:
        return found
    if any(path.parent == root for path in found.unread):
        is_split = any(root.name.lower() in names for names in SPLIT_FOLDERS.values())
        remedy = f"Type --data {root.parent}" if is_split else f"Move them into {root / 'test'}, for example"
        raise DataError(
            f"{root} holds .h5 files itself. A folder with train, val or test folders of them was expected. {remedy}."
        )
    folders = [name for name in SPLITS if (root / name).is_dir()]
    problem = "no .h5 file in " + " or ".join(folders) if folders else "none of the folders train, val, test"
    example = root / "test" / "generic_v2_100_v2.h5"
    raise DataError(f"{root} has {problem}. PILArNet files such as {example} were expected. Check --data.")
