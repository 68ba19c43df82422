"""The energy rule: the best cut there is, ties, ends, events, what is refused."""

import dataclasses
from itertools import permutations

import numpy as np
import pytest

from benchmark import registry
from benchmark.baselines.energy_threshold import Rule, best_rule, build, energies
from benchmark.contracts import Inputs, PointBatch
from benchmark.datasets._pilarnet import FRAME
from benchmark.errors import CheckpointError
from benchmark.tasks import TASKS

POINTS = TASKS["lartpc-segmentation"]
EVENTS = dataclasses.replace(POINTS, name="kinds", level="event", classes=("a", "b", "c"), class_weights=None)


def macro_f1(energy, target, rule, n_classes):
    """By definition, without the search's cumulated counts."""
    called = np.where(energy > rule.threshold, rule.high, rule.low)
    scores = []
    for c in range(n_classes):
        wrong = np.sum((called == c) != (target == c))
        hits = np.sum((called == c) & (target == c))
        scores.append(2 * hits / (2 * hits + wrong) if hits + wrong else 0.0)
    return sum(scores) / n_classes


def batch_of(energy, target, offsets=None):
    n = len(energy)
    offsets = np.array([0, n] if offsets is None else offsets)
    return PointBatch(
        coords=np.zeros((n, 3), np.float32), energy=np.asarray(energy, np.float32), feats=np.zeros((n, 1), np.float32),
        offsets=offsets, event_ids=tuple(map(str, range(len(offsets) - 1))), columns=("log_energy",), frame=FRAME,
        target=np.asarray(target),
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
def test_no_other_cut_and_no_other_pair_of_classes_scores_higher(seed):
    rng = np.random.default_rng(seed)
    target = rng.integers(0, 4, 60)
    energy = np.round(rng.normal(target * 0.7, 1.0), 1)  # with equal energies
    best = macro_f1(energy, target, best_rule(energy, target, 4), 4)
    cuts = [-np.inf, *np.unique(energy), np.inf]
    every = [macro_f1(energy, target, Rule(t, *pair), 4) for t in cuts for pair in permutations(range(4), 2)]
    assert best == pytest.approx(max(every), abs=1e-12)


def test_classes_that_energy_separates_are_told_apart():
    rule = best_rule(np.array([1.0, 2.0, 3.0, 10.0, 11.0]), np.array([3, 3, 3, 1, 1]), 4)
    assert rule == Rule(6.5, 3, 1)


def test_one_class_alone_is_called_everywhere():
    rule = best_rule(np.array([1.0, 2.0, 2.0]), np.array([2, 2, 2]), 4)
    assert (rule.threshold, rule.high) == (-np.inf, 2)


def test_labels_that_are_ignored_choose_nothing():
    model = build(None, Inputs(("log_energy",), FRAME), POINTS)
    model.fit(iter([batch_of([1, 2, 8, 9, 100, 100], [0, 0, 1, 1, -1, -1])]), POINTS)
    assert model.rule == Rule(5.0, 0, 1)


def test_events_are_cut_on_the_sum_of_their_energies():
    model = build(None, Inputs(("log_energy",), FRAME), EVENTS)
    batch = batch_of([1, 1, 1, 2, 5, 6], [2, 0, 0], offsets=[0, 3, 4, 6])
    assert energies(batch, EVENTS).tolist() == [3, 2, 11]
    batch = dataclasses.replace(batch, target=np.array([2, 2, 0]))
    model.fit(iter([batch]), EVENTS)
    assert model.rule == Rule(7.0, 2, 0)
    np.testing.assert_array_equal(model.predict(batch), [[0, 0, 1], [0, 0, 1], [1, 0, 0]])


@pytest.mark.parametrize("values", [[1.0, 0.0, 4.0], [1.0, 0.5, 1.0], [np.nan, 0.0, 1.0], [0.0, 1.0]])
def test_a_checkpoint_of_another_task_is_refused(values, tmp_path):
    np.save(tmp_path / "rule.npy", np.array(values))
    with pytest.raises(CheckpointError, match="from 0 to 3, were expected"):
        build(None, Inputs(("log_energy",), FRAME), POINTS).load(tmp_path / "rule.npy")


def test_a_rule_survives_its_file(tmp_path):
    first, other = (build(None, Inputs(("log_energy",), FRAME), POINTS) for _ in range(2))
    for rule in (Rule(0.1, 0, 3), Rule(-np.inf, 1, 0)):
        first.rule = rule
        first.save(tmp_path / "rule", {})
        other.load(tmp_path / "rule")
        assert other.rule == rule


def test_it_is_listed_for_points_and_events():
    assert registry.model_spec("energy_threshold").levels == ("point", "event")
