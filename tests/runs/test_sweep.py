"""Sweeps: every combination once, recorded ones skipped, one pre-training, failures told, interruption survived."""

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from benchmark.cli import main
from benchmark.errors import BenchmarkError, ConfigError
from benchmark.hardware.workers import Task, run_tasks
from benchmark.paths import PROGRAM
from benchmark.records.store import read_records
from benchmark.runs.cost_estimate import duration, expected_cost
from benchmark.runs.execution import Execution
from benchmark.runs.resolve import resolve
from benchmark.runs.sweep import Sweep, carry_out, n_workers, plan, submit, to_run
from benchmark.runs.sweep_file import as_sweep, read_sweep, repetitions
from builders.many_records import made_up
from builders.paths import ROOT
from builders.synthetic import PRETRAINED, SPY

QUICK = ("train.steps=2", "preprocess.min_points=0")


def sweep(*models, **values):
    return replace(
        Sweep(models, labels=("4",), dataset="pilarnet-m", preset="tiny", settings=QUICK), **values
    )  # fmt: skip


def below(root, data):
    return Execution("cpu", 1, data, root / "records", root / "runs")


def ended(jobs, execution, workers=1):
    return {e.name: e.error for e in carry_out(to_run(jobs), execution, workers, execution.runs / "sweep")}


def test_a_plan_has_every_combination_small_budgets_first(data, tmp_path):
    asked = sweep("majority", "pointnet", labels=("4", "8"), draws=(0, 1), seeds=(0, 1))
    jobs = plan(asked, below(tmp_path, data))
    assert len(jobs) == len({job.fingerprint for job in jobs}) == 16
    assert [job.identity.config.labels for job in jobs] == [4] * 8 + [8] * 8
    assert jobs[0].name == "majority scratch, 4 labels, draw 0, seed 0"


def test_a_sweep_runs_what_is_left_and_then_nothing(data, tmp_path):
    execution = below(tmp_path, data)
    asked = sweep("majority", "pointnet", draws=(0, 1))
    jobs = plan(asked, execution)
    assert set(ended(jobs, execution).values()) == {None}
    records, problems = read_records(execution.records)
    assert len(records) == 4 and not problems
    assert {r.fingerprint for r in records} == {job.fingerprint for job in jobs}
    typed_alone = next(r for r in records if r.model == "pointnet" and r.config["draw"] == 1).command
    assert typed_alone[:6] == [*PROGRAM, "run", "--model", "pointnet"] and "train.steps=2" in typed_alone
    assert to_run(plan(asked, execution)) == []
    more = plan(replace(asked, draws=(0, 1, 2)), execution)
    assert [job.request.draw for job in to_run(more)] == [2, 2]


def test_budgets_and_draws_of_a_model_share_one_pretraining(data, tmp_path, monkeypatch):
    monkeypatch.setenv("PARTICLEBENCH_CACHE", str(tmp_path / "cache"))
    execution = below(tmp_path, data)
    asked = sweep("polarmae", "polarmae:scratch", labels=("4", "8"), settings=PRETRAINED[:2],
                  settings_of={"polarmae": PRETRAINED[2:]})  # fmt: skip
    jobs = plan(asked, execution)
    assert len({job.pretraining for job in jobs if job.pretraining}) == 1
    assert set(ended(jobs, execution, workers=2).values()) == {None}
    made = [p for p in (tmp_path / "cache" / "pretrained").iterdir() if p.is_dir()]
    assert len(made) == 1
    logs = [p.read_text() for p in sorted((execution.runs / "sweep").glob("polarmae_fft*.log"))]
    assert sum("pre-training polarmae once" in text for text in logs) == 1
    assert all(job.pretraining is None for job in plan(replace(asked, draws=(1,)), execution))


