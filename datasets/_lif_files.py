"""Opens stacks of images in TIFF, BigTIFF, OME-TIFF, .npy, HDF5 or Zarr: checked, and mapped into memory.

Stated shapes are compared with the pages, chunks and bytes in the file, and stated axes with (z, y, x). HDF5, Zarr and
compressed TIFF are opened by a process of its own (`guarded`), which unpacks chunks and pages into the cache: one of a
few bytes can stand for gigabytes, and on damaged files the HDF5 library can loop for ever.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.data.arrays import open_array
from benchmark.data.packed import scratch_folder, writing
from benchmark.errors import BenchmarkError, DataError
from benchmark.hardware.guarded import guarded
from benchmark.io import sha256_text
from benchmark.paths import cache_dir

from ._lif_hdf5 import open_hdf5
from ._lif_stack import Stack, check_dtype, mapped_stack, read_error, slice_reader, volume_shape
from ._lif_tiff import open_tiff
from ._lif_zarr import open_zarr

TIFF, NUMPY, HDF5, ZARR = (".tif", ".tiff"), (".npy",), (".h5", ".hdf5", ".hdf"), (".zarr",)
FORMATS = "TIFF (.tif, .tiff), .npy, HDF5 (.h5, .hdf5) and Zarr (.zarr)"


_BLOCK_BYTES = 64 << 20  # unpacked at once, at most


def open_stack(path: Path, dataset: str | None = None, axes: str | None = None) -> Stack:
    """Open the volume in a file, or in the array `dataset` of an HDF5 file or a Zarr group.

    axes: "zyx" where the file is wrong about its own axes. What is unpacked takes room in the cache as long as the
    stack is used. Raises DataError.
    """
    check_exists(path)
    if path.suffix.lower() in (*TIFF, *NUMPY):
        stack = open_unguarded(path, dataset, axes)
        if stack.block is not None:
            return stack
        stack.close()
    name = f"unpacked-{sha256_text(f'{path} {dataset}')[:16]}"
    with scratch_folder(cache_dir().absolute() / "tiles" / name) as folder:
        unpacked = folder / "volume.bin"
        found = guarded(f"{__name__}:unpack", [str(path), dataset, axes, str(unpacked)], [path])
        stored = unpacked if unpacked.exists() else path
        return mapped_stack(path, stored, tuple(found["shape"]), tuple(found["block"]))  # a mapped file may be deleted


def unpack(
    report: Callable[[int], object], path: str, dataset: str | None, axes: str | None, target: str
) -> dict[str, Any]:
    """Task: where the voxels of a stack lie as one block, which is written to `target` unless the file holds one."""
    stack = open_unguarded(Path(path), dataset, axes)
    if stack.block is not None:
        return {"shape": stack.shape, "block": stack.block}
    n_slices = max(1, min(stack.depth, _BLOCK_BYTES // (prod(stack.shape[1:]) * stack.dtype.itemsize)))
    with writing(Path(target).parent), Path(target).open("wb") as stream:
        for begin in range(0, stack.shape[0], n_slices):
            values = stack[begin : min(begin + n_slices, stack.shape[0])]
            stream.write(np.ascontiguousarray(values, stack.dtype))
    return {"shape": stack.shape, "block": (0, stack.dtype.str)}


def open_unguarded(path: Path, dataset: str | None = None, axes: str | None = None) -> Stack:
    """As `open_stack`, in this process: slices are unpacked when they are read."""
    check_exists(path)
    suffix = path.suffix.lower()
    if dataset and suffix in (*TIFF, *NUMPY):
        raise DataError(
            f"{path} has no arrays inside, but {dataset!r} was requested. No name was expected. Leave the column empty."
        )
    try:
        if suffix in TIFF:
            return open_tiff(path, axes)
        if suffix in NUMPY:
            return _open_numpy(path)
        return open_hdf5(path, dataset, axes) if suffix in HDF5 else open_zarr(path, dataset, axes)
    except (BenchmarkError, MemoryError):  # of memory the process has a limit, and says it
        raise
    except Exception as error:  # damaged files raise any type of error
        raise read_error(path, "it cannot be opened as what its name says", error) from error


def check_exists(path: Path) -> None:
    """Raises DataError for what is not there, may not be read, or is no file (a Zarr store: no folder)."""
    if path.suffix.lower() not in (*TIFF, *NUMPY, *HDF5, *ZARR):
        raise DataError(f"{path} has an unknown format. {FORMATS} were expected. Convert the file.")
    is_zarr = path.suffix.lower() in ZARR
    try:
        path.stat()
        is_right = path.is_dir() if is_zarr else path.is_file()
        readable = os.access(path, os.R_OK | (os.X_OK if is_zarr else 0))
    except PermissionError as error:
        raise read_error(path, "", error) from error
    except (OSError, ValueError) as error:
        raise DataError(
            f"There is no file {path}. A stack of images was expected. Correct the table of scans."
        ) from error
    if not is_right:
        expected = "A folder, as Zarr writes it," if is_zarr else "A file"
        raise DataError(f"{path} is {_kind(path)}. {expected} was expected. Correct the table of scans.")
    if not readable:
        raise read_error(path, "", PermissionError())


def _kind(path: Path) -> str:
    return "a folder" if path.is_dir() else "a file" if path.is_file() else "a device or pipe"


def _open_numpy(path: Path) -> Stack:
    try:
        array = open_array(path)
    except ValueError as error:
        if "object" in str(error).lower() or "pickle" in str(error).lower():
            raise DataError(
                f"{path} holds Python objects, which may run code when they are read. A plain array of numbers was "
                f"expected. Save each scan with numpy.save as an array of its own."
            ) from error
        raise
    is_block = isinstance(array, np.memmap) and array.flags.c_contiguous
    return Stack(
        path, volume_shape(path, array.shape), check_dtype(path, array.dtype), slice_reader(array),
        block=(array.offset, array.dtype.str) if is_block else None,
    )  # fmt: skip
