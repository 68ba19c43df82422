"""Batches of random events, and models whose statistics are settled."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import torch

from benchmark import registry
from benchmark.contracts import Inputs, PointBatch, Task, concatenate
from benchmark.contracts.pretext import HIDDEN
from benchmark.contracts.torch_model import TorchModel
from benchmark.datasets._pilarnet import FRAME
from benchmark.runs.config import Request
from benchmark.runs.resolve import resolve
from benchmark.seeding import generator
from benchmark.tasks import TASKS
from builders import calo_batches, lif_batches

EVENTS = Task(  # no dataset has such labels yet; a backbone of points serves it all the same
    name="events", version=1, summary="A class for each event", data="points", level="event", kind="classification",
    label="kind", classes=("a", "b", "c"),
)  # fmt: skip

DATASETS = {"lartpc": "pilarnet-m", "calorimeter": "calo-sim", "lif": "lif-sim"}


def inputs_of(task, hidden=False):
    """What a model of the task is told of such batches; `hidden`: with the column that pretexts add."""
    batches = {"calorimeter": calo_batches, "lif": lif_batches}.get(task.detector)
    inputs = Inputs(("log_energy",), FRAME) if batches is None else batches.inputs_of(task)
    return dataclasses.replace(inputs, columns=(*inputs.columns, HIDDEN)) if hidden else inputs


@functools.cache
def config_of(name, task_name):
    data = {"task": task_name} if task_name in TASKS else {}
    dataset = DATASETS[TASKS[task_name].detector] if data else "pilarnet-m"
    return resolve(Request(name, preset="tiny", dataset=dataset, **data)).model_config


def track(rng, n_points):
    """Integer voxels along a straight line with a blob at its end: something to group."""
    start, direction = rng.uniform(250, 500, 3), rng.normal(size=3)
    direction /= np.linalg.norm(direction)
    line = start + direction * np.arange(n_points)[:, None] * 0.7
    line[: n_points // 3] = start + rng.normal(size=(n_points // 3, 3)) * 6
    return np.unique(np.rint(line), axis=0).astype(np.float32)


def event(rng, task, n_points, name):
    coords = np.concatenate([track(rng, n_points), track(rng, n_points // 2) + 60])
    coords = np.unique(coords, axis=0)
    n = len(coords)
    energy = rng.lognormal(-0.5, 0.5, n).astype(np.float32) + 0.13
    target = rng.integers(0, task.n_outputs, n if task.level == "point" else 1)
    return PointBatch(
        coords=coords, energy=energy, feats=(np.log10(energy) / 2)[:, None].astype(np.float32),
        offsets=np.array([0, n]), event_ids=(name,), columns=("log_energy",), frame=FRAME, target=target,
    )  # fmt: skip


def make_batch(task, sizes=(90, 160, 60), stream="a"):
    if task.detector == "lif":
        return lif_batches.make_batch(as_asked_of_volumes(task), len(sizes), stream)
    if task.detector == "calorimeter":
        return calo_batches.make_batch(task, sizes, stream)
    rng = generator("conformance", stream)
    return concatenate([event(rng, task, n, f"{stream}{i}") for i, n in enumerate(sizes)])


def as_asked_of_volumes(task):
    """The task on tiles, of which a model of points sees the bright voxels."""
    return TASKS[task.name]


def make_model(name, task, seed=0, hidden=False):
    spec = registry.model_spec(name)
    torch.manual_seed(seed)
    model = spec.build(config_of(name, task.name), inputs_of(task, hidden), task)
    if not isinstance(model, TorchModel):
        model.fit(iter([make_batch(task)]), task)
    return model


def warmed_up(name, task, hidden=False):
    """A model whose weights and running statistics have left their initial values."""
    model = make_model(name, task, hidden=hidden)
    if isinstance(model, TorchModel):
        optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
        model.train()
        for step in range(4):
            batch = make_batch(task, stream=f"warm{step}").to_torch()
            optimiser.zero_grad()
            model.finetune_loss(batch)[0].backward()
            optimiser.step()
    return model
