"""Stacks whose numbers are not all there, or are not what they are taken for: chunks, pages, axes, labels."""

import errno
import json
import logging
import os
import re

import h5py
import numpy as np
import pytest
import tifffile
import zarr
from scipy.ndimage import label

from benchmark.datasets._lif_files import check_exists, open_unguarded
from benchmark.datasets._lif_labels import MOST_PIECES, count_pieces, read_labels
from benchmark.datasets._lif_stack import Stack
from benchmark.datasets.lifsim.plan import Physics, Piece, Plan
from benchmark.datasets.lifsim.scan import make_scan as simulate
from benchmark.errors import DataError
from builders.lif_files import make_scan
from builders.zarr_files import HAS_FORMAT_3, write_group

STACK, LABELS = make_scan("files", (6, 40, 30))
GRAY = {"photometric": "minisblack"}


def write_zarr(path, version, name="stack", shards=None, data=STACK):
    more = {} if shards is None else {"shards": shards}
    return write_group(path, name, data, (2, 10, 30), version, **more)


def chunk_files(path):
    return sorted(
        p for p in path.rglob("*") if p.is_file() and p.name not in ("zarr.json", ".zarray", ".zgroup", ".zattrs")
    )


@pytest.mark.parametrize(("version", "shards"), [(2, None), (3, None), (3, (4, 20, 30))])
def test_missing_chunks_of_a_zarr_store_are_counted(version, shards, tmp_path):
    path = write_zarr(tmp_path / "a.zarr", version, shards=shards)
    np.testing.assert_array_equal(open_unguarded(path)[0:6], STACK)
    files = chunk_files(path)
    for file in files[1:3]:
        file.unlink()
    with pytest.raises(DataError, match=f"lacks 2 of the {len(files)} chunks of its array stack.*write_empty_chunks"):
        open_unguarded(path)


@pytest.mark.parametrize("version", [2, 3])
def test_labels_without_their_empty_chunks_are_refused_and_the_named_remedy_works(version, tmp_path):
    labels = np.where(np.arange(6)[:, None, None] < 2, LABELS, 0).astype(np.uint16)
    path = write_zarr(tmp_path / "a.zarr", version, data=labels)
    with pytest.raises(DataError, match="chunks of its array") as caught:
        open_unguarded(path)
    if not HAS_FORMAT_3:
        return  # zarr 2 writes them by itself
    setting = re.search(r"`zarr\.config\.set\((\{.*\})\)`", str(caught.value))
    with zarr.config.set(eval(setting[1])):
        np.testing.assert_array_equal(
            open_unguarded(write_zarr(tmp_path / "b.zarr", version, data=labels))[0:6], labels
        )


def test_chunks_that_a_shard_does_not_hold_are_counted(tmp_path):
    data = STACK.copy()
    data[0:2, 10:20] = data[2:4, 30:40] = 0  # zarr leaves chunks of zeros out
    path = write_zarr(tmp_path / "a.zarr", 3, shards=(4, 40, 30), data=data)
    with pytest.raises(DataError, match="lacks 2 of the 12 chunks"):  # a shard beyond the array's edge holds fewer
        open_unguarded(path)


def test_chunks_under_other_names_are_missing(tmp_path):
    path = write_zarr(tmp_path / "a.zarr", 2)
    for file in chunk_files(path):
        file.rename(file.with_name(file.name.replace("0.0.0", "0.00.0")))
    with pytest.raises(DataError, match="lacks 1 of the 12"):
        open_unguarded(path)


def test_a_shape_smaller_than_the_stored_chunks_is_refused(tmp_path):
    path = write_zarr(tmp_path / "a.zarr", 2)
    metadata = json.loads((path / "stack" / ".zarray").read_text())
    (path / "stack" / ".zarray").write_text(json.dumps({**metadata, "shape": [4, 40, 30]}))
    with pytest.raises(DataError, match=r"its chunk stack/2\.0\.0 lies beyond its shape \(4, 40, 30\)"):
        open_unguarded(path)


