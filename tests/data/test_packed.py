"""The packed cache holds exactly what was put in, is built once and whole, and is rebuilt when its source changes."""

import json
import os
import pickle
import shutil
import subprocess
import time
from itertools import pairwise

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmark.contracts import EventSource
from benchmark.data import digests, packed
from benchmark.data.packed import Chunk, PackedSource, build_pack, open_pack
from benchmark.datasets import _pilarnet_pack
from benchmark.datasets._pilarnet import open_pilarnet
from benchmark.datasets.pilarnet_m import INFO
from benchmark.errors import DataError
from builders.pilarnet_files import make_events, write_file, write_folder

COLUMNS = ("n_points", "group", "semantic")


def make_chunk(rng, n_events):
    """Random events of a few clusters; every number is told apart from its neighbours."""
    n_clusters = rng.integers(1, 5, n_events)
    table = rng.integers(-1, 50, (n_clusters.sum(), 3))
    table[:, 0] = rng.integers(1, 20, len(table))
    edges = np.concatenate([[0], np.cumsum(n_clusters)])
    n_points = np.array([table[a:b, 0].sum() for a, b in pairwise(edges)])
    coords = rng.integers(0, 768, (n_points.sum(), 3))
    return Chunk(coords, rng.random(len(coords)).astype("f4"), table, n_points, n_clusters)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), sizes=st.lists(st.integers(1, 6), min_size=1, max_size=4))
def test_pack_returns_what_was_put_in(tmp_path_factory, seed, sizes):
    rng = np.random.default_rng(seed)
    chunks = [make_chunk(rng, n) for n in sizes]
    pack = build_pack(tmp_path_factory.mktemp("packs") / "p", COLUMNS, iter(chunks), {"made": "here"})
    source = PackedSource([("f", pack)])
    assert isinstance(source, EventSource)
    assert len(source) == sum(sizes)
    assert open_pack(pack.folder) is not None
    index = 0
    for chunk in chunks:
        points = np.concatenate([[0], np.cumsum(chunk.n_points)])
        rows = np.concatenate([[0], np.cumsum(chunk.n_clusters)])
        for e in range(len(chunk.n_points)):
            event = source[index]
            where, table = slice(points[e], points[e + 1]), chunk.clusters[rows[e] : rows[e + 1]]
            np.testing.assert_array_equal(event.coords, chunk.coords[where])
            np.testing.assert_array_equal(event.energy, chunk.energy[where])
            np.testing.assert_array_equal(event.labels["group"], np.repeat(table[:, 1], table[:, 0]))
            np.testing.assert_array_equal(event.labels["semantic"], np.repeat(table[:, 2], table[:, 0]))
            assert event.labels["semantic"].dtype == np.int64
            assert source.n_points[index] == event.n_points
            assert event.event_id == source.event_ids[index] == f"f:{index:07d}"
            index += 1


@pytest.fixture
def pack(tmp_path):
    return build_pack(tmp_path / "p", COLUMNS, [make_chunk(np.random.default_rng(0), 5)], {})


def test_labels_are_a_mapping(pack):
    labels = PackedSource([("f", pack)])[0].labels
    assert set(labels) == {"cluster", "group", "semantic"} and len(labels) == 3
    assert "pid" not in labels
    with pytest.raises(KeyError):
        labels["n_points"]


def test_events_do_not_hold_the_file(pack):
    event = PackedSource([("f", pack)])[1]
    event.coords[:] = 0  # an array of its own: nobody else sees this
    event.energy[:] = 0
    assert PackedSource([("f", pack)])[1].energy.any()
    assert open_pack(pack.folder) is not None


def test_negative_and_outside_indices(pack):
    source = PackedSource([("f", pack)])
    np.testing.assert_array_equal(source[-1].energy, source[4].energy)
    for index in (5, -6):
        with pytest.raises(IndexError):
            source[index]


def test_source_travels_to_another_process(pack):
    source = PackedSource([("f", pack)])
    _ = source[0], source.event_ids
    data = pickle.dumps(source)
    assert len(data) < 3000  # the columns themselves do not travel
    np.testing.assert_array_equal(pickle.loads(data)[3].coords, source[3].coords)


