"""Calibration: bins and expected error by hand, sums that do not depend on batches, and what a run records."""

import numpy as np
import pytest

from benchmark.contracts import PointBatch
from benchmark.metrics.calibration import N_BINS, can_be_judged, expected_error, report, state
from benchmark.tasks import TASKS
from builders.synthetic import execute, make_data, request

TASK = TASKS["lartpc-segmentation"]


def batch(target, lengths):
    n = sum(lengths)
    return PointBatch(
        coords=np.zeros((n, 3), np.float32), energy=np.ones(n, np.float32), feats=np.zeros((n, 1), np.float32),
        offsets=np.concatenate([[0], np.cumsum(lengths)]), event_ids=tuple(map(str, range(len(lengths)))),
        columns=("x",), frame=None, target=np.asarray(target),
    )  # fmt: skip


def logits(probabilities):
    return np.log(np.asarray(probabilities))


def test_the_error_is_the_weighted_distance_of_confidence_and_accuracy():
    """Four points at 0.70, half of them right; two at 0.91, both right: (4 |0.7-0.5| + 2 |0.91-1|) / 6."""
    sure, unsure = [0.91, 0.03, 0.03, 0.03], [0.7, 0.1, 0.1, 0.1]
    scores = logits([unsure] * 4 + [sure] * 2)
    sums = state(scores, batch([0, 0, 1, 2, 0, 0], [6]), TASK).sum(axis=0)
    assert expected_error(sums)["ece"] == pytest.approx((4 * 0.2 + 2 * 0.09) / 6)
    assert sums[:, 0].sum() == 6
    assert sums[int(0.7 * N_BINS), 0] == 4 and sums[int(0.91 * N_BINS), 2] == 2


def test_perfectly_calibrated_answers_have_no_error():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.3, 0.97, 200_000)
    right = rng.random(len(confidence)) < confidence
    rest = ((1 - confidence) / 3)[:, None]
    scores = logits(np.concatenate([confidence[:, None], np.repeat(rest, 3, axis=1)], axis=1))
    sums = state(scores, batch(np.where(right, 0, 1), [len(right)]), TASK).sum(axis=0)
    assert expected_error(sums)["ece"] < 0.01


def test_points_without_a_class_do_not_count_and_events_add_up():
    rng = np.random.default_rng(1)
    scores, target = rng.normal(size=(30, 4)), rng.integers(0, 4, 30)
    target[:5] = TASK.ignore_index
    whole = state(scores, batch(target, [10, 20]), TASK)
    parts = [state(scores[a:b], batch(target[a:b], [b - a]), TASK)[0] for a, b in ((0, 10), (10, 30))]
    np.testing.assert_allclose(whole, np.stack(parts))
    assert whole[..., 0].sum() == 25
    told = report(whole, np.random.default_rng(0), np.arange(len(whole)))
    assert told["ece"]["value"] is not None and told["ece"]["low"] is told["ece"]["high"] is None  # two events
    many = report(np.concatenate([whole] * 10), np.random.default_rng(0), np.arange(20))
    assert many["ece"]["low"] < many["ece"]["value"] < many["ece"]["high"]
    assert sum(told["rows"]) == 25


def test_which_tasks_are_judged():
    judged = {name for name, task in TASKS.items() if can_be_judged(task)}
    assert judged == {"lartpc-segmentation", "lartpc-segmentation-5", "pion-classification", "cell-to-track-binary"}


def test_a_run_records_its_calibration_and_the_ids_of_its_events(tmp_path):
    from benchmark.records.counts import unpack_event_ids

    record = execute(make_data(tmp_path), tmp_path, request("pointnet")).record
    assert sum(record.metrics["calibration"]["rows"]) == np.sum(record.metrics["confusion"])
    ids = unpack_event_ids(record.per_event)
    assert len(ids) == record.events["test"] == len(set(ids))
    assert ids == sorted(ids)
