"""Every backbone of points on the five calorimeter tasks: invariances, gradients, published networks, event features.

`test_conformance.py` holds all models to the contract with their tiny presets; here are what calorimeters add, samples
of very unequal size, and the larger presets.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
import torch

from benchmark import registry
from benchmark.baselines.pointnet import PointNet
from benchmark.contracts import Inputs, concatenate
from benchmark.contracts.heads import PooledHead, append_event_columns
from benchmark.contracts.losses import task_loss
from benchmark.seeding import generator
from benchmark.settings import override
from benchmark.tasks import TASKS
from builders.calo_batches import CALO_TASKS, inputs_of, make_batch, permuted, sample

NAMES = (
    "deep_sets", "pointnet", "pointnet2", "ptv3", "sparse_uresnet", "gnn", "set_transformer", "transformer", "polarmae",
    "pointmae",
)  # fmt: skip
TOLERANCE = 2e-4  # float32 sums in another order
SIZES = (1, 90, 3, 300, 40)
CASES = [pytest.param(n, t, id=f"{n}-{t.name}") for n in NAMES for t in CALO_TASKS]
CLUSTERS, ASSOCIATION = TASKS["pion-classification"], TASKS["cell-to-track"]


@functools.cache
def a_batch(task_name, sizes=SIZES, stream="a"):
    return make_batch(TASKS[task_name], sizes, stream)


def config_of(name, preset="tiny"):
    spec = registry.model_spec(name)
    return override(spec.config(), spec.preset(preset, "calorimeter").model, "model")


def build(name, task, preset="tiny", **changes):
    torch.manual_seed(0)
    config = dataclasses.replace(config_of(name, preset), **changes)
    return registry.model_spec(name).build(config, inputs_of(task), task)


def trained(name, task, preset="tiny", **changes):
    """A model whose weights and running statistics have left their initial values."""
    model, optimiser = build(name, task, preset, **changes), None
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3)
    model.train()
    for _ in range(3):
        batch = a_batch(task.name).to_torch()
        optimiser.zero_grad()
        model.finetune_loss(batch)[0].backward()
        optimiser.step()
    return model


def parts(scores, batch, task):
    return np.split(scores, batch.offsets[1:-1] if task.level == "point" else np.arange(1, batch.n_events))


@pytest.mark.parametrize(("name", "task"), CASES)
def test_samples_of_any_size_are_scored_alike_alone_together_and_in_any_order(name, task):
    model, batch = trained(name, task), a_batch(task.name).without_target()
    together = parts(model.predict(batch), batch, task)
    assert sum(len(s) for s in together) == (batch.n_points if task.level == "point" else batch.n_events)
    rng = generator("calo models", name)
    for i, size in enumerate(SIZES):
        alone = sample(task, size, i, "a").without_target()
        order = rng.permutation(alone.n_points)
        assert np.isfinite(together[i]).all()
        scores = model.predict(alone)
        np.testing.assert_allclose(scores, together[i], atol=TOLERANCE, rtol=TOLERANCE)
        expected = scores[order] if task.level == "point" else scores
        np.testing.assert_allclose(model.predict(permuted(alone, order)), expected, atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize(("name", "task"), CASES)
@pytest.mark.parametrize("preset", ["default", "paper"])
def test_gradients_of_the_larger_presets_reach_every_parameter(name, task, preset):
    slow = {"transformer", "polarmae", "pointmae", "ptv3", "sparse_uresnet"}
    changes = {}
    if preset == "paper" and name in slow:  # the published sizes on calorimeters are tens of millions of numbers
        changes = {k: v for k, v in registry.model_spec(name).presets["tiny"].model.items() if k != "stem_kernel"}
    model, batch = build(name, task, preset, **changes), a_batch(task.name, (30, 45)).to_torch()
    model.train()
    unused = {id(p) for m in model.pretraining_only() for p in m.parameters()}
    loss = model.finetune_loss(batch)[0]
    loss.backward()
    assert torch.isfinite(loss)
    assert not [n for n, p in model.named_parameters() if id(p) not in unused and p.grad is None]


@pytest.mark.parametrize(("name", "task"), CASES)
def test_what_was_measured_of_the_event_reaches_every_score(name, task):
    """One model of each kind of head is told that the event's columns are others: all scores of that event move."""
    model, batch = trained(name, task), a_batch(task.name).without_target()
    moved = batch.whole.feats.copy()
    moved[1] += 1.0
    other = dataclasses.replace(batch, whole=dataclasses.replace(batch.whole, feats=moved))
    before = parts(model.predict(batch), batch, task)
    after = parts(model.predict(other), batch, task)
    changed = [bool((a != b).any(axis=1).all()) for a, b in zip(before, after, strict=True)]
    assert changed[1]
    for i in (0, 2, 3, 4):
        np.testing.assert_allclose(before[i], after[i], atol=TOLERANCE, rtol=TOLERANCE)