def test_chunks_of_hdf5_that_were_never_written_are_counted(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        array = file.create_dataset("stack", STACK.shape, "u2", chunks=(2, 20, 30), compression="gzip")
        array[:4] = STACK[:4]
    with pytest.raises(DataError, match="lacks 2 of the 6 chunks of /stack"):
        open_unguarded(tmp_path / "a.h5")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file.create_dataset("stack", STACK.shape, "u2")
    with pytest.raises(DataError, match="/stack was never written"):
        open_unguarded(tmp_path / "b.h5")


def test_a_zarr_array_is_opened_at_any_depth(tmp_path):
    path = write_zarr(tmp_path / "a.zarr", 3, "setup0/timepoint0/s0")
    for name in (None, "setup0/timepoint0/s0", "/setup0/timepoint0/s0"):
        np.testing.assert_array_equal(open_unguarded(path, name)[0:6], STACK)
    with pytest.raises(DataError, match="One of setup0/timepoint0/s0 was expected"):
        open_unguarded(path, "setup0")


def test_links_and_devices_in_a_zarr_store_are_refused(tmp_path):
    for number, target in enumerate(("/dev/zero", "/etc/hostname", ".")):
        path = write_zarr(tmp_path / f"{number}.zarr", 2)
        chunk_files(path)[0].unlink()
        os.symlink(target, path / "stack" / "0.0.0")
        with pytest.raises(DataError, match=r"holds 'stack/0\.0\.0', which is a link, a device or a pipe"):
            open_unguarded(path)


@pytest.mark.parametrize("codec", ["pickle", "json2", "no such codec"])
def test_a_codec_that_may_run_code_is_refused_before_anything_is_read(codec, tmp_path):
    path = write_zarr(tmp_path / "a.zarr", 2)
    metadata = json.loads((path / "stack" / ".zarray").read_text())
    (path / "stack" / ".zarray").write_text(json.dumps({**metadata, "filters": [{"id": codec}]}))
    with pytest.raises(DataError, match=f"codec '{codec}', which is not read here"):
        open_unguarded(path)


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"a":' * 50_000, "{}", "[]", '{"zarr_format": 3, "node_type": "array", "shape": [6.5, 40, 30]}'],
    ids=["deep lists", "deep objects", "no keys", "a list", "a broken shape"],
)
def test_broken_metadata_of_zarr_give_one_sentence(text, tmp_path):
    path = write_zarr(tmp_path / "a.zarr", 3)
    (path / "stack" / "zarr.json").write_text(text)
    with pytest.raises(DataError) as caught:
        open_unguarded(path)
    assert "stack/zarr.json" in str(caught.value) or "0 arrays" in str(caught.value)
    assert not re.search("Error|recursion", str(caught.value))


@pytest.mark.parametrize("size", [10**7, 10**12])
def test_a_header_that_claims_more_than_is_stored_is_refused_at_once(size, tmp_path):
    path = write_zarr(tmp_path / "a.zarr", 2)
    metadata = json.loads((path / "stack" / ".zarray").read_text())
    (path / "stack" / ".zarray").write_text(json.dumps({**metadata, "shape": [size] * 3, "chunks": [size] * 3}))
    for file in chunk_files(path)[1:]:
        file.unlink()
    with pytest.raises(DataError, match=r"a\.zarr is damaged: its [\d,]+ stored bytes cannot hold"):
        open_unguarded(path)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("stack", (size, 10**4, 10**3), "u2", chunks=(1, 100, 100), compression="gzip")
    with pytest.raises(DataError, match="lacks"):
        open_unguarded(tmp_path / "a.h5")


