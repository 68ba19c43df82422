"""Records: whole or not at all, never lost, never misread."""

import dataclasses
import errno
import json
import os
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from benchmark import io
from benchmark.errors import RecordError
from benchmark.records import counts as counts_of
from benchmark.records import store as records
from benchmark.records.store import find_record, read_record, read_records, record_path, write_record
from benchmark.reports.formats import markdown
from benchmark.reports.leaderboard import leaderboards
from benchmark.reports.tables import run_table
from builders.records import make_record


def test_a_record_comes_back_as_it_was_written(tmp_path):
    record = make_record()
    path = write_record(tmp_path, record)
    assert read_record(path) == record
    assert path == record_path(tmp_path, record)
    assert path.parent == tmp_path / "lartpc-segmentation" / "pilarnet-m"
    assert path.name == "pointnet-10-d0-s0-a1b2c3d4e5f6.json"
    assert record.model == "pointnet"


def test_names_from_outside_cannot_leave_the_folder(tmp_path):
    record = make_record(config={**make_record().config, "model": "../../evil model", "labels": None})
    assert write_record(tmp_path, record).parent == tmp_path / "lartpc-segmentation" / "pilarnet-m"


@pytest.mark.parametrize("failing", ["replace", "fsync"])
def test_a_full_disk_leaves_the_earlier_record_and_nothing_half_written(tmp_path, monkeypatch, failing):
    earlier = make_record()
    path = write_record(tmp_path, earlier)

    def full(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(io.os, failing, full)
    with pytest.raises(
        RecordError, match=r"could not be written: No space left on device\. .*expected.*repeat"
    ) as error:
        write_record(tmp_path, dataclasses.replace(earlier, created="later"))
    monkeypatch.undo()
    assert str(path) in str(error.value)
    assert read_record(path) == earlier
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_a_disk_that_fills_up_while_writing_leaves_nothing(tmp_path, monkeypatch):
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")

    def on_a_full_disk(path, text, encoding):
        with open("/dev/full", "w", encoding=encoding) as stream:
            stream.write(text)

    monkeypatch.setattr(io.Path, "write_text", on_a_full_disk)
    with pytest.raises(RecordError, match="No space left on device"):
        write_record(tmp_path, make_record())
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match=r"could not be written.*writable folder"):
        write_record(tmp_path / "file", make_record())


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_json_cannot_hold_is_refused_and_the_earlier_record_stays(tmp_path, value):
    path = write_record(tmp_path, make_record())
    with pytest.raises(RecordError, match=r"NaN or infinite.*expected"):
        write_record(tmp_path, make_record(metrics={"overall": {"macro_f1": {"value": value}}}))
    assert read_record(path) == make_record()


def test_a_record_that_is_not_there_is_not_called_damaged(tmp_path):
    with pytest.raises(RecordError, match=r"There is no record .*none\.json"):
        read_record(tmp_path / "none.json")


def test_a_newer_schema_is_refused(tmp_path):
    path = write_record(tmp_path, make_record(schema=records.SCHEMA + 1))
    with pytest.raises(RecordError, match=r"has schema 2\. At most 1 was expected\. Update particlebench"):
        read_record(path)


