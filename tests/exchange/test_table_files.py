"""Tables in files: every format gives back what was written, and strangers' files are read rightly or refused."""

import io
import json
import pickle
import zipfile

import h5py
import numpy as np
import pytest

from benchmark.errors import BenchmarkError, DataError, UnknownNameError
from benchmark.exchange.files import FORMATS, read_table, write_table
from benchmark.exchange.table import Table, by_event

IDS = ("run 1/event 7", "run 1/event 8", 'ünï,"code"')


def points():
    rng = np.random.default_rng(0)
    columns = {
        "x": rng.normal(size=6).astype(np.float32), "class": np.arange(6), "scores": rng.normal(size=(6, 2)),
    }  # fmt: skip
    return Table(IDS, columns, np.array([0, 3, 4, 6]), {"task": "t"})


@pytest.mark.parametrize("ending", FORMATS)
def test_what_was_written_is_read(tmp_path, ending):
    table, path = points(), tmp_path / "deeper" / f"t{ending}"
    write_table(path, table)
    found = read_table(path)
    assert found.event_ids == table.event_ids
    assert np.array_equal(found.offsets, table.offsets)
    for name in ("x", "class"):
        assert np.array_equal(found.columns[name].astype(table.columns[name].dtype), table.columns[name])
    scores = found.columns.get("scores")
    if scores is None:  # a table has a column for each
        scores = np.stack([found.columns[f"scores_{i}"] for i in range(2)], axis=1)
    assert np.array_equal(scores, table.columns["scores"])


@pytest.mark.parametrize("ending", FORMATS)
def test_one_row_for_each_event(tmp_path, ending):
    path = tmp_path / f"t{ending}"
    write_table(path, Table(IDS, {"value": np.array([1.5, 2.5, -3.0])}))
    found = read_table(path)
    assert found.event_ids == IDS and [found.rows(i) for i in range(3)] == [slice(i, i + 1) for i in range(3)]
    assert np.array_equal(found.columns["value"], [1.5, 2.5, -3.0])


def test_rows_of_an_event_may_lie_apart_and_keep_their_order():
    table = by_event(np.array(["b", "a", "b", "a", "b"], object), {"class": np.array([1, 2, 3, 4, 5])})
    assert table.event_ids == ("a", "b") and table.offsets.tolist() == [0, 2, 5]
    assert table.columns["class"].tolist() == [2, 4, 1, 3, 5]
    assert table.row_ids().tolist() == ["a", "a", "b", "b", "b"]


