"""A folder that is made beside its place and takes it in one step: readers see the old one or the new one, whole."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmark.errors import DataError

_AT_FDCWD, _RENAME_EXCHANGE = -100, 2  # of renameat2(2)


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """An empty folder to fill, which takes the place of `target` at the end; deleted where the block raises.

    What a killed process left beside the target is deleted first, so one process at a time may do this. Raises
    DataError where nothing can be written (a full disk).
    """
    partial, earlier = (target.with_name(f".{target.name}.{kind}") for kind in ("partial", "earlier"))
    try:
        if earlier.is_dir() and not target.exists():  # killed between the two steps of `_replace`
            earlier.rename(target)
        for leftover in (partial, earlier):
            shutil.rmtree(leftover, ignore_errors=True)
        partial.mkdir(parents=True)
        yield partial
        _replace(target, partial, earlier)
        shutil.rmtree(earlier, ignore_errors=True)
    except OSError as error:
        raise DataError(
            f"The folder {target} could not be written: {error.strerror or error}. A writable folder with free space "
            f"was expected, and the earlier one is as it was. Free some space or choose another folder with --out."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _replace(target: Path, partial: Path, earlier: Path) -> None:
    """Put `partial` in the place of `target`: in one step, or in two where the system cannot exchange two folders."""
    if not target.exists():
        partial.rename(target)
    elif not _exchanged(partial, target):
        target.rename(earlier)
        try:
            partial.rename(target)
        except OSError:
            earlier.rename(target)
            raise


def _exchanged(one: Path, two: Path) -> bool:
    """Whether two paths could be exchanged in one step; Linux only, and not on every file system."""
    library = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
    if library is None or not hasattr(library, "renameat2"):
        return False
    failed = library.renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(two), _RENAME_EXCHANGE)
    return not failed
