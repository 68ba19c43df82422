"""PointNet++: balls, centres, interpolation as published; nothing depends on the order of points or on other events."""

import dataclasses

import numpy as np
import pytest
import torch

from benchmark import registry
from benchmark.baselines._pointnet2 import canonical_order, farthest, hierarchy, interpolation, spread
from benchmark.baselines.pointnet2 import FeaturePropagation, PointNet2Config, SetAbstraction
from benchmark.contracts import Inputs
from benchmark.datasets._pilarnet import FRAME
from benchmark.ops.neighbours import ball_query
from benchmark.runs.config import Request
from benchmark.runs.resolve import resolve
from benchmark.tasks import TASKS

TASK = TASKS["lartpc-segmentation"]


def cloud(seed=0, n=200):
    rng = np.random.default_rng(seed)
    return np.unique(rng.integers(0, 30, (n, 3)), axis=0).astype(np.float32)


def levels_of(events, centres=(0.25, 8), radii=(6.0, 15.0), k=8):
    coords = torch.as_tensor(np.concatenate(events))
    return hierarchy(coords, torch.tensor([len(e) for e in events]), centres, radii, k)


def test_members_lie_in_the_ball_of_their_centre_and_in_its_event():
    events = [cloud(0), cloud(1, 120)]
    points = torch.as_tensor(np.concatenate(events))
    level = levels_of(events)[0]
    n_first = round(0.25 * len(events[0]))
    assert level.members.shape == (n_first + round(0.25 * len(events[1])), 8)
    assert (level.relative.norm(dim=1) < 1 + 1e-6).all()
    assert level.members[:n_first].max() < len(events[0]) <= level.members[n_first:].min()
    centre = points[level.members] - 6.0 * level.relative.view(-1, 8, 3)  # the same one from every member
    assert (centre - centre[:, :1]).abs().max() < 1e-4


def test_a_full_ball_is_thinned_evenly_and_a_poor_one_repeats_its_members():
    line = np.stack([np.arange(21.0), np.zeros(21), np.zeros(21)], axis=1).astype(np.float32)
    balls = ball_query(line[[10, 0]], line, 4.5)
    np.testing.assert_array_equal(spread(balls, 3), [[6, 9, 12], [0, 1, 3]])
    np.testing.assert_array_equal(spread(balls, 11)[1], [0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 0])


def test_centres_begin_with_the_point_farthest_from_the_centroid():
    points = cloud()
    away = np.linalg.norm(points - points.mean(axis=0), axis=1)
    assert farthest(points, 1).tolist() == [int(np.argmax(away))]
    assert len(farthest(points, 0.25)) == round(0.25 * len(points))
    assert farthest(points[:1], 0.25).tolist() == [0]
    assert len(farthest(points, 10_000)) == len(points)


def test_interpolation_weights_are_inverse_squared_distances():
    points, centres = np.zeros((1, 3), np.float32), np.diag([1.0, 2.0, 4.0]).astype(np.float32)
    nearest, weights = interpolation(points, centres)
    np.testing.assert_array_equal(nearest, [[0, 1, 2]])
    np.testing.assert_allclose(weights, np.array([[1, 1 / 4, 1 / 16]]) / (1 + 1 / 4 + 1 / 16), rtol=1e-6)
    nearest, weights = interpolation(centres[:2], centres[:1])  # fewer centres than three
    np.testing.assert_array_equal(weights, [[1, 0, 0], [1, 0, 0]])
    assert nearest.max() == 0


def test_a_point_that_is_a_centre_keeps_the_features_of_that_centre():
    points = cloud()
    level = levels_of([points])[0]
    chosen = farthest(points, 0.25)
    at_centres = level.nearest[chosen, 0].numpy()
    np.testing.assert_array_equal(at_centres, np.arange(len(chosen)))
    assert (level.weights[chosen, 0] > 0.999).all()


def test_set_abstraction_is_a_shared_network_on_places_and_features():
    level, module = levels_of([cloud()])[0], SetAbstraction(5, (6, 7)).eval()
    x = torch.randn(len(level.nearest), 5)
    rows = torch.cat([level.relative, x[level.members.flatten()]], dim=1)
    first = torch.cat([module.from_place.weight, module.from_features.weight], dim=1)
    expected = module.rest(module.enter(rows @ first.T)).view(*level.members.shape, -1).amax(1)
    torch.testing.assert_close(module(x, level), expected)


def test_feature_propagation_is_a_network_on_interpolated_and_own_features():
    level, module = levels_of([cloud()])[0], FeaturePropagation(5, 4, (6, 7)).eval()
    coarse, fine = torch.randn(len(level.members), 5), torch.randn(len(level.nearest), 4)
    interpolated = (coarse[level.nearest] * level.weights[..., None]).sum(1)
    first = torch.cat([module.from_coarse.weight, module.from_fine.weight], dim=1)
    expected = module.rest(module.enter(torch.cat([interpolated, fine], dim=1) @ first.T))
    torch.testing.assert_close(module(coarse, fine, level), expected)


def test_searches_follow_the_points_and_not_their_order():
    from builders.batches import make_batch

    batch = make_batch(TASK).to_torch()
    order = canonical_order(batch)
    rows = torch.cat([torch.randperm(n) + o for n, o in zip(batch.lengths, batch.offsets, strict=False)])
    shuffled = dataclasses.replace(batch, coords=batch.coords[rows], feats=batch.feats[rows])
    torch.testing.assert_close(shuffled.coords[canonical_order(shuffled)], batch.coords[order], rtol=0, atol=0)
    assert (batch.event_index[order] == batch.event_index).all()


def test_the_paper_preset_is_the_published_network():
    config = resolve(Request("pointnet2", preset="paper", dataset="pilarnet-m")).model_config
    model = registry.model_spec("pointnet2").build(config, Inputs(("log_energy",), FRAME), TASK)

    def widths(module):
        return [m.out_features for m in module.rest.modules() if isinstance(m, torch.nn.Linear)]

    down = [[m.from_place.out_features, *widths(m)] for m in model.down]
    assert down == [[32, 32, 64], [64, 64, 128], [128, 128, 256], [256, 256, 512]]
    up = [[m.from_fine.out_features, *widths(m)] for m in reversed(model.up)]
    assert up == [[256, 256], [256, 256], [256, 128], [128, 128, 128, 128]]
    assert [m.from_features.in_features for m in model.down] == [1, 64, 128, 256]
    assert [(m.from_coarse.in_features, m.from_fine.in_features) for m in reversed(model.up)] == [
        (512, 256), (256, 128), (256, 64), (128, 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "setting", [{"centres": (0.5,)}, {"radii": (0.0, 1.0, 2.0, 3.0)}, {"radius_unit": "metre"}, {"n_neighbours": 0}]
)
def test_settings_that_are_not_possible_are_refused(setting):
    with pytest.raises(ValueError, match="expected"):
        PointNet2Config(**setting)
