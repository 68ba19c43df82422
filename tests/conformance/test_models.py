"""Every registered model x every task of its kind keeps the contract; new files are tested without a line here.

A file outside the suite: `python -m pytest tests/conformance/test_models.py --model path/to/my_model.py`.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark import registry
from benchmark.contracts import PointBatch, Task
from benchmark.contracts.torch_model import TorchModel
from benchmark.datasets._pilarnet import FRAME
from benchmark.errors import CheckpointError, MissingPackageError
from benchmark.evaluation.evaluate import expected_shapes
from benchmark.runs.config import Request
from benchmark.runs.resolve import can_do, resolve
from benchmark.seeding import generator
from benchmark.tasks import TASKS
from builders import calo_batches, lif_batches
from builders.batches import (
    DATASETS,
    EVENTS,
    as_asked_of_volumes,
    config_of,
    event,
    inputs_of,
    make_batch,
    make_model,
    warmed_up,
)
from builders.models import models, skipped

TOLERANCE = 2e-4  # float32 sums in another order


def pytest_generate_tests(metafunc):
    """Every test runs over all models, or over the one of --model; those of losses and gradients over torch's alone."""
    wanted = metafunc.config.getoption("--model", None)
    names = tuple(registry.model_names()) if wanted is None else (wanted,)
    if "task" in metafunc.fixturenames:
        needs_torch = metafunc.definition.get_closest_marker("needs_torch") is not None
        metafunc.parametrize(("name", "task"), [c for name in names for c in cases(name, needs_torch)])
    elif "name" in metafunc.fixturenames:
        metafunc.parametrize("name", models(names=names))


def tasks_of(name) -> list[Task]:
    """What a model is asked, on every kind of data it can do; a probe of tokens asks for no scores."""
    spec = registry.model_spec(name)
    return [spec.effective_task(t) for t in (*TASKS.values(), EVENTS) if can_do(spec, t) and t.level != "token"]


@functools.cache
def cases(name, needs_torch):
    """A parameter per task of the model; one that is skipped where a package that it needs is missing."""
    try:
        found = tasks_of(name)
    except MissingPackageError as error:
        return [skipped(error, name, None)]
    if needs_torch and not is_torch(name):
        return []
    return [pytest.param(name, task, id=f"{Path(name).stem}-{task.name}") for task in found]


def is_torch(name):
    """Whether a model is trained by the shared loop; a classical one has no loss and no gradients."""
    spec, task = registry.model_spec(name), tasks_of(name)[0]
    return isinstance(spec.build(config_of(name, task.name), inputs_of(task), task), TorchModel)


def alone(task, size, number, rng):
    """The event of this number of `make_batch`, by itself. rng: used by events of liquid argon alone, one by one."""
    if task.detector == "lif":
        return lif_batches.sample(as_asked_of_volumes(task), number)
    if task.detector == "calorimeter":
        return calo_batches.sample(task, size, number)
    return event(rng, task, size, f"a{number}")


def split(scores, batch, task):
    cuts = batch.offsets[1:-1] if task.level == "point" else np.arange(1, batch.n_events)
    return np.split(scores, cuts)


def test_scores_have_a_row_per_point_or_event_and_are_finite(name, task):
    batch = make_batch(task)
    scores = make_model(name, task).predict(batch.without_target())
    assert scores.shape in expected_shapes(batch, task)
    assert np.isfinite(scores).all()


def test_batch_mates_and_padding_never_change_an_events_scores(name, task):
    model, batch = warmed_up(name, task), make_batch(task)
    together = split(model.predict(batch), batch, task)
    rng = generator("conformance", "a")
    for i, (size, scores) in enumerate(zip((90, 160, 60), together, strict=True)):
        one = alone(task, size, i, rng)
        np.testing.assert_allclose(model.predict(one), scores, atol=TOLERANCE, rtol=TOLERANCE)