def test_channels_and_times_are_not_slices(tmp_path):
    for axes in ("CYX", "TYX"):
        for name, more in (("a.ome.tif", {"ome": True}), ("a.tif", {"imagej": True})):
            tifffile.imwrite(tmp_path / name, STACK, metadata={"axes": axes}, **more, **GRAY)
            with pytest.raises(DataError, match=rf"axes are \({axes[0].lower()}, y, x\): its 6 images are not slices"):
                open_unguarded(tmp_path / name)
            np.testing.assert_array_equal(open_unguarded(tmp_path / name, axes="zyx")[0:6], STACK)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["stack"] = STACK
        for axis, name in zip(file["stack"].dims, "cyx", strict=True):
            axis.label = name
    with pytest.raises(DataError, match=r"\(c, y, x\)"):
        open_unguarded(tmp_path / "a.h5")
    group = zarr.open_group(str(tmp_path / "a.zarr"), mode="w")
    group["0"] = STACK
    group.attrs["ome"] = {"multiscales": [{"axes": [{"name": n} for n in ("channel", "y", "x")]}]}
    with pytest.raises(DataError, match=r"\(channel, y, x\)"):
        open_unguarded(tmp_path / "a.zarr")


def test_positions_of_one_image_each_are_not_a_stack(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as writer:
        for image in STACK[:3]:
            writer.write(image, metadata={"axes": "YX"}, **GRAY)
    with pytest.raises(DataError, match="holds 3 series of images, for example positions"):
        open_unguarded(tmp_path / "a.ome.tif")


def test_a_stack_in_which_0_is_white_is_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", STACK, photometric="miniswhite")
    with pytest.raises(DataError, match="says that 0 is white"):
        open_unguarded(tmp_path / "a.tif")


@pytest.mark.parametrize("kind", ["block", "ome", "imagej", "pages", "one page", "strips"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("n_bytes", [1, 2, 60, 2400])
def test_bytes_missing_inside_a_tiff_are_noticed(kind, share, n_bytes, tmp_path):
    path = tmp_path / "a.tif"
    if kind in ("pages", "strips"):
        with tifffile.TiffWriter(path) as writer:
            for image in STACK:
                writer.write(
                    image, contiguous=False, metadata=None, rowsperstrip=7 if kind == "strips" else None, **GRAY
                )
    elif kind == "one page":
        with tifffile.TiffWriter(path, imagej=True) as writer:
            writer.write(STACK, metadata={"axes": "ZYX"}, truncate=True, **GRAY)
    else:
        more = {"block": {}, "ome": {"ome": True}, "imagej": {"imagej": True}}[kind]
        tifffile.imwrite(path, STACK, metadata={"axes": "ZYX"}, **more, **GRAY)
    np.testing.assert_array_equal(open_unguarded(path)[0:6], STACK)
    raw = path.read_bytes()
    cut = int(share * len(raw))
    path.write_bytes(raw[:cut] + raw[cut + n_bytes :])
    with pytest.raises(DataError, match=r"a\.tif"):
        values = open_unguarded(path)[0:6]
        assert not np.array_equal(values, STACK)


def test_what_tifffile_logs_is_not_printed(tmp_path, caplog, capfd):
    tifffile.imwrite(tmp_path / "a.tif", STACK, metadata=None, **GRAY)
    raw = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(raw[: len(raw) - 100])
    with caplog.at_level(logging.DEBUG), pytest.raises(DataError, match=r"a\.tif is damaged"):
        open_unguarded(tmp_path / "a.tif")
    assert not [r for r in caplog.records if r.name == "tifffile"] and capfd.readouterr().err == ""


@pytest.mark.parametrize("error", [ValueError("LZW requires the 'imagecodecs' package"), ImportError("compression")])
def test_a_missing_decoder_is_named(error, tmp_path, monkeypatch):
    tifffile.imwrite(tmp_path / "a.tif", STACK, compression="zlib", **GRAY)

    def fail(page):
        raise error

    monkeypatch.setattr(tifffile.TiffPage, "asarray", fail)
    with pytest.raises(DataError, match=r"needs the package 'imagecodecs'.*`pip install imagecodecs`"):
        open_unguarded(tmp_path / "a.tif")[0:1]


def test_a_missing_filter_of_hdf5_is_named_on_opening(tmp_path, monkeypatch):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("stack", data=STACK, chunks=(2, 20, 30), compression="lzf")
    monkeypatch.setattr(h5py.h5z, "filter_avail", lambda code: False)
    monkeypatch.setitem(__import__("sys").modules, "hdf5plugin", None)
    with pytest.raises(DataError, match=r"filter 32000 \(lzf\), which is not installed.*`pip install hdf5plugin`"):
        open_unguarded(tmp_path / "a.h5")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (BlockingIOError(errno.EAGAIN, "unable to lock file"), "held by another program.*`h5clear -s"),
        (OSError("file is already open for write (may use <h5clear file> to clear"), "held by another program"),
        (OSError(errno.ENOLCK, "unable to lock file"), "without locks.*HDF5_USE_FILE_LOCKING=FALSE"),
        (OSError("truncated file: eof = 9"), "cut off"),
        (PermissionError(errno.EACCES, "unable to open file"), "permissions do not allow it"),
        (OSError("file signature not found"), "damaged, or no HDF5 file"),
    ],
)
def test_the_cause_why_hdf5_does_not_open_is_named(error, message, tmp_path, monkeypatch):
    (tmp_path / "a.h5").write_bytes(b"")

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(h5py, "File", fail)
    with pytest.raises(DataError, match=message):
        open_unguarded(tmp_path / "a.h5")


def test_a_file_without_permission_says_so(tmp_path, monkeypatch):
    path = tmp_path / "a.npy"
    np.save(path, STACK)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(DataError, match=r"its permissions do not allow it.*`chmod -R u\+rX"):
        open_unguarded(path)


def test_names_that_no_file_can_have_are_missing_files(tmp_path):
    for name in ("a\0b.tif", "x" * 5000 + ".tif"):
        with pytest.raises(DataError, match="There is no file"):
            check_exists(tmp_path / name)
    os.mkfifo(tmp_path / "pipe.tif")
    with pytest.raises(DataError, match="is a device or pipe"):
        check_exists(tmp_path / "pipe.tif")


def stack_of(labels):
    return Stack(None, labels.shape, labels.dtype, lambda begin, end: labels[begin:end])


@pytest.mark.parametrize("name", list("abcdefgh"))
def test_a_mask_in_place_of_numbers_is_refused(name):
    labels = make_scan(name)[1]
    assert read_labels(stack_of(labels), "a").max() == labels.max()
    for value in (1, 255):
        mask = np.where(labels > 0, value, 0).astype(np.uint8)
        with pytest.raises(DataError, match=rf"Scan a: .*the number {value} to \d+ separate pieces.*ndimage\.label"):
            read_labels(stack_of(mask), "a")
    numbers, n = label(mask > 0, np.ones((3, 3, 3)))  # as the message says
    assert read_labels(stack_of(numbers), "a").max() == n


def test_two_tracks_in_white_are_a_mask_and_one_track_is_not():
    labels = np.zeros((6, 40, 30), np.uint8)
    labels[1:3, 3:9, 3:9] = 255
    assert read_labels(stack_of(labels), "a").max() == 255
    labels[4:6, 23:29, 13:19] = 255
    with pytest.raises(DataError, match="the number 255 to 2 separate pieces"):
        read_labels(stack_of(labels), "a")


def test_simulated_tracks_that_cross_stay_below_the_limit():
    plan = Plan(shape=(6, 320, 320), seed=0, physics=Physics(events_per_mm3=40_000.0))
    numbers = simulate(plan, Piece("train", 0)).instance
    pieces = [count_pieces(numbers == number) for number in np.unique(numbers)[1:]]
    assert len(pieces) > 25 and 1 < max(pieces) < MOST_PIECES


def test_format_3_needs_zarr_3(tmp_path, monkeypatch):
    path = write_zarr(tmp_path / "a.zarr", 3)
    monkeypatch.setattr(zarr, "__version__", "2.18.3")
    with pytest.raises(DataError, match=r"format 3, which zarr 2\.18\.3 does not read.*pip install 'zarr>=3'"):
        open_unguarded(path)