def test_a_run_that_fails_costs_no_other_and_is_told(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where the spy leaves its notes
    spy = tmp_path / "spy.py"
    spy.write_text(SPY)
    execution = below(tmp_path, data)
    asked = sweep(str(spy), "majority", settings_of={str(spy): ("answer=error",)}, settings=("min_points=0",))
    errors = ended(plan(asked, execution), execution)
    assert [error for name, error in errors.items() if name.startswith("majority")] == [None]
    (error,) = (error for name, error in errors.items() if name.startswith("spy"))
    assert "a fault of the model's own" in error
    logs = next((execution.runs / "sweep").glob("spy*.log")).read_text()
    assert "ZeroDivisionError" in logs


def test_a_combination_that_cannot_be_run_is_refused_before_any_run(data, tmp_path):
    with pytest.raises(BenchmarkError, match="mode"):
        plan(sweep("majority", "pointnet:fft"), below(tmp_path, data))
    with pytest.raises(ConfigError, match="no draws"):
        plan(sweep("majority", draws=()), below(tmp_path, data))
    with pytest.raises(ConfigError, match="settings of 'gnn'"):
        plan(sweep("majority", settings_of={"gnn": ("a=1",)}), below(tmp_path, data))
    assert not (tmp_path / "records").exists()


def test_trials_of_a_sweep_are_scored_on_the_validation_split(data, tmp_path, capsys):
    execution = below(tmp_path, data)
    (tmp_path / "trials.toml").write_text('models = ["pointnet"]\nlabels = 4\nsplit = "val"\n')
    asked = replace(as_sweep(read_sweep(tmp_path / "trials.toml")), dataset="pilarnet-m", preset="tiny")
    for rate in ("0.01", "0.002"):
        jobs = plan(replace(asked, settings=(*QUICK, f"optim.lr={rate}")), execution)
        assert set(ended(jobs, execution).values()) == {None}
    main(["leaderboard", "--records", str(execution.records)])
    assert "type --split val" in capsys.readouterr().out
    main(["leaderboard", "--records", str(execution.records), "--split", "val", "--format", "csv"])
    told = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert sorted(row["settings"] for row in told) == ["optim.lr=0.002", "optim.lr=0.01"]
    for split, n in (("val", 2), ("test", 0)):
        main(["leaderboard", "--records", str(execution.records), "--split", split, "--format", "json"])
        assert len(json.loads(capsys.readouterr().out)) == n
    main(["leaderboard", "--records", str(execution.records), "--out", str(tmp_path / "tables")])
    assert "type --split val" in capsys.readouterr().out
    main(["fairness", "--records", str(execution.records)])
    assert "those that scored val are left out" in " ".join(capsys.readouterr().out.split())
    wrong = {
        ("curve", "--out", str(tmp_path / "c.png")): "scored the test split; 2 scored val",
        ("leaderboard", "--check", "--split", "bogus"): "no split 'bogus'",
        ("leaderboard", "--pretexts", "--out", str(tmp_path / "o")): "--pretexts and --out exclude each other",
    }
    for options, said in wrong.items():
        with pytest.raises(SystemExit):
            main([*options, "--records", str(execution.records)])
        assert said in capsys.readouterr().err
    with pytest.raises(BenchmarkError, match="cannot be scored by a run"):
        plan(replace(asked, split="train"), execution)


def test_submitit_runs_the_same_jobs(data, tmp_path):
    pytest.importorskip("submitit")
    execution = below(tmp_path, data)
    jobs = plan(sweep("majority", "energy_threshold"), execution)
    done = list(submit(to_run(jobs), execution, {"cluster": "debug"}, tmp_path / "logs"))
    assert [e.error for e in done] == [None, None]
    assert to_run(plan(sweep("majority", "energy_threshold"), execution)) == []


# ---- workers


def note(what):
    path, text = what
    if text == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if text == "fail":
        raise ValueError("no luck")
    with Path(path).open("a") as stream:
        stream.write(f"{text} {os.environ.get('COLOUR')}\n")


def tasks(tmp_path, *texts, after=None):
    return [
        Task(text, (str(tmp_path / "seen"), text), tmp_path / f"{text}.log", (after or {}).get(text)) for text in texts
    ]


def test_a_process_that_is_killed_costs_its_own_task_only(tmp_path):
    done = {e.name: e.error for e in run_tasks(tasks(tmp_path, "a", "die", "b", "fail", "c"), note, 2)}
    assert done["die"].startswith("its process died (exit code -9")
    assert done["fail"] == "no luck"
    assert {name for name, error in done.items() if error is None} == {"a", "b", "c"}
    assert "ValueError: no luck" in (tmp_path / "fail.log").read_text()


def test_a_task_waits_for_the_one_it_needs_and_is_not_started_where_that_failed(tmp_path):
    needs = {"late": "first", "never": "fail"}
    order = run_tasks(tasks(tmp_path, "late", "first", "fail", "never", after=needs), note, 2)
    done = {e.name: e.error for e in order}
    assert list(done).index("first") < list(done).index("late")
    assert done["never"] == "fail failed, which it needs"
    assert "never" not in (tmp_path / "seen").read_text()


def test_each_process_has_an_environment_of_its_own(tmp_path):
    list(run_tasks(tasks(tmp_path, "a"), note, 1, [{"COLOUR": "red"}]))
    assert (tmp_path / "seen").read_text() == "a red\n"
    assert "COLOUR" not in os.environ


# ---- cost


def test_cost_is_that_of_equal_runs_or_scaled_by_their_steps():
    import numpy as np

    record = made_up("m", 100, 0, 0, np.random.default_rng(0), n_events=5)
    record.resources.update(wall_s=100.0, train_s=90.0, peak_memory_bytes=10**9)
    config = {**record.config, "labels": 10, "draw": 3}
    equal = expected_cost(config, "cpu", [record])
    assert (equal.wall_s, equal.memory_bytes) == (100.0, 10**9)
    doubled = {**config, "train": {"steps": 600, "batch_size": 8}}
    assert expected_cost(doubled, "cpu", [record]).wall_s == pytest.approx(190)
    # of a command that simulated its events and pre-trained first
    record.resources.update(wall_s=1000.0, prepare_s=500.0, pretrain_s=400.0, score_s=10.0)
    assert expected_cost(config, "cpu", [record]).wall_s == pytest.approx(100)
    assert expected_cost(doubled, "cpu", [record]).wall_s == pytest.approx(190)
    assert expected_cost({**config, "model": "other"}, "cpu", [record]) is None
    assert expected_cost(config, "cuda", [record]) is None
    assert [duration(s) for s in (45, 600, 9000)] == ["45 s", "10 min", "2.5 h"]


def test_workers_are_as_many_as_cores_and_memory_allow(data, tmp_path, monkeypatch):
    jobs = plan(sweep("majority", draws=tuple(range(6))), below(tmp_path, data))
    monkeypatch.setattr("benchmark.runs.sweep.usable_cores", lambda: 4)
    monkeypatch.setattr("benchmark.runs.sweep._free_memory", lambda: 100 << 30)
    assert n_workers(jobs, None, 1) == 4
    assert n_workers(jobs, None, 2) == 2
    monkeypatch.setattr("benchmark.runs.sweep._free_memory", lambda: 5 << 30)
    assert n_workers(jobs, None, 1) == 2
    assert n_workers(jobs, 7, 1) == 7
    with pytest.raises(ConfigError):
        n_workers(jobs, 0, 1)


# ---- files and the command line


def test_a_file_holds_a_sweep(tmp_path):
    path = tmp_path / "s.toml"
    path.write_text(
        'models = ["gnn", "polarmae:scratch"]\nlabels = [10, "all"]\ndraws = 2\nseeds = [3]\nset = ["train.steps=5"]\n'
        '[settings."polarmae:scratch"]\nset = ["optim.lr=1e-3"]\n'
    )
    found = as_sweep(read_sweep(path))
    assert found.labels == ("10", "all") and found.draws == (0, 1) and found.seeds == (3,)
    requests = found.requests()
    assert len(requests) == 8
    assert requests[1].mode == "scratch" and requests[1].assignments == ("train.steps=5", "optim.lr=1e-3")


def test_a_budget_can_have_draws_and_settings_of_its_own(tmp_path):
    path = tmp_path / "s.toml"
    path.write_text(
        'models = ["gnn"]\nlabels = [10, 100]\ndraws = 3\nset = ["train.steps=5"]\n[budgets.100]\ndraws = 1\n'
        'set = ["train.steps=9"]\n[settings.gnn]\nset = ["optim.lr=1e-3"]\n'
    )
    asked = as_sweep(read_sweep(path)).requests()
    assert [(r.labels, r.draw) for r in asked] == [("10", 0), ("10", 1), ("10", 2), ("100", 0)]
    assert asked[-1].assignments == ("train.steps=5", "train.steps=9", "optim.lr=1e-3")
    assert resolve(asked[0]).train.steps == 5 and resolve(asked[-1]).train.steps == 9
    with pytest.raises(ConfigError, match="other at 100 labels, which is not one of its budgets"):
        replace(as_sweep(read_sweep(path)), labels=("10",)).requests()


def test_a_model_can_have_settings_of_its_own_at_one_budget(tmp_path, data, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "s.toml"
    path.write_text(
        'models = ["gnn", "majority"]\nlabels = [4, 8]\n[settings.gnn]\nset = ["optim.lr=1e-3"]\n'
        '[budgets.8.settings.gnn]\nset = ["optim.lr=3e-4"]\n'
    )
    asked = as_sweep(read_sweep(path)).requests()
    told = {(r.model, r.labels): r.assignments for r in asked}
    assert told["gnn", "4"] == ("optim.lr=1e-3",) and told["gnn", "8"] == ("optim.lr=1e-3", "optim.lr=3e-4")
    assert told["majority", "8"] == ()
    assert resolve(next(r for r in asked if told["gnn", "8"] == r.assignments)).optim.lr == 3e-4
    with pytest.raises(ConfigError, match="settings of 'gnn', which is not one of its models"):
        replace(as_sweep(read_sweep(path)), models=("majority",), settings_of={}).requests()
    main(["sweep", str(path), "--models", "majority", "--dataset", "pilarnet-m", "--data", str(data), "--set",
          "min_points=0", "--dry-run"])  # fmt: skip
    assert "2 runs" in capsys.readouterr().out


def test_options_override_what_a_file_says_of_its_budgets(tmp_path, data, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "s.toml"
    path.write_text('models = ["majority"]\nlabels = [4, 8]\n[budgets.4]\ndraws = 3\n[budgets.8]\ndraws = 2\n')
    plans = {(): 5, ("--draws", "1"): 2, ("--labels", "8"): 2}
    for options, n in plans.items():
        main(["sweep", str(path), "--dataset", "pilarnet-m", "--data", str(data), "--set", "min_points=0", *options,
              "--dry-run"])  # fmt: skip
        assert f"{n} runs" in capsys.readouterr().out


def test_the_projects_own_sweeps_can_be_planned():
    for path in sorted((ROOT / "leaderboards" / "sweeps").glob("*.toml")):
        assert as_sweep(read_sweep(path)).requests()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("models = [", "not a TOML file"), ("model = ['gnn']", "Did you mean 'models'"), ("labels = [1]", "no models"),
        ("models = ['gnn']\ndraws = 'x'", "How many"), ("models = []", "A list such as"),
        ("models = ['gnn']\ntask = 3", "not a text"),
        ("models = ['gnn']\n[settings]\ngnn = 3", "not a table of models"),
        ("models = ['gnn']\nsplit = 'train'", "s.toml: split = 'train' is not possible"),
        ("models = ['gnn']\n[budgets]\n10 = 3", "not a table of label budgets"),
        ("models = ['gnn']\nbudgets = 3", "not a table of label budgets"),
        ("models = ['gnn']\n[budgets.10]\nsteps = 3", "not a table of label budgets"),
        ("models = ['gnn']\n[budgets.10]\ndraws = 0.5", "How many"),
        ("models = ['gnn']\n[budgets.10]\nset = 3", "A list such as"),
        ("models = ['gnn']\n[budgets.10]\nsettings = 3", "budgets.10.settings. is not a table of models"),
        ("models = ['gnn']\n[budgets.10.settings.gnn]\nset = 3", "A list such as"),
        ("models = ['evil.py']", "command line: --models"), ("models = ['evil.py:scratch']", "command line: --models"),
        ("models = ['gnn']\ndataset = 'evil.py'", "command line: --dataset"),
        ("models = ['gnn']\ndraws = 1000000000", "At most 10,000"), ("models = ['gnn']\ndraws = 1.5", "How many"),
        ("models = ['gnn']\nseeds = [1e400]", "How many"),
        ("models = ['gnn']\ndraws = [99999999999999999999]", "How many"),
        ("models = ['gnn', 3]", "A list such as"), ("models = ['gnn']\nset = [1]", "A list such as"),
        ("models = " + 3000 * "[" + 3000 * "]", "not a TOML file"), ("models = " + 5000 * "9", "not a TOML file"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_one_sentence(tmp_path, text, said):
    path = tmp_path / "s.toml"
    path.write_text(text)
    with pytest.raises(BenchmarkError, match=said):
        as_sweep(read_sweep(path))


@pytest.mark.parametrize("value", ["nan", "inf", "1e400", "-1", "0", 400 * "9"])
def test_a_rate_that_cannot_train_is_refused_before_anything_runs(tmp_path, value):
    path = tmp_path / "s.toml"
    path.write_text(f'models = ["pointnet"]\nset = ["optim.lr={value}"]\n')
    (asked,) = as_sweep(read_sweep(path)).requests()
    with pytest.raises(ConfigError, match=r"lr=.* was expected\..*Correct the --set option"):
        resolve(asked)


def test_repetitions_are_a_number_or_a_list():
    assert repetitions("draws", "3") == (0, 1, 2)
    assert repetitions("draws", "0,2") == (0, 2)
    for wrong in ("0", "a", "1,1", "-1,2", ""):
        with pytest.raises(ConfigError):
            repetitions("draws", wrong)


def typed(data, root, *more):
    few = [word for setting in QUICK for word in ("--set", setting)]
    return ["sweep", "--models", "majority,pointnet", "--labels", "4,8", "--dataset", "pilarnet-m", "--data", str(data),
            "--preset", "tiny", "--device", "cpu", "--records", str(root / "records"), *few, *more]  # fmt: skip


def test_the_command_ends_with_table_curve_and_page(data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "220")
    main(typed(data, tmp_path, "--dry-run"))
    assert "4 runs: 0 recorded, 4 to do" in capsys.readouterr().out
    assert not (tmp_path / "records").exists()
    main(typed(data, tmp_path, "--draws", "1"))
    text = capsys.readouterr().out
    assert "pointnet" in text and "macro_f1" in " ".join(text.split())
    assert (tmp_path / "runs" / "curve-lartpc-segmentation.png").is_file()
    assert (tmp_path / "runs" / "site" / "index.html").is_file()
    assert list((tmp_path / "runs" / "site" / "data" / "events").glob("*.js"))
    main(typed(data, tmp_path))
    assert "4 runs: 4 recorded, 0 to do" in capsys.readouterr().out


def test_an_interrupted_sweep_is_continued_by_the_same_command(data, tmp_path):
    """Killed at the second record, as by a power cut; what was recorded stays, the rest is done by the next command."""
    command = [sys.executable, "-m", "benchmark", *typed(data, tmp_path, "--draws", "2", "--workers", "1")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    first = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             start_new_session=True)  # fmt: skip
    deadline = time.monotonic() + 120
    while len(list((tmp_path / "records").rglob("*.json"))) < 2 and time.monotonic() < deadline:
        assert first.poll() is None, first.stdout.read().decode()
        time.sleep(0.05)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "records").rglob("*.json")}
    assert 2 <= len(before) < 8
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"{len(before)} recorded, {8 - len(before)} to do" in done.stdout
    after = {p: p.stat().st_mtime_ns for p in (tmp_path / "records").rglob("*.json")}
    assert len(after) == 8 and all(after[p] == t for p, t in before.items())
