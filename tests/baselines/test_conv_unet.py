"""The dense U-Net: published size, padding, slabs."""

import pytest
import torch

from benchmark import registry
from benchmark.tasks import TASKS
from builders.lif_batches import inputs_of, make_batch, sample

SPEC = registry.model_spec("conv_unet")
SEGMENTATION, RECONSTRUCTION = TASKS["lif-segmentation"], TASKS["lif-reconstruction"]


def build(task=SEGMENTATION, preset="default", **changes):
    torch.manual_seed(0)
    return SPEC.build_model(SPEC.config(**{**SPEC.presets[preset].model, **changes}), inputs_of(task), task)


def test_the_published_network_has_the_published_number_of_parameters():
    model = build(preset="paper", pool_z=True)
    count = sum(p.numel() for p in model.parameters())
    of_norms = [m for m in model.modules() if isinstance(m, torch.nn.GroupNorm)]
    norms = sum(p.numel() for m in of_norms for p in m.parameters())
    between = sum(w.bias.numel() for w in model.widen)
    colours = 2 * 27 * 32  # theirs sees three channels
    classes = 64 + 1  # and tells three classes
    assert count - norms - between + colours + classes == 19_069_955  # they count neither norms nor these biases


@pytest.mark.parametrize("preset", ["default", "tiny"])
@pytest.mark.parametrize("shape", [(5, 50, 30), (10, 25, 20), (5, 10, 10)])
def test_sizes_that_do_not_halve_are_padded_and_cut_back(preset, shape):
    batch = sample(SEGMENTATION, shape=shape, token=(5, 5, 5)).without_target()
    assert build(preset=preset).predict(batch).shape == (1, 2, *shape)


@pytest.mark.parametrize("changes", [{}, {"pool_z": True, "transposed": True, "doubling": True}])
def test_three_dimensional_convolutions_serve_both_tasks(changes):
    small = {"channels": (4, 8), "flat": False, **changes}
    assert build(**small).predict(sample(SEGMENTATION)).shape == (1, 2, 5, 40, 40)
    found = build(RECONSTRUCTION, **small).predict(sample(RECONSTRUCTION).without_target())
    assert found.shape == (1, 1, 5, 40, 40)


def test_thick_volumes_are_slabs_that_do_not_see_each_other():
    model = build(channels=(4, 8)).eval()
    batch = sample(SEGMENTATION, shape=(10, 20, 20), token=(5, 10, 10)).to_torch()
    scores = model(batch)
    batch.volumes.values[:, 5:] += 1
    changed = model(batch)
    torch.testing.assert_close(changed[:, :, :5], scores[:, :, :5])
    assert (changed[:, :, 5:] - scores[:, :, 5:]).abs().max() > 0
    with pytest.raises(ValueError, match="slabs of 5"):
        model(sample(SEGMENTATION, shape=(7, 20, 20)).to_torch())


def test_hidden_values_do_not_leak_and_visible_ones_stay():
    model = build(RECONSTRUCTION, channels=(4, 8))
    torch.nn.init.normal_(model.last.weight)
    batch = make_batch(RECONSTRUCTION).to_torch()
    found = model(batch)
    visible = ~batch.volumes.hidden_voxels
    torch.testing.assert_close(found[:, 0][visible], batch.volumes.values[visible])
    batch.volumes.values[batch.volumes.hidden_voxels] = 1e3
    torch.testing.assert_close(model(batch), found)
    assert (found[:, 0] - batch.volumes.target)[visible].abs().max() == 0


def test_sizes_that_make_no_network_are_refused():
    for wrong in ({"channels": ()}, {"channels": (1,)}, {"slices": 0}):
        with pytest.raises(ValueError, match="expected"):
            SPEC.config(**wrong)