def test_several_packs_follow_each_other_in_order_of_ids(tmp_path):
    rng = np.random.default_rng(1)
    packs = {n: build_pack(tmp_path / n, COLUMNS, [make_chunk(rng, k)], {}) for n, k in (("b", 2), ("a", 3))}
    source = PackedSource(list(packs.items()))
    assert source.event_ids == ("a:0000000", "a:0000001", "a:0000002", "b:0000000", "b:0000001")
    np.testing.assert_array_equal(source[3].energy, PackedSource([("b", packs["b"])])[0].energy)


def test_failed_build_leaves_nothing(tmp_path):
    def breaking():
        yield make_chunk(np.random.default_rng(2), 2)
        raise DataError("file, event 3: broken. Whole was expected. Repair.")

    with pytest.raises(DataError, match="event 3"):
        build_pack(tmp_path / "p", COLUMNS, breaking(), {})
    assert list(tmp_path.iterdir()) == []


def test_full_disk_is_one_sentence_and_leaves_nothing(tmp_path, monkeypatch):
    def no_space(self, array):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(packed.ColumnWriter, "append", no_space)
    with pytest.raises(DataError, match=r"could not be written: No space left on device\..*PARTICLEBENCH_CACHE"):
        build_pack(tmp_path / "p", COLUMNS, [make_chunk(np.random.default_rng(3), 2)], {})
    assert list(tmp_path.iterdir()) == []


def test_leftovers_of_killed_builds_are_removed(tmp_path):
    with subprocess.Popen(["true"]) as finished:
        finished.wait()
    here = packed.host_name()
    running, gone = (tmp_path / f".q-1.{here}.{n}.partial" for n in (os.getpid(), finished.pid))
    elsewhere, old = (tmp_path / f".q-1.{host}.{finished.pid}.partial" for host in ("another", "third"))
    for path in (running, gone, elsewhere, old):
        path.mkdir()
    long_ago = time.time() - 2 * packed.STALE_S
    os.utime(old, (long_ago, long_ago))
    build_pack(tmp_path / "p", COLUMNS, [make_chunk(np.random.default_rng(4), 2)], {})
    assert {p.name for p in tmp_path.iterdir()} == {"p", running.name, elsewhere.name}


def test_incomplete_or_outdated_pack_is_not_opened(pack, tmp_path):
    assert open_pack(tmp_path / "nowhere") is None
    with (pack.folder / "energy.bin").open("ab") as stream:
        stream.write(b"1")
    assert open_pack(pack.folder) is None
    again = build_pack(pack.folder, COLUMNS, [make_chunk(np.random.default_rng(0), 5)], {})
    manifest = json.loads((again.folder / "manifest.json").read_text())
    (again.folder / "manifest.json").write_text(json.dumps({**manifest, "format": packed.FORMAT + 1}))
    assert open_pack(again.folder) is None


def test_changed_bytes_are_found(pack):
    path = pack.folder / "coords.bin"
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(content)
    assert open_pack(pack.folder) is None


def test_second_builder_keeps_the_first_pack(pack):
    before = (pack.folder / "coords.bin").stat().st_ino
    build_pack(pack.folder, COLUMNS, [make_chunk(np.random.default_rng(0), 5)], {})
    assert (pack.folder / "coords.bin").stat().st_ino == before


# --- keyed by content ---


@pytest.fixture
def reads(monkeypatch):
    """Names of the HDF5 files that were read whole."""
    names = []

    def spy(task, arguments, paths, *report):
        names.extend(path.name for path in paths if task.endswith(":pack_file"))
        return original(task, arguments, paths, *report)

    original = _pilarnet_pack.guarded
    monkeypatch.setattr(_pilarnet_pack, "guarded", spy)
    return names


