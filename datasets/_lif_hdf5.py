"""Stacks in HDF5: every voxel must be stored in the file itself."""

from __future__ import annotations

from math import ceil, prod
from pathlib import Path

import h5py

from benchmark.data.hdf5 import check_filters, check_inside, link_names, open_hdf5_file

from ._lif_stack import (
    ANY_RATIO,
    DEFLATE_RATIO,
    Stack,
    check_claim,
    check_dtype,
    damage_error,
    missing_error,
    select_array,
    slice_reader,
    volume_shape,
)

_SMALL_RATIO = {h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32, h5py.h5z.FILTER_NBIT}
_REMEDY = "write zeros into them"


def open_hdf5(path: Path, dataset: str | None, axes: str | None) -> Stack:
    """Open the array `dataset`, or the only volume, of a file. axes: in place of its labels. Raises DataError."""
    file = open_hdf5_file(path)
    try:
        array = file[_select(path, file, dataset)]
        dtype = check_dtype(path, array.dtype)
        shape = volume_shape(path, array.shape, axes or [axis.label for axis in array.dims])
        check_filters(path, array)
        _check_stored(path, array)
        offset = array.id.get_offset() if array.chunks is None else None
        block = None if offset is None else (offset, array.dtype.str)
        depth = 1 if array.chunks is None else array.chunks[-3]
        return Stack(path, shape, dtype, slice_reader(array), file.close, block, depth)
    except BaseException:
        file.close()
        raise


def _select(path: Path, file: h5py.File, dataset: str | None) -> str:
    """The name of the array. Raises DataError for one that lies in another file."""
    names: list[str] = []
    file.visititems(lambda name, item: names.append(name) if isinstance(item, h5py.Dataset) else None)
    if dataset:
        check_inside(path, file, dataset)
        if isinstance(file.get(dataset), h5py.Dataset):  # by a link too, under which it is not listed
            names.append(dataset.strip("/"))
    elif not any(file[name].ndim >= 3 for name in names):  # a link to another file is no name of this one
        for name in link_names(file):
            check_inside(path, file, name)
    chosen = select_array(path, dataset, sorted(set(names)), lambda n: file[n].ndim)
    check_inside(path, file, chosen)
    return chosen


def _check_stored(path: Path, array: h5py.Dataset) -> None:
    """Raises DataError where voxels are not stored, or more are claimed than the stored bytes can hold."""
    stored, n_bytes = array.id.get_storage_size(), path.stat().st_size
    if stored > n_bytes:
        raise damage_error(path, f"its array {array.name} has {stored:,} bytes, the file {n_bytes:,}")
    if array.chunks is None:
        if not stored:
            raise missing_error(path, f"arrays it names ({array.name} was never written)", 1, 1, _REMEDY)
        offset = array.id.get_offset() or 0
        if offset + stored > n_bytes:
            raise damage_error(path, f"its array {array.name} goes on behind the file's last byte")
        check_claim(path, array.nbytes, stored, 1)
        return
    expected = prod(ceil(n / chunk) for n, chunk in zip(array.shape, array.chunks, strict=True))
    missing = expected - array.id.get_num_chunks()
    if missing:
        raise missing_error(path, f"chunks of {array.name}", missing, expected, _REMEDY)
    properties = array.id.get_create_plist()
    filters = {properties.get_filter(i)[0] for i in range(properties.get_nfilters())}
    ratio = 1 if not filters else DEFLATE_RATIO if filters <= _SMALL_RATIO else ANY_RATIO
    check_claim(path, expected * prod(array.chunks) * array.dtype.itemsize, stored, ratio)
