"""Stacks in Zarr stores, formats 2 and 3: folders of chunks.

Zarr reads chunks that are not there as a fill value, follows links, and runs whatever codec a store names, `pickle`
among them. Files, chunks and codecs are therefore checked before the array is opened.
"""

from __future__ import annotations

import json
import os
import stat
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import ceil, prod
from pathlib import Path
from typing import Any

import numpy as np

from benchmark import packages
from benchmark.errors import DataError

from ._lif_stack import (
    ANY_RATIO,
    Stack,
    check_claim,
    check_dtype,
    damage_error,
    missing_error,
    select_array,
    slice_reader,
    volume_shape,
)

_METADATA = {2: ".zarray", 3: "zarr.json"}  # of an array, by format
_MOST_METADATA = 16 << 20  # bytes
_MOST_UNPACKED = 8  # times the bytes of a chunk's numbers: filters may widen them
_PLAIN = {"bytes", "endian", "crc32c", "crc32", "adler32", "fletcher32", "transpose", "shuffle", "delta", "bitround"}
_PACKED = {"blosc", "bz2", "gzip", "lz4", "lzma", "pcodec", "zfpy", "zlib", "zstd"}
_SHARDS = "sharding_indexed"
_NOT_STORED = np.uint64(2**64 - 1)  # offset of a chunk that a shard does not hold
_REMEDY = "write it again with `zarr.config.set({'array.write_empty_chunks': True})`"


@dataclass(frozen=True)
class _Array:
    """What the metadata of an array say."""

    name: str  # path in the store, empty for the store itself
    shape: tuple[int, ...]
    chunks: tuple[int, ...]  # of a file
    codecs: tuple[str, ...]
    prefix: str  # of the names of chunk files
    separator: str
    axes: tuple[str | None, ...] = ()
    sharding: Mapping[str, Any] | None = None

    @property
    def grid(self) -> tuple[int, ...]:
        """Files along each axis."""
        return tuple(ceil(n / c) for n, c in zip(self.shape, self.chunks, strict=True))


def open_zarr(path: Path, dataset: str | None, axes: str | None) -> Stack:
    """Open the array `dataset`, at any depth, or the only volume, of a store. axes: in place of what it says.

    Raises DataError.
    """
    try:
        import zarr
    except ImportError as error:
        raise packages.missing_error("zarr", f"The array {path}") from error
    files = stored_files(path)
    arrays = {array.name: array for array in _arrays(path, files)}
    if dataset and "" in arrays:
        raise DataError(f"{path} is one array, but {dataset!r} was requested. No name was expected. Leave it empty.")
    name = "" if "" in arrays else select_array(path, dataset, sorted(arrays), lambda n: len(arrays[n].shape))
    stated = arrays[name]
    shape = volume_shape(path, stated.shape, axes or stated.axes)
    _check_codecs(path, stated)
    if f"{name}/{_METADATA[3]}".lstrip("/") in files and int(zarr.__version__.split(".")[0]) < 3:
        raise DataError(
            f"{path} is a Zarr store of format 3, which zarr {zarr.__version__} does not read. zarr 3 or newer was "
            f"expected. Type `pip install 'zarr>=3'` (Python 3.11 or newer), or write the array again in format 2."
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zarr's, about its own formats
        array: Any = zarr.open_array(str(path / name), mode="r")
    if tuple(array.shape) != stated.shape:
        raise damage_error(path, f"the metadata of its array {name or '/'} contradict themselves")
    dtype = check_dtype(path, np.dtype(array.dtype))
    _check_chunks(path, stated, files, dtype)
    return Stack(path, shape, dtype, slice_reader(array), depth=array.chunks[-3])


def stored_files(path: Path) -> dict[str, int]:
    """Path in a store -> size, of all its files, sorted. Raises DataError for a link, a device or a pipe."""
    sizes: dict[str, int] = {}
    for folder, folders, names in os.walk(path, onerror=_raise):
        for name in (*folders, *names):
            entry = Path(folder, name)
            status = entry.lstat()
            if not (stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode)):
                raise DataError(
                    f"{path} holds {entry.relative_to(path).as_posix()!r}, which is a link, a device or a pipe. Plain "
                    f"files and folders were expected. Copy the store with what its links mean: type "
                    f"`cp -rL {path} COPY.zarr`."
                )
            if stat.S_ISREG(status.st_mode):
                sizes[entry.relative_to(path).as_posix()] = status.st_size
    return dict(sorted(sizes.items()))


def _raise(error: OSError) -> None:
    raise error