DAMAGE = {
    "truncated": lambda text: text[: len(text) // 2],
    "empty": lambda text: "",
    "binary": lambda text: "\x00\x01",
    "another kind of JSON": lambda text: "[1, 2]",
    "no schema": lambda text: text.replace('"schema"', '"scheme"'),
    "a missing field": lambda text: text.replace('"status"', '"statue"'),
    "a wrong type": lambda text: json.dumps({**json.loads(text), "config": [1]}),
    "a wrong status": lambda text: text.replace('"finished"', '"perhaps"'),
    "a missing setting": lambda text: text.replace('"preset"', '"presets"'),
    "metrics of a wrong type": lambda text: json.dumps({**json.loads(text), "metrics": 3}),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_record_is_reported_and_neither_deleted_nor_in_the_way_of_others(tmp_path, damage):
    good = write_record(tmp_path, make_record())
    bad = write_record(tmp_path, make_record(fingerprint="f" * 64))
    bad.write_text(DAMAGE[damage](bad.read_text()))
    with pytest.raises(RecordError, match=r"expected\. (Delete|Move)") as error:
        read_record(bad)
    assert str(bad) in str(error.value)
    found, problems = read_records(tmp_path)
    assert found == [read_record(good)]
    assert problems == [str(error.value)]
    assert bad.exists()


@pytest.mark.parametrize("name", ["model", "dataset"])
def test_a_record_that_names_a_file_of_code_is_refused(tmp_path, name):
    record = make_record()
    path = write_record(tmp_path, record)
    path.write_text(json.dumps({**dataclasses.asdict(record), "config": {**record.config, name: "evil.py"}}))
    with pytest.raises(RecordError, match=rf"wrong config\.{name}: the name of a model"):
        read_record(path)


def test_a_record_in_another_encoding_is_reported(tmp_path):
    path = write_record(tmp_path, make_record())
    path.write_bytes(b"\xff\xfe" + path.read_bytes())
    assert len(read_records(tmp_path)[1]) == 1


def test_records_are_read_in_the_same_order_everywhere(tmp_path):
    for fingerprint in ("c" * 64, "a" * 64, "b" * 64):
        write_record(tmp_path, make_record(fingerprint=fingerprint))
    assert [r.fingerprint[0] for r in read_records(tmp_path)[0]] == ["a", "b", "c"]


def test_only_a_finished_run_of_the_whole_fingerprint_counts_as_recorded(tmp_path):
    record = make_record()
    assert find_record(tmp_path, [record.fingerprint]) is None
    for status in ("stopped", "failed"):
        write_record(tmp_path, dataclasses.replace(record, status=status))
        assert find_record(tmp_path, [record.fingerprint]) is None
    write_record(tmp_path, record)
    assert find_record(tmp_path, [record.fingerprint]) == record
    assert find_record(tmp_path, [record.fingerprint[:-1] + "1"]) is None


def test_a_stop_or_failure_never_replaces_a_finished_run(tmp_path):
    record = make_record()
    write_record(tmp_path, record)
    for status in ("stopped", "failed"):
        write_record(tmp_path, dataclasses.replace(record, status=status))
    assert find_record(tmp_path, [record.fingerprint]) == record


def test_a_finished_run_takes_the_place_of_its_earlier_attempts_only(tmp_path):
    record, other = make_record(), make_record(fingerprint="e" * 64)
    for status in ("stopped", "failed"):
        write_record(tmp_path, dataclasses.replace(record, status=status))
        write_record(tmp_path, dataclasses.replace(other, status=status))
    write_record(tmp_path, record)
    found = read_records(tmp_path)[0]
    assert sorted((r.fingerprint[0], r.status) for r in found) == [("a", "finished"), ("e", "failed"), ("e", "stopped")]


def test_counts_survive_packing():
    counts = np.random.default_rng(0).integers(0, 2**31 - 1, (7, 4, 4))
    packed = counts_of.pack_counts(counts, tuple("abcdefg"))
    unpacked = counts_of.unpack_counts(json.loads(json.dumps(packed)))
    np.testing.assert_array_equal(unpacked, counts)
    assert counts_of.pack_counts(counts, tuple("abcdefh"))["event_ids_sha256"] != packed["event_ids_sha256"]


@pytest.mark.parametrize("change", [{"data": "AAAA"}, {"data": "%"}, {"shape": [8, 4, 4]}, {"data": None}])
def test_damaged_counts_are_reported(change):
    packed = counts_of.pack_counts(np.ones((7, 4, 4), int), tuple("abcdefg"))
    with pytest.raises(RecordError, match="counts per event are damaged"):
        counts_of.unpack_counts({**packed, **change})


def test_the_users_records_folder_can_be_chosen(monkeypatch, tmp_path):
    monkeypatch.delenv("PARTICLEBENCH_RECORDS", raising=False)
    assert str(records.records_dir()) == "runs/records"
    monkeypatch.setenv("PARTICLEBENCH_RECORDS", str(tmp_path))
    assert records.records_dir() == tmp_path


@pytest.mark.parametrize("shape", [(3, 2, 2), (3, 5, 4), (3,), (0, 4, 4)])
def test_counts_of_any_shape_survive_packing(shape):
    counts = np.arange(np.prod(shape)).reshape(shape)
    packed = json.loads(json.dumps(counts_of.pack_counts(counts, tuple("abc"))))
    np.testing.assert_array_equal(counts_of.unpack_counts(packed), counts)


@pytest.mark.parametrize(("preset", "is_shown"), [("paper", True), ("reference", True), ("default", False)])
def test_the_publications_counting_is_shown_for_its_own_presets_and_in_no_column(preset, is_shown):
    console = Console(width=200, file=StringIO())
    config = {**make_record().config, "preset": preset}
    metrics = {**make_record().metrics, "paper_protocol": {"macro_f1_mean_over_batches": 0.123}}
    table = run_table(make_record(config=config, metrics=metrics))
    console.print(table)
    text = " ".join(console.file.getvalue().split())
    assert ("macro_f1_mean_over_batches 0.123" in text) == is_shown
    assert not any("mean_over_batches" in column.title for column in table.columns)
    board = leaderboards([make_record(config=config, metrics=metrics)])
    assert "0.123" not in markdown(board[0], full=True)


def test_a_record_with_damaged_counts_says_one_sentence_once(tmp_path):
    packed = counts_of.pack_counts(np.ones((7, 5, 5), int), tuple("abcdefg"))
    path = write_record(tmp_path, make_record(per_event=packed))
    values = json.loads(path.read_text())
    values["per_event"]["data"] = "AAAA"
    path.write_text(json.dumps(values))
    with pytest.raises(RecordError) as error:
        read_record(path)
    assert "are damaged (" in str(error.value)
    assert ".." not in str(error.value) and str(error.value).count("was expected") == 1
