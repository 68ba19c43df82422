"""Folders as users have them: what is meant is read, what is not read is named."""

import numpy as np
import pytest

from benchmark.datasets._event_files import event_prefix, split_files
from benchmark.datasets._pilarnet import open_pilarnet
from benchmark.datasets.pilarnet_m import INFO
from benchmark.errors import DataError
from benchmark.registry import dataset_spec
from builders.calo_files import make_geometry, write_folder
from builders.pilarnet_files import make_events, write_file


def found(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return split_files(root, (".h5", ".hdf5"), lambda path: path.name.endswith("_points.npy"))


def test_suffixes_folders_and_names_of_splits_are_read_as_meant(tmp_path):
    files = found(tmp_path, "Train/a.H5", "Train/b.hdf5", "Train/more/deep/c.h5", "validation/d.h5", "testing/e.h5")
    names = {s: [p.relative_to(tmp_path).as_posix() for p in paths] for s, paths in files.by_split.items()}
    assert names == {
        "train": ["Train/a.H5", "Train/b.hdf5", "Train/more/deep/c.h5"], "val": ["validation/d.h5"],
        "test": ["testing/e.h5"],
    }  # fmt: skip
    prefixes = [event_prefix(tmp_path, s, p) for s, paths in files.by_split.items() for p in paths]
    assert prefixes == ["train/a", "train/b", "train/more/deep/c", "val/d", "test/e"]
    assert not files.notes


def test_what_is_not_read_is_named(tmp_path):
    files = found(tmp_path, "test/a.h5", "test/a_points.npy", "test/README.md", "test/.hidden.h5", "simulation.json")
    assert not files.notes
    files = found(tmp_path, "test/b.h5.gz", "c.h5", "calibration/d.h5", "calibration/notes.txt", "extra/e.h5")
    assert files.notes == (
        f"{tmp_path}: test/b.h5.gz, c.h5, calibration/d.h5 and 1 more not read. Files in train, val, test are.",
    )


def test_two_folders_of_a_split_and_two_files_of_a_name_are_refused(tmp_path):
    with pytest.raises(DataError, match="two folders for the split val, val and validation"):
        found(tmp_path / "folders", "val/a.h5", "validation/b.h5")
    with pytest.raises(DataError, match=r"a\.h5 and a\.hdf5 have the same name|a\.hdf5 and a\.h5 have the same name"):
        found(tmp_path / "files", "test/a.h5", "test/a.hdf5")


def test_a_link_upwards_is_no_endless_folder(tmp_path):
    found(tmp_path, "test/a.h5")
    (tmp_path / "test" / "up").symlink_to(tmp_path, target_is_directory=True)
    assert len(found(tmp_path).by_split["test"]) == 1


def test_a_folder_without_permission_is_one_sentence(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.listdir", refuse)
    with pytest.raises(DataError, match=r"cannot be listed: Permission denied\. .+ `chmod u\+rx "):
        found(tmp_path)


def test_liquid_argon_and_calorimeter_read_such_folders(tmp_path, caplog):
    rng = np.random.default_rng(6)
    for name in ("train/a.h5", "train/more/b.HDF5", "validation/c.hdf5", "test/d.h5", "calibration/e.h5"):
        write_file(tmp_path / "argon" / name, make_events(rng, 1))
    dataset = open_pilarnet(tmp_path / "argon", INFO)
    assert dataset.splits == ("train", "val", "test")
    assert dataset.events("train").event_ids == ("train/a:0000000", "train/more/b:0000000")
    assert len(dataset.events("val")) == 1 and "calibration/e.h5 not read" in caplog.text
    write_folder(tmp_path / "calorimeter", rng, make_geometry(rng))
    (tmp_path / "calorimeter" / "val").rename(tmp_path / "calorimeter" / "valid")
    (tmp_path / "calorimeter" / "train" / "pions_0000.npy").rename(tmp_path / "calorimeter" / "train" / "pions.NPY")
    spec = dataset_spec("atlas-pions")
    dataset = spec.open(spec.config(), tmp_path / "calorimeter")
    assert dataset.splits == ("train", "val", "test")
    assert {i.split(":")[0] for i in dataset.events("train", "cluster").event_ids} == {"train/pions"}