def _arrays(path: Path, files: Mapping[str, int]) -> list[_Array]:
    """All arrays of a store."""
    arrays = []
    for file in files:
        folder, _, name = file.rpartition("/")
        if name not in _METADATA.values():
            continue
        metadata = _read_json(path, file, files)
        if name == _METADATA[3] and metadata.get("node_type") != "array":
            continue
        try:
            array = _array_3(folder, metadata) if name == _METADATA[3] else _array_2(folder, metadata)
            _check_numbers(array)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise damage_error(path, f"its {file} does not describe an array") from error
        arrays.append(array if any(array.axes) else _with_axes(path, array, files))
    return arrays


def _read_json(path: Path, file: str, files: Mapping[str, int]) -> dict[str, Any]:
    try:
        if files[file] > _MOST_METADATA:
            raise ValueError("too long")
        value = json.loads((path / file).read_text(encoding="utf-8"))
        if not isinstance(value, dict):
            raise ValueError("no object")
    except (ValueError, RecursionError) as error:
        raise damage_error(path, f"its {file} is no JSON object of Zarr") from error
    return value


def _array_2(name: str, metadata: Mapping[str, Any]) -> _Array:
    codecs = [c["id"] for c in (metadata.get("compressor"), *(metadata.get("filters") or ())) if c is not None]
    separator = metadata.get("dimension_separator") or "."
    return _Array(name, tuple(metadata["shape"]), tuple(metadata["chunks"]), tuple(codecs), "", separator)


def _array_3(name: str, metadata: Mapping[str, Any]) -> _Array:
    if metadata["chunk_grid"]["name"] != "regular" or metadata.get("storage_transformers"):
        raise ValueError("chunks of several sizes")
    encoding = metadata["chunk_key_encoding"]
    is_default = encoding["name"] == "default"
    separator = encoding.get("configuration", {}).get("separator") or ("/" if is_default else ".")
    sharding = next((c["configuration"] for c in metadata["codecs"] if c["name"] == _SHARDS), None)
    return _Array(
        name, tuple(metadata["shape"]), tuple(metadata["chunk_grid"]["configuration"]["chunk_shape"]),
        tuple(_codec_names(metadata["codecs"])), f"c{separator}" if is_default else "", separator,
        tuple(metadata.get("dimension_names") or ()), sharding,
    )  # fmt: skip


def _codec_names(codecs: list[Any]) -> list[str]:
    """Names of codecs, also of those inside shards."""
    names = []
    for codec in codecs:
        inside = codec.get("configuration") or {}
        names += [codec["name"].removeprefix("numcodecs.")]
        if codec["name"] == _SHARDS:
            names += _codec_names(inside["codecs"]) + _codec_names(inside["index_codecs"])
    return names


def _check_numbers(array: _Array) -> None:
    numbers = (*array.shape, *array.chunks)
    if len(array.shape) != len(array.chunks) or any(type(n) is not int for n in numbers):
        raise ValueError("not whole numbers")
    if min(array.shape, default=0) < 0 or min(array.chunks, default=1) < 1:
        raise ValueError("below 1")
    if array.separator not in (".", "/") or not all(isinstance(name, str) for name in array.codecs):
        raise ValueError("no names")


def _with_axes(path: Path, array: _Array, files: Mapping[str, int]) -> _Array:
    """With the names that the group's OME metadata give to the axes."""
    folder = array.name.rpartition("/")[0]
    for file in (f"{folder}/.zattrs".lstrip("/"), f"{folder}/zarr.json".lstrip("/")):
        if array.name and file in files:
            attributes = _read_json(path, file, files)
            attributes = attributes.get("attributes", attributes)
            try:
                images = attributes.get("ome", attributes)["multiscales"]
                names = [axis["name"] for axis in images[0]["axes"]]
            except (KeyError, TypeError, IndexError, AttributeError):
                continue
            if len(names) == len(array.shape) and all(isinstance(name, str) for name in names):
                return _Array(**{**array.__dict__, "axes": tuple(names)})
    return array


def _check_codecs(path: Path, array: _Array) -> None:
    known = _PLAIN | _PACKED | {_SHARDS}
    unknown = [name for name in array.codecs if name not in known]
    if unknown:
        raise DataError(
            f"{path}: the array {array.name or '/'} is packed with the codec {unknown[0][:40]!r}, which is not read "
            f"here. One of {', '.join(sorted(known))} was expected. Write the array again with zstd."
        )
    if array.codecs.count(_SHARDS) > 1 or (array.sharding and array.codecs[0] != _SHARDS):
        raise DataError(
            f"{path}: the array {array.name or '/'} has codecs around its shards. One level of shards was expected. "
            f"Write the array again without."
        )


