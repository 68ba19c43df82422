"""Training by several processes (torchrun, srun): the events and, as nearly as sums allow, the numbers of one."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import load_file

from benchmark.errors import BenchmarkError
from benchmark.hardware import distributed as module
from benchmark.hardware.distributed import Processes, after_first, from_first, processes
from benchmark.records.store import read_records
from benchmark.runs.weights import run_folder
from benchmark.training import fit
from builders.paths import TESTS
from builders.pretraining import PRETRAIN, SCRATCH, alone
from builders.synthetic import execute, make_data

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
SLURM = ("SLURM_PROCID", "SLURM_LOCALID", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_NUM_NODES", "SLURM_NTASKS")

# one of two processes: writes down the events of every batch; pre-trains in two goes; then trains from scratch
SCRIPT = """
import json, os, sys
from pathlib import Path
sys.path[:0] = [{root!r}, {tests!r}]
import torch
torch.set_num_threads(1)
from benchmark.training import fit
from builders.synthetic import execute, request
from builders.pretraining import PRETRAIN, SCRATCH, alone
rank, original = os.environ["RANK"], fit.training_batch
def watched(events, step, *rest, **options):
    batch = original(events, step, *rest, **options)
    with open(Path({folder!r}) / f"seen-{{rank}}.jsonl", "a") as stream:
        print(json.dumps([rest[2], step, batch.event_ids]), file=stream)
    return batch
