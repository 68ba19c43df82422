"""Deep Sets: the published layer, ragged sets, what a layer may and may not see."""

import numpy as np
import pytest
import torch
from torch import nn

from benchmark import registry
from benchmark.baselines._sets import cubes, waves, whole_events
from benchmark.baselines.deep_sets import DeepSetsConfig, Equivariant, PublishedHead
from benchmark.contracts import Inputs
from benchmark.contracts.heads import PooledHead
from benchmark.datasets._pilarnet import FRAME
from benchmark.runs.config import Request
from benchmark.runs.resolve import resolve
from benchmark.tasks import TASKS
from builders.batches import EVENTS, make_batch, warmed_up

TASK = TASKS["lartpc-segmentation"]

EVENT = torch.tensor([0] * 5 + [1] * 3)
LENGTHS = torch.tensor([5, 3])


def layer(pool="max", **settings):
    torch.manual_seed(0)
    return Equivariant(4, 6, pool, DeepSetsConfig(norm=False, **settings))


@pytest.mark.parametrize("pool", ["max", "mean"])
def test_the_published_layer_is_sigma_of_beta_plus_x_minus_pool_times_gamma(pool):
    published, x = layer(pool, tied=True, activation="tanh"), torch.randn(8, 4)
    for rows in (slice(0, 5), slice(5, 8)):
        part = x[rows]
        pooled = part.amax(0) if pool == "max" else part.mean(0)
        expected = torch.tanh((part - pooled) @ published.own.weight.T + published.own.bias)
        torch.testing.assert_close(published(x, EVENT, LENGTHS)[rows], expected)


def test_free_weights_contain_the_published_layer():
    published, free, x = layer(tied=True), layer(tied=False), torch.randn(8, 4)
    with torch.no_grad():
        free.others.weight.copy_(-free.own.weight)
    torch.testing.assert_close(free(x, EVENT, LENGTHS), published(x, EVENT, LENGTHS))


def test_other_points_of_the_set_matter_and_those_of_other_sets_do_not():
    free, x = layer("mean", tied=False), torch.randn(8, 4)
    moved = x.clone()
    moved[6] += 1.0
    before, after = free(x, EVENT, LENGTHS), free(moved, EVENT, LENGTHS)
    torch.testing.assert_close(before[:5], after[:5], rtol=0, atol=0)
    assert (before[7] != after[7]).any()


def test_waves_tell_neighbouring_voxels_apart_and_repeat_after_a_wavelength():
    near = waves(torch.tensor([[0.0, 0, 0], [1.0, 0, 0]]), 8, (8.0, 1024.0))
    assert near.shape == (2, 48)
    assert (near[0] - near[1]).norm() > 0.7  # 0.0015 on coordinates of a ball of 665 voxels
    single = waves(torch.tensor([[3.0, 1, 2], [11.0, 9, 10]]), 1, (8.0, 8.0))
    torch.testing.assert_close(single[0], single[1], atol=1e-5, rtol=0)


def test_events_are_standardised_and_cubes_part_their_points():
    batch = make_batch(TASK).to_torch()
    for part in whole_events(batch, "deviation").xyz.split(batch.lengths.tolist()):
        assert part.mean(0).abs().max() < 1e-5
        assert part.square().mean().item() == pytest.approx(1.0, rel=1e-5)
    sets = cubes(batch, 20.0)
    assert sorted(sets.order.tolist()) == list(range(batch.n_points))
    assert len(sets.lengths) > batch.n_events
    for rows in sets.order.split(sets.lengths.tolist()):
        assert len(batch.event_index[rows].unique()) == 1
        assert (batch.coords[rows].amax(0) - batch.coords[rows].amin(0)).max() <= 20.0


def test_the_paper_preset_is_the_published_network():
    config = resolve(Request("deep_sets", preset="paper", dataset="pilarnet-m")).model_config
    spec = registry.model_spec("deep_sets")
    model = spec.build(config, Inputs(("log_energy",), FRAME), EVENTS)
    assert isinstance(model.head, PublishedHead)
    assert [m.p for m in model.head.rho if isinstance(m, nn.Dropout)] == [0.5, 0.5]
    assert [(m.own.in_features, m.own.out_features, m.pool) for m in model.layers] == [
        (4, 256, "max"), (256, 256, "max"), (256, 256, "max"),
    ]  # fmt: skip
    shared = spec.build(DeepSetsConfig(), Inputs(("log_energy",), FRAME), EVENTS)
    assert isinstance(shared.head, PooledHead)


def test_moving_an_event_changes_no_score():
    model, batch = warmed_up("deep_sets", TASK), make_batch(TASK)
    moved = batch.with_coords(batch.coords + np.float32(40))
    np.testing.assert_allclose(model.predict(moved), model.predict(batch), atol=2e-4, rtol=2e-4)


@pytest.mark.parametrize(
    "setting", [{"pool": "sum"}, {"activation": "gelu"}, {"layers": ()}, {"waves": -1}, {"block": -1.0}]
)
def test_settings_that_are_not_possible_are_refused(setting):
    with pytest.raises(ValueError, match="expected"):
        DeepSetsConfig(**setting)
