"""Two equal commands at once, and what killed ones leave."""

import contextlib
import os
import shutil
import threading
import time

import pytest

from benchmark.hardware.locks import LOCK, locked
from benchmark.records.store import read_records, record_path
from benchmark.runs import run as module
from benchmark.runs.execution import Execution
from benchmark.runs.pretrained import finished_record
from benchmark.runs.run import run
from benchmark.runs.tune import JOURNAL, _mend_journal
from benchmark.runs.weights import run_folder
from builders.pretraining import PRETRAIN, alone
from builders.synthetic import execute, request

ASKED = request("majority")


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """A finished run, and its folder."""
    root = tmp_path_factory.mktemp("whole")
    return execute(data, root, ASKED).record, root


def run_saying(data, root, said):
    execution = Execution(device="cpu", threads=1, data=data, records=root / "records", runs=root / "runs")
    return run(ASKED, execution, said.append)


def test_a_second_run_waits_for_the_first_and_takes_its_record(data, whole, tmp_path):
    record, root = whole
    said, held = [], threading.Event()

    def first():
        with locked(run_folder(tmp_path / "runs", record) / LOCK, "the run"):
            held.set()
            while not said:
                time.sleep(0.01)
            shutil.copytree(root / "records", tmp_path / "records")

    thread = threading.Thread(target=first)
    thread.start()
    assert held.wait(10)
    outcome = run_saying(data, tmp_path, said)
    thread.join()
    assert not outcome.fresh
    assert outcome.record == record
    assert said == [f"another process ({os.getpid()} on {os.uname().nodename}) works on the run {record.run_name}: "
                    f"waiting until it has ended"]  # fmt: skip


def test_a_second_pre_training_waits_too(data, tmp_path, own_cache):
    done = alone(data, PRETRAIN)
    assert done.fresh
    kept = tmp_path / "kept"
    shutil.copytree(done.folder, kept)
    shutil.rmtree(done.folder)
    said, held = [], threading.Event()

    def first():
        with locked(done.folder / LOCK, "the pre-training"):
            held.set()
            while not said:
                time.sleep(0.01)
            shutil.copytree(kept, done.folder, dirs_exist_ok=True)

    thread = threading.Thread(target=first)
    thread.start()
    assert held.wait(10)
    again = alone(data, PRETRAIN, say=said.append)
    thread.join()
    assert "waiting until it has ended" in said[0]
    assert not again.fresh
    assert finished_record(again.folder)["weights_sha256"] == done.record["weights_sha256"]


def test_what_earlier_attempts_left_goes_when_the_record_is_found_and_nothing_newer(data, whole):
    record, root = whole
    path, folder = record_path(root / "records", record), run_folder(root / "runs", record)
    old = [
        path.with_name(f"{path.stem}.failed.json"),
        path.with_name(f".{path.name}.abc.partial"),
        folder / "step=1.ckpt",
    ]
    new = [path.with_name(f"{path.stem}.stopped.json"), folder / "step=2.ckpt"]  # of a forced run, now
    for leftover, age in (*((p, 60) for p in old), *((p, -60) for p in new)):
        shutil.copy(path, leftover)
        os.utime(leftover, (path.stat().st_mtime - age,) * 2)
    assert not execute(data, root, ASKED).fresh
    assert not any(leftover.exists() for leftover in old)
    assert all(leftover.exists() for leftover in new)
    for leftover in new:
        leftover.unlink()


def test_a_finished_run_deletes_its_failed_attempt_whatever_the_clock_says(data, tmp_path, whole):
    record, _ = whole
    path = record_path(tmp_path / "records", record)
    failed = path.with_name(f"{path.stem}.failed.json")
    failed.parent.mkdir(parents=True)
    failed.write_text("{}")
    os.utime(failed, (time.time() + 86400,) * 2)
    assert execute(data, tmp_path, ASKED).fresh
    assert [r.status for r in read_records(tmp_path / "records")[0]] == ["finished"]
    assert not failed.exists()


def test_the_folder_of_a_run_exists_when_its_model_is_saved(data, tmp_path, monkeypatch):
    seen = []
    build = module.Prepared.build_model

    def built(prepared):
        model = build(prepared)
        save = model.save

        def beside(path, metadata):  # as a model of one's own may
            (path.parent / "notes.txt").write_text("of the model")
            seen.append(path)
            save(path, metadata)

        model.save = beside
        return model

    monkeypatch.setattr(module.Prepared, "build_model", built)
    monkeypatch.setattr(module, "alone_in", lambda *_: contextlib.nullcontext())  # a file system without locks
    assert execute(data, tmp_path, ASKED).fresh
    assert (seen[0].parent / "notes.txt").is_file()


def test_a_journal_is_mended_after_a_kill(tmp_path):
    journal = tmp_path / JOURNAL
    journal.write_text('{"a":1}\n{"b":')
    _mend_journal(journal)
    assert journal.read_text() == '{"a":1}\n'
    assert [p.name for p in tmp_path.iterdir()] == [JOURNAL]
    _mend_journal(tmp_path / "nowhere" / JOURNAL)
