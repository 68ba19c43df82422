"""Batch norms take their statistics over the events of all processes: results of one process, up to rounding."""

import json
import os
import socket
import subprocess
import sys

import pytest
import torch
from torch import nn

from benchmark.ops.batch_norm import BatchNorm1d, norms_over_processes
from builders.paths import TESTS
from builders.synthetic import make_data

# every baseline with batch norms, with the settings that leave no other difference: random numbers of each process
# (dropout, shuffled curves), and losses that are no mean over points
MODELS = {
    "pointnet": ("model.event_norm=batch",), "pointnet2": (), "deep_sets": ("model.norm=true",), "gnn": (),
    "sparse_uresnet": (), "ptv3": ("model.norm=batch", "model.drop_path=0", "model.shuffle_orders=false"),
}  # fmt: skip

SCRIPT = """
import json, os, sys
from pathlib import Path
sys.path[:0] = [{root!r}, {tests!r}]
import torch
torch.set_num_threads(1)
torch.use_deterministic_algorithms(True, warn_only=True)
from dataclasses import replace
from benchmark.contracts import Inputs
from benchmark.data.stream import event_set
from benchmark.ops.batch_norm import norms_over_processes
from benchmark.registry import dataset_spec, model_spec
from benchmark.runs.resolve import resolve
from benchmark.training.fit import Hardware, fit
from builders.synthetic import request
spec = dataset_spec("pilarnet-m")
folder, result = Path({folder!r}), {{}}
for name, settings in {models!r}.items():
    config = resolve(request(name, *settings))
    dataset = spec.open(spec.config(), Path({data!r}))
    events = event_set(dataset, "train", config.task, config.preprocess)
    torch.manual_seed(0)
    model = model_spec(name).build(config.model_config, Inputs(("log_energy",), dataset.info.frame), config.task)
    train = replace(config.train, steps=2, batch_size=5)
    report = fit(model, events, train, config.optim, stage="finetune", seed=0, hardware=Hardware("cpu", "32"),
                 folder=folder / name, title=name)
    running = {{n: b.double().sum().item() for n, b in model.named_buffers() if "running" in n}}
    result[name] = [report.history["loss"], report.history["grad_norm"], running]
norm = torch.nn.Sequential(torch.nn.BatchNorm3d(2), torch.nn.BatchNorm3d(2, affine=False, momentum=None))
assert not norms_over_processes(norm)
x = torch.arange(4 * 2 * 8.0).view(4, 2, 2, 2, 2).sin()
rank, n = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
rows = x[:1] if (rank, n) == (0, 2) else x[1:] if n == 2 else x
normed = norm(rows)[-1].flatten().tolist()
result["volumes"] = [normed, [], {{k: b.double().sum().item() for k, b in norm.named_buffers()}}]
if n > 1:
    torch.distributed.barrier()  # neither ends while the other still reads
if rank == n - 1:
    (folder / "result.json").write_text(json.dumps(result))
"""


def processes_of(n, data, folder):
    """Train each model for two steps in n processes; returns its losses, gradient norms and running statistics."""
    folder.mkdir()
    script = SCRIPT.format(
        root=str(TESTS.parent), tests=str(TESTS), data=str(data), folder=str(folder), models=MODELS
    )  # fmt: skip
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = []
    for rank in range(n):
        places = {"RANK": rank, "WORLD_SIZE": n, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": n}
        variables = {**places, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "GROUP_RANK": 0} if n > 1 else {}
        environment = {**os.environ, **{k: str(v) for k, v in variables.items()}}
        started.append(
            subprocess.Popen([sys.executable, "-c", script], env=environment, stderr=subprocess.PIPE, text=True)
        )
    try:
        errors = [process.communicate(timeout=240)[1] for process in started]
    finally:
        for process in started:
            process.kill()
    assert all(process.returncode == 0 for process in started), errors
    return json.loads((folder / "result.json").read_text())


@pytest.mark.slow
def test_two_processes_train_every_baseline_with_batch_norms_as_one(tmp_path):
    data = make_data(tmp_path)
    one, two = (processes_of(n, data, tmp_path / str(n)) for n in (1, 2))
    for name in (*MODELS, "volumes"):
        for single, shared in zip(one[name][:2], two[name][:2], strict=True):
            assert shared == pytest.approx(single, rel=2e-3), name
        assert one[name][2], name
        assert two[name][2] == pytest.approx(one[name][2], rel=5e-3, abs=5e-3), name


def test_alone_the_norm_is_that_of_torch_and_a_single_row_is_normed_by_the_running_statistics():
    torch.manual_seed(1)
    rows = torch.randn(7, 3)
    own, usual = BatchNorm1d(3), nn.BatchNorm1d(3)
    assert torch.equal(own(rows), usual(rows))
    assert torch.equal(own.running_var, usual.running_var)
    usual.eval()
    assert torch.equal(own(rows[:1]), usual(rows[:1]))


def test_norms_are_replaced_in_place_and_those_of_a_class_of_its_own_are_named():
    class Own(nn.BatchNorm1d):
        pass

    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Sequential(Own(3)))
    names, parameters = list(model.state_dict()), list(map(id, model.parameters()))
    assert norms_over_processes(model) == ["2.0"]
    assert type(model[1]) is BatchNorm1d
    assert list(model.state_dict()) == names
    assert list(map(id, model.parameters())) == parameters
