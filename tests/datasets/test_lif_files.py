"""Stacks in every format that users bring, and files that are not what they say."""

import os
import struct
import sys
import zlib

import h5py
import numpy as np
import pytest
import tifffile
import zarr
from numcodecs import Zlib

from benchmark.datasets import _lif_files
from benchmark.datasets._lif_files import open_stack, open_unguarded, unpack
from benchmark.errors import DataError
from builders.lif_files import make_scan
from builders.zarr_files import HAS_FORMAT_3, write_array

STACK = make_scan("files", (6, 40, 30))[0]


def write(path, kind):
    gray = {"photometric": "minisblack"}
    if kind == "tif":
        tifffile.imwrite(path, STACK, **gray)
    elif kind == "bigtiff":
        tifffile.imwrite(path, STACK, bigtiff=True, **gray)
    elif kind == "big-endian":
        tifffile.imwrite(path, STACK, byteorder=">", **gray)
    elif kind == "ome":
        tifffile.imwrite(path, STACK, ome=True, metadata={"axes": "ZYX", "PhysicalSizeX": 0.425}, **gray)
    elif kind == "imagej":
        tifffile.imwrite(path, STACK, imagej=True, metadata={"axes": "ZYX"})
    elif kind == "compressed":
        tifffile.imwrite(path, STACK, compression="zlib", **gray)
    elif kind == "pages":
        with tifffile.TiffWriter(path) as writer:
            for image in STACK:
                writer.write(image, contiguous=False, **gray)
    elif kind == "npy":
        np.save(path, STACK)
    elif kind == "npy-channels":
        np.save(path, STACK[None, None])
    elif kind == "hdf5":
        with h5py.File(path, "w") as file:
            file["group/stack"] = STACK[None]
            file["note"] = np.arange(3)
    else:
        zarr.save(str(path), STACK)
    return path


@pytest.mark.parametrize(
    ("kind", "name"),
    [("tif", "a.tif"), ("bigtiff", "a.tiff"), ("big-endian", "a.TIF"), ("ome", "a.ome.tif"), ("imagej", "a.tif"),
     ("compressed", "a.tif"), ("pages", "a.tif"), ("npy", "a.npy"), ("npy-channels", "a.npy"), ("hdf5", "a.h5"),
     ("zarr", "a.zarr")],
)  # fmt: skip
def test_every_format_gives_the_same_numbers_slice_by_slice(kind, name, tmp_path):
    stack = open_stack(write(tmp_path / name, kind))
    assert stack.shape == STACK.shape and stack.dtype == np.uint16
    np.testing.assert_array_equal(stack[2:5], STACK[2:5])
    np.testing.assert_array_equal(np.concatenate([stack[z : z + 1] for z in range(6)]), STACK)
    assert stack[3:3].shape == (0, 40, 30)
    stack.close()


def test_one_of_several_arrays_must_be_named(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["first"], file["second/inner"] = STACK, STACK + 1
    with pytest.raises(DataError, match=r"2 arrays with three axes \(first, second/inner\)"):
        open_stack(tmp_path / "a.h5")
    with pytest.raises(DataError, match="no array 'third'"):
        open_stack(tmp_path / "a.h5", "third")
    np.testing.assert_array_equal(open_stack(tmp_path / "a.h5", "second/inner")[0:1], STACK[:1] + 1)
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w")
    group["one"], group["two"] = STACK, STACK + 2
    with pytest.raises(DataError, match="2 arrays"):
        open_stack(tmp_path / "a.zarr")
    np.testing.assert_array_equal(open_stack(tmp_path / "a.zarr", "two")[0:1], STACK[:1] + 2)
    with pytest.raises(DataError, match="no arrays inside"):
        open_stack(write(tmp_path / "a.npy", "npy"), "two")


def test_a_tiff_whose_description_promises_more_than_there_is_is_refused(tmp_path):
    path = write(tmp_path / "lies.ome.tif", "ome")
    raw = path.read_bytes()
    assert raw.count(b'SizeZ="6"') == 1
    path.write_bytes(raw.replace(b'SizeZ="6"', b'SizeZ="9"'))
    with pytest.raises(DataError, match=r"lies\.ome\.tif.*(says that it holds 9|has the shape|holds|slices)"):
        open_stack(path)[0:9]


@pytest.mark.parametrize("kind", ["tif", "compressed", "pages", "npy"])
def test_a_file_that_was_cut_off_is_refused(kind, tmp_path):
    path = write(tmp_path / ("cut.npy" if kind == "npy" else "cut.tif"), kind)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match=r"cut\."):
        stack = open_stack(path)
        stack[0 : stack.shape[0]]


