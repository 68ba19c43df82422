"""Tiles: cut, chosen, split and packed; candidate regions by both methods."""

import dataclasses
import shutil

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from benchmark import registry
from benchmark.contracts import Dataset
from benchmark.data.stream import event_set
from benchmark.data.volumes import VolumePreprocess
from benchmark.datasets._lif_regions import measure, projection_regions, regions_3d
from benchmark.errors import DataError
from benchmark.seeding import generator
from benchmark.tasks import TASKS
from builders.lif_files import CHAIN, make_scan, row_of, write_folder, write_table

SPEC = registry.dataset_spec("lif-scans")


def open_(folder, **settings):
    return SPEC.open(SPEC.config(**{**CHAIN, **settings}), folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("lif") / "scans")


def test_tiles_are_the_processed_scan_in_pieces(folder):
    dataset = open_(folder)
    assert isinstance(dataset, Dataset)
    found = {}
    for split in dataset.splits:
        source = dataset.events(split)
        assert list(source.event_ids) == sorted(set(source.event_ids))
        found.update({i: source[k] for k, i in enumerate(source.event_ids)})
    # 12 slices - 2 margins of 1: 2 tiles; 90 rows: 4; 96 columns - 2 margins of 5: 4
    assert len(found) == 4 * 2 * 4 * 4
    scan = dataset.processed("b")
    tile = found["b:z01:y02:x03"]
    np.testing.assert_array_equal(tile.volume, scan.volume[5:10, 40:60, 60:80])
    np.testing.assert_array_equal(tile.labels["instance"], scan.labels[5:10, 40:60, 60:80])
    np.testing.assert_array_equal(tile.labels["track"], tile.labels["instance"] > 0)
    assert tile.n_points == 0 and dataset.info.frame.extent == (20, 20, 5)


def test_no_two_sets_share_a_scan(folder):
    dataset = open_(folder)
    of_split = {split: {i.split(":")[0] for i in dataset.events(split).event_ids} for split in dataset.splits}
    for source in map(dataset.events, dataset.splits):
        scans = [i.split(":")[0] for i in source.event_ids]
        np.testing.assert_array_equal(source.units, np.unique(scans, return_inverse=True)[1])
    assert all(of_split.values())
    assert sum(map(len, of_split.values())) == len(set().union(*of_split.values())) == 4


@pytest.mark.parametrize("name", ["copy.tif", "a.tif"])
def test_a_scan_named_twice_by_other_names_is_refused(tmp_path, name):
    write_folder(tmp_path, labelled=False)
    if name != "a.tif":
        shutil.copy(tmp_path / "a.tif", tmp_path / name)
    write_table(tmp_path, [row_of(scan, f"{scan}.tif") for scan in "abcd"] + [row_of("e", name)])
    with pytest.raises(DataError, match=rf"Scan e \(.*{name}\) holds the same events as Scan a"):
        open_(tmp_path)


def test_blocks_have_a_row_of_tiles_between_them(folder):
    dataset = open_(folder, split="block", tile=(5, 10, 20))
    rows = {s: {int(i.split(":")[2][1:]) for i in dataset.events(s).event_ids} for s in dataset.splits}
    assert rows == {"train": {0, 1, 2, 3}, "val": {5}, "test": {7, 8}}
    with pytest.raises(DataError, match="rows of tiles along y are too few"):
        open_(folder, split="block", tile=(5, 30, 20))


def test_the_table_decides_where_it_says_and_too_few_scans_are_refused(tmp_path):
    write_folder(tmp_path / "two", scans=("a", "b"))
    with pytest.raises(DataError, match=r"2 scans, too few.*split=block"):
        open_(tmp_path / "two")
    with pytest.raises(DataError, match="no column `split`"):
        open_(tmp_path / "two", split="table")
    write_folder(tmp_path / "three", scans=("a", "b", "c"))
    splits = {"a": "test", "b": "train", "c": "val"}
    rows = [row_of(s, f"{s}.tif", labels=f"{s}_labels.tif", split=split) for s, split in splits.items()]
    write_table(tmp_path / "three", rows)
    dataset = open_(tmp_path / "three")
    assert {i[0] for i in dataset.events("test").event_ids} == {"a"}
    write_table(tmp_path / "three", [{**r, "split": "train"} for r in rows])
    with pytest.raises(DataError, match="no scan of the split test"):
        open_(tmp_path / "three")


