"""Errors of hidden tokens, the references beside them, and image similarity against another implementation."""

import numpy as np
import pytest
import torch
from torchmetrics.functional.image import structural_similarity_index_measure

from benchmark.contracts import concatenate
from benchmark.data.volumes import VolumePreprocess
from benchmark.metrics import reconstruction
from benchmark.metrics.families import family, report
from benchmark.metrics.reconstruction import COLUMNS, PREDICTORS, psnr, scores, signal_tokens, ssim, state
from benchmark.ops import harmonic
from benchmark.seeding import generator
from benchmark.tasks import TASKS
from builders.lif_batches import frame_of, make_event, sample

TASK = TASKS["lif-reconstruction"]


def batch_of(n=3):
    volumes = concatenate([sample(TASK, i) for i in range(n)]).volumes
    return volumes.values, volumes.target, volumes.hidden


def overall(states):
    return {k: v[0] for k, v in scores(states, np.ones((1, len(states))))["overall"].items()}


def test_errors_are_those_of_hidden_voxels_by_hand():
    _, true, hidden = batch_of()
    predicted = np.full_like(true, 7.0)
    found = overall(state(predicted, true, hidden))
    voxels = np.stack([np.kron(h, np.ones((5, 10, 10))) for h in hidden]).astype(bool)
    bright = [signal_tokens(t, h.shape) for t, h in zip(true, hidden, strict=True)]
    signal = np.stack([np.kron(b, np.ones((5, 10, 10))) for b in bright])
    squared = (true - 7.0) ** 2
    assert found["mse_all"] == pytest.approx(squared[voxels].mean(), rel=1e-5)
    assert found["mse_signal"] == pytest.approx(squared[voxels & (signal > 0)].mean(), rel=1e-5)
    assert found["mse_background"] == pytest.approx(squared[voxels & (signal == 0)].mean(), rel=1e-5)
    assert (voxels & (signal > 0)).any()


def test_a_perfect_prediction_and_harmonic_inpainting_have_skills_one_and_zero():
    volume, true, hidden = batch_of()
    perfect = overall(state(true, true, hidden))
    assert perfect["skill_all"] == perfect["skill_signal"] == perfect["ssim"] == 1
    assert perfect["peak_recovery"] == 1 and perfect["psnr"] == 100
    voxels = [np.kron(h, np.ones((5, 10, 10))).astype(bool) for h in hidden]
    filled = np.stack([harmonic.inpaint(v, h) for v, h in zip(volume, voxels, strict=True)])
    smooth = overall(state(filled, true, hidden))
    for part in ("all", "background", "signal"):
        assert smooth[f"skill_{part}"] == pytest.approx(0, abs=1e-6)


def test_what_is_predicted_for_visible_voxels_does_not_count():
    _, true, hidden = batch_of()
    voxels = np.stack([np.kron(h, np.ones((5, 10, 10))) for h in hidden]).astype(bool)
    wild = np.where(voxels, 0.0, 1e4).astype(np.float32)
    np.testing.assert_array_equal(state(wild, true, hidden), state(np.zeros_like(true), true, hidden))


def test_the_references_are_ordered_as_they_must_be_and_stand_in_every_report():
    _, true, hidden = batch_of(6)
    states = state(np.zeros_like(true), true, hidden)
    found = report(family("reconstruction"), states, TASK, generator("bootstrap"))
    by_name = {name: found["reference"][name]["mse_all"]["value"] for name in PREDICTORS[1:]}
    assert by_name["oracle_token_mean"] < by_name["global_mean"]
    assert by_name["harmonic"] < by_name["global_mean"]
    assert found["reference"]["global_mean"]["psnr"]["value"] is None
    assert found["reference"]["harmonic"]["psnr"]["value"] > 0
    skill = found["overall"]["skill_signal"]
    assert skill["value"] is not None and skill["low"] is skill["high"] is None  # six events are too few
    assert found["details"]["hidden_signal_tokens"] == states[:, COLUMNS.index("n_peaks")].sum() > 0


def test_without_signal_its_scores_are_undefined_and_nothing_breaks():
    rng = generator("flat")
    true = rng.normal(size=(2, 5, 40, 40)).astype(np.float32)
    hidden = np.zeros((2, 1, 4, 4), bool)
    hidden[:, 0, 1, 2] = True
    found = overall(state(np.zeros_like(true), true, hidden))
    assert np.isnan(found["skill_signal"]) and np.isnan(found["peak_recovery"]) and np.isfinite(found["skill_all"])
    nothing = overall(state(true, true, np.zeros_like(hidden)))
    assert np.isnan(nothing["mse_all"]) and nothing["ssim"] == 1


def test_a_signal_token_holds_a_voxel_over_five_robust_sigmas():
    true = generator("tokens").normal(size=(5, 40, 40)).astype(np.float32)
    true[2, 15, 25] = 30
    expected = np.zeros((1, 4, 4), bool)
    expected[0, 1, 2] = True
    np.testing.assert_array_equal(signal_tokens(true, (1, 4, 4)), expected)


def test_structural_similarity_is_that_of_another_implementation():
    true = make_event("a").volume
    image = true + generator("noise").normal(size=true.shape).astype(np.float32)
    width = float(true.max() - true.min())
    theirs = structural_similarity_index_measure(
        torch.from_numpy(image)[:, None], torch.from_numpy(true)[:, None], gaussian_kernel=True, sigma=1.5,
        kernel_size=11, data_range=width,
    )  # fmt: skip
    assert ssim(image, true) == pytest.approx(float(theirs), abs=5e-3)  # they leave out the edges
    assert ssim(true, true) == 1


def test_signal_to_noise_in_decibel():
    true = np.array([0.0, 10.0, 0.0, 10.0]).reshape(1, 2, 2)
    assert psnr(true + 1.0, true) == pytest.approx(20.0)
    assert psnr(true, true) == 100


def test_a_batch_is_counted_tile_by_tile():
    parts = [VolumePreprocess().apply(make_event(f"e{i}"), TASK, frame_of()) for i in range(2)]
    count = family("reconstruction").count
    outputs = [generator("outputs", i).normal(size=(1, 1, 5, 40, 40)).astype(np.float32) for i in range(2)]
    together = count(np.concatenate(outputs), concatenate(parts), TASK)
    alone = [count(o, p, TASK) for o, p in zip(outputs, parts, strict=True)]
    np.testing.assert_array_equal(together, np.concatenate(alone))
    assert reconstruction.rows("reference") == PREDICTORS[1:]
