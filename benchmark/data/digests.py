"""Checksums of large source files, taken once: a file is hashed again only when its size, times or inode changed."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any

from benchmark.errors import BenchmarkError, DataError
from benchmark.io import atomic_write_json, sha256_file, sha256_text
from benchmark.json_files import read_json
from benchmark.paths import cache_dir

WHOLE_LIMIT = 1 << 30  # bytes; larger files get the sampled digest
N_SAMPLES = 64
SAMPLE_BYTES = 1 << 20


def file_digest(path: Path, memo: Path | None = None) -> str:
    """Hex SHA-256 of a file; of one over 1 GiB, `sampled-` and the SHA-256 of its size and 64 evenly spaced MiB.

    memo: folder of cached digests (default `cache_dir()/digests`); ignored where it cannot be written.
    Raises DataError where the file cannot be read, or is a device or a pipe, which may have no end.
    """
    path = Path(os.path.realpath(path))
    cache_file = (memo or cache_dir() / "digests") / f"{sha256_text(str(path))[:24]}.json"
    try:
        stat = path.stat()
        if not (S_ISREG(stat.st_mode) or S_ISDIR(stat.st_mode)):
            raise OSError("it is a device or a pipe")
        state = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
        cached = _cached_digest(cache_file, state)
        if cached:
            return cached
        digest = digest_of(path)
    except PermissionError as error:
        raise permission_error(path) from error
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"{path} cannot be read: {reason}. A readable file was expected. Check --data.") from error
    remember(cache_file, {"path": str(path), "state": state, "digest": digest, "check": _check(digest)})
    return digest


def permission_error(path: Path, kind: str = "file", change: str = "") -> DataError:
    """For a file that the user may not read. change: arguments of the chmod that allows it; by default of the file."""
    return DataError(
        f"{path} cannot be read: its permissions do not allow it. A readable {kind} was expected. Type "
        f"`chmod {change or f'u+r {path}'}`, or ask its owner."
    )


def refuse_copies(digests: Iterable[tuple[Path | str, str]]) -> None:
    """Raises DataError for two sources of events with one digest, within a split or across splits.

    digests: (file or scan, digest of its content). A copy in another split would be trained on and tested on.
    """
    first_by_digest: dict[str, Path | str] = {}
    for name, digest in digests:
        if digest in first_by_digest:
            raise DataError(
                f"{name} holds the same events as {first_by_digest[digest]}. Different events were expected in each, "
                f"so that none is trained on and tested on, or counted twice. Remove one of them."
            )
        first_by_digest[digest] = name


def remember(cache_file: Path, value: Any) -> None:
    """Write a value into the cache, where that is possible; what a killed process left of it is deleted."""
    with contextlib.suppress(BenchmarkError, OSError):
        for partial in cache_file.parent.glob(f".{cache_file.name}.*.partial"):
            partial.unlink()
        atomic_write_json(cache_file, value)


def digest_of(path: Path) -> str:
    """As `file_digest`, always computed. Raises OSError."""
    return sha256_file(path) if path.stat().st_size <= WHOLE_LIMIT else f"sampled-{sampled_sha256(path)}"


def sampled_sha256(path: Path) -> str:
    """Hex SHA-256 of the size and of N_SAMPLES blocks from the first to the last byte."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as stream:
        for i in range(N_SAMPLES):
            stream.seek(max(0, size - SAMPLE_BYTES) * i // (N_SAMPLES - 1))
            digest.update(stream.read(SAMPLE_BYTES))
    return digest.hexdigest()


def _cached_digest(cache_file: Path, state: list[int]) -> str | None:
    try:
        entry = read_json(cache_file)
        is_whole = entry["state"] == state and entry["check"] == _check(entry["digest"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return str(entry["digest"]) if is_whole else None


def _check(digest: str) -> str:
    """What tells a damaged digest from the one that was stored."""
    return sha256_text(digest)[:16]