def test_a_pack_is_made_once_and_anew_when_anything_changes(folder):
    dataset = open_(folder)
    stamp = (dataset.folder / "manifest.json").stat().st_mtime_ns
    again = open_(folder)
    assert again.folder == dataset.folder and (again.folder / "manifest.json").stat().st_mtime_ns == stamp
    assert again.revision == dataset.revision
    other = open_(folder, blur_voxels=(1.0, 1.0, 1.0))
    assert other.folder != dataset.folder and other.revision != dataset.revision
    (dataset.folder / "volume.bin").write_bytes(b"")  # damaged: made anew
    assert open_(folder).events("train")[0].volume.shape == (5, 20, 20)


def test_tiles_without_candidate_regions_are_left_out_and_counted(folder):
    whole = open_(folder)
    chosen = open_(folder, regions="projection")
    kept = sum(len(chosen.events(s)) for s in chosen.splits)
    dropped = sum(chosen.events(s).dropped.get("no_candidate_region", 0) for s in chosen.splits)
    assert kept + dropped == len(whole.table) and 0 < kept < len(whole.table)
    task = TASKS["lif-segmentation"]
    used = event_set(chosen, "train", task, VolumePreprocess(token=(5, 10, 10)))
    assert used.excluded == chosen.events("train").dropped
    assert used.batch([0, 1]).volume_target.shape == (2, 5, 20, 20)
    with pytest.raises(DataError, match="None of 128 tiles has 99 candidate regions"):
        open_(folder, regions="projection", min_regions=99)


def test_scans_without_labels_serve_reconstruction_alone(tmp_path):
    dataset = open_(write_folder(tmp_path / "bare", labelled=False))
    assert not dataset.events("train").labelled
    preprocess = VolumePreprocess(token=(5, 10, 10))
    assert len(event_set(dataset, "train", TASKS["lif-reconstruction"], preprocess)) > 0
    with pytest.raises(DataError, match="no labels"):
        event_set(dataset, "train", TASKS["lif-segmentation"], preprocess)


def test_a_missing_folder_or_file_is_told_with_an_example(tmp_path):
    with pytest.raises(DataError, match="Type --data FOLDER"):
        open_(None)
    with pytest.raises(DataError, match="no table of scans"):
        open_(tmp_path)
    write_table(tmp_path, [row_of("a", "a.tif")])
    with pytest.raises(DataError, match=r"no file .*a\.tif"):
        open_(tmp_path)


def test_steps_of_every_scan_are_kept(folder):
    dataset = open_(folder)
    assert dataset.scans == ("a", "b", "c", "d")
    by_name = {s["name"]: s for s in dataset.steps("c")}
    assert by_name["margins"]["voxels"] == [1, 0, 5] and by_name["raw"]["dtype"] == "uint16"
    with pytest.raises(DataError, match="no scan z"):
        dataset.processed("z")
    assert dataclasses.replace(dataset, revision="x").revision == "x"


def noisy_tile(seed, *spots):
    """Blurred noise of unit sigma with spots (z, y, x, height)."""
    noise = gaussian_filter(generator("regions", seed).normal(size=(5, 120, 120)), 2.0)
    volume = noise / noise.std()
    for z, y, x, height in spots:
        point = np.zeros_like(volume)
        point[z, y, x] = 1
        point = gaussian_filter(point, (1.5, 2.5, 2.5))
        volume += height * point / point.max()
    return volume


def test_regions_in_three_dimensions_find_spots_and_little_else():
    found = [regions_3d(noisy_tile(s, (2, 30, 30, 12.0), (1, 80, 70, 9.0)))[1] for s in range(6)]
    empty = [regions_3d(noisy_tile(s))[1] for s in range(6)]
    assert found == [2] * 6 and sum(empty) <= 1
    assert sum(projection_regions(noisy_tile(s))[1] for s in range(6)) > 6  # each has something bright


def test_two_spots_above_each_other_are_one_in_the_projection():
    tile = noisy_tile(3)
    thick = np.concatenate([tile] * 3)
    for z in (2, 12):
        point = np.zeros_like(thick)
        point[z, 60, 60] = 1
        point = gaussian_filter(point, (1.0, 2.5, 2.5))
        thick += 25 * point / point.max()
    number, n = regions_3d(thick)
    assert n == 2 and number[2, 60, 60] != number[12, 60, 60] > 0
    flat, _ = projection_regions(thick)
    assert flat[2, 60, 60] == flat[12, 60, 60] > 0


def test_regions_are_judged_by_the_truth():
    volume = noisy_tile(1, (2, 30, 30, 15.0))
    truth = np.zeros(volume.shape, np.uint16)
    truth[1:4, 28:33, 28:33], truth[1:4, 90:95, 90:95] = 1, 2
    found = measure(volume, truth, least=20)
    assert found["n_tracks"] == 2 and found["found_3d"] == 1 and found["pure_3d"] == 1
    assert found["regions_projection"] >= found["pure_projection"] >= 1
    assert make_scan("x")[0].dtype == np.uint16
