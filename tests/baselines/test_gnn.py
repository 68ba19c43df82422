"""The graph network: published sizes, exactness of its shortcuts, independence of batch mates, settings."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("torch_geometric", reason="the package torch_geometric, which gnn needs, is not installed")

from benchmark.baselines._graph import Level, canonical, edge_features, levels, merge
from benchmark.baselines._graph_messages import mean_and_maximum
from benchmark.baselines._graph_networks import PyramidBlock, Stack, StackBlock
from benchmark.baselines.gnn import SPEC, GNNConfig
from benchmark.contracts import Inputs
from benchmark.datasets._pilarnet import FRAME
from benchmark.ops.graphs import edge_starts, knn_graph
from benchmark.runs.config import Request
from benchmark.runs.resolve import resolve
from benchmark.seeding import generator
from benchmark.tasks import TASKS
from builders.batches import EVENTS, make_batch

POINTS = next(t for t in TASKS.values() if t.level == "point")


def numbers(*shape, stream="a"):
    return torch.from_numpy(generator("gnn", stream, *shape).normal(size=shape).astype(np.float32))


def a_level(n_points=60, k=5):
    """Two events, one of a single point."""
    coords, offsets = numbers(n_points, 3) * 4, torch.tensor([0, n_points - 1, n_points])
    event = torch.repeat_interleave(torch.arange(2), offsets.diff())
    edges = knn_graph(coords, offsets, k)
    return Level(coords, offsets, event, edges, edge_starts(edges, n_points), edge_features(coords, edges, 1.0), None)


def a_model(task=POINTS, preset="tiny", **changes):
    torch.manual_seed(0)
    config = replace(resolve(Request("gnn", preset=preset, dataset="pilarnet-m")).model_config, **changes)
    return SPEC.build(config, Inputs(("log_energy",), FRAME), task)


def test_the_stack_has_the_published_number_of_parameters():
    """Inputs 7 | 10 | 1 of the study of pions; two linear outputs of the states, and one of both for the energy."""
    paper = a_model(preset="paper").config
    network = Stack(7, 10, 1, paper.width, paper.layers, paper.n_blocks, paper.reducer)
    assert network.state_width == 257
    read_outs = nn.ModuleList([nn.Linear(257, 1), nn.Linear(257, 1), nn.Linear(2, 1)])
    first = [[m.in_features for m in (b.edge[0], b.node[0], b.state[0])] for b in network.blocks]
    assert first == [[25, 72, 65], [281, 200, 129], [512, 320, 192], [512, 320, 192]]
    assert sum(p.numel() for p in (*network.parameters(), *read_outs.parameters())) == 333_063


@pytest.mark.parametrize("reducer", ["sum", "mean", "max"])
def test_a_block_of_the_stack_equals_concatenating_what_it_touches(reducer):
    level = a_level()
    n = len(level.coords)
    block = StackBlock(6, 4, 3, 16, 2, reducer)
    x, edges, state = numbers(n, 6), numbers(level.edge_index.shape[1], 4), numbers(2, 3)
    new_x, new_edges, new_state = block(x, edges, state, level)
    source, own = level.edge_index
    want_edges = block.edge(torch.cat([edges, x[source], x[own], state[level.event[own]]], dim=1))
    runs = [want_edges[own == i] for i in range(n)]
    summed = {"sum": lambda r: r.sum(0), "mean": lambda r: r.mean(0), "max": lambda r: r.amax(0)}[reducer]
    received = torch.stack([summed(r) if len(r) else torch.zeros(16) for r in runs])
    want_x = block.node(torch.cat([x, received, state[level.event]], dim=1))
    means = torch.stack([want_x[level.event == b].mean(0) for b in range(2)])
    torch.testing.assert_close(new_edges, want_edges, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(new_x, want_x, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(new_state, block.state(torch.cat([means, state], dim=1)), atol=1e-5, rtol=1e-5)


def test_messages_in_one_pass_equal_those_written_out_in_values_and_gradients():
    level = a_level(300, 7)
    block = PyramidBlock(13, 4)
    own, source = (numbers(300, 13, stream=s).requires_grad_() for s in "bc")
    towards = numbers(300, 26)
    results = []
    for function in (block.aggregate_messages, block.propagate_messages):
        out = function(own, source, level)
        results.append((out, *torch.autograd.grad(out, (own, source, block.weight), towards)))
    for fused, written in zip(*results, strict=True):
        torch.testing.assert_close(fused, written, atol=1e-5, rtol=1e-5)
    assert not results[0][0][-1].any()  # the single point receives nothing


def test_gradients_of_messages_are_those_of_small_differences():
    level = a_level(12, 3)
    own, source, weight = numbers(12, 3, stream="d"), numbers(12, 3, stream="e"), numbers(10, 3)
    towards, step = numbers(12, 6), 1e-2
    parts = [t.clone().requires_grad_() for t in (own, source, weight)]

    def total(own, source, weight):
        return (mean_and_maximum(own, source, level.edges, weight, level.edge_index[0], level.starts) * towards).sum()

    gradients = torch.autograd.grad(total(*parts), parts)
    for i in range(3):
        moved = numbers(*parts[i].shape, stream="direction") * step
        ends = [[p.detach() + sign * moved if j == i else p.detach() for j, p in enumerate(parts)] for sign in (1, -1)]
        difference = (total(*ends[0]) - total(*ends[1])) / 2
        assert difference.item() == pytest.approx((gradients[i] * moved).sum().item(), rel=0.05, abs=1e-3)


def test_merged_nodes_are_the_cubes_of_their_own_event():
    coords = torch.tensor([[0.0, 0, 0], [1, 2, 3], [4, 0, 0], [-1, 0, 0], [1, 1, 1]])
    event = torch.tensor([0, 0, 0, 0, 1])
    merging, mean = merge(coords, event, 4.0)
    assert merging.parent.tolist() == [1, 1, 2, 0, 3]
    assert mean.tolist() == [[-1, 0, 0], [0.5, 1, 1.5], [4, 0, 0], [1, 1, 1]]
    assert merging.order.tolist() == [3, 0, 1, 2, 4]
    assert merging.starts.tolist() == [0, 1, 3, 4, 5]


def test_cubes_beyond_counting_are_told_in_one_sentence():
    coords = torch.tensor([[0.0, 0, 0], [3e8, 3e8, 3e8]])
    with pytest.raises(ValueError, match="At most 2\\^62 cubes"):
        merge(coords, torch.tensor([0, 0]), 1.0)


def test_levels_keep_events_apart_and_edges_sorted():
    batch = make_batch(POINTS).to_torch()
    order = canonical(batch)
    model = a_model()
    graph = levels(batch.coords[order], batch.offsets, batch.event_index, (3.0, 9.0), model.search)
    assert [len(level.coords) for level in graph] == sorted({len(level.coords) for level in graph}, reverse=True)
    for level in graph:
        assert level.offsets[-1] == len(level.coords)
        assert torch.equal(level.event, torch.repeat_interleave(torch.arange(3), level.offsets.diff()))
        source, own = level.edge_index
        assert torch.equal(level.event[source], level.event[own])
        assert (own.diff() >= 0).all()


@pytest.mark.parametrize(
    "changes", [{"network": "stack"}, {"graph": "radius"}, {"cells": (), "widths": (8,), "blocks": (2,)}]
)
@pytest.mark.parametrize("task", [POINTS, EVENTS], ids=["points", "events"])
def test_every_network_and_graph_is_trained_and_ignores_batch_mates_and_order(task, changes):
    model, batch = a_model(task, **changes), make_batch(task)
    model.finetune_loss(batch.to_torch())[0].backward()
    assert not [n for n, p in model.named_parameters() if p.grad is None]
    alone = make_batch(task, sizes=(90,))
    n = alone.n_points if task.level == "point" else 1
    np.testing.assert_allclose(model.predict(alone), model.predict(batch)[:n], atol=2e-5, rtol=2e-5)
    order = generator("gnn", "order").permutation(alone.n_points)
    arrays = {name: getattr(alone, name)[order] for name in ("coords", "energy", "feats")}
    shuffled = model.predict(replace(alone.without_target(), **arrays))
    expected = model.predict(alone)[order] if task.level == "point" else model.predict(alone)
    np.testing.assert_allclose(shuffled, expected, atol=1e-5, rtol=1e-5)


def test_a_batch_of_one_point_can_be_trained_on():
    model = a_model(EVENTS)
    batch = make_batch(EVENTS, sizes=(2,))
    one = replace(
        batch, coords=batch.coords[:1], energy=batch.energy[:1], feats=batch.feats[:1], offsets=np.array([0, 1])
    ).to_torch()
    model.train()
    loss = model.finetune_loss(one)[0]
    loss.backward()
    assert torch.isfinite(loss)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"graph": "tree"}, "One of knn, radius, cells was expected"),
        ({"network": "unet"}, "One of pyramid, stack was expected"),
        ({"reducer": "median"}, "One of sum, mean, max was expected"),
        ({"k": 0}, "k=0 is not possible"),
        ({"radius": 0.0}, "radius=0.0 is not possible"),
        ({"cells": (4.0, 4.0, 8.0)}, "Lengths above 0 that rise"),
        ({"widths": (8, 8)}, "each of the 3 cells"),
        ({"blocks": (1, 0, 1, 1)}, "blocks=\\(1, 0, 1, 1\\) is not possible"),
    ],
)
def test_settings_that_make_no_sense_are_told_in_one_sentence(changes, message):
    with pytest.raises(ValueError, match=message):
        GNNConfig(**changes)
