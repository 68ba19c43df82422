"""Baselines of volumes that nothing trains: fillings of hidden tokens, and a threshold on intensity."""

import numpy as np
import pytest

from benchmark import registry
from benchmark.contracts import concatenate
from benchmark.errors import CheckpointError
from benchmark.ops import harmonic
from benchmark.tasks import TASKS
from builders.lif_batches import inputs_of, make_batch, sample

SEGMENTATION, RECONSTRUCTION = TASKS["lif-segmentation"], TASKS["lif-reconstruction"]


def build(name, task, preset="default", **settings):
    spec = registry.model_spec(name)
    return spec.build(spec.config(**{**spec.presets[preset].model, **settings}), inputs_of(task), task)


@pytest.mark.parametrize("preset", ["default", "neighbour_mean", "global_mean"])
def test_fillings_are_those_of_each_tile_and_keep_what_is_visible(preset):
    batch = make_batch(RECONSTRUCTION).without_target()
    found = build("inpainting", RECONSTRUCTION, preset).predict(batch)[:, 0]
    visible = ~batch.volumes.hidden_voxels
    np.testing.assert_array_equal(found[visible], batch.volumes.values[visible])
    one = {
        "default": lambda v, h: harmonic.inpaint(v, np.kron(h, np.ones((5, 10, 10))).astype(bool)),
        "neighbour_mean": harmonic.neighbour_mean, "global_mean": harmonic.global_mean,
    }[preset]  # fmt: skip
    np.testing.assert_array_equal(found[1], one(batch.volumes.values[1], batch.volumes.hidden[1]))


def test_an_unknown_way_of_filling_in_is_refused():
    with pytest.raises(ValueError, match="harmonic"):
        build("inpainting", RECONSTRUCTION, method="guess")


def test_the_threshold_has_the_highest_f1_of_its_grid_on_the_labelled_tiles():
    from benchmark.baselines import intensity_threshold as module

    batch = make_batch(SEGMENTATION, 4)
    model = build("intensity_threshold", SEGMENTATION, "tiny")
    model.fit(iter([batch]), SEGMENTATION)

    def f1(rule):
        model.rule = rule
        called = model.predict(batch)[:, 1] > 0.5
        truth = batch.volumes.target == 1
        return 2 * (called & truth).sum() / max(called.sum() + truth.sum(), 1)

    chosen = model.rule
    assert f1(chosen) > 0.5
    for sigma in module.SIGMAS[::4]:
        for size in module.SIZES:
            assert f1((sigma, size)) <= f1(chosen) + 1e-12


def test_a_tile_without_tracks_gives_the_fallback_and_a_tile_alone_the_same_answer():
    empty = make_batch(SEGMENTATION, 1)
    empty.volumes.target[:] = 0
    model = build("intensity_threshold", SEGMENTATION)
    model.fit(iter([empty]), SEGMENTATION)
    assert model.rule == (5.0, 20)
    together = model.predict(make_batch(SEGMENTATION, 3))
    np.testing.assert_array_equal(together[2], model.predict(sample(SEGMENTATION, 2))[0])
    assert concatenate([empty, empty]).n_events == 2


def test_a_damaged_file_of_the_threshold_is_refused(tmp_path):
    model = build("intensity_threshold", SEGMENTATION)
    np.save(tmp_path / "a.npy", np.array([5.0, 2.5]))
    with pytest.raises(CheckpointError, match="number of voxels"):
        model.load(tmp_path / "a.npy")
    with pytest.raises(RuntimeError):
        model.predict(make_batch(SEGMENTATION, 1))