def test_ids_that_look_like_numbers_stay_texts(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("event_id,class\n007,1\n08,0\n1e5,1\n")
    assert read_table(path).event_ids == ("007", "08", "1e5")


def test_a_compressed_archive_is_read(tmp_path):
    path = tmp_path / "t.npz"
    np.savez_compressed(path, event_ids=np.array(IDS), value=np.zeros(3))
    assert read_table(path).event_ids == IDS


class Bomb:
    def __reduce__(self):
        return (open, ("owned", "w"))


def _npz_of_objects(path):
    np.savez(path, event_ids=np.array(IDS), scores=np.array([Bomb()], dtype=object))


def _claims_terabytes(path):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f8", "fortran_order": False, "shape": (10**12,)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("event_ids.npy", _npy(np.array(IDS)))
        archive.writestr("scores.npy", header.getvalue())


def _unpacks_to_gigabytes(path):
    np.savez_compressed(path, event_ids=np.array(IDS), scores=np.zeros((3, 200_000_000), np.float32))


def _npy(values):
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


def _links_elsewhere(path):
    with h5py.File(path, "w") as file:
        file["event_ids"] = ["a"]
        file["scores"] = h5py.ExternalLink("/etc/passwd", "scores")


def _other_offsets(path):
    np.savez(path, event_ids=np.array(IDS), offsets=np.array([0, 2, 1, 3]), value=np.zeros(3))


def _float_offsets(path):
    np.savez(path, event_ids=np.array(IDS), offsets=np.array([0.0, 1.0, 2.0, 3.0]), value=np.zeros(3))


def _other_lengths(path):
    np.savez(path, event_ids=np.array(IDS), value=np.zeros(4))


def _no_ids(path):
    np.savez(path, value=np.zeros(4))


def _numbers_as_ids(path):
    np.savez(path, event_id=np.zeros((2, 2)), value=np.zeros(2))


WRONG = {
    "objects.npz": (_npz_of_objects, "is damaged, or not what its ending says"),
    "claims.npz": (_claims_terabytes, "memory|damaged"),
    "bomb.npz": (_unpacks_to_gigabytes, "its reader needs more than"),
    "text.npz": (lambda path: path.write_text("event_id,class\na,1\n"), "is damaged, or not what its ending says"),
    "pickle.npz": (lambda path: path.write_bytes(pickle.dumps(Bomb())), "is damaged, or not what its ending says"),
    "text.h5": (lambda path: path.write_text("no"), "damaged, or no HDF5 file"),
    "link.h5": (_links_elsewhere, "in other files"),
    "text.parquet": (lambda path: path.write_text("no"), "is damaged, or not what its ending says"),
    "binary.csv": (lambda path: path.write_bytes(b"\xff\xfe\x00\x01" * 9), "is damaged, or not what its ending says"),
    "ragged.csv": (lambda path: path.write_text("event_id,class\na,1\nb,1,2,3\n"), "is damaged"),
    "empty.csv": (lambda path: path.write_text(""), "is damaged"),
    "falling.npz": (_other_offsets, "`offsets` is no list of rows of its 3 events"),
    "floats.npz": (_float_offsets, "`offsets` is no list of rows of its 3 events"),
    "lengths.npz": (_other_lengths, r"`value` has the shape \(4,\). 3 rows were expected"),
    "none.npz": (_no_ids, "does not say of which events it is: it holds value"),
    "ids.npz": (_numbers_as_ids, "`event_id` holds float64"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_file_that_is_none_is_refused_in_one_sentence(tmp_path, name, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write, said = WRONG[name]
    write(tmp_path / name)
    with pytest.raises(DataError, match=said) as error:
        read_table(tmp_path / name)
    assert name in str(error.value) or "`" in str(error.value)
    assert not (tmp_path / "owned").exists()


def test_truncation_at_every_place_is_refused_or_read(tmp_path):
    for ending in FORMATS:
        whole = tmp_path / f"whole{ending}"
        write_table(whole, points())
        content = whole.read_bytes()
        for end in np.linspace(1, len(content) - 1, 6).astype(int):
            cut = tmp_path / f"cut{ending}"
            cut.write_bytes(content[:end])
            try:
                read_table(cut)
            except BenchmarkError:
                continue
            assert ending == ".csv"  # cut between two rows


def test_an_unknown_ending_and_a_missing_file_are_named(tmp_path):
    with pytest.raises(UnknownNameError, match=r"'.root'"):
        write_table(tmp_path / "t.root", points())
    with pytest.raises(UnknownNameError, match="'predictions'"):
        read_table(tmp_path / "predictions")
    with pytest.raises(DataError, match="There is no file"):
        read_table(tmp_path / "t.npz")
    assert not list(tmp_path.iterdir())


def test_a_volume_fits_no_row_of_a_table(tmp_path):
    volumes = Table(IDS, {"volume": np.zeros((3, 2, 2, 2))})
    with pytest.raises(DataError, match=r"file \.npz or \.h5 was expected"):
        write_table(tmp_path / "t.csv", volumes)
    assert not list(tmp_path.iterdir())
    write_table(tmp_path / "t.npz", volumes)
    assert read_table(tmp_path / "t.npz").columns["volume"].shape == (3, 2, 2, 2)


def test_what_a_file_says_of_itself_is_json(tmp_path):
    write_table(tmp_path / "t.npz", points())
    assert json.loads(str(np.load(tmp_path / "t.npz")["about"])) == {"task": "t"}
