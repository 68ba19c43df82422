"""A stack of images in a file, and what is checked of every format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.data.digests import permission_error
from benchmark.errors import BenchmarkError, DataError

DEPTH = {"z", "i", "q", ""}  # names of an axis that may be depth: z, a series of images, or unknown
# Bytes that one stored byte can stand for at most; a file that claims more is not read.
DEFLATE_RATIO = 1032  # of zlib and gzip
ANY_RATIO = 40_000  # of zstd and every other


@dataclass(frozen=True)
class Stack:
    """A volume (Z, Y, X) of plain numbers in a file. `stack[z0:z1]` reads slices."""

    path: Path
    shape: tuple[int, int, int]
    dtype: np.dtype
    read: Callable[[int, int], np.ndarray] = field(repr=False)  # first and last + 1 slice -> (n, Y, X)
    close: Callable[[], None] = field(default=lambda: None, repr=False)
    # first byte, and type with its byte order, of voxels that lie in the file as one block
    block: tuple[int, str] | None = None
    depth: int = 1  # slices of a chunk, which are unpacked together

    def __getitem__(self, slices: slice) -> np.ndarray:
        begin, end, step = slices.indices(self.shape[0])
        if step != 1:
            raise ValueError("a stack is read slice after slice")
        if begin >= end:
            return np.zeros((0, *self.shape[1:]), self.dtype)
        which = f"slice {begin}" if end == begin + 1 else f"slices {begin} to {end - 1}"
        try:
            values = np.asarray(self.read(begin, end))
        except (BenchmarkError, MemoryError):  # of memory the process has a limit, and says it
            raise
        except Exception as error:  # damaged files raise any type of error
            raise read_error(self.path, f"its {which} cannot be read", error) from error
        if values.shape != (end - begin, *self.shape[1:]):
            raise damage_error(self.path, f"its {which} have the shape {values.shape}")
        return values


def mapped_stack(path: Path, stored: Path, shape: tuple[int, int, int], block: tuple[int, str]) -> Stack:
    """The stack of `path` whose voxels lie in the file `stored` as one block."""
    array = np.memmap(stored, block[1], "r", block[0], shape)
    return Stack(path, shape, array.dtype.newbyteorder("="), slice_reader(array), block=block)


def slice_reader(array: Any) -> Callable[[int, int], np.ndarray]:
    """Reads slices of an array that may have axes of length 1 before them."""
    lead = (0,) * (len(array.shape) - 3)
    return lambda begin, end: np.asarray(array[(*lead, slice(begin, end))])


def select_array(path: Path, dataset: str | None, names: Sequence[str], n_axes: Callable[[str], int]) -> str:
    """The requested array of a file with several, or the only possible volume."""
    if dataset:
        if dataset.strip("/") not in names:
            raise DataError(
                f"{path} has no array {dataset!r}. One of {_listed(names)} was expected. Correct the table of scans."
            )
        return dataset.strip("/")
    volumes = [name for name in names if n_axes(name) >= 3]
    if len(volumes) != 1:
        raise DataError(
            f"{path} holds {len(volumes)} arrays with three axes ({_listed(volumes)}). One was expected. "
            f"Name it in the table of scans (column `dataset`, or `labels_dataset`)."
        )
    return volumes[0]


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:10]) or "none"
    return f"{shown} and {len(names) - 10} more" if len(names) > 10 else shown


def volume_shape(path: Path, shape: Sequence[int], axes: Sequence[str | None] = ()) -> tuple[int, int, int]:
    """(z, y, x) of an array, without leading axes of length 1. axes: their names, where the file states them.

    Raises DataError for an array that is no volume, or whose slices are channels or times.
    """
    rest, names = list(shape), [(name or "").strip().lower() for name in axes]
    while len(rest) > 3 and rest[0] == 1:
        rest, names = rest[1:], names[1:]
    if len(rest) != 3 or min(rest) < 1:
        said = f" ({', '.join(name or '?' for name in names)})" if any(names) else ""
        raise DataError(
            f"{path} holds an array of shape {tuple(shape)}{said}. A volume (z, y, x) was expected. Save each scan, "
            f"and each of its channels, with three axes."
        )
    names = names[-3:]
    if len(names) == 3 and (names[0] not in DEPTH or names[1] not in ("y", "") or names[2] not in ("x", "")):
        raise DataError(
            f"{path} says that its axes are ({', '.join(name or '?' for name in names)}): its {rest[0]} images are not "
            f"slices. The axes (z, y, x) were expected. Save one channel and one time as a stack of slices; where the "
            f"file is wrong about itself, write `zyx` into the column `axes` of the table of scans."
        )
    return int(rest[0]), int(rest[1]), int(rest[2])


def check_dtype(path: Path, dtype: np.dtype) -> np.dtype:
    """The type of plain numbers. Raises DataError for any other."""
    if dtype.kind not in "uif" or dtype.itemsize > 8:
        raise DataError(f"{path} holds numbers of type {dtype}. Integers or floats were expected. Convert the stack.")
    return dtype


def check_claim(path: Path, claimed: int, stored: int, ratio: int) -> None:
    """Raises DataError where a file claims more bytes than its stored bytes can stand for."""
    if claimed > stored * ratio:
        raise damage_error(path, f"its {stored:,} stored bytes cannot hold the {claimed:,} that it claims")


def size_error(path: Path, content: str, shape: Sequence[int]) -> DataError:
    """For a file that says of itself what it does not hold."""
    return DataError(
        f"{path} says that it holds {' x '.join(map(str, shape))} voxels, but has {content}. A whole stack was "
        f"expected. Copy or export the file again."
    )


def missing_error(path: Path, array: str, missing: int, expected: int, remedy: str) -> DataError:
    """For an array of which parts are not stored: they would be read as fill values, not as what was measured."""
    return DataError(
        f"{path} lacks {missing:,} of the {expected:,} {array}. Every part was expected, since what is not stored "
        f"would be read as zeros. Copy the scan again, or, where these parts are empty, {remedy}."
    )


def damage_error(path: Path, problem: str) -> DataError:
    """For a file that is not whole."""
    return DataError(f"{path} is damaged: {problem}. A whole stack was expected. Copy or export the file again.")


def read_error(path: Path, problem: str, error: BaseException) -> DataError:
    """For an error of a library: its cause where it is known, otherwise damage. Libraries' own words are not shown."""
    if isinstance(error, PermissionError):
        return permission_error(path, change=f"-R u+rX {path.parent}")
    if isinstance(error, MemoryError):
        return DataError(
            f"{path} does not fit into memory: {problem}. A smaller stack was expected. Cut the scan, or use a machine "
            f"with more memory."
        )
    return damage_error(path, problem)
