"""The command that a record holds, typed again, repeats the run; and it names no folder that it does not need."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmark import api
from benchmark.cli import main
from benchmark.paths import PROGRAM, shell_text, shown_path
from benchmark.records.counts import unpack_counts
from benchmark.records.record import RunRecord
from benchmark.records.store import read_records
from benchmark.runs.commands import run_command
from benchmark.runs.config import Request
from benchmark.runs.execution import Execution
from builders.paths import ROOT
from builders.synthetic import SPY, make_data

TINY = ["--set", "train.steps=2", "--set", "preprocess.min_points=0"]
RECORDS, RUNS = Path("runs/records"), Path("runs")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder of its own with tiny events in `events`; returns how they are given: as an absolute path."""
    make_data(tmp_path)
    (next(p for p in tmp_path.iterdir() if p.is_dir())).rename(tmp_path / "events")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PARTICLEBENCH_RECORDS", raising=False)
    monkeypatch.setenv("PARTICLEBENCH_CACHE", str(tmp_path / "cache"))
    return ["--dataset", "pilarnet-m", "--data", str(tmp_path / "events"), "--threads", "1", "--device", "cpu"]


def found():
    records, problems = read_records(RECORDS)
    assert not problems
    return records


def check_repeats(record):
    """Type the record's command where nothing of the run is left; the new record is equal."""
    shutil.move(RECORDS, "kept")
    assert not [word for word in record.command if word.startswith("/")]
    assert tuple(record.command[:3]) == PROGRAM
    main(record.command[3:])
    (again,) = (r for r in found() if r.fingerprint == record.fingerprint)
    np.testing.assert_array_equal(unpack_counts(again.per_event), unpack_counts(record.per_event))
    assert (again.metrics, again.command) == (record.metrics, record.command)
    for name in ("threads", "device"):
        assert again.environment[name] == record.environment[name]
    shutil.rmtree(RECORDS)
    shutil.move("kept", RECORDS)


def test_a_run_and_the_baseline_beside_it_have_a_command_each(place):
    asked = ["--labels", "5", "--draw", "2", "--seed", "3", "--preset", "tiny", *TINY]
    main(["run", "--model", "pointnet", *asked, "--beside", "majority", *place])
    records = {r.model: r for r in found()}
    assert set(records) == {"pointnet", "majority"}
    for record in records.values():
        check_repeats(record)


def test_a_model_file_and_a_folder_of_records_are_named_from_here(place, tmp_path):
    (tmp_path / "spy.py").write_text(SPY)
    elsewhere = ["--records", str(tmp_path / RECORDS)]
    main(["run", "--model", str(tmp_path / "spy.py"), "--labels", "5", *TINY, "--beside", "none", *place, *elsewhere])
    (record,) = found()
    assert record.command[3:6] == ["run", "--model", "spy.py"]
    check_repeats(record)


def test_every_run_of_a_sweep_has_its_own(place):
    main(["sweep", "--models", "majority,pointnet", "--labels", "4", "--preset", "tiny", *TINY, *place])
    assert len(found()) == 2
    for record in found():
        check_repeats(record)


def test_a_trial_on_the_validation_split_has_its_own(place):
    main(["run", "--model", "pointnet", "--labels", "5", "--split", "val", *TINY, *place])
    assert {r.method for r in found()} == {"pointnet", "majority"}  # the baseline beside it, on the same events
    for record in found():
        assert record.split == record.config["split"] == "val" and set(record.events["excluded"]) == {"train", "val"}
        check_repeats(record)


def test_a_run_of_a_notebook_has_one(place, tmp_path):
    api.run("pointnet", 6, dataset="pilarnet-m", preset="tiny", data=tmp_path / "events", device="cpu", threads=1,
            settings={"train.steps": 2, "min_points": 0}, quiet=True)  # fmt: skip
    check_repeats(*found())


def test_scores_on_other_events_have_one(place):
    main(["run", "--model", "pointnet", "--labels", "5", *TINY, "--beside", "none", *place])
    (trained,) = found()
    weights = str(next(RUNS.rglob("model.safetensors")).resolve())
    path = str(next(RECORDS.rglob("*.json")).resolve())
    where = place[:-2]  # `transfer` scores on the CPU alone
    main(["transfer", path, *where, "--split", "val", "--weights", weights])
    main(["evaluate", "--checkpoint", weights, *place, "--split", "val", "--batch-size", "1", "--set", "min_points=9"])
    others = [r for r in found() if r.fingerprint != trained.fingerprint]
    assert sorted(r.command[3] for r in others) == ["evaluate", "transfer"]
    for record in others:
        repeat_with(trained, record)


