"""Files of events in a user's folder: those of each split, and those that are not read, by name.

    <root>/{train,val,test}/<file>, or deeper in these folders

Folders may also be called training, valid, validation, testing, in any case; so may the files' suffixes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from benchmark.errors import DataError

SPLIT_FOLDERS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
SPLITS = tuple(SPLIT_FOLDERS)
_SHOWN = 3  # names in a note


@dataclass(frozen=True)
class EventFiles:
    """The files in a folder, by split, in the order of their events' ids."""

    root: Path
    by_split: dict[str, list[Path]]  # splits with files only
    unread: tuple[Path, ...]  # in the folder, and of no use

    def first(self, n: int) -> dict[str, list[Path]]:
        """The first n files of each split; all for 0."""
        return {split: paths[:n] if n else paths for split, paths in self.by_split.items()}

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence that names what is not read; none where everything is."""
        if not self.unread:
            return ()
        names = ", ".join(p.relative_to(self.root).as_posix() for p in self.unread[:_SHOWN])
        more = f" and {len(self.unread) - _SHOWN} more" if len(self.unread) > _SHOWN else ""
        return (f"{self.root}: {names}{more} not read. Files in {', '.join(SPLITS)} are.",)


def split_files(root: Path, suffixes: Sequence[str], is_other: Callable[[Path], bool]) -> EventFiles:
    """The files with these suffixes in the folders of the splits.

    is_other: whether a file belongs there without being one of events (a side file). Raises DataError for two folders
    of one split, two files of one name, and folders that cannot be listed.
    """
    by_split: dict[str, list[Path]] = {}
    unread: list[Path] = []
    folders = _split_folders(root)
    for split, folder in folders.items():
        inside = [p for p in _walk(folder) if not is_other(p)]
        paths = [p for p in inside if p.suffix.lower() in suffixes]
        unread += [p for p in inside if p.suffix.lower() not in (*suffixes, ".txt", ".md", ".json", ".log")]
        if paths:
            by_split[split] = _in_order(root, split, paths)
    outside = [p for p in _outside(root, folders.values()) if p.suffix.lower() in suffixes and not is_other(p)]
    return EventFiles(root, by_split, tuple(sorted(unread) + outside))


def event_prefix(root: Path, split: str, path: Path) -> str:
    """What the ids of a file's events begin with: `<split>/<file>`, with the folders between them."""
    _, *inside = path.relative_to(root).with_suffix("").parts
    return "/".join([split, *inside])


def _split_folders(root: Path) -> dict[str, Path]:
    folders: dict[str, Path] = {}
    for folder in _entries(root):
        split = next((s for s, names in SPLIT_FOLDERS.items() if folder.name.lower() in names), None)
        if split is None or not folder.is_dir():
            continue
        if split in folders:
            raise DataError(
                f"{root} has two folders for the split {split}, {folders[split].name} and {folder.name}. One was "
                f"expected. Move the files of one into the other."
            )
        folders[split] = folder
    return {split: folders[split] for split in SPLITS if split in folders}


def _in_order(root: Path, split: str, paths: list[Path]) -> list[Path]:
    """Sorted by the ids of their events. Raises DataError for two files whose events would have the same ids."""
    ordered = sorted(paths, key=lambda p: f"{event_prefix(root, split, p)}:")
    for first, second in pairwise(ordered):
        if event_prefix(root, split, first) == event_prefix(root, split, second):
            raise DataError(
                f"{first} and {second.name} have the same name. One file of each name was expected, so that events "
                f"have unique names. Rename or remove one of them."
            )
    return ordered


def _outside(root: Path, splits: Collection[Path]) -> list[Path]:
    """Files in the folder itself and in its other folders than those of splits, not deeper: it may be a large one."""
    own = [p for p in _entries(root) if p not in splits]
    return [p for p in own if p.is_file()] + [p for f in own if f.is_dir() for p in _entries(f) if p.is_file()]


def _walk(folder: Path) -> list[Path]:
    """All files in a folder and the folders inside, sorted; hidden ones are left out."""
    found: list[Path] = []
    for path in _entries(folder):
        if path.is_dir():
            is_above = folder.resolve().is_relative_to(path.resolve())  # a link upwards
            found += [] if is_above else _walk(path)
        elif path.is_file():
            found.append(path)
    return found


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder / name for name in os.listdir(folder) if not name.startswith("."))
    except OSError as error:
        raise DataError(
            f"{folder} cannot be listed: {error.strerror or error}. A readable folder was expected. Type "
            f"`chmod u+rx {folder}`, or ask its owner."
        ) from error