def test_pack_is_built_once_and_again_when_the_source_changes(tmp_path, reads):
    rng = np.random.default_rng(5)
    root = write_folder(tmp_path / "d", {"train": make_events(rng, 7), "test": make_events(rng, 2)})
    cache = tmp_path / "packs"
    first = open_pilarnet(root, INFO, cache=cache)
    assert reads == []  # nothing before it is asked for
    first.events("train")
    assert len(reads) == 2
    open_pilarnet(root, INFO, cache=cache).events("train")
    assert len(reads) == 2
    changed = make_events(rng, 3)
    write_file(root / "train" / "generic_v2_3_v2.h5", changed)
    second = open_pilarnet(root, INFO, cache=cache)
    np.testing.assert_array_equal(second.events("train")[0].energy, changed[0].point[:, 3])
    assert reads[2:] == ["generic_v2_3_v2.h5"]  # the other file's pack is still good
    assert second.revision != first.revision


def test_a_change_that_keeps_size_and_time_is_seen(tmp_path):
    root = write_folder(tmp_path / "d", {"test": make_events(np.random.default_rng(6), 2)})
    path = root / "test" / "generic_v2_2_v2.h5"
    before = open_pilarnet(root, INFO).events("test")[0].energy[0]
    stat = path.stat()
    with h5py.File(path, "r+") as h5:
        row = h5["point"][0]
        row[3] = before + np.float32(1)
        h5["point"][0] = row
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert open_pilarnet(root, INFO).events("test")[0].energy[0] == before + np.float32(1)


def test_moved_folder_uses_the_same_pack(tmp_path, reads):
    root = write_folder(tmp_path / "d", {"test": make_events(np.random.default_rng(7), 2)})
    open_pilarnet(root, INFO, cache=tmp_path / "packs").events("test")
    shutil.move(root, tmp_path / "elsewhere")
    open_pilarnet(tmp_path / "elsewhere", INFO, cache=tmp_path / "packs").events("test")
    assert len(reads) == 1


def test_damaged_pack_is_built_again(tmp_path):
    events = make_events(np.random.default_rng(8), 2)
    root = write_folder(tmp_path / "d", {"test": events})
    open_pilarnet(root, INFO, cache=tmp_path / "packs").events("test")
    (folder,) = (tmp_path / "packs").iterdir()
    os.truncate(folder / "coords.bin", 10)
    source = open_pilarnet(root, INFO, cache=tmp_path / "packs").events("test")
    np.testing.assert_array_equal(source[1].coords, events[1].point[:, :3])


# --- digests ---


def test_digest_is_remembered_and_renewed(tmp_path, monkeypatch):
    path, memo = tmp_path / "f", tmp_path / "memo"
    path.write_bytes(b"one")
    hashed = []
    monkeypatch.setattr(digests, "sha256_file", lambda p: hashed.append(p) or str(len(hashed)))
    assert [digests.file_digest(path, memo), digests.file_digest(path, memo)] == ["1", "1"]
    path.write_bytes(b"two")
    assert digests.file_digest(path, memo) == "2"


def test_large_file_gets_a_sampled_digest_that_sees_both_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(digests, "WHOLE_LIMIT", 10)
    path = tmp_path / "f"
    seen = set()
    for content in (b"a" * 100, b"b" + b"a" * 99, b"a" * 99 + b"b", b"a" * 101):
        path.write_bytes(content)
        seen.add(digests.file_digest(path, tmp_path / "memo"))
    assert len(seen) == 4 and all(d.startswith("sampled-") for d in seen)


def test_digest_of_a_missing_file_is_one_sentence(tmp_path):
    with pytest.raises(DataError, match="cannot be read"):
        digests.file_digest(tmp_path / "nowhere", tmp_path / "memo")


def test_a_file_without_read_permission_says_what_to_type(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    (tmp_path / "own.h5").write_bytes(b"events")
    monkeypatch.setattr(digests, "digest_of", refuse)
    with pytest.raises(DataError, match=r"own\.h5 cannot be read: its permissions .+ Type `chmod u\+r .+own\.h5`"):
        digests.file_digest(tmp_path / "own.h5", tmp_path / "memo")
