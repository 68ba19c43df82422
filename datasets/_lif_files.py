"""Opens stacks of images in TIFF, BigTIFF, OME-TIFF, .npy, HDF5 or Zarr: checked, not yet read.

Stated shapes are compared with the pages, chunks and bytes in the file, and stated axes with (z, y, x). Uncompressed
TIFF and .npy are memory-mapped; the others are read slice by slice.
"""

from __future__ import annotations

import os
from pathlib import Path

from benchmark.data.arrays import open_array
from benchmark.errors import BenchmarkError, DataError

from ._lif_hdf5 import open_hdf5
from ._lif_stack import Stack, check_dtype, read_error, slice_reader, volume_shape
from ._lif_tiff import open_tiff
from ._lif_zarr import open_zarr

TIFF, NUMPY, HDF5, ZARR = (".tif", ".tiff"), (".npy",), (".h5", ".hdf5", ".hdf"), (".zarr",)
FORMATS = "TIFF (.tif, .tiff), .npy, HDF5 (.h5, .hdf5) and Zarr (.zarr)"


def open_stack(path: Path, dataset: str | None = None, axes: str | None = None) -> Stack:
    """Open the volume in a file, or in the array `dataset` of an HDF5 file or a Zarr group.

    axes: "zyx" where the file is wrong about its own axes. Raises DataError.
    """
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
    except BenchmarkError:
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
    return Stack(path, volume_shape(path, array.shape), check_dtype(path, array.dtype), slice_reader(array))