@pytest.mark.parametrize("name", ["polarmae", "pointmae"])
@pytest.mark.parametrize("task", [CLUSTERS, TASKS["pion-track-regression"], ASSOCIATION], ids=lambda t: t.name)
def test_pretraining_on_unlabelled_cells_trains_backbone_and_decoder(name, task):
    model, batch = build(name, task), a_batch(task.name).without_target().to_torch()
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for step in range(30):
        torch.manual_seed(step)
        optimiser.zero_grad()
        loss, found = model.pretrain_loss(batch)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    used = [p for m in (*model.backbone(), *model.pretraining_only()) for p in m.parameters()]
    assert all(p.grad is not None for p in used)
    assert set(found) == ({"chamfer", "energy"} if name == "polarmae" else {"chamfer"})
    assert np.isfinite(losses).all()
    assert np.mean(losses[-5:]) < 0.8 * np.mean(losses[:5])


@pytest.mark.parametrize("name", ["polarmae", "pointmae"])
@pytest.mark.parametrize("task", CALO_TASKS, ids=lambda t: t.name)
def test_a_linear_read_out_of_a_fixed_backbone_is_trained(name, task):
    model, batch = build(name, task, head="linear"), a_batch(task.name).to_torch()
    for module in model.backbone():
        module.requires_grad_(False)
    model.finetune_loss(batch)[0].backward()
    assert all(p.grad is not None for p in model.head.parameters())
    assert all(p.grad is None for m in model.backbone() for p in m.parameters())


@pytest.mark.parametrize("name", ["polarmae", "pointmae"])
def test_hidden_tokens_are_reconstructed_where_the_hidden_cells_are(name):
    model, batch = build(name, CLUSTERS), a_batch(CLUSTERS.name, (60, 120)).to_torch()
    found = model.reconstruct(batch)
    assert len(found.coords) == len(found.log_energy) > 0
    assert torch.isfinite(found.coords).all()
    reach = batch.coords.abs().max() + 10 * model.config.group_radius
    assert found.coords.abs().max() < reach


def test_tokens_of_the_default_preset_leave_few_cells_out():
    model, batch = build("transformer", CLUSTERS, "default"), a_batch(CLUSTERS.name, (60,) * 8).to_torch()
    tokens = model.tokens(batch)
    assert 6 <= np.mean(tokens.lengths) <= 25
    assert len(tokens.point.unique()) > 0.95 * batch.n_points


def test_the_smaller_published_networks_have_the_published_sizes():
    sizes = {
        ("pointnet", "cell-to-track-binary"): 5_036_555,  # about 5 million
        ("set_transformer", "pion-track-regression"): 26_425,
    }
    for (name, task), expected in sizes.items():
        assert build(name, TASKS[task], "paper").n_parameters == expected
    linear = [m for m in build("deep_sets", CLUSTERS, "paper").modules() if isinstance(m, torch.nn.Linear)]
    places, columns, shared = 3, len(inputs_of(CLUSTERS).columns), inputs_of(CLUSTERS).n_event_features
    assert [(m.in_features, m.out_features) for m in linear] == [
        (places + columns, 100), (100, 100), (100, 128), (128 + shared, 100), (100, 100), (100, 100), (100, 2),
    ]  # fmt: skip