fit.training_batch = watched
data, folder = Path({data!r}), Path({folder!r})
assert alone(data, PRETRAIN, max_minutes=1e-9).stopped
done = alone(data, PRETRAIN, probe_every=2, out=folder / "w.safetensors")
assert done.record["resumed_at"] == 1, done.record["resumed_at"]
outcome = execute(data, folder, SCRATCH)
assert outcome.fresh and outcome.record.status == "finished"
"""


def alone_in(monkeypatch, **values):
    for name in (*VARIABLES, *SLURM):
        monkeypatch.delenv(name, raising=False)
    for name, value in values.items():
        monkeypatch.setenv(name, value)


def test_a_process_knows_its_place(monkeypatch):
    alone_in(monkeypatch)
    assert processes() == Processes(0, 1, 0, 1)
    assert processes().first
    alone_in(monkeypatch, RANK="5", WORLD_SIZE="8", LOCAL_RANK="1", LOCAL_WORLD_SIZE="4")
    assert processes() == Processes(5, 8, 1, 4)
    assert not processes().first
    assert processes().n_machines == 2
    alone_in(monkeypatch, RANK="0", WORLD_SIZE="1")
    assert processes().n == 1
    alone_in(monkeypatch, SLURM_PROCID="3", SLURM_LOCALID="1", SLURM_STEP_NUM_TASKS="4", SLURM_STEP_NUM_NODES="2")
    assert processes() == Processes(3, 4, 1, 2)
    alone_in(monkeypatch, SLURM_PROCID="0", SLURM_NTASKS="4")  # a batch script, whose steps srun has not started
    assert processes().n == 1


def test_alone_nobody_is_waited_for(monkeypatch):
    alone_in(monkeypatch)
    assert from_first(lambda: 3) == 3
    with after_first():
        pass
    with pytest.raises(ZeroDivisionError):
        from_first(lambda: 1 / 0)


def test_names_of_slurm_are_told_to_torch(monkeypatch):
    alone_in(monkeypatch, SLURM_PROCID="3", SLURM_LOCALID="1", SLURM_STEP_NUM_TASKS="4", SLURM_STEP_NUM_NODES="2")
    for name in ("MASTER_ADDR", "MASTER_PORT", "GROUP_RANK", *VARIABLES):
        monkeypatch.setenv(name, "")  # whatever is set now is undone after the test
        monkeypatch.delenv(name)
    monkeypatch.setenv("SLURM_NODELIST", "node7")
    monkeypatch.setenv("SLURM_JOB_ID", "123456")
    module.export_torchrun_env(processes())
    assert os.environ["MASTER_ADDR"] == "node7"
    assert int(os.environ["MASTER_PORT"]) > 1024
    assert [os.environ[n] for n in VARIABLES] == ["3", "4", "1", "2"]
    assert os.environ["GROUP_RANK"] == "1"
    assert processes() == Processes(3, 4, 1, 2)


@pytest.mark.slow
def test_two_processes_train_on_the_events_and_to_the_numbers_of_one(tmp_path, monkeypatch):
    data = make_data(tmp_path)
    folder = tmp_path / "two"
    folder.mkdir()
    (tmp_path / "script.py").write_text(
        SCRIPT.format(root=str(TESTS.parent), tests=str(TESTS), data=str(data), folder=str(folder))
    )
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "PARTICLEBENCH_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, str(tmp_path / "script.py")], env=environment, capture_output=True, text=True, timeout=180
    )
    assert done.returncode == 0, done.stdout + done.stderr

    whole, original = {}, fit.training_batch

    def watched(events, step, *rest, **options):
        batch = original(events, step, *rest, **options)
        whole[rest[2], step] = list(batch.event_ids)
        return batch

    monkeypatch.setattr(fit, "training_batch", watched)
    monkeypatch.setenv("PARTICLEBENCH_CACHE", str(tmp_path / "own_cache"))
    single_pretraining = alone(data, PRETRAIN).record
    single = execute(data, tmp_path / "one", SCRATCH).record
    for rank in range(2):
        lines = (folder / f"seen-{rank}.jsonl").read_text().splitlines()
        seen = {(stage, step): ids for stage, step, ids in map(json.loads, lines)}
        assert seen == {place: ids[rank::2] for place, ids in whole.items()}

    (made,) = (tmp_path / "cache" / "pretrained").iterdir()
    assert sorted(p.name for p in made.iterdir()) == sorted(
        ["csv", "curves.png", "tensorboard", "training.json", "weights.safetensors"]
    )
    pretraining = json.loads((made / "training.json").read_text())
    assert pretraining["environment"]["processes"] == 2
    assert [s["step"] for s in pretraining["probe"]["scores"]] == [2, 4]
    (record,), problems = read_records(folder / "records")
    assert not problems

    # other tokens are hidden in the second process's events, so pre-training is alike and no more
    assert pretraining["first_loss"] == pytest.approx(single_pretraining["first_loss"], rel=0.2)
    # what is summed in another order grows apart from step to step, on some processors more than on others
    for name, tolerance in (("first_loss", 1e-3), ("last_loss", 1e-2), ("grad_norm", 1e-2)):
        assert record.training[name] == pytest.approx(single.training[name], rel=tolerance), name
    two, one = (load_file(run_folder(f / "runs", r) / "model.safetensors") for f, r in (
        (folder, record), (tmp_path / "one", single)))  # fmt: skip
    for name in one:
        if "running" in name:  # statistics of the whole batch, not of one process's share
            np.testing.assert_allclose(two[name], one[name], rtol=0.02, atol=2e-3, err_msg=name)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("node7", "node7"), ("node[07-09,12]", "node07"), ("a1,b2", "a1"), ("n[3]-x,n9", "n3-x"), ("r[1-2]c[4]", "r1c4")],
)
def test_the_first_machine_of_a_list_of_slurm(monkeypatch, nodes, first):
    monkeypatch.setenv("SLURM_STEP_NODELIST", nodes)
    assert module._first_node() == first


def test_the_variables_that_srun_sets_without_tasks_per_node_are_enough(monkeypatch):
    alone_in(monkeypatch, SLURM_PROCID="1", SLURM_LOCALID="1", SLURM_STEP_NUM_TASKS="2", SLURM_STEP_NUM_NODES="1",
             SLURM_NTASKS="2")  # fmt: skip
    for name in ("MASTER_ADDR", "MASTER_PORT", "GROUP_RANK", "SLURM_NTASKS_PER_NODE", *VARIABLES):
        monkeypatch.setenv(name, "")  # whatever is set now is undone after the test
        monkeypatch.delenv(name)
    monkeypatch.setenv("SLURM_STEP_NODELIST", "node7")
    module.export_torchrun_env(processes())
    assert os.environ["MASTER_ADDR"] == "node7"
    port = os.environ.pop("MASTER_PORT")
    monkeypatch.setenv("SLURM_STEP_ID", "1")  # another step of the same job has another port
    module.export_torchrun_env(processes())
    assert os.environ["MASTER_PORT"] != port


def test_a_process_whose_others_do_not_come_says_so_and_gives_up(monkeypatch, capsys):
    alone_in(monkeypatch, SLURM_PROCID="0", SLURM_LOCALID="0", SLURM_STEP_NUM_TASKS="2", SLURM_STEP_NUM_NODES="1")
    for name in ("MASTER_ADDR", "MASTER_PORT", "GROUP_RANK", *VARIABLES):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setattr(module, "JOIN_PATIENCE", module.timedelta(seconds=3))
    monkeypatch.setattr(module, "_QUIET_S", 0.2)
    with pytest.raises(BenchmarkError, match=r"process 0 of 2 .*, as SLURM_STEP_NUM_TASKS says, and the others"):
        module.join("cpu")
    assert "This is process 0 of 2 of one command: it waits at 127.0.0.1:" in capsys.readouterr().err


def test_a_number_of_processes_that_is_none_is_one_sentence(monkeypatch):
    alone_in(monkeypatch, RANK="0", WORLD_SIZE="two")
    with pytest.raises(BenchmarkError, match="The variable WORLD_SIZE is 'two'"):
        processes()
