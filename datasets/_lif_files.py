"""Stacks of images in TIFF, BigTIFF, OME-TIFF, .npy, HDF5 or Zarr. Opened and checked, not yet read.

Stated shapes are compared with the pages and bytes in the file. Uncompressed TIFF and .npy are memory-mapped; the
others are read slice by slice.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.data.arrays import open_array
from benchmark.errors import BenchmarkError, DataError

TIFF, NUMPY, HDF5, ZARR = (".tif", ".tiff"), (".npy",), (".h5", ".hdf5", ".hdf"), (".zarr",)
FORMATS = "TIFF (.tif, .tiff), .npy, HDF5 (.h5, .hdf5) and Zarr (.zarr)"


@dataclass(frozen=True)
class Stack:
    """A volume (Z, Y, X) of plain numbers in a file. `stack[z0:z1]` reads slices."""

    path: Path
    shape: tuple[int, int, int]
    dtype: np.dtype
    read: Callable[[int, int], np.ndarray] = field(repr=False)  # first and last + 1 slice -> (n, Y, X)
    close: Callable[[], None] = field(default=lambda: None, repr=False)

    def __getitem__(self, slices: slice) -> np.ndarray:
        begin, end, step = slices.indices(self.shape[0])
        if step != 1:
            raise ValueError("a stack is read slice after slice")
        try:
            values = np.asarray(self.read(begin, max(begin, end)))
        except BenchmarkError:
            raise
        except Exception as error:
            raise _damage_error(
                self.path, f"its slices {begin} to {end - 1} cannot be read: {_describe_error(error)}"
            ) from error
        if values.shape != (max(0, end - begin), *self.shape[1:]):
            raise _damage_error(self.path, f"its slices {begin} to {end - 1} have the shape {values.shape}")
        return values


def open_stack(path: Path, dataset: str | None = None) -> Stack:
    """Open the volume in a file, or in the array `dataset` of an HDF5 file or a Zarr group. Raises DataError."""
    suffix = path.suffix.lower()
    if not path.exists():
        raise DataError(f"There is no file {path}. A stack of images was expected. Correct the table of scans.")
    openers = ((TIFF, _tiff), (NUMPY, _numpy), (HDF5, _hdf5), (ZARR, _zarr))
    opener = next((o for suffixes, o in openers if suffix in suffixes), None)
    if opener is None:
        raise DataError(f"{path} has an unknown format. {FORMATS} were expected. Convert the file.")
    if dataset and opener in (_tiff, _numpy):
        raise DataError(
            f"{path} has no arrays inside, but {dataset!r} was requested. No name was expected. Leave the column empty."
        )
    try:
        return opener(path, dataset)
    except BenchmarkError:
        raise
    except Exception as error:  # damaged files raise any type of error
        raise _damage_error(path, f"it cannot be opened: {_describe_error(error)}") from error


def _tiff(path: Path, dataset: str | None) -> Stack:
    import tifffile

    file = tifffile.TiffFile(path, _multifile=False)  # does not follow OME metadata to other files
    try:
        series = file.series
        only = series[0]
        n_pages, n_bytes = len(file.pages), path.stat().st_size
        slices = len(series) > 1 and all(s.shape == only.shape and len(s.shape) == 2 for s in series)
        if len(series) > 1 and not slices:
            raise DataError(
                f"{path} holds {len(series)} series of images. One stack was expected. Save each scan as a file."
            )
        shape = _volume_shape(path, (len(series), *only.shape) if slices else tuple(int(n) for n in only.shape))
        page = file.pages.first
        if page.samplesperpixel != 1:
            raise DataError(f"{path} is in colour. Grey values were expected. Convert the stack to one channel.")
        dtype = _check_dtype(path, np.dtype(only.dtype))
        plane = (int(page.imagelength), int(page.imagewidth))
        contiguous = not slices and only.dataoffset is not None  # also ImageJ's stacks, which list one page
        if shape[1:] != plane or not (contiguous or n_pages == shape[0]):
            raise _size_error(path, f"{n_pages} pages of {plane[0]} x {plane[1]}", shape)
        if contiguous:
            end = int(only.dataoffset) + int(np.prod(shape)) * dtype.itemsize
            if end > n_bytes:
                raise _size_error(path, f"{n_bytes:,} bytes, where {end:,} are needed", shape)
            mapped = np.memmap(path, only.dtype.newbyteorder(file.byteorder), "r", int(only.dataoffset), shape)
            file.close()
            return Stack(path, shape, dtype, lambda a, b: mapped[a:b])
        for page in file.pages:
            ends = [o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=True)]
            if page.shape != plane or max(ends, default=0) > n_bytes:
                raise _size_error(
                    path, f"a page {page.index} that is {page.shape} or goes beyond the end of the file", shape
                )
        pages = file.pages

        def read(begin: int, end: int) -> np.ndarray:
            return np.stack([pages[z].asarray() for z in range(begin, end)]) if end > begin else np.zeros((0, *plane))

        return Stack(path, shape, dtype, read, file.close)
    except BaseException:
        file.close()
        raise


def _numpy(path: Path, dataset: str | None) -> Stack:
    try:
        array = open_array(path)
    except ValueError as error:
        if "object" in str(error).lower() or "pickle" in str(error).lower():
            raise DataError(
                f"{path} holds Python objects, which may run code when they are read. A plain array of numbers was "
                f"expected. Save each scan with numpy.save as an array of its own."
            ) from error
        raise
    return Stack(path, _volume_shape(path, array.shape), _check_dtype(path, array.dtype), _slice_reader(array))


def _hdf5(path: Path, dataset: str | None) -> Stack:
    import h5py

    file = h5py.File(path, "r")
    try:
        names: list[str] = []
        file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
        array = file[_select_array(path, dataset, sorted(names), lambda n: file[n].ndim)]
        if array.external or array.is_virtual:
            raise DataError(f"{path} keeps its numbers in other files. A whole file was expected. Copy them into it.")
        return Stack(
            path, _volume_shape(path, array.shape), _check_dtype(path, array.dtype), _slice_reader(array), file.close
        )
    except BaseException:
        file.close()
        raise


def _zarr(path: Path, dataset: str | None) -> Stack:
    try:
        import zarr
    except ImportError as error:
        raise DataError(
            f"{path} needs the package 'zarr', which is missing. The extra `volumes` was expected. Type "
            f"`pip install 'particlebench[volumes]'`."
        ) from error
    array: Any = zarr.open(str(path), mode="r")
    if not hasattr(array, "ndim"):
        arrays = {name: item for name, item in array.arrays()}
        for group, inside in array.groups():
            arrays.update({f"{group}/{name}": item for name, item in inside.arrays()})
        array = arrays[_select_array(path, dataset, sorted(arrays), lambda n: arrays[n].ndim)]
    elif dataset:
        raise DataError(f"{path} is one array, but {dataset!r} was requested. No name was expected. Leave it empty.")
    return Stack(
        path, _volume_shape(path, array.shape), _check_dtype(path, np.dtype(array.dtype)), _slice_reader(array)
    )


def _slice_reader(array: Any) -> Callable[[int, int], np.ndarray]:
    """Reads slices of an array that may have axes of length 1 before them."""
    lead = (0,) * (len(array.shape) - 3)
    return lambda begin, end: np.asarray(array[(*lead, slice(begin, end))])


def _select_array(path: Path, dataset: str | None, names: list[str], n_axes: Callable[[str], int]) -> str:
    """The requested array, or the only possible volume."""
    if dataset:
        if dataset.strip("/") not in names:
            raise DataError(
                f"{path} has no array {dataset!r}. One of {', '.join(names) or 'none'} was expected. Correct the table "
                f"of scans."
            )
        return dataset.strip("/")
    volumes = [name for name in names if n_axes(name) >= 3]
    if len(volumes) != 1:
        raise DataError(
            f"{path} holds {len(volumes)} arrays with three axes ({', '.join(volumes) or 'none'}). One was expected. "
            f"Name it in the table of scans (column `dataset`, or `labels_dataset`)."
        )
    return volumes[0]


def _volume_shape(path: Path, shape: tuple[int, ...]) -> tuple[int, int, int]:
    rest = shape
    while len(rest) > 3 and rest[0] == 1:
        rest = rest[1:]
    if len(rest) != 3 or min(rest) < 1:
        raise DataError(
            f"{path} holds an array of shape {shape}. A volume (z, y, x) was expected. Save the scan with three axes."
        )
    return int(rest[0]), int(rest[1]), int(rest[2])


def _check_dtype(path: Path, dtype: np.dtype) -> np.dtype:
    if dtype.kind not in "uif" or dtype.itemsize > 8:
        raise DataError(f"{path} holds numbers of type {dtype}. Integers or floats were expected. Convert the stack.")
    return dtype


def _size_error(path: Path, content: str, shape: tuple[int, ...]) -> DataError:
    return DataError(
        f"{path} says that it holds {' x '.join(map(str, shape))} voxels, but has {content}. A whole stack was "
        f"expected. Copy or export the file again."
    )


def _damage_error(path: Path, problem: str) -> DataError:
    return DataError(f"{path} is damaged: {problem}. A whole stack was expected. Copy or export the file again.")


def _describe_error(error: BaseException) -> str:
    with suppress(IndexError):
        return f"{type(error).__name__}: {str(error).splitlines()[0][:160]}"
    return type(error).__name__
