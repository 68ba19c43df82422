"""The network on layer images: which pixel a cell goes to, what images sum to, and the contract of models."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from benchmark import registry
from benchmark.baselines.cnn import IMAGE_OF_SAMPLING, IMAGES, SHAPES, SIDE, UNIT, CnnConfig, build, images
from benchmark.contracts import Links, concatenate
from benchmark.datasets._mltree import SAMPLINGS
from benchmark.errors import CheckpointError
from benchmark.tasks import TASKS
from builders.calo_batches import CALO_TASKS, SIZES, inputs_of, make_batch, permuted, sample

EVENT_TASKS = [pytest.param(t, id=t.name) for t in CALO_TASKS if t.level == "event"]
CLUSTER = TASKS["pion-regression"]
TRACK = TASKS["pion-track-regression"]


def tiny(task, seed=0):
    torch.manual_seed(seed)
    return build(CnnConfig(**registry.model_spec("cnn").presets["tiny"].model), inputs_of(task), task)


def trained(task):
    model = tiny(task)
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(4):
        batch = make_batch(task, stream=f"warm{step}").to_torch()
        optimiser.zero_grad()
        model.finetune_loss(batch)[0].backward()
        optimiser.step()
    return model


def one_cell(sampling, eta, phi, energy=2.0):
    """A cluster of one cell, (eta, phi) from the axis."""
    batch = sample(CLUSTER, 1)
    return dataclasses.replace(
        batch, coords=np.array([[eta / UNIT[0], phi / UNIT[1], 0.0]], np.float32),
        energy=np.array([energy], np.float32), links=Links(),
        point_info={"sampling": np.array([sampling]), "category": np.array([1])},
    ).to_torch()  # fmt: skip


@pytest.mark.parametrize("task", [CLUSTER, TRACK], ids=lambda t: t.name)
def test_the_images_of_an_event_sum_to_its_energy(task):
    batch = make_batch(task).to_torch()
    shares = images(batch)
    assert [tuple(image.shape) for image in shares] == [(3, *shape) for shape in SHAPES]
    torch.testing.assert_close(sum(image.sum(dim=(1, 2)) for image in shares), torch.ones(3))
    for number, image in enumerate(shares):  # and each layer's to the layer's
        layer = torch.tensor(IMAGE_OF_SAMPLING)[batch.point_info["sampling"]] == number
        for event in range(3):
            inside = batch.event_index == event
            expected = batch.energy[inside & layer].sum() / batch.energy[inside].sum()
            torch.testing.assert_close(image[event].sum(), expected)


def test_a_cell_lies_in_the_pixel_of_its_centre():
    for number, (name, (n_eta, n_phi)) in enumerate(zip(IMAGES, SHAPES, strict=True)):
        for i in range(n_eta):
            j = i % n_phi
            eta, phi = ((k + 0.3) * SIDE / n - SIDE / 2 for k, n in ((i, n_eta), (j, n_phi)))
            shares = images(one_cell(SAMPLINGS[name], eta, phi))
            assert [float(image.sum()) for image in shares] == [float(k == number) for k in range(len(IMAGES))]
            assert shares[number][0, i, j] == 1


def test_a_cell_outside_stays_at_the_border():
    shares = images(one_cell(SAMPLINGS["EMB2"], 0.7, -0.21))
    assert shares[1][0, 15, 0] == 1
    shares = images(one_cell(SAMPLINGS["TileBar2"], -3.0, 0.0))
    assert shares[5][0, 0, 2] == 1


def test_every_layer_has_an_image_at_its_depth():
    assert max(SAMPLINGS.values()) < len(IMAGE_OF_SAMPLING)
    for name, same in (("EME1", "EMB1"), ("EME2", "EMB2"), ("HEC0", "TileBar0"), ("TileExt2", "TileBar2")):
        assert IMAGES[IMAGE_OF_SAMPLING[SAMPLINGS[name]]] == same
    for name in IMAGES:
        assert IMAGES[IMAGE_OF_SAMPLING[SAMPLINGS[name]]] == name


def test_turning_a_cluster_over_turns_its_images():
    batch = make_batch(CLUSTER).to_torch()
    turned = images(batch.with_coords(batch.coords * torch.tensor([-1.0, 1.0, 1.0])))
    for image, mirrored in zip(images(batch), turned, strict=True):
        torch.testing.assert_close(image.flip(1), mirrored)


def test_points_of_tracks_and_cells_below_nothing_are_no_light():
    batch = make_batch(TRACK).to_torch()
    bright = dataclasses.replace(batch, energy=torch.where(batch.point_info["category"] == 0, 1e3, batch.energy))
    for image, other in zip(images(batch), images(bright), strict=True):
        torch.testing.assert_close(image, other)
    dark = one_cell(SAMPLINGS["EMB1"], 0.0, 0.0, energy=-1.0)
    assert np.isfinite(trained(CLUSTER).predict(dark)).all()


@pytest.mark.parametrize("sampling", [-1, 99])
def test_unknown_layers_are_refused(sampling):
    with pytest.raises(ValueError, match="expected"):
        images(one_cell(sampling, 0.0, 0.0))


def test_a_batch_without_layers_is_refused():
    with pytest.raises(ValueError, match="calo-sim"):
        images(dataclasses.replace(one_cell(1, 0.0, 0.0), point_info={}))


@pytest.mark.parametrize("task", EVENT_TASKS)
def test_batch_mates_and_order_never_change_a_score(task):
    model, batch = trained(task), make_batch(task)
    scores = model.predict(batch.without_target())
    assert scores.shape == (3, task.n_outputs)
    for i, size in enumerate(SIZES):
        np.testing.assert_allclose(model.predict(sample(task, size, i))[0], scores[i], atol=1e-5)
    more = concatenate([sample(task, 10, 7), *(sample(task, size, i) for i, size in enumerate(SIZES))])
    np.testing.assert_allclose(model.predict(more)[1:], scores, atol=1e-5)
    one = sample(task, 120)
    order = np.random.default_rng(0).permutation(one.n_points)
    np.testing.assert_allclose(model.predict(permuted(one, order)), model.predict(one), atol=1e-5)


@pytest.mark.parametrize("task", EVENT_TASKS)
def test_it_learns_and_every_parameter_has_a_gradient(task):
    model, batch = tiny(task), make_batch(task, (80,) * 12).to_torch()
    model.finetune_loss(batch)[0].backward()
    assert all(p.grad is not None for p in model.parameters())
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        optimiser.zero_grad()
        loss = model.finetune_loss(batch)[0]
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert np.mean(losses[-3:]) < 0.95 * np.mean(losses[:3])


@pytest.mark.parametrize("task", EVENT_TASKS)
def test_a_checkpoint_keeps_every_score_and_no_other_file_is_taken(task, tmp_path):
    model, batch = trained(task), make_batch(task)
    model.save(tmp_path / "weights", {"fingerprint": "abc"})
    other = tiny(task, seed=9)
    other.load(tmp_path / "weights")
    np.testing.assert_array_equal(other.predict(batch), model.predict(batch))
    (tmp_path / "bytes").write_bytes(b"not a checkpoint")
    wider = build(CnnConfig(channels=(8, 8), dense=(16,)), inputs_of(task), task)
    for target, file in ((other, "bytes"), (wider, "weights")):
        with pytest.raises(CheckpointError, match="expected"):
            target.load(tmp_path / file)


def test_a_regression_that_gives_nothing_is_the_electromagnetic_scale():
    model, batch = tiny(CLUSTER), make_batch(CLUSTER)
    torch.nn.init.zeros_(model.head[-1].weight)
    torch.nn.init.zeros_(model.head[-1].bias)
    np.testing.assert_allclose(model.predict(batch)[:, 0], batch.whole.baseline)


def test_the_paper_preset_has_the_published_recipe():
    spec = registry.model_spec("cnn")
    paper = spec.presets["paper"]
    assert (paper.optim["lr"], paper.train["batch_size"], paper.optim["optimiser"]) == (1e-4, 200, "adam")
    assert paper.model["pixel_power"] == 1
    model = spec.build(CnnConfig(**paper.model), inputs_of(CLUSTER), CLUSTER)
    assert [tower.width // 16 for tower in model.towers] == [128, 16, 16, 16, 16, 8]


@pytest.mark.parametrize(
    "setting", [{"channels": ()}, {"dense": (0,)}, {"pixel_power": 0.0}, {"pixel_power": math.inf}, {"dropout": 1.0}]
)
def test_settings_that_are_not_possible_are_refused(setting):
    with pytest.raises(ValueError, match="expected"):
        CnnConfig(**setting)