def test_what_is_no_volume_of_plain_numbers_is_refused_by_name(tmp_path):
    tifffile.imwrite(tmp_path / "colour.tif", np.zeros((6, 40, 30, 3), np.uint8), photometric="rgb")
    tifffile.imwrite(tmp_path / "flat.tif", STACK[0])
    np.save(tmp_path / "complex.npy", STACK.astype(complex))
    np.save(tmp_path / "objects.npy", np.array([STACK, STACK[:2]], dtype=object), allow_pickle=True)
    (tmp_path / "text.tif").write_text("no image")
    (tmp_path / "a.raw").write_bytes(b"1234")
    for name, message in (
        ("colour.tif", "colour|shape"), ("flat.tif", "volume"), ("complex.npy", "complex"), ("objects.npy", "objects"),
        ("text.tif", "cannot be opened"), ("a.raw", "unknown format"), ("missing.tif", "no file"),
    ):  # fmt: skip
        with pytest.raises(DataError, match=message):
            open_stack(tmp_path / name)


def linked(folder, kind):
    """A file whose stack `g/stack` lies elsewhere, beside an array of another kind."""
    with h5py.File(folder / "b.h5", "w") as file:
        file["stack"], file["g/stack"] = STACK, STACK
    with h5py.File(folder / "a.h5", "w") as file:
        file["note"] = np.arange(3)
        if kind == "storage":
            file.create_dataset("g/stack", (2, 3, 4), "u2", external=[(str(folder / "raw.bin"), 0, 48)])
        elif kind == "view":
            layout = h5py.VirtualLayout(STACK.shape, STACK.dtype)
            layout[:] = h5py.VirtualSource(str(folder / "b.h5"), "stack", STACK.shape)
            file.create_virtual_dataset("g/stack", layout)
        elif kind == "link of the group":
            file["g"] = h5py.ExternalLink(str(folder / "b.h5"), "g")
        elif kind == "link to a link":
            file["far"] = h5py.ExternalLink(str(folder / "b.h5"), "g")
            file["g/stack"] = h5py.SoftLink("/far/stack")
        elif kind == "link to nothing":
            file["g/stack"] = h5py.SoftLink("/no/stack")
        elif kind == "link to itself":
            file["g/stack"] = h5py.SoftLink("stack")
        else:
            file["g/stack"] = h5py.ExternalLink(str(folder / "b.h5"), "stack")
    return folder / "a.h5"


ELSEWHERE = {
    **dict.fromkeys(("storage", "view", "link", "link of the group", "link to a link"), "in other files"),
    "link to nothing": "behind a link to what it does not hold", "link to itself": "behind links that lead in a circle",
}  # fmt: skip


@pytest.mark.parametrize("kind", ELSEWHERE)
@pytest.mark.parametrize("name", [None, "g/stack", "/g/stack"])
def test_a_file_that_keeps_its_numbers_elsewhere_is_refused_by_that_cause(tmp_path, kind, name):
    with pytest.raises(DataError, match=rf"a\.h5 keeps '(/?g|/?g/stack|far)' {ELSEWHERE[kind]}\. .*expected"):
        open_unguarded(linked(tmp_path, kind), name)


