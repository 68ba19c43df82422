"""The tasks' training losses against their formulas, written out plainly."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch.nn import functional

from benchmark.contracts import Loss
from benchmark.contracts.losses import focal_loss, one_hot, task_loss
from benchmark.errors import BenchmarkError
from benchmark.settings import override
from benchmark.tasks import TASKS
from builders.calo_batches import make_batch

SOFT, BINARY, PIONS, ENERGY = (
    TASKS[n] for n in ("cell-to-track", "cell-to-track-binary", "pion-classification", "pion-regression")
)


def with_loss(task, **values):
    return dataclasses.replace(task, loss=Loss(**values))


def case(task, **values):
    task = with_loss(task, **values)
    batch = make_batch(task).to_torch()
    rows = batch.n_points if task.level == "point" else batch.n_events
    torch.manual_seed(3)
    return task, batch, torch.randn(rows, task.n_outputs, dtype=torch.float64)


def by_hand(task, batch, scores, power, term):
    """Weighted mean over labelled rows of `term(p, y)`, one row after the other."""
    p = functional.softmax(scores, 1).numpy()
    y = batch.target.numpy() if task.soft else one_hot(batch.target, task).numpy()
    e = batch.energy.numpy().astype(float)
    total = weight = 0.0
    for i in np.flatnonzero(y.sum(1) > 0):
        w = e[i] ** power if power else 1.0
        total, weight = total + w * term(p[i], y[i]), weight + w
    return total / weight


@pytest.mark.parametrize("power", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("task", [SOFT, BINARY], ids=lambda t: t.name)
def test_cross_entropy_of_fractions_weighs_cells_by_energy_and_no_track_point(task, power):
    task, batch, scores = case(task, kind="cross_entropy", energy_power=power)
    expected = by_hand(task, batch, scores, power, lambda p, y: -(y * np.log(p)).sum())
    assert task_loss(task, scores, batch, None).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("gamma", [1.0, 2.5])
def test_focal_loss_of_fractions(gamma):
    task, batch, scores = case(SOFT, kind="focal", gamma=gamma, energy_power=1.0)
    expected = by_hand(task, batch, scores, 1.0, lambda p, y: -(y * (1 - p) ** gamma * np.log(p)).sum())
    assert task_loss(task, scores, batch, None).item() == pytest.approx(expected, rel=1e-5)


def test_the_focal_loss_of_classes_is_the_one_of_liquid_argon():
    task, batch, scores = case(PIONS, kind="focal")
    expected = focal_loss(scores, batch.target, None, 2.0, -1)
    assert task_loss(task, scores, batch, None) == expected


@pytest.mark.parametrize(("task", "positive"), [(SOFT, 0), (BINARY, 1), (PIONS, 1)], ids=["soft", "binary", "pions"])
def test_the_positive_weight_is_that_of_the_track_or_of_the_last_class(task, positive):
    task, batch, scores = case(task, kind="cross_entropy", positive_weight=3.0)
    factor = np.where(np.arange(task.n_outputs) == positive, 3.0, 1.0)
    expected = by_hand(task, batch, scores, 0.0, lambda p, y: -(factor * y * np.log(p)).sum())
    assert task_loss(task, scores, batch, None).item() == pytest.approx(expected, rel=1e-5)


def test_dice_is_zero_for_certain_truth_and_one_for_its_opposite():
    task, batch, _ = case(BINARY, kind="dice", energy_power=1.0)
    truth = one_hot(batch.target, task)
    assert task_loss(task, 60 * truth, batch, None).item() == pytest.approx(0.0, abs=1e-5)
    assert task_loss(task, 60 * (1 - truth), batch, None).item() == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("kind", ["mae", "huber"])
def test_a_regression_is_compared_with_output_plus_baseline(kind):
    task, batch, scores = case(ENERGY, kind=kind)
    away = (scores.squeeze(1) + batch.whole.baseline - batch.target).abs().numpy()
    expected = away.mean() if kind == "mae" else np.where(away < 1, away**2 / 2, away - 0.5).mean()
    assert task_loss(task, scores, batch, None).item() == pytest.approx(expected, rel=1e-6)


def test_track_points_have_no_gradient():
    task, batch, scores = case(SOFT, kind="cross_entropy", energy_power=1.0)
    scores.requires_grad_(True)
    task_loss(task, scores, batch, None).backward()
    hits = batch.point_info["category"] != 1
    assert hits.any()
    assert (scores.grad[hits] == 0).all()
    assert (scores.grad[~hits] != 0).any()


@pytest.mark.parametrize("changes", [{"kind": "wbce"}, {"gamma": "-1"}, {"positive_weight": "0"}, {"gama": "2"}])
def test_a_loss_that_makes_no_sense_is_refused(changes):
    with pytest.raises(BenchmarkError, match=r"[Ee]xpected"):
        override(Loss(), changes, "loss")
