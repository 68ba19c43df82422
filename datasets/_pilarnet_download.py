"""Downloads PILArNet files from the Hugging Face hub: sizes shown first, resumable, every file checked by its hash.

A file under its final name is complete and checked; a running download is `.<name>.<hash>.partial` beside it.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

from benchmark import hub as default_hub
from benchmark.errors import DataError
from benchmark.hub import RemoteFile, check_content
from benchmark.io import atomic_write_json
from benchmark.json_files import read_json

LEDGER = "downloads.json"  # in the download folder: fetched and checked files
_SPARE_BYTES = 1 << 30  # left free on the disk


class Hub(Protocol):
    """Interface of a hub; the module `benchmark.hub`, or a fake in tests."""

    def list_files(self, repo: str, revision: str) -> tuple[str, list[RemoteFile]]: ...

    def fetch(self, repo: str, commit: str, file: RemoteFile, target: Path) -> None: ...


def download(
    repo: str, revision: str, splits: Sequence[str], n_files: int, root: Path, hub: Hub = default_hub
) -> list[RemoteFile]:
    """Fetch the first `n_files` (0: all) HDF5 files of each split, with their side files, into `root`.

    Returns the selected files. Complete files are not fetched again. Raises DataError: no files, disk too small,
    no network, wrong content.
    """
    commit, listing = hub.list_files(repo, revision)
    selected = choose(listing, splits, n_files)
    if not selected:
        present = ", ".join(sorted({f.path.partition("/")[0] for f in listing})) or "nothing"
        raise DataError(
            f"{repo} at {revision} has no .h5 file for {', '.join(splits)}; it has {present}. Files such as "
            f"train/generic_v2_80_v2.h5 were expected. Check --revision and --split."
        )
    ledger = _read_ledger(root)
    missing = [f for f in selected if not _is_complete(f, root, ledger)]
    _print_sizes(repo, revision, selected, missing)
    _check_space(root, missing)
    atomic_write_json(root / LEDGER, ledger)  # marks the folder as a download folder before the first file
    for file in missing:
        path = root / file.path
        partial = path.with_name(f".{path.name}.{(_hash(file) or commit)[:12]}.partial")  # other content, other name
        partial.parent.mkdir(parents=True, exist_ok=True)
        hub.fetch(repo, commit, file, partial)
        check_content(partial, file)
        os.replace(partial, path)
        mtime = path.stat().st_mtime_ns
        ledger[file.path] = {"size": file.size, "mtime_ns": mtime, "hash": _hash(file), "commit": commit}
        atomic_write_json(root / LEDGER, ledger)
    return selected


def choose(listing: Sequence[RemoteFile], splits: Sequence[str], n_files: int) -> list[RemoteFile]:
    """The first `n_files` HDF5 files of each split in the order of their events' ids, each before its side file."""
    by_path = {f.path: f for f in listing}
    chosen: list[RemoteFile] = []
    for split in splits:
        names = [p for p in by_path if p.startswith(f"{split}/") and p.endswith(".h5") and p.count("/") == 1]
        ordered = sorted(names, key=lambda p: f"{PurePosixPath(p).stem}:")
        for name in ordered[: n_files or None]:
            chosen.append(by_path[name])
            side = f"{name[: -len('.h5')]}_points.npy"
            if side in by_path:
                chosen.append(by_path[side])
    return chosen


def _print_sizes(repo: str, revision: str, selected: Sequence[RemoteFile], missing: Sequence[RemoteFile]) -> None:
    present = {f.path for f in selected} - {f.path for f in missing}
    lines = [f"{repo} at {revision}:"]
    lines += [f"  {_size(f.size):>9}  {f.path}{'  (here already)' if f.path in present else ''}" for f in selected]
    lines += [f"  {_size(sum(f.size for f in missing)):>9}  to download"]
    print("\n".join(lines), file=sys.stderr, flush=True)


def _size(n_bytes: int) -> str:
    value, unit = float(n_bytes), "B"
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            break
        value /= 1000
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"


def _check_space(root: Path, missing: Sequence[RemoteFile]) -> None:
    needed = sum(f.size for f in missing)
    folder = next(p for p in (root, *root.parents) if p.exists())
    free = shutil.disk_usage(folder).free
    if needed and needed + _SPARE_BYTES > free:
        raise DataError(
            f"The download needs {_size(needed)} and {folder} has {_size(free)} free. {_size(_SPARE_BYTES)} more than "
            f"the download was expected. Ask for fewer files with --files, or choose another folder with --data."
        )


def _read_ledger(root: Path) -> dict[str, Any]:
    try:
        content = read_json(root / LEDGER)
    except (OSError, ValueError):
        return {}
    return {k: v for k, v in content.items() if isinstance(v, dict)} if isinstance(content, dict) else {}


def _is_complete(file: RemoteFile, root: Path, ledger: dict[str, Any]) -> bool:
    entry, path = ledger.get(file.path), root / file.path
    if entry is None or not path.is_file() or entry.get("hash") != _hash(file):
        return False
    stat = path.stat()
    return bool(stat.st_size == file.size and stat.st_mtime_ns == entry.get("mtime_ns"))


def _hash(file: RemoteFile) -> str | None:
    return file.sha256 or file.git_sha1
