"""A run that is killed or stopped, and continued, ends with the numbers of one that was not."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from benchmark.contracts import Inputs
from benchmark.data.stream import event_set
from benchmark.errors import BenchmarkError, CheckpointError
from benchmark.records.store import find_record, read_records
from benchmark.registry import dataset_spec, model_spec
from benchmark.runs.resolve import resolve
from benchmark.runs.weights import run_folder
from benchmark.training.config import TrainConfig
from benchmark.training.fit import Hardware, fit
from benchmark.training.states import delete_checkpoints, last_state
from builders.archives import compressed, flipped_tensor
from builders.paths import TESTS
from builders.synthetic import execute, request

STEPS = ("train.steps=9", "train.checkpoint_every=2", "pretrain.steps=9", "pretrain.checkpoint_every=2")

# the run of this file in a process of its own, which waits for ever at the end of step `stop` of one stage
SCRIPT = """
import sys, time
from dataclasses import replace
from pathlib import Path
sys.path[:0] = [{root!r}, {tests!r}]
import torch
torch.set_num_threads(1)
from benchmark.training import callbacks
from builders.synthetic import execute, request
original = callbacks.States.on_train_batch_end
def wait(self, trainer, module, *rest):
    original(self, trainer, module, *rest)
    if trainer.global_step == {stop} and module.stage == {stage!r}:
        print("waiting", flush=True)
        time.sleep(600)
