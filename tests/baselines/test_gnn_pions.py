"""The published graph network for pions: its inputs in their order, size, outputs and loss; graphs of cells."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch.nn import functional

pytest.importorskip("torch_geometric", reason="the package torch_geometric, which gnn needs, is not installed")

from benchmark.baselines._graph import canonical
from benchmark.baselines._graph_cells import NEAREST, cell_edges, cell_level
from benchmark.baselines._graph_pions import PionNetwork, cells_only, global_inputs, node_inputs, published_loss
from benchmark.baselines.gnn import SPEC, GNNConfig
from benchmark.contracts import Links, PointBatch
from benchmark.seeding import generator
from benchmark.settings import override
from benchmark.tasks import TASKS
from builders.calo_batches import FRAME, inputs_of, make_batch, permuted, sample

CLASSIFICATION, REGRESSION = TASKS["pion-classification"], TASKS["pion-regression"]
TRACK, ASSOCIATION = TASKS["pion-track-regression"], TASKS["cell-to-track"]
PAIRS = [CLASSIFICATION, REGRESSION, TRACK]


def config(preset="paper"):
    return override(SPEC.config(), SPEC.preset(preset, "calorimeter").model, "model")


def a_model(task, preset="paper", **changes):
    torch.manual_seed(0)
    return SPEC.build(dataclasses.replace(config(preset), **changes), inputs_of(task), task)


def three_cells(**event_info):
    """Cells of 1, 0.1 and 10 GeV: in EMB2 two neighbours in phi, in EMB3 the last, behind the second."""
    column = {
        "sampling": [2, 2, 3], "eta": [0.1, 0.1, 0.11], "phi": [-1.0, -0.975, -0.97],
        "r_perp_mm": [1723.89, 1723.89, 1923.02], "deta": [0.025, 0.025, 0.05], "dphi": [0.0245, 0.0245, 0.0245],
        "category": [1, 1, 1],
    }  # fmt: skip
    arrays = {name: np.asarray(values, np.float32) for name, values in column.items()}
    return PointBatch(
        coords=np.array([[0, 0, 5], [0, 1, 5], [0.4, 1.2, 10]], np.float32),
        energy=np.array([1.0, 0.1, 10.0], np.float32), feats=np.zeros((3, 1), np.float32), offsets=np.array([0, 3]),
        event_ids=("three",), columns=("nothing",), frame=FRAME,
        links=Links(ends=np.array([[0, 1], [1, 0], [1, 2], [2, 1]]), kind=np.array([1, 0, 5, 4])), point_info=arrays,
        event_info={k: np.array([v], np.float32) for k, v in event_info.items()},
    ).to_torch()  # fmt: skip


def test_nodes_are_the_published_seven_numbers_in_their_order():
    batch = three_cells(cluster_e=11.1)
    alone = node_inputs(batch, "cluster")
    expected = [
        [0.0, 2 / 28, 0.1, -1.0, 1723.89 / 3000, 0.025, 0.0245],
        [-1.0, 2 / 28, 0.1, -0.975, 1723.89 / 3000, 0.025, 0.0245],
        [1.0, 3 / 28, 0.11, -0.97, 1923.02 / 3000, 0.05, 0.0245],
    ]  # fmt: skip
    torch.testing.assert_close(alone, torch.tensor(expected))
    scaled = node_inputs(batch, "track")[2]
    want = [
        (1.0 + 1.0122) / 0.8184, (3 - 3.8827) / 3.9588, (0.11 - 0.0006) / 1.4709, -0.97 / 1.8137,
        (1923.02 - 1478.93) / 434.61, (0.05 - 0.02661) / 0.03396, (0.0245 - 0.06869) / 0.03859,
    ]  # fmt: skip
    torch.testing.assert_close(scaled, torch.tensor(want), atol=1e-5, rtol=1e-5)


def test_a_cluster_alone_tells_its_energy_and_one_with_a_track_fourteen_numbers():
    torch.testing.assert_close(
        global_inputs(three_cells(cluster_e=11.1), "cluster"), torch.tensor([[math.log10(11.1)]])
    )
    energies = {f"cluster_e_{i}": 0.0 for i in range(10)} | {"cluster_e_0": 100.0, "cluster_e_1": 7.93}
    track = {"track_pt": 50.0, "track_z0": -20.0, "track_eta": 0.5, "track_phi": 2.0}
    (row,) = global_inputs(three_cells(**energies, **track), "track")
    assert len(row) == 14
    expected = [(2 - 0.8992) / 1.0586, (math.log10(7.93) - 0.8992) / 1.0586]
    torch.testing.assert_close(row[:2], torch.tensor(expected), atol=1e-5, rtol=1e-5)
    absent = (math.log10(0.1) - 0.8992) / 1.0586  # below every real cluster; 0 would be one of 7.9 GeV
    torch.testing.assert_close(row[2:10], torch.full((8,), absent))
    want = [(math.log10(50) - 1.6333) / 0.8482, (-20 - 0.0802) / 42.533, 0.5056 / 1.3524, (2 - 0.0021) / 1.8124]
    torch.testing.assert_close(row[10:], torch.tensor(want), atol=1e-5, rtol=1e-5)


def test_edges_are_the_detectors_links_by_receiver_and_tell_their_kind():
    batch = three_cells()
    order = canonical(batch)
    assert order.tolist() == [0, 1, 2]
    edges, kind = cell_edges(batch, order, 0)
    assert edges.tolist() == [[1, 0, 2, 1], [0, 1, 1, 2]]  # senders, receivers
    assert kind.tolist() == [0, 1, 4, 5]
    turned = cell_edges(batch, torch.tensor([2, 1, 0]), 0)[0]
    assert sorted(zip(*turned.tolist(), strict=True)) == [(0, 1), (1, 0), (1, 2), (2, 1)]
    level = cell_level(batch, order, 0)
    assert level.starts.tolist() == [0, 1, 3, 4]
    assert level.edges.shape == (4, 10)
    assert level.edges.argmax(1).tolist() == kind.tolist()


def test_points_without_links_are_joined_with_their_nearest_both_ways():
    batch = sample(ASSOCIATION, 60).to_torch()
    order = canonical(batch)
    edges, kind = cell_edges(batch, order, 4)
    assert (kind < NEAREST).sum() == len(batch.links.ends)
    joined = edges[:, kind == NEAREST]
    assert set(map(tuple, joined.T.tolist())) == {(b, a) for a, b in joined.T.tolist()}
    assert torch.equal(edges[1].unique(), torch.arange(batch.n_points))  # everyone hears somebody
    assert (edges[1].diff() >= 0).all()
    without = dataclasses.replace(batch, links=Links())
    assert (cell_edges(without, order, 4)[1] == NEAREST).all()


@pytest.mark.parametrize(("task", "n_parameters"), [(CLASSIFICATION, 333_063), (REGRESSION, 333_063), (TRACK, 338_081)])
def test_the_built_network_has_the_published_number_of_parameters(task, n_parameters):
    """333,063 is published; 13 more numbers of the graph widen each block that reads them, and the read-outs."""
    model = a_model(task)
    assert isinstance(model.network, PionNetwork)
    assert model.n_parameters == n_parameters
    blocks, globals_ = model.network.blocks.blocks, 1 if n_parameters == 333_063 else 14
    first = [[m.in_features for m in (b.edge[0], b.node[0], b.state[0])] for b in blocks]
    more = globals_ - 1
    assert first == [
        [25 + more, 72 + more, 65 + more], [281 + more, 200 + more, 129 + more], [512, 320, 192], [512, 320, 192],
    ]  # fmt: skip
    assert {b.aggr_module.__class__.__name__ for b in blocks} == {"MeanAggregation"}


def test_the_recipe_is_the_published_one():
    preset = SPEC.preset("paper", "calorimeter")
    optim = {"optimiser": "adam", "lr": 1e-3, "weight_decay": 0.0, "warmup_fraction": 0.0, "clip_norm": 0.0}
    assert optim.items() <= preset.optim.items()
    assert preset.train == {"rotation": "none", "batch_size": 1024, "steps": 5490}
    assert SPEC.preset("paper", "lartpc").model == {"network": "stack", "k": 4, "reducer": "sum"}


def test_both_tasks_are_answered_from_the_same_two_outputs():
    batch = make_batch(REGRESSION).to_torch()
    regression, classification = (a_model(t).eval() for t in (REGRESSION, CLASSIFICATION))
    classification.load_state_dict(regression.state_dict())
    energy, logit = regression.network(batch)
    np.testing.assert_allclose(regression.predict(batch)[:, 0], energy.detach(), rtol=1e-5)
    scores = torch.from_numpy(classification.predict(batch))
    torch.testing.assert_close(scores.softmax(1)[:, 1], logit.detach().sigmoid())
    outputs = [read_out.weight for read_out in regression.network.read_outs]
    assert [w.shape for w in outputs] == [(1, 257), (1, 257)]
    with torch.no_grad():  # the second output is the type, and only it
        regression.network.read_outs[0].bias += 1.0
    moved_energy, same_logit = regression.network(batch)
    assert torch.equal(same_logit, logit)
    torch.testing.assert_close(moved_energy, energy + regression.network.energy.weight[0, 0])


@pytest.mark.parametrize("task", PAIRS, ids=lambda t: t.name)
def test_the_loss_is_three_quarters_of_the_energy_and_one_quarter_of_the_type(task):
    model, batch = a_model(task), make_batch(task).to_torch()
    loss = model.finetune_loss(batch)[0]
    energy, logit = model.network(batch)
    is_regression = task.kind == "regression"
    true = batch.target if is_regression else batch.label("log_true_energy")
    charged = batch.label("pion") if is_regression else batch.target.float()
    bce = functional.binary_cross_entropy_with_logits(logit, charged)
    torch.testing.assert_close(loss, 0.75 * (energy - true).abs().mean() + 0.25 * bce)
    by_hand = published_loss(torch.tensor([1.0, 2.0]), torch.zeros(2), torch.tensor([1.5, 2.5]), torch.ones(2), 0.75)
    assert by_hand.item() == pytest.approx(0.75 * 0.5 + 0.25 * math.log(2))
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())


def test_hits_of_tracks_are_no_nodes_and_links_follow_the_cells():
    batch = sample(TRACK, 50).to_torch()
    kept = cells_only(batch)
    assert kept.n_points == 50 < batch.n_points
    assert kept.offsets.tolist() == [0, 50]
    assert len(kept.links.ends) == len(batch.links.ends)
    torch.testing.assert_close(kept.coords[kept.links.ends[:, 0]], batch.coords[batch.links.ends[:, 0]])
    assert cells_only(sample(REGRESSION, 20).to_torch()).n_points == 20


@pytest.mark.parametrize("task", PAIRS, ids=lambda t: t.name)
def test_the_published_network_ignores_batch_mates_and_the_order_of_cells(task):
    model, sizes = a_model(task), (1, 40, 200)
    together = model.predict(make_batch(task, sizes).without_target())
    for i, size in enumerate(sizes):
        alone = sample(task, size, i).without_target()
        order = generator("pions", "order").permutation(alone.n_points)
        np.testing.assert_allclose(model.predict(alone)[0], together[i], atol=2e-5, rtol=2e-5)
        np.testing.assert_allclose(model.predict(permuted(alone, order))[0], together[i], atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize("network", ["stack", "pyramid"])
@pytest.mark.parametrize("task", [CLASSIFICATION, ASSOCIATION], ids=lambda t: t.name)
def test_either_network_works_on_the_graph_of_cells(task, network):
    model, batch = a_model(task, "tiny", network=network, graph="cells"), make_batch(task, (30, 1, 90))
    model.train()
    model.finetune_loss(batch.to_torch())[0].backward()
    assert not [n for n, p in model.named_parameters() if p.grad is None]
    alone = sample(task, 30).without_target()
    order = generator("pions", "order").permutation(alone.n_points)
    scores = model.predict(alone)
    rows = len(scores)
    np.testing.assert_allclose(model.predict(batch.without_target())[:rows], scores, atol=2e-5, rtol=2e-5)
    expected = scores[order] if task.level == "point" else scores
    np.testing.assert_allclose(model.predict(permuted(alone, order)), expected, atol=2e-5, rtol=2e-5)


@pytest.mark.parametrize(
    "changes", [{"inputs": "published"}, {"inputs": "all"}, {"unit": -1.0}, {"energy_share": 0.0}, {"graph": "links"}]
)
def test_settings_that_are_not_possible_are_refused(changes):
    with pytest.raises(ValueError, match="expected"):
        GNNConfig(**changes)
