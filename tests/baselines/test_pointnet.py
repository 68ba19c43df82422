"""PointNet: what the publication fixes, and the encoding that makes fine structure visible."""

import dataclasses

import numpy as np
import pytest
import torch

from benchmark import registry
from benchmark.baselines._sets import cubes, waves, whole_events
from benchmark.baselines.pointnet import Join, PointNetConfig, TNet, build, orthogonality, turn
from benchmark.contracts import Inputs
from benchmark.datasets._pilarnet import FRAME
from benchmark.runs.config import Request
from benchmark.runs.resolve import resolve
from benchmark.tasks import TASKS
from builders.batches import make_batch

TASK = TASKS["lartpc-segmentation"]


def test_a_t_net_starts_at_the_identity_and_costs_no_penalty_there():
    net = TNet(5, (8, 16), "layer")
    matrix = net(torch.randn(7, 5), torch.tensor([4, 3]))
    torch.testing.assert_close(matrix, torch.eye(5).expand(2, 5, 5))
    assert orthogonality(matrix) == 0


def test_the_penalty_is_that_of_equation_2():
    matrix = torch.randn(3, 4, 4)
    expected = np.mean([np.linalg.norm(np.eye(4) - m @ m.T) ** 2 for m in matrix.numpy()])
    assert orthogonality(matrix).item() == pytest.approx(expected, rel=1e-5)


def test_every_point_is_turned_by_the_matrix_of_its_own_event():
    x, matrix = torch.randn(5, 3), torch.randn(2, 3, 3)
    turned = turn(x, matrix, torch.tensor([2, 3]))
    torch.testing.assert_close(turned[1], x[1] @ matrix[0])
    torch.testing.assert_close(turned[2], x[2] @ matrix[1])


def test_joining_maps_the_concatenation_of_local_and_global_features():
    join = Join(4, 6, 8).eval()
    local, pooled, event = torch.randn(5, 4), torch.randn(2, 6), torch.tensor([0, 0, 1, 1, 1])
    weight = torch.cat([join.from_local.weight, join.from_global.weight], dim=1)
    expected = join.rest(torch.cat([local, pooled[event]], dim=1) @ weight.T)
    torch.testing.assert_close(join(local, pooled, event), expected)


def test_events_are_normalised_to_the_unit_sphere_wherever_they_stand():
    batch = make_batch(TASK).to_torch()
    sets = whole_events(batch, "farthest")
    for part in sets.xyz.split(batch.lengths.tolist()):
        assert part.mean(0).abs().max() < 1e-5
        assert part.norm(dim=1).max().item() == pytest.approx(1.0, abs=1e-5)
    moved = whole_events(batch.with_coords(batch.coords + 40), "farthest")
    torch.testing.assert_close(moved.xyz, sets.xyz, atol=1e-5, rtol=0)


def test_cubes_part_the_points_of_each_event():
    batch, side = make_batch(TASK).to_torch(), 20.0
    sets = cubes(batch, side)
    assert sorted(sets.order.tolist()) == list(range(batch.n_points))
    assert len(sets.lengths) > batch.n_events
    seen = set()
    for rows in sets.order.split(sets.lengths.tolist()):
        (event,) = batch.event_index[rows].unique().tolist()
        low = batch.coords[batch.event_index == event].amin(0)
        (cell,) = ((batch.coords[rows] - low) / side).long().unique(dim=0).tolist()
        seen.add((event, *cell))
    assert len(seen) == len(sets.lengths)
    assert sets.feats[:, -3:].min() == 0
    assert sets.feats[:, -3:].max() == 1


def test_points_of_other_cubes_change_no_score():
    torch.manual_seed(0)
    model = build(PointNetConfig(block=20.0), Inputs(("log_energy",), FRAME), TASK).eval()
    batch = make_batch(TASK, sizes=(150,)).to_torch()
    before = model(batch)
    sets = cubes(batch, 20.0)
    low, high = batch.coords.amin(0), batch.coords.amax(0)
    inner = ((batch.coords[sets.order] > low) & (batch.coords[sets.order] < high)).all(1)
    block = int(sets.index[inner].mode().values)
    feats = batch.feats.clone()
    feats[sets.order[sets.index == block]] += 1.0
    changed = (model(dataclasses.replace(batch, feats=feats)) != before).any(1)
    assert changed.any()
    assert set(sets.index[torch.argsort(sets.order)][changed].tolist()) == {block}


def test_waves_tell_neighbouring_voxels_apart():
    near = waves(torch.tensor([[100.0, 0, 0], [101.0, 0, 0]]), 8, (8.0, 1024.0))
    assert near.shape == (2, 48)
    assert (near[0] - near[1]).norm() > 0.7


def test_the_paper_preset_has_the_published_widths():
    config = resolve(Request("pointnet", preset="paper", dataset="pilarnet-m"))
    model = registry.model_spec("pointnet").build(config.model_config, Inputs(("log_energy",), FRAME), TASK)

    def widths(net):
        return [m.out_features for m in net.modules() if isinstance(m, torch.nn.Linear)]

    assert widths(model.input_net) == [64, 128, 1024, 512, 256, 9]
    assert widths(model.feature_net) == [64, 128, 1024, 512, 256, 64 * 64]
    assert widths(model.local) + widths(model.wide) == [64, 64, 64, 128, 1024]
    assert [model.join.from_local.out_features, *widths(model.head), *widths(model.out)] == [512, 256, 128, 128, 4]
    assert model.local[0].in_features == 7  # coordinates in the cube and in the event, the energy; no waves
    assert config.optim.lr == 1e-3


@pytest.mark.parametrize(
    "setting", [{"waves": -1}, {"wavelengths": (9.0, 3.0)}, {"event_norm": "group"}, {"block": -1.0}]
)
def test_settings_that_are_not_possible_are_refused(setting):
    with pytest.raises(ValueError, match="expected"):
        PointNetConfig(**setting)
