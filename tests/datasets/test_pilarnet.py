"""PILArNet files open exactly, and every kind of damage is answered by one sentence that names file and event."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from benchmark import hub
from benchmark.contracts import Dataset, EventSource
from benchmark.datasets import _pilarnet_h5
from benchmark.datasets._pilarnet import open_pilarnet
from benchmark.datasets._pilarnet_download import choose, download
from benchmark.datasets._pilarnet_source import prepare
from benchmark.datasets.pilarnet_m import INFO, REPOSITORY, SPEC, Config
from benchmark.errors import DataError
from benchmark.hub import RemoteFile
from benchmark.registry import dataset_spec
from builders.pilarnet_files import RawEvent, make_event, make_events, write_file, write_folder

LABELS = ("fragment", "group", "interaction", "semantic", "pid")


def raw_label(event: RawEvent, column: int) -> np.ndarray:
    return np.repeat(event.cluster[:, column], event.cluster[:, 0])


def sentence(error: pytest.ExceptionInfo) -> str:
    """The message, after checking that it is one line of three parts."""
    text = str(error.value)
    assert "\n" not in text and text.endswith(".") and "expected" in text
    return text


# --- whole files ---


def test_every_value_and_label_is_read(pilarnet_folder):
    root, version, events = pilarnet_folder
    dataset = open_pilarnet(root, INFO)
    assert dataset.version == version
    assert isinstance(dataset, Dataset)
    for split, raw in events.items():
        source = dataset.events(split)
        assert isinstance(source, EventSource)
        assert len(source) == len(raw)
        assert list(source.event_ids) == sorted(set(source.event_ids))
        np.testing.assert_array_equal(source.n_points, [len(e.point) for e in raw])
        for i, expected in enumerate(raw):
            event = source[i]
            assert event.event_id == source.event_ids[i]
            np.testing.assert_array_equal(event.coords, expected.point[:, :3])
            np.testing.assert_array_equal(event.energy, expected.point[:, 3])
            assert event.coords.dtype == event.energy.dtype == np.float32
            for column, name in enumerate(LABELS if version == "v2" else LABELS[:-1], start=1):
                np.testing.assert_array_equal(event.labels[name], raw_label(expected, column), err_msg=name)
            ordinals = np.repeat(np.arange(len(expected.cluster)), expected.cluster[:, 0])
            np.testing.assert_array_equal(event.labels["cluster"], ordinals)
            assert ("pid" in event.labels) == (version == "v2")


def test_v3_adds_is_primary(tmp_path):
    events = make_events(np.random.default_rng(0), 3)
    root = write_folder(tmp_path, {"test": events}, version="v3")
    dataset = open_pilarnet(root, INFO)
    assert dataset.version == "v3"
    expected = np.repeat(events[2].extra[:, 5], events[2].cluster[:, 0])
    np.testing.assert_array_equal(dataset.events("test")[2].labels["is_primary"], expected)


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_real_events_load_exactly(shared_dir, version):
    folder = shared_dir / "reference" / "lartpc" / "real_events"
    source = SPEC.open(Config(), folder / f"h5_{version}").events("test")
    stored = [np.load(folder / f) for f in ("pilarnetm_mini_test_event0.npz", "pilarnetm_v2_test_event7675.npz")]
    assert len(source) == 2
    for event, file in zip(source, stored, strict=True):
        ours = np.lexsort(event.coords.T)
        theirs = np.lexsort(file["coords"].T)
        np.testing.assert_array_equal(event.coords[ours], file["coords"][theirs])
        np.testing.assert_array_equal(event.energy[ours], file["energy_MeV"][theirs])
        np.testing.assert_array_equal(event.labels["semantic"][ours], file["motif"][theirs])
        np.testing.assert_array_equal(event.labels["group"][ours], file["instance"][theirs])
        if version == "v2":
            pid = np.where(file["pid"] == 5, -1, file["pid"])  # the published plots show low-energy scatters as 5
            np.testing.assert_array_equal(event.labels["pid"][ours], pid[theirs])
    interaction = stored[0]["interaction"][np.lexsort(stored[0]["coords"].T)]
    np.testing.assert_array_equal(source[0].labels["interaction"][np.lexsort(source[0].coords.T)], interaction)


def test_revision_names_the_content(tmp_path):
    rng = np.random.default_rng(1)
    events = make_events(rng, 2)
    one = open_pilarnet(write_folder(tmp_path / "a", {"test": events}), INFO)
    same = open_pilarnet(Path(shutil.copytree(tmp_path / "a", tmp_path / "b")), INFO)
    other = open_pilarnet(write_folder(tmp_path / "c", {"test": make_events(rng, 2)}), INFO)
    assert one.revision == same.revision != other.revision
    assert one.files == same.files and set(one.files) == {"test/generic_v2_2_v2.h5", "test/generic_v2_2_v2_points.npy"}


def test_files_setting_limits_every_split(tmp_path):
    root = write_folder(tmp_path, {"train": make_events(np.random.default_rng(2), 7)})
    whole, part = open_pilarnet(root, INFO), SPEC.open(Config(files=1), root)
    assert (len(whole.events("train")), len(part.events("train"))) == (7, 3)
    assert whole.revision != part.revision


def test_missing_side_file_is_computed_and_said(tmp_path, caplog):
    events = make_events(np.random.default_rng(3), 2)
    dataset = open_pilarnet(write_folder(tmp_path, {"test": events}, side_file=False), INFO)
    assert [n for n in dataset.notes if "generic_v2_2_v2_points.npy" in n]
    np.testing.assert_array_equal(dataset.events("test").n_points, [len(e.point) for e in events])
    assert "generic_v2_2_v2_points.npy is missing" in caplog.text


def test_ids_follow_file_order_whatever_the_names(tmp_path):
    rng = np.random.default_rng(4)
    events = make_events(rng, 4)
    for name, event in zip(("a", "a-b", "a1", "b"), events, strict=True):
        write_file(tmp_path / "test" / f"{name}.h5", [event])
    source = open_pilarnet(tmp_path, INFO).events("test")
    assert list(source.event_ids) == sorted(source.event_ids)
    by_stem = {i.removeprefix("test/").partition(":")[0]: source[k] for k, i in enumerate(source.event_ids)}
    for name, event in zip(("a", "a-b", "a1", "b"), events, strict=True):
        np.testing.assert_array_equal(by_stem[name].energy, event.point[:, 3])


def test_files_of_the_same_name_in_two_splits_have_different_ids(tmp_path):
    rng = np.random.default_rng(4)
    for split in ("train", "test"):
        write_file(tmp_path / split / "generic_v2_2_v2.h5", make_events(rng, 2))
    dataset = open_pilarnet(tmp_path, INFO)
    assert not set(dataset.events("train").event_ids) & set(dataset.events("test").event_ids)


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_copy_of_a_file_is_refused_across_splits_and_within_one(tmp_path, split):
    events = make_events(np.random.default_rng(4), 2)
    original = write_file(tmp_path / "train" / "generic_v2_2_v2.h5", events)
    (tmp_path / split).mkdir(exist_ok=True)
    shutil.copy(original, tmp_path / split / "renamed.h5")
    with pytest.raises(DataError) as error:
        open_pilarnet(tmp_path, INFO)
    text = sentence(error)
    assert "renamed.h5 holds the same events as" in text and str(original) in text


# --- damage inside an event: (what to change, what the message must say) ---


def _point(event: RawEvent, row: int, column: int, value: float) -> RawEvent:
    point = event.point.copy()
    point[row, column] = value
    return replace(event, point=point)


def _cluster(event: RawEvent, row: int, column: int, value: int) -> RawEvent:
    cluster = event.cluster.copy()
    cluster[row, column] = value
    return replace(event, cluster=cluster)


DAMAGE = {
    "NaN energy": (lambda e: _point(e, 7, 3, np.nan), "point 7 has an energy of nan"),
    "infinite energy": (lambda e: _point(e, 7, 3, np.inf), "point 7 has an energy of inf"),
    "negative energy": (lambda e: _point(e, 9, 3, -0.5), "point 9 has an energy of -0.5"),
    "below the grid": (lambda e: _point(e, 0, 1, -1), "point 0 lies at"),
    "above the grid": (lambda e: _point(e, 3, 2, 768), "point 3 lies at"),
    "between voxels": (lambda e: _point(e, 3, 0, 12.5), "point 3 lies at"),
    "NaN coordinate": (lambda e: _point(e, 3, 0, np.nan), "point 3 lies at"),
    "sizes too large": (lambda e: _cluster(e, 1, 0, e.cluster[1, 0] + 1), "cluster sizes add up to"),
    "negative size": (lambda e: _cluster(e, 1, 0, -4), "a cluster has -4 points"),
    "unknown semantic": (lambda e: _cluster(e, 1, 4, 7), "semantic type 7"),
    "label beyond 32 bits": (lambda e: _cluster(e, 1, 1, 2**40), "does not fit 32 bits"),
    "empty event": (lambda e: RawEvent(e.point[:0], e.cluster[:0], e.extra[:0]), "has no points"),
    "no clusters": (lambda e: RawEvent(e.point, e.cluster[:0], e.extra[:0]), "cluster sizes add up to 0"),
    "extra rows missing": (lambda e: replace(e, extra=e.extra[:-1]), "cluster_extra has"),
}


CASES = [(d, v) for d in DAMAGE for v in ("v1", "v2") if (d, v) != ("extra rows missing", "v1")]


@pytest.mark.parametrize(("damage", "version"), CASES)
def test_damaged_event_is_named(tmp_path, damage, version):
    change, message = DAMAGE[damage]
    events = make_events(np.random.default_rng(6), 4)
    events[2] = change(events[2])
    path = write_file(tmp_path / "test" / "bad.h5", events, version, side_file=False)
    with pytest.raises(DataError) as error:
        open_pilarnet(tmp_path, INFO).events("test")
    text = sentence(error)
    assert str(path) in text and "event 2" in text and message in text


def test_damage_beyond_the_first_chunk_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(_pilarnet_h5, "CHUNK_EVENTS", 3)
    events = make_events(np.random.default_rng(7), 8)
    events[7] = _point(events[7], 1, 3, np.nan)
    write_file(tmp_path / "test" / "bad.h5", events)
    with pytest.raises(DataError, match="event 7: point 1 has an energy of nan"):
        open_pilarnet(tmp_path, INFO).events("test")


@pytest.mark.parametrize("name, width", [("point", 8), ("cluster", 6), ("cluster_extra", 5)])
def test_row_of_wrong_length_is_named(tmp_path, name, width):
    path = write_file(tmp_path / "test" / "bad.h5", make_events(np.random.default_rng(8), 4))
    with h5py.File(path, "r+") as h5:
        h5[name][3] = h5[name][3][:-1]
    with pytest.raises(DataError) as error:
        open_pilarnet(tmp_path, INFO).events("test")
    assert "event 3" in sentence(error) and f"multiple of {width}" in str(error.value)


# --- damage of a whole file or folder ---


def test_missing_folder(tmp_path):
    with pytest.raises(DataError, match="There is no folder"):
        SPEC.open(Config(), tmp_path / "nowhere")


def test_folder_without_splits(tmp_path):
    with pytest.raises(DataError, match="none of the folders train, val, test"):
        SPEC.open(Config(), tmp_path)


def test_split_folder_without_files(tmp_path):
    (tmp_path / "test").mkdir()
    with pytest.raises(DataError, match=r"no \.h5 file in test"):
        SPEC.open(Config(), tmp_path)


def test_split_folder_given_instead_of_its_parent(tmp_path):
    root = write_folder(tmp_path, {"test": make_events(np.random.default_rng(9), 2)})
    with pytest.raises(DataError, match=f"Type --data {root}"):
        SPEC.open(Config(), root / "test")


def test_split_that_is_not_there(tmp_path):
    root = write_folder(tmp_path, {"test": make_events(np.random.default_rng(9), 2)})
    with pytest.raises(DataError, match=r"no \.h5 files for the split 'train'; it has test"):
        SPEC.open(Config(), root).events("train")


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_truncated_file(tmp_path, kept):
    path = write_file(tmp_path / "test" / "bad.h5", make_events(np.random.default_rng(10), 40))
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(DataError) as error:
        open_pilarnet(tmp_path, INFO).events("test")
    assert str(path) in sentence(error)


def test_file_that_is_not_hdf5(tmp_path):
    (tmp_path / "test").mkdir()
    (tmp_path / "test" / "bad.h5").write_text("x,y,z\n1,2,3\n")
    with pytest.raises(DataError, match=r"bad\.h5 is damaged, or no HDF5 file"):
        open_pilarnet(tmp_path, INFO)


def _foreign(path: Path, **datasets: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as h5:
        for name, value in datasets.items():
            h5[name] = value


def test_a_filter_that_is_not_installed_is_named(tmp_path):
    path = tmp_path / "test" / "packed.h5"
    path.parent.mkdir()
    with h5py.File(path, "w") as h5:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((2,))
        plist.set_filter(32026, h5py.h5z.FLAG_OPTIONAL, ())  # Blosc2
        space = h5py.h5s.create_simple((2,))
        for name, dtype in (("point", "f4"), ("cluster", "i8")):
            kind = h5py.h5t.py_create(h5py.vlen_dtype(np.dtype(dtype)), logical=True)
            h5py.h5d.create(h5.id, name.encode(), kind, space, plist)
    with pytest.raises(DataError) as error:
        open_pilarnet(tmp_path, INFO)
    assert "filter 32026" in sentence(error) and "pip install hdf5plugin" in sentence(error)


def test_a_file_that_another_program_writes_is_named(tmp_path):
    path = write_file(tmp_path / "test" / "busy.h5", make_events(np.random.default_rng(3), 1))
    with h5py.File(path, "r+"), pytest.raises(DataError) as error:
        open_pilarnet(tmp_path, INFO)
    assert "busy.h5 is held by another program" in sentence(error)


def test_numbers_in_other_files_are_refused(tmp_path):
    path = write_file(tmp_path / "test" / "a.h5", make_events(np.random.default_rng(3), 1))
    elsewhere = write_file(tmp_path / "b.h5", make_events(np.random.default_rng(4), 1))
    with h5py.File(path, "r+") as h5:
        del h5["point"]
        h5["point"] = h5py.ExternalLink(str(elsewhere), "/point")
    with pytest.raises(DataError) as error:
        open_pilarnet(tmp_path, INFO)
    assert "a.h5 keeps 'point' in other files" in sentence(error)


def test_names_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "test" / "names.h5"
    path.parent.mkdir()
    with h5py.File(path, "w") as h5:
        h5[b"\xff\xfe"] = h5["other"] = np.zeros(3)
    with pytest.raises(DataError) as error:
        open_pilarnet(tmp_path, INFO)
    assert "has no dataset 'point'; it holds other." in sentence(error)


def test_another_schema(tmp_path):
    _foreign(tmp_path / "test" / "other.h5", images=np.zeros((2, 4, 4)), labels=np.zeros(2))
    with pytest.raises(DataError) as error:
        open_pilarnet(tmp_path, INFO)
    assert "no dataset 'point'; it holds images, labels" in sentence(error)


def test_fixed_length_rows_are_another_schema(tmp_path):
    _foreign(tmp_path / "test" / "other.h5", point=np.zeros((2, 8)), cluster=np.zeros((2, 5), int))
    with pytest.raises(DataError, match="'point' has shape"):
        open_pilarnet(tmp_path, INFO)


def test_group_in_place_of_a_dataset_is_another_schema(tmp_path):
    path = write_file(tmp_path / "test" / "bad.h5", make_events(np.random.default_rng(11), 2))
    with h5py.File(path, "r+") as h5:
        del h5["cluster"]
        h5.create_group("cluster")
    with pytest.raises(DataError, match="no dataset 'cluster'"):
        open_pilarnet(tmp_path, INFO)


@pytest.mark.parametrize("name", ["point", "cluster", "cluster_extra"])
def test_missing_dataset(tmp_path, name):
    path = write_file(tmp_path / "test" / "generic_v2_2_v2.h5", make_events(np.random.default_rng(11), 2))
    with h5py.File(path, "r+") as h5:
        del h5[name]
    with pytest.raises(DataError) as error:
        open_pilarnet(tmp_path, INFO)
    assert f"no dataset {name!r}" in sentence(error)


def test_datasets_of_different_lengths(tmp_path):
    path = write_file(tmp_path / "test" / "bad.h5", make_events(np.random.default_rng(12), 3), "v1")
    with h5py.File(path, "r+") as h5:
        del h5["cluster"]
        h5.create_dataset("cluster", (2,), dtype=h5py.vlen_dtype(np.int64))
    with pytest.raises(DataError, match="different numbers of events"):
        open_pilarnet(tmp_path, INFO)


def test_file_without_events(tmp_path):
    write_file(tmp_path / "test" / "bad.h5", [], side_file=False)
    with pytest.raises(DataError, match="holds no events"):
        open_pilarnet(tmp_path, INFO)


def test_wrong_revision_is_refused(pilarnet_folder):
    root, version, _ = pilarnet_folder
    other = {"v1": "v2", "v2": "v1"}[version]
    with pytest.raises(DataError):
        SPEC.open(Config(revision=other), root)


def test_mixed_schemas_are_refused(tmp_path):
    events = make_events(np.random.default_rng(13), 2)
    write_folder(tmp_path, {"train": events}, version="v1")
    write_folder(tmp_path, {"test": events}, version="v2")
    with pytest.raises(DataError, match="mixes schemas"):
        open_pilarnet(tmp_path, INFO)


def test_side_file_that_disagrees(tmp_path):
    path = write_file(tmp_path / "test" / "bad.h5", make_events(np.random.default_rng(14), 3))
    counts = np.load(tmp_path / "test" / "bad_points.npy")
    counts[1] += 1
    np.save(tmp_path / "test" / "bad_points.npy", counts)
    with pytest.raises(DataError) as error:
        open_pilarnet(tmp_path, INFO).events("test")
    text = sentence(error)
    assert str(path) in text and "event 1: bad_points.npy counts" in text


@pytest.mark.parametrize("content", [np.zeros(2, int), np.zeros((3, 1), int), np.zeros(3), None])
def test_side_file_of_another_kind(tmp_path, content):
    write_file(tmp_path / "test" / "bad.h5", make_events(np.random.default_rng(15), 3))
    side = tmp_path / "test" / "bad_points.npy"
    if content is None:
        side.write_bytes(b"not numpy")
    else:
        np.save(side, content)
    with pytest.raises(DataError) as error:
        open_pilarnet(tmp_path, INFO).events("test")
    assert str(side) in sentence(error)


# --- the hub, with a fake in its place ---


class FakeHub:
    """Serves the files of a folder; may break off or spoil them."""

    def __init__(self, root: Path, spoil: bool = False, fail_after: int | None = None) -> None:
        self.root, self.spoil, self.fail_after = root, spoil, fail_after
        self.fetched: list[str] = []

    def list_files(self, repo: str, revision: str) -> tuple[str, list[RemoteFile]]:
        import hashlib

        files = []
        for path in sorted(self.root.rglob("*.*")):
            content = path.read_bytes()
            large = path.suffix == ".h5"
            sha256 = hashlib.sha256(content).hexdigest() if large else None
            git = None if large else hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            files.append(RemoteFile(path.relative_to(self.root).as_posix(), len(content), sha256, git))
        return "c0ffee", files

    def fetch(self, repo: str, commit: str, file: RemoteFile, target: Path) -> None:
        assert commit == "c0ffee"
        if self.fail_after is not None and len(self.fetched) >= self.fail_after:
            raise DataError("Fetching failed: no network. A connection was expected. Repeat the command.")
        self.fetched.append(file.path)
        content = (self.root / file.path).read_bytes()
        target.write_bytes(content[:-1] + b"?" if self.spoil else content)


@pytest.fixture
def remote(tmp_path):
    rng = np.random.default_rng(16)
    return write_folder(tmp_path / "remote", {"train": make_events(rng, 7), "val": make_events(rng, 2)})


def test_prepare_fetches_the_asked_part_and_shows_sizes_first(remote, tmp_path, capfd):
    hub = FakeHub(remote)
    dataset = prepare(INFO, REPOSITORY, "v2", tmp_path / "here", None, ("train",), 1, hub)
    assert hub.fetched == ["train/generic_v2_3_v2.h5", "train/generic_v2_3_v2_points.npy"]
    assert len(dataset.events("train")) == 3
    shown = capfd.readouterr().err
    assert shown.index("kB  train/generic_v2_3_v2.h5") < shown.index("packing")


def test_prepare_goes_on_after_a_broken_download(remote, tmp_path):
    with pytest.raises(DataError, match="no network"):
        download("r", "v2", ("train", "val"), 0, tmp_path / "here", FakeHub(remote, fail_after=3))
    hub = FakeHub(remote)
    wanted = download("r", "v2", ("train", "val"), 0, tmp_path / "here", hub)
    assert len(wanted) == 6 and len(hub.fetched) == 3
    again = FakeHub(remote)
    download("r", "v2", ("train", "val"), 0, tmp_path / "here", again)
    assert again.fetched == []


def test_a_changed_file_is_fetched_again(remote, tmp_path):
    download("r", "v2", ("val",), 0, tmp_path / "here", FakeHub(remote))
    (tmp_path / "here" / "val" / "generic_v2_2_v2.h5").write_bytes(b"short")
    hub = FakeHub(remote)
    download("r", "v2", ("val",), 0, tmp_path / "here", hub)
    assert hub.fetched == ["val/generic_v2_2_v2.h5"]


@pytest.mark.parametrize("entry", [1, [], {}, {"hash": None}, "x"])
def test_a_damaged_ledger_costs_a_download_and_no_traceback(remote, tmp_path, entry):
    download("r", "v2", ("val",), 0, tmp_path / "here", FakeHub(remote))
    ledger = tmp_path / "here" / "downloads.json"
    names = json.loads(ledger.read_text())
    ledger.write_text(json.dumps(dict.fromkeys(names, entry)))
    hub = FakeHub(remote)
    download("r", "v2", ("val",), 0, tmp_path / "here", hub)
    assert hub.fetched


def test_spoilt_download_is_refused_and_deleted(remote, tmp_path):
    with pytest.raises(DataError, match="arrived damaged"):
        download("r", "v2", ("val",), 0, tmp_path / "here", FakeHub(remote, spoil=True))
    assert not [p for p in (tmp_path / "here").rglob("*") if p.is_file() and p.name != "downloads.json"]


def test_download_larger_than_the_disk_is_refused_before_it_starts(remote, tmp_path):
    hub = FakeHub(remote)
    listing = [replace(f, size=10**18) for f in hub.list_files("r", "v2")[1]]
    hub.list_files = lambda repo, revision: ("c0ffee", listing)
    with pytest.raises(DataError, match="free"):
        download("r", "v2", ("val",), 0, tmp_path / "here", hub)
    assert hub.fetched == []


def test_split_that_the_repository_lacks(remote, tmp_path):
    with pytest.raises(DataError, match=r"has no \.h5 file for test; it has train, val"):
        download("r", "v1", ("test",), 0, tmp_path / "here", FakeHub(remote))


def test_other_files_of_the_repository_are_not_chosen():
    names = ["README.md", "train/b.h5", "train/a.h5", "train/a_points.npy", "train/old/c.h5", "val/d.h5"]
    listing = [RemoteFile(n, 1, None, None) for n in names]
    assert [f.path for f in choose(listing, ("train",), 0)] == ["train/a.h5", "train/a_points.npy", "train/b.h5"]


def test_offline_is_one_sentence(tmp_path, monkeypatch):
    pytest.importorskip("huggingface_hub")
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(hub, "_resolves", lambda host: False)
    with pytest.raises(DataError) as error:
        SPEC.prepare(Config(split="val", files=1), tmp_path / "here")
    assert "cannot be reached" in sentence(error)


def test_not_downloaded_yet_says_what_to_type(tmp_path, monkeypatch):
    monkeypatch.setenv("PARTICLEBENCH_CACHE", str(tmp_path / "empty"))
    for name in ("pilarnet-m", "pilarnet-m-mini"):
        spec = dataset_spec(name)
        with pytest.raises(DataError, match=f"Type `python -m benchmark data prepare {name}`"):
            spec.open(spec.config(), None)


def test_config_refuses_values_outside_its_range():
    for wrong in ({"revision": "v9"}, {"split": "tests"}, {"files": -1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Config(**wrong)


def test_prepare_of_local_files_checks_and_packs_them(tmp_path):
    event = make_event(np.random.default_rng(17))
    root = write_folder(tmp_path, {"test": [event]})
    assert len(SPEC.prepare(Config(), root).events("test")) == 1


def test_random_damage_is_one_sentence_or_harmless(tmp_path):
    """Bytes changed anywhere in the file: either the checks find it, or the events still fit the schema."""
    rng = np.random.default_rng(18)
    path = write_file(tmp_path / "test" / "bad.h5", make_events(rng, 3))
    content = path.read_bytes()
    refused = 0
    for trial in range(60):
        damaged = bytearray(content)
        damaged[int(rng.integers(0, len(content) if trial % 2 else 3000))] = int(rng.integers(0, 256))
        path.write_bytes(damaged)
        try:
            list(_pilarnet_h5.read_chunks(path, _pilarnet_h5.inspect(path)))
        except DataError as error:
            assert "\n" not in str(error)
            refused += 1
    assert 10 < refused < 60