callbacks.States.on_train_batch_end = wait
execute(Path({data!r}), Path({folder!r}), request({model!r}, *{steps!r}))
"""


def settings(model):
    return STEPS if model == "polarmae" else STEPS[:2]


def start(data, folder, model, stage, stop, cache):
    """A process that has just made step `stop`; the caller ends it."""
    script = SCRIPT.format(
        root=str(TESTS.parent), tests=str(TESTS), data=str(data), folder=str(folder), model=model, stage=stage,
        stop=stop, steps=settings(model),
    )  # fmt: skip
    environment = {**os.environ, "PARTICLEBENCH_CACHE": str(cache)}
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=environment)
    assert process.stdout.readline() == "waiting\n"
    return process


def weights_of(folder, outcome):
    return load_file(run_folder(folder / "runs", outcome.record) / "model.safetensors")


@pytest.mark.parametrize(("model", "stage"), [("pointnet", "finetune"), ("polarmae", "pretrain")])
def test_a_run_killed_in_mid_training_ends_like_one_that_was_not(data, tmp_path, monkeypatch, model, stage):
    asked = request(model, *settings(model))
    monkeypatch.setenv("PARTICLEBENCH_CACHE", str(tmp_path / "whole_cache"))
    whole = execute(data, tmp_path / "whole", asked)
    process = start(data, tmp_path / "killed", model, stage, 5, tmp_path / "killed_cache")
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not read_records(tmp_path / "killed")[0]
    monkeypatch.setenv("PARTICLEBENCH_CACHE", str(tmp_path / "killed_cache"))
    resumed = execute(data, tmp_path / "killed", asked)
    training = resumed.record.training if stage == "finetune" else resumed.record.training["pretraining"]
    assert training["resumed_at"] == 4  # the last state before the kill at step 5
    assert resumed.record.fingerprint == whole.record.fingerprint
    assert resumed.record.metrics == whole.record.metrics
    assert resumed.record.per_event == whole.record.per_event
    for name in ("first_loss", "last_loss", "grad_norm", "history"):
        assert resumed.record.training[name] == whole.record.training[name]
    first, second = weights_of(tmp_path / "whole", whole), weights_of(tmp_path / "killed", resumed)
    assert set(first) == set(second)
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


@pytest.mark.parametrize(
    ("number", "code", "last"),
    [
        (signal.SIGINT, 130, "interrupted; the same command continues where it stopped"),
        (signal.SIGTERM, 143, "stopped by SIGTERM; the same command continues where it stopped"),
    ],
)
def test_a_signal_ends_the_command_line_with_one_line_and_loses_nothing(data, tmp_path, number, code, last):
    script = SCRIPT.split("execute(Path")[0].format(
        root=str(TESTS.parent), tests=str(TESTS), stop=5, stage="finetune"
    )  # fmt: skip
    typed = ["run", "--model", "pointnet", "--preset", "tiny", "--labels", "6", "--dataset", "pilarnet-m"]
    typed += ["--data", str(data), "--records", str(tmp_path / "records"), "--threads", "1", "--beside", "none"]
    typed += [part for s in ("train.steps=9", "train.checkpoint_every=2", "min_points=0") for part in ("--set", s)]
    script += f"\nfrom benchmark.cli import main\nmain({typed!r})"
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # in the background it is ignored
    )  # fmt: skip
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code
    assert errors.splitlines()[-1] == last
    assert "Traceback" not in errors
    assert list(tmp_path.glob("runs/*/step=00000004.ckpt"))
    assert not list(tmp_path.rglob("*.json"))


def test_a_stopped_run_continues_where_it_stopped(data, tmp_path, own_cache):
    asked = request("pointnet", "train.steps=9")  # a state every 50 steps only: the stop itself must save one
    whole = execute(data, tmp_path / "whole", asked)
    stopped = execute(data, tmp_path, asked, max_minutes=1e-9)
    assert stopped.record.status == "stopped"
    assert stopped.record.training["steps"] == 1
    assert stopped.record.metrics["overall"]
    assert find_record(tmp_path / "records", [stopped.record.fingerprint]) is None
    again = execute(data, tmp_path, asked, max_minutes=1e-9)  # the time counts anew for every command
    assert again.record.training["steps"] == 2
    finished = execute(data, tmp_path, asked)
    assert finished.record.training["resumed_at"] == 2
    assert finished.record.status == "finished"
    assert finished.record.metrics == whole.record.metrics
    assert [r.status for r in read_records(tmp_path / "records")[0]] == ["finished"]


def test_a_stop_in_pre_training_is_told_and_continued(data, tmp_path, own_cache, monkeypatch):
    asked = request("polarmae", "pretrain.steps=5")
    whole = execute(data, tmp_path / "whole", asked)
    monkeypatch.setenv("PARTICLEBENCH_CACHE", str(tmp_path / "second_cache"))
    with pytest.raises(BenchmarkError, match=r"--max-minutes ended pre-training at step 1 of 5\..*Repeat the command"):
        execute(data, tmp_path, asked, max_minutes=1e-9)
    resumed = execute(data, tmp_path, asked)
    assert resumed.record.training["pretraining"]["resumed_at"] == 1
    assert resumed.record.metrics == whole.record.metrics


def test_a_record_that_could_not_be_written_costs_no_training(data, tmp_path):
    asked = request("pointnet", "train.steps=9")
    (tmp_path / "records").write_text("in the way of the folder")
    with pytest.raises(BenchmarkError, match="could not be written"):
        execute(data, tmp_path, asked)
    (tmp_path / "records").unlink()
    outcome = execute(data, tmp_path, asked)
    assert outcome.record.training["resumed_at"] == 9
    assert outcome.record.training["first_loss"] > 0
    assert outcome.record.metrics == execute(data, tmp_path / "other", asked).record.metrics


@pytest.fixture(scope="module")
def trainable(data):
    """`train(folder, steps, resume)`: one stage of a tiny PointNet; returns its weights and report."""
    spec = dataset_spec("pilarnet-m")
    config = resolve(request())
    dataset = spec.open(spec.config(), data)
    events = event_set(dataset, "train", config.task, config.preprocess)
    model_config = resolve(request()).model_config

    def train(folder, steps, resume=True):
        torch.manual_seed(0)
        model = model_spec("pointnet").build(model_config, Inputs(("log_energy",), dataset.info.frame), config.task)
        report = fit(
            model, events, TrainConfig(steps, batch_size=2, checkpoint_every=2), config.optim, stage="finetune", seed=0,
            hardware=Hardware("cpu", "32"), folder=folder, title="t", resume=resume,
        )  # fmt: skip
        return {k: v.numpy() for k, v in model.state_dict().items()}, report

    return train


def states(folder):
    return sorted(p.name for p in folder.glob("*.ckpt"))


def test_the_two_latest_states_are_kept(trainable, tmp_path):
    trainable(tmp_path, 7)
    assert states(tmp_path) == ["step=00000006.ckpt", "step=00000007.ckpt"]


DAMAGE = {
    "empty": lambda c: b"", "short": lambda c: c[:100], "cut": lambda c: c[:5000], "flipped": flipped_tensor,
    "compressed": compressed,
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_state_is_passed_over_for_an_earlier_one(trainable, tmp_path, capsys, damage):
    weights, report = trainable(tmp_path / "whole", 6)
    trainable(tmp_path / "damaged", 6)
    last = tmp_path / "damaged" / "step=00000006.ckpt"
    last.write_bytes(DAMAGE[damage](last.read_bytes()))
    capsys.readouterr()
    again, resumed = trainable(tmp_path / "damaged", 6)
    assert resumed.resumed_at == 4
    assert f"{last} is damaged" in capsys.readouterr().err
    assert (resumed.first_loss, resumed.last_loss) == (report.first_loss, report.last_loss)
    for name in weights:
        np.testing.assert_array_equal(weights[name], again[name])


def no_memory(*_, **__):
    raise RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory")


def test_a_state_is_kept_where_memory_runs_out_while_it_is_read(trainable, tmp_path, monkeypatch):
    trainable(tmp_path, 4)
    kept = states(tmp_path)
    monkeypatch.setattr(torch, "load", no_memory)
    with pytest.raises(CheckpointError, match=r"Memory ran out while .*step=00000004\.ckpt was read"):
        last_state(tmp_path)
    assert states(tmp_path) == kept


def other_model(state):
    del state["state_dict"]["model.out.weight"]


def other_version(state):
    del state["loops"]["fit_loop"]


def other_progress(state):
    watch = next(v for k, v in state["callbacks"].items() if "Watch" in k)
    watch["losses"] = [[1.0, 2.0], "x"]


@pytest.mark.parametrize("change", [other_model, other_version, other_progress])
def test_a_state_that_does_not_fit_the_model_is_named(trainable, tmp_path, change):
    trainable(tmp_path, 4)
    last = tmp_path / "step=00000004.ckpt"
    state = torch.load(last, weights_only=True)
    change(state)
    torch.save(state, last)
    with pytest.raises(CheckpointError, match=r"cannot go on from .*step=00000004.ckpt .*Type --no-resume") as error:
        trainable(tmp_path, 6)
    assert str(error.value).isprintable()
    assert trainable(tmp_path, 6, resume=False)[1].resumed_at == 0  # the remedy works


def test_where_every_state_is_damaged_training_starts_again(trainable, tmp_path):
    weights, _ = trainable(tmp_path, 6)
    for path in tmp_path.glob("*.ckpt"):
        path.write_bytes(b"\x80")
    again, report = trainable(tmp_path, 6)
    assert report.resumed_at == 0
    for name in weights:
        np.testing.assert_array_equal(weights[name], again[name])


def test_without_resume_states_of_earlier_runs_are_forgotten(trainable, tmp_path):
    trainable(tmp_path, 6)
    _, report = trainable(tmp_path, 4, resume=False)
    assert report.resumed_at == 0
    assert states(tmp_path) == ["step=00000002.ckpt", "step=00000004.ckpt"]
    delete_checkpoints(tmp_path)
    assert last_state(tmp_path) is None


def test_a_resumed_run_keeps_the_logs_of_its_beginning(trainable, tmp_path):
    trainable(tmp_path, 4)
    (tmp_path / "step=00000004.ckpt").unlink()
    trainable(tmp_path, 4)
    rows = {p.parent.name: len(p.read_text().splitlines()) - 1 for p in tmp_path.glob("csv/*/metrics.csv")}
    assert rows == {"from-step-0": 4, "from-step-2": 2}


def test_a_file_that_is_no_training_state_is_named(tmp_path):
    (tmp_path / "step=last.ckpt").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"step=last.ckpt is not one of the suite's training states.*Delete it"):
        last_state(tmp_path)


def test_a_full_disk_in_mid_training_is_one_sentence_and_the_last_state_stays(data, tmp_path, monkeypatch, capsys):
    import errno

    from benchmark.cli import main
    from benchmark.training import callbacks as module

    original = module.States.on_train_batch_end

    def full(self, trainer, *rest):
        if trainer.global_step == 5:
            raise OSError(errno.ENOSPC, "No space left on device", "state")
        original(self, trainer, *rest)

    monkeypatch.setattr(module.States, "on_train_batch_end", full)
    monkeypatch.chdir(tmp_path)
    typed = ["run", "--model", "pointnet", "--preset", "tiny", "--labels", "6", "--dataset", "pilarnet-m"]
    typed += ["--data", str(data), "--set", "train.steps=9", "--set", "train.checkpoint_every=2", "--threads", "1"]
    started = time.time()
    with pytest.raises(SystemExit) as end:
        main([*typed, "--set", "min_points=0"])
    assert end.value.code == 2
    assert "error: The disk refused at state: No space left on device." in capsys.readouterr().err
    (state,) = tmp_path.glob("runs/pointnet*/step=00000004.ckpt")
    assert state.stat().st_mtime >= started - 1


def test_a_forced_run_starts_over(data, tmp_path):
    asked = request("pointnet", "train.steps=9")
    execute(data, tmp_path, asked, max_minutes=1e-9)
    assert execute(data, tmp_path, asked, force=True).record.training["resumed_at"] == 0
    execute(data, tmp_path, replace(asked, seed=1), max_minutes=1e-9)
    assert execute(data, tmp_path, replace(asked, seed=1), resume=False).record.training["resumed_at"] == 0