def test_a_particle_flow_network_sees_a_cluster_through_the_sum_of_its_cells():
    model, one = build("deep_sets", CLUSTERS, "paper").eval(), a_batch(CLUSTERS.name, (40,)).to_torch()
    rows = model.features(one)
    expected = model.head.out(model.head.rho(torch.cat([rows.sum(0, keepdim=True), one.whole.feats], dim=1)))
    torch.testing.assert_close(model(one), expected)
    alone = model.features(dataclasses.replace(
        one, coords=one.coords[:1], energy=one.energy[:1], feats=one.feats[:1], offsets=torch.tensor([0, 1])
    ))  # fmt: skip
    torch.testing.assert_close(alone, rows[:1])  # a cell knows nothing of the others


def test_pointnet_for_cells_and_tracks_has_the_published_widths_and_dropout():
    model = build("pointnet", ASSOCIATION, "paper")
    assert isinstance(model, PointNet)

    def widths(net):
        return [m.out_features for m in net.modules() if isinstance(m, torch.nn.Linear)]

    assert widths(model.input_net) == [64, 128, 1024, 512, 256, 9]
    assert widths(model.feature_net) == [64, 128, 1024, 512, 256, 96 * 96]
    assert widths(model.local) + widths(model.wide) == [96, 96, 128, 256, 1024]
    assert [model.join.from_local.out_features, *widths(model.head), *widths(model.out)] == [512, 256, 128, 3]
    assert model.dropout.p == 0.3
    assert model.config.transform_penalty == 1e-3


def test_regressions_learn_the_difference_to_the_baseline():
    task = TASKS["pion-regression"]
    model, batch = build("deep_sets", task), a_batch(task.name)
    moved = batch.to_torch()
    scores = model.eval()(moved)
    torch.testing.assert_close(
        task_loss(task, scores, moved, None), (scores[:, 0] + moved.whole.baseline - moved.target).abs().mean()
    )
    np.testing.assert_allclose(model.predict(batch)[:, 0], (scores[:, 0] + moved.whole.baseline).detach(), rtol=1e-6)


def test_event_columns_and_coordinates_join_the_points_of_their_own_event():
    batch = a_batch(ASSOCIATION.name, (30, 50)).to_torch()
    wide = append_event_columns(batch, True, 4.0)
    n, g = batch.feats.shape[1], batch.whole.feats.shape[1]
    assert len(wide.columns) == wide.feats.shape[1] == n + g + 3
    assert len(set(wide.columns)) == len(wide.columns)
    for row in (0, batch.n_points - 1):
        torch.testing.assert_close(wide.feats[row, n : n + g], batch.whole.feats[batch.event_index[row]])
    centre = torch.tensor(batch.frame.centre)
    torch.testing.assert_close(wide.feats[:, n + g :] * 4.0 + centre, batch.coords, atol=1e-4, rtol=1e-5)
    assert append_event_columns(batch, False) is batch


def test_heads_of_detectors_without_event_features_are_what_they_were():
    torch.manual_seed(3)
    plain = PooledHead(8, 2)
    torch.manual_seed(3)
    told = PooledHead(8, 2, n_event_features=0)
    assert {k: v.shape for k, v in plain.state_dict().items()} == {k: v.shape for k, v in told.state_dict().items()}
    x = torch.randn(5, 8)
    assert torch.equal(plain(x, [2, 3]), told(x, torch.tensor([2, 3]), None))
    assert PooledHead(8, 2, n_event_features=3).perceptron[0].in_features == 19


def test_a_model_without_event_columns_works_on_a_calorimeter_too():
    task = CLUSTERS
    inputs = Inputs(inputs_of(task).columns, inputs_of(task).frame)
    for name in NAMES:
        torch.manual_seed(0)
        model = registry.model_spec(name).build(config_of(name), inputs, task)
        batch = a_batch(task.name)
        batch = dataclasses.replace(batch, whole=dataclasses.replace(batch.whole, feats=None, columns=()))
        assert np.isfinite(model.predict(batch.without_target())).all()


def test_padding_of_others_never_changes_a_score_of_the_set_transformer():
    for inducing in (0, 4):
        model = trained("set_transformer", ASSOCIATION, inducing=inducing)
        small = sample(ASSOCIATION, 20, 0, "pad").without_target()
        alone = model.predict(small)
        for size in (21, 24, 400):
            mates = [small, sample(ASSOCIATION, size, 1, "pad").without_target()]
            together = model.predict(concatenate(mates))[: small.n_points]
            np.testing.assert_allclose(together, alone, atol=2e-5, rtol=2e-5)