def test_permuting_points_permutes_their_scores(name, task):
    model, batch = warmed_up(name, task), make_batch(task, sizes=(150,))
    order = generator("conformance", "order").permutation(batch.n_points)
    permuted = lif_batches.permuted if task.detector == "lif" else calo_batches.permuted
    shuffled = permuted(batch.without_target(), order)
    scores = model.predict(batch)
    expected = scores[order] if task.level == "point" else scores
    np.testing.assert_allclose(model.predict(shuffled), expected, atol=TOLERANCE, rtol=TOLERANCE)


def test_a_single_point_and_a_tiny_event_are_scored(name, task):
    model = warmed_up(name, task)
    for n_points in (1, 3):
        if task.detector == "calorimeter":
            assert np.isfinite(model.predict(make_batch(task, sizes=(n_points,)).without_target())).all()
            continue
        if task.detector == "lif":
            cuts = {"sigma_min": 99.0, "min_points": n_points, "shape": (5, 10 * n_points, 10)}
            small = lif_batches.sample(as_asked_of_volumes(task), **cuts)
            assert task.level != "point" or small.n_points == n_points
            assert np.isfinite(model.predict(small.without_target())).all()
            continue
        coords = np.full((n_points, 3), 300, np.float32) + np.arange(n_points, dtype=np.float32)[:, None]
        small = PointBatch(
            coords=coords, energy=np.ones(n_points, np.float32), feats=np.zeros((n_points, 1), np.float32),
            offsets=np.array([0, n_points]), event_ids=("small",), columns=("log_energy",), frame=FRAME,
        )  # fmt: skip
        assert np.isfinite(model.predict(small)).all()


@pytest.mark.needs_torch
def test_the_loss_is_finite_and_its_gradient_reaches_every_parameter(name, task):
    model, batch = make_model(name, task), make_batch(task).to_torch()
    model.train()
    unused = {id(p) for m in model.pretraining_only() for p in m.parameters()}
    loss = model.finetune_loss(batch)[0]
    loss.backward()
    assert torch.isfinite(loss)
    missing = [n for n, p in model.named_parameters() if id(p) not in unused and p.grad is None]
    assert not missing
    if registry.model_spec(name).pretrains:
        model = make_model(name, task)
        loss, parts = model.pretrain_loss(batch)
        loss.backward()
        trained = [p for m in (*model.backbone(), *model.pretraining_only()) for p in m.parameters()]
        assert torch.isfinite(loss)
        assert parts
        assert all(p.grad is not None for p in trained)


@pytest.mark.needs_torch
def test_training_lowers_the_loss_on_the_same_events(name, task):
    model, batch = make_model(name, task), make_batch(task).to_torch()
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    model.train()
    for _ in range(25):
        optimiser.zero_grad()
        loss = model.finetune_loss(batch)[0]
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert np.mean(losses[-3:]) < 0.97 * np.mean(losses[:3])


def test_the_same_seed_gives_the_same_numbers(name, task):
    batch = make_batch(task)
    first, again = (warmed_up(name, task).predict(batch) for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_a_checkpoint_round_trip_keeps_every_score(name, task, tmp_path):
    model, batch = warmed_up(name, task), make_batch(task)
    model.save(tmp_path / "weights", {"fingerprint": "abc"})
    other = make_model(name, task, seed=9)
    other.load(tmp_path / "weights")
    np.testing.assert_array_equal(other.predict(batch), model.predict(batch))


def test_a_checkpoint_of_another_model_is_refused(name, task, tmp_path):
    (tmp_path / "weights").write_bytes(b"not a checkpoint")
    with pytest.raises(CheckpointError, match="expected"):
        make_model(name, task).load(tmp_path / "weights")


def test_every_preset_and_mode_resolves(name):
    spec = registry.model_spec(name)
    assert {"default", "tiny"} <= set(spec.presets)
    modes = ("fft", "peft", "frozen", "scratch") if spec.pretrains else ("scratch",)
    for preset in spec.presets:
        for mode in modes:
            task = next(t for t in TASKS.values() if can_do(spec, t) and t.level != "token")
            other = DATASETS[task.detector]  # pilarnet-m: for it no weights ship
            if task.self_supervised and mode == "peft":
                continue
            config = resolve(Request(name, task.name, other, preset=preset, mode=mode))
            assert (config.pretrain is not None) == (spec.pretrains and mode != "scratch")
