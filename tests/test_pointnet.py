"""PointNet: what the publication fixes, and the encoding that makes fine structure visible."""

import numpy as np
import pytest
import torch

from benchmark import registry
from benchmark.baselines.pointnet import Join, PointNetConfig, TNet, orthogonality, turn, unit_sphere, waves
from benchmark.config import Request, resolve
from benchmark.contracts import Inputs
from benchmark.datasets._pilarnet import FRAME
from benchmark.tasks import TASKS

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
    from test_conformance import make_batch

    batch = make_batch(TASK).to_torch()
    xyz, radius = unit_sphere(batch)
    for part, r in zip(xyz.split(batch.lengths.tolist()), radius.split(batch.lengths.tolist()), strict=True):
        assert part.mean(0).abs().max() < 1e-5
        assert part.norm(dim=1).max().item() == pytest.approx(1.0, abs=1e-5)
        assert len(r.unique()) == 1
    torch.testing.assert_close(unit_sphere(batch.with_coords(batch.coords + 40))[0], xyz, atol=1e-5, rtol=0)


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
    assert model.local[0].in_features == 4  # coordinates and the energy, no waves
    assert config.optim.lr == 1e-3


@pytest.mark.parametrize("setting", [{"waves": -1}, {"wavelengths": (9.0, 3.0)}, {"event_norm": "group"}])
def test_settings_that_are_not_possible_are_refused(setting):
    with pytest.raises(ValueError, match="expected"):
        PointNetConfig(**setting)