def test_a_link_inside_a_file_is_a_name_of_what_it_leads_to(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["raw/stack"], file["raw/other"] = STACK, STACK + 1
        file["chosen"], file["latest"] = h5py.SoftLink("raw/stack"), h5py.SoftLink("/raw")
        file["elsewhere"] = h5py.ExternalLink("b.h5", "stack")
    for name in ("chosen", "latest/stack", "raw/stack"):
        np.testing.assert_array_equal(open_unguarded(tmp_path / "a.h5", name)[0:6], STACK)
    with pytest.raises(DataError, match=r"2 arrays with three axes \(raw/other, raw/stack\)"):
        open_unguarded(tmp_path / "a.h5")


def bomb(path, kind):
    """A stack of which one chunk, or page, of half a megabyte unpacks to 500 MB."""
    if kind == "hdf5":
        with h5py.File(path / "a.h5", "w") as file:
            array = file.create_dataset("stack", STACK.shape, "u2", chunks=(1, 40, 30), compression="gzip")
            array[:] = STACK
            array.id.write_direct_chunk((2, 0, 0), BOMB)
        return path / "a.h5"
    if kind == "tiff":
        tifffile.imwrite(path / "a.tif", STACK, compression="zlib", photometric="minisblack", rowsperstrip=40)
        with tifffile.TiffFile(path / "a.tif") as file:
            tags = [file.pages[2].tags[name] for name in ("StripOffsets", "StripByteCounts")]
        raw = bytearray((path / "a.tif").read_bytes())
        for tag, value in zip(tags, (len(raw), len(BOMB)), strict=True):
            raw[tag.offset + 2 : tag.offset + 12] = struct.pack("<HII", 4, 1, value)  # type, count, value
        (path / "a.tif").write_bytes(raw + BOMB)
        return path / "a.tif"
    write_array(path / "a.zarr", STACK, (2, 40, 30), 2, Zlib(1))
    (path / "a.zarr" / "1.0.0").write_bytes(BOMB)
    return path / "a.zarr"


BOMB = zlib.compress(bytes(500_000_000), 9)


@pytest.mark.skipif(sys.platform != "linux", reason="limits of Linux")
@pytest.mark.parametrize("kind", ["hdf5", "tiff", "zarr"])
def test_a_chunk_that_unpacks_to_half_a_gigabyte_ends_as_one_sentence(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("PARTICLEBENCH_CACHE", str(tmp_path / "cache"))
    with pytest.raises(DataError, match=r"its reader needs more than 4\d\d MB of memory|its slice 2 cannot be read"):
        open_stack(bomb(tmp_path, kind))
    assert not list((tmp_path / "cache" / "tiles").iterdir())


def test_what_is_unpacked_is_deleted_and_still_read(tmp_path, monkeypatch):
    monkeypatch.setenv("PARTICLEBENCH_CACHE", str(tmp_path / "cache"))
    for kind, name in (("hdf5", "a.h5"), ("zarr", "a.zarr"), ("compressed", "a.tif")):
        stack = open_stack(write(tmp_path / name, kind))
        assert not list((tmp_path / "cache" / "tiles").iterdir())
        np.testing.assert_array_equal(stack[0:6], STACK)


def test_a_cache_that_cannot_be_written_is_named_as_the_cause(tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file where a folder belongs")
    monkeypatch.setenv("PARTICLEBENCH_CACHE", str(tmp_path / "cache"))
    with pytest.raises(DataError, match=r"event cache .* could not be written: .*PARTICLEBENCH_CACHE"):
        open_stack(write(tmp_path / "a.tif", "compressed"))


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="of Linux")
def test_a_disk_that_fills_up_while_a_stack_is_unpacked_is_named_as_the_cause(tmp_path):
    with pytest.raises(DataError, match="could not be written: No space left on device"):
        unpack(print, str(write(tmp_path / "a.tif", "compressed")), None, None, "/dev/full")


def test_numbers_of_every_chunk_are_unpacked_in_their_place(tmp_path, monkeypatch):
    monkeypatch.setattr(_lif_files, "_BLOCK_BYTES", 3 * STACK[0].nbytes)
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("stack", data=STACK.astype(">i4"), chunks=(4, 11, 7), compression="gzip")
    found = unpack(print, str(path), None, None, str(tmp_path / "volume.bin"))
    assert found == {"shape": STACK.shape, "block": (0, ">i4")}
    np.testing.assert_array_equal(np.fromfile(tmp_path / "volume.bin", ">i4").reshape(STACK.shape), STACK)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("codec", ["zstd", "blosc"])
def test_a_chunk_that_unpacks_to_far_more_is_refused_unread(tmp_path, version, codec):
    from numcodecs import Blosc, Zstd

    path = tmp_path / "a.zarr"
    packed = {"zstd": Zstd(), "blosc": Blosc()}[codec]
    named = packed
    if version == 3 and HAS_FORMAT_3:
        named = {"zstd": zarr.codecs.ZstdCodec, "blosc": zarr.codecs.BloscCodec}[codec]()
    write_array(path, STACK, (2, 40, 30), version, named)
    np.testing.assert_array_equal(open_stack(path)[0:6], STACK)
    chunk = path / ("1.0.0" if version == 2 else "c/1/0/0")
    chunk.write_bytes(packed.encode(bytes(10_000_000)))
    with pytest.raises(DataError, match="unpacks to 10,000,000 bytes, where 4,800 fit"):
        open_stack(path)
