"""Zarr stores of format 2 and 3, with the zarr that is installed: zarr 2 writes format 2 alone."""

from typing import Any

import pytest
import zarr

HAS_FORMAT_3 = int(zarr.__version__.split(".")[0]) >= 3


def write_array(path: Any, data: Any, chunks: tuple[int, ...], version: int, packed: Any = "auto", **more: Any) -> Any:
    """Write one array as a store. packed: its compressor; None for none."""
    shape, dtype = data.shape, data.dtype
    if HAS_FORMAT_3:
        array = zarr.create_array(
            str(path), shape=shape, chunks=chunks, dtype=dtype, zarr_format=version, compressors=packed, **more
        )
    elif version == 3:
        pytest.skip("zarr 3 or newer writes format 3")
    else:
        array = zarr.open_array(
            str(path), mode="w", shape=shape, chunks=chunks, dtype=dtype, write_empty_chunks=False,
            compressor="default" if packed == "auto" else packed,
        )  # fmt: skip
    array[:] = data
    return path


def write_group(path: Any, name: str, data: Any, chunks: tuple[int, ...], version: int, **more: Any) -> Any:
    """Write a store with one array in it."""
    if HAS_FORMAT_3:
        group = zarr.open_group(str(path), mode="w", zarr_format=version)
        array = group.create_array(name, shape=data.shape, chunks=chunks, dtype=data.dtype, **more)
        array[:] = data
        return path
    if version == 3:
        pytest.skip("zarr 3 or newer writes format 3")
    zarr.open_group(str(path), mode="w")
    write_array(f"{path}/{name}", data, chunks, version)
    return path
