"""Zip archives as torch and numpy write them, without compression: their directory is checked before they are unpacked.

A directory of a few bytes can claim members of gigabytes; an archive without compression holds no more than its bytes.
"""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

from benchmark.errors import one_line

# what the library raises for damaged directories and members
_DAMAGED = (zipfile.BadZipFile, EOFError, RuntimeError, ValueError, struct.error)
_ENCRYPTED = 1  # bit of a member's flags


def check_sizes(path: Path) -> None:
    """Raises ValueError, with the cause, where an archive would unpack to more than its own bytes; else OSError."""
    with _opened(path) as archive:
        _check_directory(path, archive)


def check_archive(path: Path) -> None:
    """As `check_sizes`, and where a member does not have its checksum, which torch does not compare."""
    with _opened(path) as archive:
        _check_directory(path, archive)
        try:
            broken = archive.testzip()
        except _DAMAGED as error:
            raise ValueError("a part of it is cut off") from error
    if broken is not None:
        raise ValueError(f"its part {one_line(broken, 80)} does not have its checksum")


def _opened(path: Path) -> zipfile.ZipFile:
    if not path.is_file():
        raise ValueError("it is no file")
    try:
        return zipfile.ZipFile(path)
    except _DAMAGED as error:
        raise ValueError("it is no whole archive") from error


def _check_directory(path: Path, archive: zipfile.ZipFile) -> None:
    members, n_bytes = archive.infolist(), path.stat().st_size
    packed = next((m for m in members if m.compress_type != zipfile.ZIP_STORED), None)
    if packed is not None:
        raise ValueError(f"its part {one_line(packed.filename, 80)} is compressed")
    locked = next((m for m in members if m.flag_bits & _ENCRYPTED), None)
    if locked is not None:
        raise ValueError(f"its part {one_line(locked.filename, 80)} is marked as encrypted")
    claimed = sum(m.file_size for m in members)
    if claimed > n_bytes:
        raise ValueError(f"its parts claim {claimed:,} bytes, and it has {n_bytes:,}")
