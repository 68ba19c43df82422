"""The command line: every bad input is one sentence and exit code 2; help is light; JSON is JSON and nothing else."""

import json
import os
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest

from benchmark.cli import main
from benchmark.paths import PROGRAM
from builders.paths import ROOT
from builders.pilarnet_files import RawEvent, make_events, write_file
from builders.synthetic import N_TEST

COMMANDS = [[], ["run"], ["list"], ["leaderboard"], ["doctor"], ["data"], ["data", "prepare"], ["data", "info"]]
COMMANDS += [["data", "simulate"], ["transfer"], ["pretrain"], ["training-curves"], ["tune"], ["fairness"]]
COMMANDS += [["evaluate"], ["verify"], ["verify", "predictions"], ["checkpoint"]]
COMMANDS += [["checkpoint", name] for name in ("import", "info", "upload", "download")]
HEAVY = {"torch", "lightning", "numba", "numpy", "scipy", "h5py", "huggingface_hub", "submitit"}


@pytest.fixture
def cli(tmp_path, monkeypatch, capsys):
    """`cli("run", ...)` in an empty folder: (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PARTICLEBENCH_RECORDS", raising=False)
    monkeypatch.delenv("COLUMNS", raising=False)

    def call(*typed):
        capsys.readouterr()
        code = 0
        try:
            main([str(t) for t in typed])
        except SystemExit as end:
            code = end.code or 0
        return code, *capsys.readouterr()

    return call


def on(data):
    """Options of a run of seconds on tiny events."""
    options = ["--dataset", "pilarnet-m", "--data", data, "--preset", "tiny", "--labels", "6", "--threads", "1"]
    return [*options, "--device", "cpu", "--set", "train.steps=3", "--set", "min_points=0"]


def assert_one_sentence(answer, *parts):
    code, out, err = answer
    lines = err.splitlines()
    assert code == 2
    assert out == ""
    assert lines[-1].startswith("error: ")
    assert sum(line.startswith("error:") for line in lines) == 1
    assert "Traceback" not in err
    for part in parts:
        assert part in lines[-1]


BAD = {
    "no such model": (["run", "--model", "polarmea"], ["Did you mean 'polarmae'?", "Expected one of"]),
    "no such preset": (["run", "--model", "pointnet", "--preset", "tinny"], ["Did you mean 'tiny'?"]),
    "no such task": (["run", "--model", "pointnet", "--task", "segmentation"], ["lartpc-segmentation"]),
    "no such dataset": (["run", "--model", "pointnet", "--dataset", "pilarnet"], ["Did you mean 'pilarnet-m'?"]),
    "no such mode": (["run", "--model", "polarmae", "--mode", "ftt"], ["Did you mean 'fft'?"]),
    "a mode that does not fit": (["run", "--model", "pointnet", "--mode", "fft"], ["needs pre-training"]),
    "no labels": (["run", "--model", "pointnet", "--labels", "0"], ["--labels '0' is not a label budget"]),
    "negative labels": (["run", "--model", "pointnet", "--labels", "-5"], ["--labels '-5' is not a label budget"]),
    "labels in exponents": (["run", "--model", "pointnet", "--labels", "1e9"], ["--labels '1e9'"]),
    "labels in words": (["run", "--model", "pointnet", "--labels", "ten"], ["--labels 'ten'"]),
    "a negative draw": (["run", "--model", "pointnet", "--draw", "-1"], ["--draw -1 is negative"]),
    "an unknown setting": (["run", "--model", "pointnet", "--set", "train.stepz=1"], ["Did you mean 'steps'?"]),
    "a setting without value": (["run", "--model", "pointnet", "--set", "train.steps"], ["key=value"]),
    "a setting of another type": (["run", "--model", "pointnet", "--set", "train.steps=x"], ["train.steps='x'"]),
    "a missing model file": (["run", "--model", "mine.py"], ["There is no file mine.py"]),
    "a missing checkpoint": (["run", "--model", "polarmae", "--checkpoint", "w"], ["There is no checkpoint w"]),
    "an unknown device": (["run", "--model", "pointnet", "--device", "tpu"], ["--device 'tpu' is not known"]),
    "a missing folder": (["run", "--model", "pointnet", "--data", "gone"], ["There is no folder gone"]),
    "no such baseline beside": (["run", "--model", "pointnet", "--beside", "mayority"], ["Did you mean 'majority'?"]),
    "an unknown option": (["run", "--model", "pointnet", "--lables", "3"], ["No such option: --lables", "--help"]),
    "a missing option": (["run"], ["Missing option '--model'", "python -m benchmark run --help"]),
    "an option without value": (["run", "--model"], ["requires an argument"]),
    "an option of another type": (["run", "--model", "pointnet", "--draw", "x"], ["'--draw'"]),
    "an unknown command": (["rum"], ["No such command 'rum'"]),
    "an unknown subcommand": (["data", "fetch"], ["No such command 'fetch'"]),
    "too many arguments": (["list", "models", "more"], ["more"]),
    "nothing of this kind to list": (["list", "model"], ["Did you mean 'models'?"]),
    "no folder of records": (["leaderboard", "--records", "gone"], ["There is no folder of records at gone"]),
    "no course of a training": (["training-curves", "--records", "."], ["None of 0 records is of a finished run"]),
    "no such task to rank": (["leaderboard", "--task", "lartpc"], ["Expected one of"]),
    "no such split to rank": (["leaderboard", "--records", ".", "--split", "tset"], ["Did you mean 'test'?"]),
    "a missing record": (["transfer", "gone.json"], ["There is no record gone.json"]),
    "pre-training of a model without": (["pretrain", "--model", "pointnet"], ["pointnet has no pre-training"]),
    "a misspelt model to pre-train": (["pretrain", "--model", "polarmea"], ["Did you mean 'polarmae'?"]),
    "no place for weights": (["pretrain", "--model", "polarmae", "--out", "w.pt"], ["ends in .safetensors"]),
    "two kinds of weights": (["run", "--model", "polarmae", "--pretrain", "--mode", "scratch"], ["exclude each other"]),
    "no such dataset to show": (["data", "info", "pilarnet"], ["Did you mean 'pilarnet-m'?"]),
    "a missing folder to show": (["data", "info", "pilarnet-m", "--data", "gone"], ["There is no folder gone"]),
    "an unknown setting of a dataset": (["data", "info", "pilarnet-m", "--set", "x=1"], ["Expected one of"]),
    "a split that is none": (["data", "prepare", "pilarnet-m", "--split", "trian"], ["split='trian'"]),
    "an unknown schema": (["data", "simulate", "--out", "o", "--schema", "v9"], ["There is no schema 'v9'"]),
    "an unknown executor": (["data", "simulate", "--out", "o", "--executor", "lokal"], ["Did you mean 'local'?"]),
    "no events to simulate": (["data", "simulate", "--out", "o", "--events", "0"], ["0"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence_and_exit_code_2(cli, case, tmp_path):
    typed, parts = BAD[case]
    if typed[0] == "run" and len(typed) > 2 and "--dataset" not in typed:
        typed = [*typed, "--dataset", "pilarnet-m"]
    assert_one_sentence(cli(*typed), *parts)
    assert not list(tmp_path.rglob("*.json"))


def with_point(event, column, value):
    point = event.point.copy()
    point[4, column] = value
    return replace(event, point=point)


def with_size(event):
    cluster = event.cluster.copy()
    cluster[1, 0] += 3
    return replace(event, cluster=cluster)


DAMAGED_EVENT = {
    "NaN energy": (lambda e: with_point(e, 3, np.nan), "energy of nan"),
    "negative energy": (lambda e: with_point(e, 3, -1.0), "energy of -1.0"),
    "coordinates outside the grid": (lambda e: with_point(e, 0, 900.0), "lies at"),
    "cluster sizes that do not add up": (with_size, "cluster sizes add up to"),
    "an empty event": (lambda e: RawEvent(e.point[:0], e.cluster[:0], e.extra[:0]), "has no points"),
}


@pytest.mark.parametrize("damage", DAMAGED_EVENT)
def test_a_damaged_event_is_one_sentence(cli, tmp_path, damage):
    change, message = DAMAGED_EVENT[damage]
    rng = np.random.default_rng(1)
    folder = tmp_path / "events"
    for split, n in (("train", 6), ("test", 5)):
        events = make_events(rng, n)
        if split == "train":
            events[2] = change(events[2])
        write_file(folder / split / f"{split}.h5", events)
    for command in (["data", "info", "pilarnet-m", "--data", folder], ["run", "--model", "majority", *on(folder)]):
        assert_one_sentence(cli(*command), "event 2", message)
    assert not list((tmp_path / "runs").rglob("*.json"))


@pytest.mark.parametrize(
    ("damage", "message"),
    [("truncated", "is cut off"), ("text", "is damaged, or no HDF5 file"), ("schema", "'point'")],
)
def test_a_damaged_file_is_one_sentence(cli, tmp_path, damage, message):
    import h5py

    path = write_file(tmp_path / "events" / "train" / "events.h5", make_events(np.random.default_rng(1), 5))
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif damage == "text":
        path.write_text("these are no events")
    else:
        with h5py.File(path, "w") as h5:
            h5["voxels"] = np.zeros((5, 4))
    assert_one_sentence(cli("run", "--model", "majority", *on(tmp_path / "events")), path.name, message)


def test_a_checkpoint_of_another_model_is_one_sentence(cli, data, tmp_path):
    assert cli("run", "--model", "pointnet", "--beside", "none", *on(data))[0] == 0
    (weights,) = tmp_path.glob("runs/pointnet*/model.safetensors")
    typed = ["run", "--model", "polarmae", "--checkpoint", weights, "--beside", "none", *on(data)]
    assert_one_sentence(cli(*typed), "is a checkpoint of pointnet", "expected")


def test_a_full_disk_while_writing_a_record_is_one_sentence_and_nothing_is_lost(cli, data, tmp_path, monkeypatch):
    import errno

    from benchmark import io

    typed = ["run", "--model", "pointnet", "--beside", "none", *on(data)]
    original = os.replace

    def full(source, target):
        if str(target).endswith(".json"):
            raise OSError(errno.ENOSPC, "No space left on device")
        original(source, target)

    monkeypatch.setattr(io.os, "replace", full)
    assert_one_sentence(cli(*typed), "could not be written: No space left on device", "repeat the command")
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert not [p for p in (tmp_path / "runs" / "records").rglob("*") if p.is_file()]
    code, out, _ = cli(*typed, "--json")
    assert code == 0
    assert json.loads(out)["training"]["resumed_at"] == 3  # the trained weights were still there


def test_an_error_has_its_traceback_with_debug_only(cli):
    code, _, err = cli("--debug", "run", "--model", "polarmea")
    assert code == 2
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("error: ")


def test_a_fault_of_the_program_is_not_disguised(cli, monkeypatch):
    monkeypatch.setattr("benchmark.cli.listing._rows", lambda kind: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        cli("list")


def test_run_shows_a_table_beside_the_baseline_and_records_both(cli, data, tmp_path):
    typed = ["run", "--model", "pointnet", *on(data)]
    code, out, err = cli(*typed)
    assert code == 0
    for part in ("shower", "track", "michel", "delta", "macro", "precision", "recall", "F1", "majority", "record:"):
        assert part in out
    assert "6 labelled of" in err
    records = sorted(tmp_path.glob("runs/records/lartpc-segmentation/pilarnet-m/*.json"))
    assert [p.name.split("-")[0] for p in records] == ["majority", "pointnet"]
    beside = json.loads(records[0].read_text())
    assert beside["config"]["preprocess"]["min_points"] == 0  # counted on the same events
    assert beside["subset_sha256"] == json.loads(records[1].read_text())["subset_sha256"]
    code, out, _ = cli(*typed)
    assert code == 0
    assert "already recorded" in out


def test_json_is_on_standard_output_alone(data, tmp_path):
    typed = ["run", "--model", "pointnet", *[str(o) for o in on(data)], "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "benchmark", *typed],
        capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["config"]["model"] == "pointnet"
    assert record["command"][:6] == [*PROGRAM, *typed[:3]] and "--data" in record["command"]
    assert record["events"]["test"] == N_TEST
    assert "Warning" not in done.stderr


def test_a_stopped_run_says_how_to_go_on(cli, data):
    typed = ["run", "--model", "pointnet", "--beside", "none", *on(data)]
    code, out, _ = cli(*typed, "--max-minutes", "1e-9")
    assert code == 0
    assert "Stopped at step 1 of 3" in out


def test_pretrain_makes_what_run_finds_and_says_where(cli, data, tmp_path, monkeypatch):
    monkeypatch.setenv("PARTICLEBENCH_CACHE", str(tmp_path / "cache"))
    settings = ["--set", "min_points=0", "--set", "pretrain.steps=3", "--set", "pretrain.events=8"]
    where = ["--dataset", "pilarnet-m", "--data", data, "--preset", "tiny", "--threads", "1", "--device", "cpu"]
    typed = ["pretrain", "--model", "polarmae", *where, *settings]
    code, out, _ = cli(*typed, "--max-minutes", "1e-9")
    assert code == 0
    assert "Stopped at step 1 of 3: the same command continues from there." in out
    code, out, err = cli(*typed, "--out", tmp_path / "weights" / "polarmae.safetensors")
    assert code == 0
    assert "3 steps on 8 events" in out
    assert "polarmae [tiny] on pilarnet-m" in err and "pre-training polarmae once, 3 steps on 8 unlabelled" in err
    for name in ("weights.safetensors", "training.json", "curves.png"):
        assert name in out
    assert (tmp_path / "weights" / "polarmae.json").is_file()
    code, out, err = cli(*typed, "--json")
    assert code == 0
    assert json.loads(out)["steps"] == 3
    assert "This pre-training is already done" in cli(*typed)[1]
    code, _, err = cli("run", "--model", "polarmae", "--beside", "none", *on(data), *settings[2:])
    assert code == 0
    assert "pre-trained weights found" in err


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: " ".join(c) or "benchmark")
def test_help_imports_nothing_heavy(command):
    script = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from benchmark.cli import main
try:
    main({[*command, "--help"]!r})
finally:
    print("LOADED", *sorted({HEAVY!r} & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: ")
    assert done.stderr.splitlines()[-1] == "LOADED"


def test_help_explains_every_option(cli):
    code, out, _ = cli("run", "--help")
    assert code == 0
    for option in ("--model", "--labels", "--mode", "--set", "--preset", "--device", "--seed", "--draw", "--resume"):
        assert option in out
    for option in ("--max-minutes", "--json", "--threads", "--checkpoint", "--records"):
        assert option in out


def test_without_a_command_there_is_help(cli):
    _, out, err = cli()
    assert "Start here" in out + err
    assert "error:" not in err
    assert cli("--version")[1].startswith("particlebench ")


@pytest.mark.parametrize("kind", ["models", "baselines", "datasets", "tasks", "backends"])
def test_list(cli, kind):
    from benchmark import registry
    from benchmark.tasks import TASKS

    code, out, _ = cli("list", kind, "--json")
    rows = json.loads(out)[kind]
    expected = {"datasets": registry.dataset_names(), "tasks": list(TASKS)}
    if kind != "backends":
        assert [r["name"] for r in rows] == expected.get(kind, registry.model_names(kind))
    assert code == 0
    assert all(row["name"] in cli("list", kind)[1] for row in rows)


def test_list_says_why_a_model_cannot_run_here(cli, monkeypatch):
    from benchmark import registry
    from benchmark.errors import BenchmarkError

    def missing(name):
        raise BenchmarkError("pointnet needs the package 'spconv', which is not installed. x. y.")

    monkeypatch.setattr(registry, "model_spec", missing)
    (row, *_) = json.loads(cli("list", "baselines", "--json")[1])["baselines"]
    assert "needs the package 'spconv'" in row["here"]


def test_doctor(cli):
    code, out, _ = cli("doctor", "--json")
    report = json.loads(out)
    assert code == 0
    assert {"software", "machine", "backends", "folders", "data found"} <= set(report)
    assert report["software"]["torch"]
    code, out, _ = cli("doctor")
    assert code == 0
    assert "usable cores" in out


def test_data_info(cli, data):
    code, out, _ = cli("data", "info", "pilarnet-m", "--data", data, "--json")
    report = json.loads(out)
    assert code == 0
    assert report["test"]["events"] == N_TEST
    assert report["files"]
    code, out, _ = cli("data", "info", "pilarnet-m", "--data", data)
    assert code == 0
    assert "CC" in out or "Apache" in out


def test_leaderboard_reads_records_alone_and_goes_on_past_a_damaged_one(cli, data, tmp_path):
    for draw in ("0", "1"):
        assert cli("run", "--model", "majority", "--draw", draw, *on(data))[0] == 0
    folder = tmp_path / "runs" / "records" / "lartpc-segmentation" / "pilarnet-m"
    (folder / "damaged.json").write_text("{")
    code, out, err = cli("leaderboard")
    assert code == 0
    assert "2 runs, 0 failed runs left out, 1 unreadable records" in " ".join(out.split())
    assert err.startswith("warning: The record")
    assert "damaged.json" in err
    code, out, _ = cli("leaderboard", "--format", "json")
    assert [r["config"]["draw"] for r in json.loads(out)] == [0, 1]
    code, out, _ = cli("leaderboard", "--format", "markdown")
    assert out.count("| majority") == 1  # both draws in one row
    code, out, _ = cli("leaderboard", "--format", "markdown", "--runs")
    assert out.count("| majority") == 2
    assert json.loads(cli("leaderboard", "--task", "lartpc-segmentation-5", "--format", "json")[1]) == []
    assert (folder / "damaged.json").read_text() == "{"


def test_the_leaderboard_works_without_torch(cli, data, tmp_path):
    assert cli("run", "--model", "majority", *on(data))[0] == 0
    script = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
for name in ("torch", "lightning", "numba", "h5py"):
    sys.modules[name] = None  # as if it were not installed
from benchmark.cli import main
main(["leaderboard"])
"""
    environment = {k: v for k, v in os.environ.items() if k != "COLUMNS"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0, done.stderr
    assert "majority" in done.stdout  # output that is no terminal is not cut to 80 columns


def test_the_course_of_training_is_drawn_from_records(cli, data, tmp_path):
    for model in ("pointnet", "majority"):
        assert cli("run", "--model", model, *on(data))[0] == 0
    chosen = ("--labels", "6", "--models", "pointnet", "--steps", "3")
    code, out, _ = cli("training-curves", *chosen, "--out", "curves.png")
    assert code == 0
    assert out.strip() == "curves.png"
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    code, _, err = cli("training-curves", "--labels", "7")
    assert code == 2
    assert "is of a finished run of lartpc-segmentation with 7 labels, draw 0" in err
    assert "Ask for one that is there: " in err


@pytest.mark.parametrize("command", ["run", "pretrain", "sweep"])
def test_blocks_are_not_compiled_on_a_cpu(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    whose = "--models" if command == "sweep" else "--model"
    with pytest.raises(SystemExit) as end:
        main([command, whose, "polarmae", "--preset", "tiny", "--compile", "--device", "cpu"])
    assert end.value.code == 2
    assert "--compile cannot be done on cpu: " in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("option", ["--compile", "--tune"])
def test_perf_refuses_on_a_cpu_what_needs_a_gpu(option, tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(["perf", "steps", option, "--device", "cpu", "--data", str(tmp_path), "--out", str(tmp_path / "out")])
    assert end.value.code == 2
    assert f"{option} was given on a CPU. A GPU was expected" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_name_of_any_length_and_characters_makes_one_readable_line(tmp_path, capsys):
    path = tmp_path / "a.toml"
    path.write_text(f'task = "{"x" * 100_000}\\u001b[31m"\nmodels = ["majority"]\n', encoding="utf-8")
    with pytest.raises(SystemExit):
        main(["sweep", str(path), "--dry-run"])
    text = capsys.readouterr().err
    assert text.startswith("error: There is no task 'xxx") and text.endswith("list tasks`.\n")
    assert len(text) < 2000 and text[:-1].isprintable()


def test_a_deleted_cache_and_a_disk_that_refuses_a_log_are_one_line(monkeypatch, tmp_path, capsys):
    from benchmark.cli import _disk_message, _show_thread_error

    monkeypatch.setenv("PARTICLEBENCH_CACHE", str(tmp_path))
    gone = FileNotFoundError(2, "No such file or directory", str(tmp_path / "packed" / "offsets.bin"))
    assert "offsets.bin has gone: the cache was deleted while the command ran." in _disk_message(gone)
    assert _disk_message(FileNotFoundError(2, "No such file or directory", "elsewhere")) is None

    def write():
        raise OSError(30, "Read-only file system", b"runs/log")

    monkeypatch.setattr("threading.excepthook", _show_thread_error)
    thread = threading.Thread(target=write)
    thread.start()
    thread.join()
    shown = capsys.readouterr().err
    assert shown.startswith("warning: The disk refused at runs/log: Read-only file system.")
    assert "Traceback" not in shown


@pytest.mark.parametrize(("number", "code", "word"), [(2, 130, "interrupted"), (15, 143, "stopped by SIGTERM")])
def test_a_signal_that_a_library_turns_into_another_error_ends_the_command_as_the_signal_does(number, code, word):
    script = (
        f"import os, signal, sys; sys.path.insert(0, {str(ROOT)!r}); from benchmark import cli\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "def app(*arguments, **options):\n"
        "    try:\n"
        f"        os.kill(os.getpid(), {number})\n"
        "    except BaseException:\n"
        "        pass\n"
        "    raise ValueError('could not determine the shape')\n"
        "cli.app = app\n"
        "cli.main([])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == code
    assert done.stderr == f"{word}; the same command continues where it stopped\n"