def _check_chunks(path: Path, array: _Array, files: Mapping[str, int], dtype: np.dtype) -> None:
    """Raises DataError for chunks that are not stored, or that claim more than their bytes can hold."""
    folder = f"{array.name}/" if array.name else ""
    places = {file: _place(file.removeprefix(folder), array) for file in files if file.startswith(folder)}
    stored = {file: place for file, place in places.items() if place is not None}
    beyond = [file for file, place in stored.items() if any(i >= n for i, n in zip(place, array.grid, strict=True))]
    if beyond:
        raise damage_error(path, f"its chunk {beyond[0]} lies beyond its shape {array.shape}")
    missing, expected = prod(array.grid) - len(stored), prod(array.grid)
    n_bytes = sum(files[file] for file in stored)
    if not missing and array.sharding is not None:
        expected = prod(ceil(n / c) for n, c in zip(array.shape, _inner_chunks(path, array), strict=True))
        check_claim(path, 16 * expected, n_bytes, 1)  # the shards' own tables of chunks
        missing = sum(_missing_in_shard(path, path / file, place, array) for file, place in stored.items())
    if missing:
        raise missing_error(path, f"chunks of its array {array.name or '/'}", missing, expected, _REMEDY)
    if array.sharding is None:
        _check_unpacked(path, stored, array, prod(array.chunks) * dtype.itemsize)
    ratio = ANY_RATIO if set(array.codecs) & _PACKED or array.sharding is not None else 1
    check_claim(path, prod(array.grid) * prod(array.chunks) * dtype.itemsize, n_bytes, ratio)


def _check_unpacked(path: Path, stored: Iterable[str], array: _Array, n_bytes: int) -> None:
    """Raises DataError for a chunk that says that it unpacks to far more than its numbers, with zstd or blosc."""
    codec = next((name for name in array.codecs if name in ("zstd", "blosc")), "")
    for file in stored if codec else ():
        with (path / file).open("rb") as stream:
            unpacked = _unpacked_bytes(stream.read(18), codec)
        if unpacked > _MOST_UNPACKED * n_bytes:
            raise damage_error(path, f"its chunk {file} unpacks to {unpacked:,} bytes, where {n_bytes:,} fit")


def _unpacked_bytes(begin: bytes, codec: str) -> int:
    """Bytes that a packed chunk says that it unpacks to; 0 where it does not say."""
    if codec == "blosc":
        return int.from_bytes(begin[4:8], "little")
    if len(begin) < 5 or begin[:4] != b"\x28\xb5\x2f\xfd":
        return 0
    is_single = bool(begin[4] & 32)  # RFC 8878, 3.1.1.1: frame header
    n_bytes = (int(is_single), 2, 4, 8)[begin[4] >> 6]
    at = 5 + (not is_single) + (0, 1, 2, 4)[begin[4] & 3]
    return int.from_bytes(begin[at : at + n_bytes], "little") + (256 if n_bytes == 2 else 0)


def _place(name: str, array: _Array) -> tuple[int, ...] | None:
    """Place in the grid, or beyond it, of a chunk with this name; None for any other file."""
    if not name.startswith(array.prefix):
        return None
    numbers = name.removeprefix(array.prefix).split(array.separator)
    if len(numbers) != len(array.grid) or not all(n.isascii() and n.isdigit() and str(int(n)) == n for n in numbers):
        return None
    return tuple(map(int, numbers))


def _inner_chunks(path: Path, array: _Array) -> tuple[int, ...]:
    assert array.sharding is not None
    chunks = array.sharding.get("chunk_shape")
    fits = isinstance(chunks, list) and len(chunks) == len(array.chunks)
    if not fits or any(type(c) is not int or c < 1 or s % c for c, s in zip(chunks, array.chunks, strict=True)):
        raise damage_error(path, "its shards and their chunks do not fit")
    return tuple(chunks)


def _missing_in_shard(path: Path, file: Path, place: tuple[int, ...], array: _Array) -> int:
    """How many chunks inside the array a shard does not hold, from the table at its end or beginning."""
    assert array.sharding is not None
    chunks = _inner_chunks(path, array)
    inside = tuple(s // c for s, c in zip(array.chunks, chunks, strict=True))  # chunks of a shard
    checksum = 4 * sum(codec["name"] == "crc32c" for codec in array.sharding["index_codecs"])
    begins = array.sharding.get("index_location", "end") == "start"
    n_bytes, n_table = file.stat().st_size, 16 * prod(inside)
    if n_table + checksum > n_bytes:
        raise damage_error(path, f"its shard {file.relative_to(path).as_posix()} is cut off")
    with file.open("rb") as stream:
        stream.seek(0 if begins else n_bytes - n_table - checksum)
        table = np.frombuffer(stream.read(n_table), "<u8").reshape(*inside, 2)  # offset, length
    first = [p * s for p, s in zip(place, array.chunks, strict=True)]
    within = tuple(
        slice(0, min(count, ceil((n - f) / c)))
        for count, n, f, c in zip(inside, array.shape, first, chunks, strict=True)
    )
    return int((table[(*within, 0)] == _NOT_STORED).sum())