def repeat_with(trained, record):
    """As `check_repeats`, where the record of the training stays, which `transfer` reads."""
    for path in RECORDS.rglob("*.json"):
        if json.loads(path.read_text())["fingerprint"] == record.fingerprint:
            path.unlink()
    assert not [word for word in record.command if word.startswith("/")]
    main(record.command[3:])
    (again,) = (r for r in found() if r.fingerprint == record.fingerprint)
    assert (again.metrics, again.command) == (record.metrics, record.command)
    assert again.resources["n_parameters"] == trained.resources["n_parameters"]
    assert "flops_per_event" in again.resources


def test_pretraining_has_one(place):
    few = ["--preset", "tiny", "--set", "pretrain.steps=2", "--set", "pretrain.events=8", *TINY]
    main(["run", "--model", "polarmae", "--labels", "4", *few, "--beside", "none", *place])
    (path,) = Path("cache/pretrained").rglob("training.json")
    made = json.loads(path.read_text())
    assert made["command"][3] == "pretrain" and not [word for word in made["command"] if word.startswith("/")]
    shutil.rmtree("cache/pretrained")
    main(made["command"][3:])
    again = json.loads(path.read_text())  # the same folder, which is named by the fingerprint
    for name in ("weights_sha256", "command", "fingerprint", "last_loss"):
        assert again[name] == made[name]
    for record in found():
        check_repeats(record)


def test_a_search_has_one(place):
    pytest.importorskip("optuna")
    main(["tune", "--model", "pointnet", "--labels", "4", "--rates", "1e-3,1e-2", "--steps", "2", *TINY[2:], *place])
    (path,) = (RUNS / "tuning").rglob("*.json")
    made = json.loads(path.read_text())
    shutil.rmtree(RUNS)
    main(made["command"][3:])
    again = json.loads(path.read_text())
    for name in ("fingerprint", "rates", "best_rate", "command"):
        assert again[name] == made[name]
    assert [t["score"] for t in again["trials"]] == [t["score"] for t in made["trials"]]


def test_paths_are_written_from_the_current_folder_or_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/somebody")
    assert shown_path(str(tmp_path / "a b" / "c")) == "a b/c"
    assert shown_path("/home/somebody/events") == "~/events"
    assert shown_path("/data/events") == "/data/events"
    assert shown_path("../events") == "../events" and shown_path("train.steps=2") == "train.steps=2"
    monkeypatch.setenv("HOME", "/")  # as in some containers
    assert shown_path("/data/events") == "/data/events"


def test_a_shell_reads_the_line_as_the_words(tmp_path):
    words = ("~/my events", "a'b", "model.width=a b", "plain", "$HOME")
    line = f"{sys.executable} -c 'import sys; print(sys.argv[1:])' {shell_text(words)}"
    printed = subprocess.run(line, shell=True, capture_output=True, text=True, env={**os.environ, "HOME": "/h"}).stdout
    assert printed.strip() == str(["/h/my events", *words[1:]])


def test_the_line_of_an_earlier_record_is_a_command_too():
    values = {"model": "gnn", "labels": 100}
    record = RunRecord("f", "finished", "", ["benchmark", "run", "--model", "gnn"], values, {}, {}, {}, "")
    assert record.command_line == "python -m benchmark run --model gnn"


def test_processes_are_started_as_they_were(monkeypatch):
    asked, execution = Request("polarmae"), Execution("cuda", 8)
    plain = run_command(asked, execution)
    assert shell_text(plain) == "python -m benchmark run --model polarmae --labels 100 --device cuda --threads 8"
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "4"), ("LOCAL_WORLD_SIZE", "4")):
        monkeypatch.setenv(name, value)
    assert run_command(asked, execution) == ("torchrun", "--nproc-per-node", "4", "-m", "benchmark", *plain[3:])
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    assert run_command(asked, execution)[:5] == ("srun", "--nodes", "2", "--ntasks", "4")


def test_no_committed_record_shows_a_home_folder():
    records, _ = read_records(ROOT / "leaderboards")
    assert not [r.run_name for r in records if any("/home/" in word or "/root/" in word for word in r.command)]
