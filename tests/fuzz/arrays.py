"""Damage of .npy and .npz files that numpy itself makes: headers, types, shapes, values, pickles."""

from __future__ import annotations

import os
import pickle
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fuzz.mutations import CODE_RAN, NUMBERS, SIZES, Rng, pick
from fuzz.reader import Change

DTYPES = ("<f8", ">f4", "<i2", "|b1", "<c16", "|O", "<U5", "|S3", "<M8[s]", "|V8", "<f2", "f4,i4", "<u8", "|u1")
HEADERS = (
    "", "{", "[" * 5000, "{'descr': '<f4'}", "{'descr': '<f4', 'fortran_order': False, 'shape': (%d,)}",
    "{'descr': '<f4', 'fortran_order': 1, 'shape': (%d, %d)}", "{'descr': '|O', 'fortran_order': False, 'shape': ()}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, %d)}", "{'descr': [], 'shape': (%d,), 'fortran_order': 0}",
    "{'descr': '<f4', 'fortran_order': False, 'shape': %d}", "__import__('os').mkdir('" + CODE_RAN + "')",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (1.5,)}", "{'descr': 'f4', 'fortran_order': 0, 'shape': 'a'}",
    "(" * 300 + ")" * 300, "{'descr': ('<f4', (%d,)), 'fortran_order': False, 'shape': (1,)}", "x" * 60_000,
)  # fmt: skip


BOMB = 600_000_000  # zeros that pack into a megabyte


class RunsCode:
    """Makes a folder where it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (CODE_RAN,)


def laughs(depth: int = 30) -> Any:
    """A pickle of a few bytes that is 2^depth items when it is walked."""
    nested: list[Any] = ["ha"]
    for _ in range(depth):
        nested = [nested, nested]
    return nested


def nested(depth: int = 50_000) -> bytes:
    """A pickle of lists in lists."""
    return b"]" * depth + b"a" * (depth - 1) + b"."


def pickles(rng: Rng) -> bytes:
    """A malicious, exploding, deep or cut pickle."""
    good = pickle.dumps({"a": [1, 2, 3]})
    return pick(rng, (
        pickle.dumps(RunsCode()), pickle.dumps({"cluster_E": RunsCode()}), pickle.dumps({"cluster_E": laughs()}),
        nested(), good[:-1], b".", b"\x80\x05\x8e" + struct.pack("<Q", 10**12) + b"x.",
        b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b"x.", b"\x80\x04\x95" + struct.pack("<Q", 1 << 50) + b"}.",
        b"cbuiltins\neval\n(S'1'\ntR.", b"\x80\x02]q\x00" + b"h\x00" * 1000 + b".", b"I" + b"9" * 10_000 + b"\n.",
        b"\x80\x04r" + struct.pack("<I", 2**32 - 1) + b".", b"\x80\x04}r" + struct.pack("<I", 4 * 10**8) + b".",
    ))  # fmt: skip


def headers(path: Path, rng: Rng) -> None:
    """Another header before the same numbers."""
    content = path.read_bytes()
    text = pick(rng, HEADERS)
    text = text % tuple(abs(pick(rng, SIZES)) for _ in range(text.count("%d")))
    length = pick(rng, (len(text), len(text), 65_535, 0))
    version = pick(rng, ((1, 0), (1, 0), (2, 0), (3, 0), (9, 9)))
    packed = struct.pack("<H" if version == (1, 0) else "<I", length)
    path.write_bytes(b"\x93NUMPY" + bytes(version) + packed + text.encode() + content[128:])


def types(path: Path, rng: Rng) -> None:
    """The same array in another type, shape or order, or none."""
    array = np.load(path, allow_pickle=True)
    what = int(rng.integers(4))
    with np.errstate(all="ignore"):
        try:
            array = array.astype(pick(rng, DTYPES)) if what == 0 else array
        except (TypeError, ValueError):
            array = np.zeros(array.shape, pick(rng, DTYPES))
    if what == 1:
        array = pick(rng, (array[None], array.T, array.ravel(), array[:0], array[..., None], array[:-1], np.float32(1)))
    elif what == 2:
        array = np.asfortranarray(array)
    elif what == 3:
        array = np.concatenate([array, array]) if array.ndim else array
    np.save(path, array, allow_pickle=True)


def values(path: Path, rng: Rng) -> None:
    """One number is another."""
    array = np.load(path).astype(pick(rng, ("<f8", "<i8")))
    number = float(min(pick(rng, NUMBERS), 1e308))
    array.reshape(-1)[int(rng.integers(array.size))] = (
        number if array.dtype.kind == "f" else int(rng.integers(-9, 9**9))
    )
    np.save(path, array)


def objects(path: Path, rng: Rng) -> None:
    """A pickle where numbers belong."""
    header = {"descr": "|O", "fortran_order": False, "shape": ()}
    with path.open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
        stream.write(pickles(rng))


NPY: Mapping[str, Change] = {"headers": headers, "types": types, "values": values, "pickles": objects}


def members(path: Path, rng: Rng) -> None:
    """One array of an .npz is another, absent, or exploding, under a checksum that fits."""
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name = pick(rng, list(parts))
    mode = zipfile.ZIP_STORED
    if rng.random() < 0.7:
        array = path.with_name("member.npy")
        array.write_bytes(parts[name])
        pick(rng, (headers, types, objects))(array, rng)
        parts[name] = array.read_bytes()
        array.unlink()
    elif rng.random() < 0.5:
        del parts[name]
    else:
        mode, parts[name] = zipfile.ZIP_DEFLATED, parts[name][:128] + bytes(BOMB)
    with zipfile.ZipFile(path, "w", mode) as archive:
        for part, held in parts.items():
            archive.writestr(part, held)


NPZ: Mapping[str, Change] = {"members": members}
