"""The dense network on features of events: what it sees, the published sizes, and the contract of models."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from benchmark import registry
from benchmark.baselines.dnn import DnnConfig, build
from benchmark.contracts import Inputs
from benchmark.errors import CheckpointError
from benchmark.tasks import TASKS
from builders.calo_batches import CALO_TASKS, FRAME, SIZES, inputs_of, make_batch, sample

EVENT_TASKS = [pytest.param(t, id=t.name) for t in CALO_TASKS if t.level == "event"]
TRACK = TASKS["pion-track-regression"]


def made(task, seed=0, **settings):
    torch.manual_seed(seed)
    return build(DnnConfig(**settings), inputs_of(task), task)


@pytest.mark.parametrize("task", EVENT_TASKS)
def test_it_sees_events_and_no_cells(task):
    model, batch = made(task), make_batch(task)
    scores = model.predict(batch.without_target())
    assert scores.shape == (3, task.n_outputs)
    blind = dataclasses.replace(batch, coords=np.zeros_like(batch.coords), feats=np.zeros_like(batch.feats))
    np.testing.assert_array_equal(model.predict(blind), scores)
    for column in range(batch.whole.feats.shape[1]):
        other = batch.whole.feats.copy()
        other[:, column] += 1
        changed = dataclasses.replace(batch, whole=dataclasses.replace(batch.whole, feats=other))
        assert (model.predict(changed) != scores).any()


@pytest.mark.parametrize("task", EVENT_TASKS)
def test_batch_mates_never_change_a_score(task):
    model = made(task)
    scores = model.predict(make_batch(task))
    for i, size in enumerate(SIZES):
        np.testing.assert_allclose(model.predict(sample(task, size, i))[0], scores[i], atol=1e-6)


def test_the_published_network_has_three_layers_of_fifty():
    spec = registry.model_spec("dnn")
    paper = spec.presets["paper"]
    model = spec.build(DnnConfig(**paper.model), inputs_of(TRACK), TRACK)
    sizes = [(m.in_features, m.out_features) for m in model.modules() if isinstance(m, nn.Linear)]
    assert sizes == [(16, 50), (50, 50), (50, 50), (50, 1)]
    assert (paper.optim["lr"], paper.train["batch_size"], paper.optim["optimiser"]) == (1e-3, 1024, "adam")


def test_its_output_is_added_to_the_electromagnetic_scale():
    model, batch = made(TRACK), make_batch(TRACK)
    added = model(batch.to_torch())[:, 0].detach().numpy()
    np.testing.assert_allclose(model.predict(batch)[:, 0], batch.whole.baseline + added, rtol=1e-6)


@pytest.mark.parametrize("task", EVENT_TASKS)
def test_it_learns_and_every_parameter_has_a_gradient(task):
    model, batch = made(task), make_batch(task, (30,) * 16).to_torch()
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
    losses = []
    for _ in range(60):
        optimiser.zero_grad()
        loss = model.finetune_loss(batch)[0]
        loss.backward()
        assert all(p.grad is not None for p in model.parameters())
        optimiser.step()
        losses.append(loss.item())
    assert np.mean(losses[-3:]) < 0.95 * np.mean(losses[:3])


def test_a_checkpoint_keeps_every_score_and_no_other_file_is_taken(tmp_path):
    model, batch = made(TRACK), make_batch(TRACK)
    model.save(tmp_path / "weights", {"fingerprint": "abc"})
    other = made(TRACK, seed=9)
    other.load(tmp_path / "weights")
    np.testing.assert_array_equal(other.predict(batch), model.predict(batch))
    (tmp_path / "bytes").write_bytes(b"not a checkpoint")
    for target, file in ((other, "bytes"), (made(TRACK, layers=(8,)), "weights")):
        with pytest.raises(CheckpointError, match="expected"):
            target.load(tmp_path / file)


def test_a_network_without_features_is_refused():
    with pytest.raises(ValueError, match="event_columns"):
        build(DnnConfig(), Inputs(("log_energy",), FRAME), TRACK)


@pytest.mark.parametrize("layers", [(), (0,), (50, -1)])
def test_settings_that_are_not_possible_are_refused(layers):
    with pytest.raises(ValueError, match="expected"):
        DnnConfig(layers=layers)
