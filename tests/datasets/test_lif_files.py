"""Stacks in every format that users bring, and files that are not what they say."""

import h5py
import numpy as np
import pytest
import tifffile
import zarr

from benchmark.datasets._lif_files import open_stack
from benchmark.errors import DataError
from builders.lif_files import make_scan

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


@pytest.mark.parametrize("kind", ["storage", "link", "view"])
def test_a_file_that_keeps_its_numbers_elsewhere_is_refused(tmp_path, kind):
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["stack"] = STACK
    with h5py.File(tmp_path / "a.h5", "w") as file:
        if kind == "storage":
            file.create_dataset("stack", (2, 3, 4), "u2", external=[(str(tmp_path / "raw.bin"), 0, 48)])
        elif kind == "link":
            file["stack"] = h5py.ExternalLink(str(tmp_path / "b.h5"), "stack")
        else:
            layout = h5py.VirtualLayout(STACK.shape, STACK.dtype)
            layout[:] = h5py.VirtualSource(str(tmp_path / "b.h5"), "stack", STACK.shape)
            file.create_virtual_dataset("stack", layout)
    with pytest.raises(DataError, match="other files"):
        open_stack(tmp_path / "a.h5")


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("codec", ["zstd", "blosc"])
def test_a_chunk_that_unpacks_to_far_more_is_refused_unread(tmp_path, version, codec):
    from numcodecs import Blosc, Zstd

    path = tmp_path / "a.zarr"
    packed = {"zstd": Zstd(), "blosc": Blosc()}[codec]
    if version == 2:
        array = zarr.create_array(
            path, shape=STACK.shape, chunks=(2, 40, 30), dtype="u2", zarr_format=2, compressors=packed
        )
    else:
        named = zarr.codecs.ZstdCodec() if codec == "zstd" else zarr.codecs.BloscCodec()
        array = zarr.create_array(path, shape=STACK.shape, chunks=(2, 40, 30), dtype="u2", compressors=named)
    array[:] = STACK
    np.testing.assert_array_equal(open_stack(path)[0:6], STACK)
    chunk = path / ("1.0.0" if version == 2 else "c/1/0/0")
    chunk.write_bytes(packed.encode(bytes(10_000_000)))
    with pytest.raises(DataError, match="unpacks to 10,000,000 bytes, where 4,800 fit"):
        open_stack(path)
