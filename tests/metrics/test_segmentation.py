"""Scores equal scikit-learn's over a grid of cases, add up over events, and their intervals cover as they should."""

import json
import warnings
from itertools import pairwise

import numpy as np
import pytest
from sklearn import metrics as sk

from benchmark.errors import BenchmarkError
from benchmark.metrics import bootstrap
from benchmark.metrics.bootstrap import intervals, resampled_sums
from benchmark.metrics.paper_protocol import mean_over_batches
from benchmark.metrics.segmentation import OVERALL, PER_CLASS, confusion, report, scores_from_counts

CLASSES = ("shower", "track", "michel", "delta")


def one_hot(prediction, n_classes):
    return np.eye(n_classes)[prediction]


def random_case(seed, n_classes, n_events=7, skill=0.6, ignored=0.1):
    """(scores, target, offsets): unbalanced classes, events of different sizes, one of them small."""
    rng = np.random.default_rng(seed)
    lengths = np.concatenate([[1], rng.integers(5, 60, n_events - 1)])
    target = rng.choice(n_classes, lengths.sum(), p=rng.dirichlet(np.full(n_classes, 0.7)))
    guess = rng.integers(0, n_classes, len(target))
    prediction = np.where(rng.random(len(target)) < skill, target, guess)
    target = np.where(rng.random(len(target)) < ignored, -1, target)
    scores = one_hot(prediction, n_classes) + rng.random((len(target), n_classes)) * 0.5
    return scores, target, np.concatenate([[0], np.cumsum(lengths)])


# --- against scikit-learn ---


@pytest.mark.parametrize("n_classes", [2, 4, 5, 9])
@pytest.mark.parametrize("skill", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("ignored", [0.0, 0.3])
@pytest.mark.parametrize("seed", range(4))
def test_scores_equal_scikit_learn(n_classes, skill, ignored, seed):
    scores, target, offsets = random_case(seed, n_classes, skill=skill, ignored=ignored)
    counts = confusion(scores, target, offsets)
    ours = scores_from_counts(counts.sum(0))
    kept = target >= 0
    truth, prediction = target[kept], scores.argmax(1)[kept]
    labels = list(range(n_classes))
    np.testing.assert_array_equal(counts.sum(0), sk.confusion_matrix(truth, prediction, labels=labels))
    precision, recall, f1, _ = sk.precision_recall_fscore_support(truth, prediction, labels=labels, zero_division=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # jaccard_score warns of every absent class
        iou = sk.jaccard_score(truth, prediction, labels=labels, average=None, zero_division=0)
    occurs = np.isin(labels, np.union1d(truth, prediction))
    for name, theirs in (("precision", precision), ("recall", recall), ("f1", f1), ("iou", iou)):
        np.testing.assert_allclose(ours[name][occurs], theirs[occurs], rtol=1e-12, err_msg=name)
        assert np.isnan(ours[name][~occurs]).all()
        np.testing.assert_allclose(ours[f"macro_{name}"], theirs[occurs].mean(), rtol=1e-12)
    macro = sk.precision_recall_fscore_support(truth, prediction, average="macro", zero_division=0)
    np.testing.assert_allclose([ours[f"macro_{n}"] for n in PER_CLASS[:3]], macro[:3], rtol=1e-12)
    np.testing.assert_allclose(ours["accuracy"], sk.accuracy_score(truth, prediction), rtol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_weighted_scores_equal_scikit_learn(seed):
    scores, target, offsets = random_case(seed, 4)
    weights = np.random.default_rng(seed).lognormal(size=len(target))
    total = confusion(scores, target, offsets, weights=weights).sum(0)
    kept = target >= 0
    theirs = sk.confusion_matrix(target[kept], scores.argmax(1)[kept], labels=range(4), sample_weight=weights[kept])
    np.testing.assert_allclose(total, theirs, rtol=1e-12)


@pytest.mark.parametrize("n_classes", [4, 5])
def test_counts_equal_spine(n_classes):
    linalg = pytest.importorskip("spine.math.linalg", reason="SPINE (pip install spine) is not installed")
    scores, target, offsets = random_case(3, n_classes, n_events=20, ignored=0.0)
    counts = confusion(scores, target, offsets)
    for event, (begin, end) in enumerate(pairwise(offsets)):
        truth, prediction = target[begin:end].astype(np.int64), scores[begin:end].argmax(1).astype(np.int64)
        np.testing.assert_array_equal(counts[event], linalg.contingency_table(truth, prediction, n_classes, n_classes))


# --- additivity ---


def test_counts_do_not_depend_on_batches():
    scores, target, offsets = random_case(5, 4)
    whole = confusion(scores, target, offsets)
    assert whole.shape == (7, 4, 4) and whole.dtype == np.int64
    for b in range(7):
        rows = slice(offsets[b], offsets[b + 1])
        part = confusion(scores[rows], target[rows], offsets[b : b + 2] - offsets[b])
        np.testing.assert_array_equal(part[0], whole[b])
    np.testing.assert_array_equal(whole.sum((1, 2)), [(target[a:b] >= 0).sum() for a, b in pairwise(offsets)])


def test_order_of_points_does_not_matter():
    scores, target, offsets = random_case(6, 4)
    order = np.concatenate([np.random.default_rng(0).permutation(b - a) + a for a, b in pairwise(offsets)])
    np.testing.assert_array_equal(confusion(scores[order], target[order], offsets), confusion(scores, target, offsets))


def test_event_level_targets_count_once_each():
    counts = confusion(one_hot([0, 1, 1], 2), np.array([0, 0, 1]))
    np.testing.assert_array_equal(counts, [[[1, 0], [0, 0]], [[0, 1], [0, 0]], [[0, 0], [0, 1]]])


def test_events_without_counted_points_are_kept_as_zeros():
    counts = confusion(one_hot([0, 1], 2), np.array([-1, 1]), np.array([0, 1, 1, 2]))
    np.testing.assert_array_equal(counts.sum((1, 2)), [0, 0, 1])


def test_ties_go_to_the_lowest_class():
    assert confusion(np.zeros((1, 3)), np.array([2])).nonzero() == (0, 2, 0)


# --- empty classes ---


def test_class_absent_from_both_has_no_score():
    scores = scores_from_counts(np.array([[3, 1, 0], [0, 2, 0], [0, 0, 0]]))
    assert np.isnan([scores[name][2] for name in PER_CLASS]).all()
    np.testing.assert_allclose(scores["macro_f1"], scores["f1"][:2].mean())


def test_class_predicted_but_absent_from_the_truth_scores_zero():
    scores = scores_from_counts(np.array([[3, 0, 1], [0, 2, 0], [0, 0, 0]]))
    assert [scores[name][2] for name in PER_CLASS] == [0, 0, 0, 0]
    np.testing.assert_allclose(scores["macro_f1"], scores["f1"].mean())


def test_class_never_predicted_scores_zero():
    scores = scores_from_counts(np.array([[3, 0], [2, 0]]))
    assert [scores[name][1] for name in PER_CLASS] == [0, 0, 0, 0]


def test_nothing_counted_has_no_score():
    scores = scores_from_counts(np.zeros((3, 3)))
    assert all(np.isnan(scores[name]).all() for name in (*PER_CLASS, *OVERALL))


def test_scores_of_stacked_counts_are_stacked_scores():
    counts = confusion(*random_case(7, 4))
    stacked = scores_from_counts(counts)
    for b in range(len(counts)):
        single = scores_from_counts(counts[b])
        for name in (*PER_CLASS, *OVERALL):
            np.testing.assert_array_equal(stacked[name][b], single[name])


# --- refusals ---


def test_scores_that_are_not_finite_are_refused():
    scores = np.array([[0.0, np.nan], [0.0, 1.0]])
    with pytest.raises(BenchmarkError, match="1 of 2 rows of scores are not finite"):
        confusion(scores, np.array([0, 1]))


def test_targets_outside_the_classes_are_refused():
    with pytest.raises(BenchmarkError, match="A target is 2 and the model scores 2 classes"):
        confusion(np.zeros((2, 2)), np.array([0, 2]))


def test_lengths_that_differ_are_refused():
    with pytest.raises(BenchmarkError, match="2 rows of scores, 3 targets"):
        confusion(np.zeros((2, 2)), np.array([0, 1, 1]))
    with pytest.raises(BenchmarkError, match="3 points of events"):
        confusion(np.zeros((2, 2)), np.array([0, 1]), np.array([0, 3]))


# --- bootstrap ---


def test_resampled_sums_are_sums_of_drawn_events():
    counts = np.eye(6)[:, :, None] * np.arange(1, 4)  # event b shows in row b alone
    sums = resampled_sums(counts, np.random.default_rng(0), 50)
    times = sums[:, :, 0]
    assert sums.shape == (50, 6, 3)
    np.testing.assert_array_equal(times, times.astype(int))
    np.testing.assert_array_equal(times.sum(1), 6)
    np.testing.assert_array_equal(sums[:, :, 2], 3 * times)
    assert len(np.unique(times, axis=0)) > 40


def test_same_generator_same_intervals_whatever_the_block_size(monkeypatch):
    counts = confusion(*random_case(8, 4, n_events=30))
    first = intervals(counts, scores_from_counts, np.random.default_rng(1), 101)
    monkeypatch.setattr(bootstrap, "_BLOCK_ELEMENTS", 30 * 7)
    second = intervals(counts, scores_from_counts, np.random.default_rng(1), 101)
    for name in first:
        np.testing.assert_allclose(first[name], second[name], rtol=1e-12)


def test_intervals_equal_a_plain_loop():
    counts = confusion(*random_case(9, 4, n_events=25))
    ours = intervals(counts, scores_from_counts, np.random.default_rng(2), 400)
    rng, values = np.random.default_rng(3), []
    for _ in range(4000):
        values.append(scores_from_counts(counts[rng.integers(0, 25, 25)].sum(0))["macro_f1"])
    np.testing.assert_allclose(ours["macro_f1"], np.quantile(values, [0.025, 0.975]), atol=0.02)


def test_intervals_cover_the_truth_about_as_often_as_stated():
    """Mean of 60 exponential counts: known truth, 95% nominal; the percentile interval falls a little short."""
    rng = np.random.default_rng(4)
    covered = 0
    for _ in range(400):
        counts = np.stack([rng.exponential(2.0, 60), np.ones(60)], axis=1)
        low, high = intervals(counts, lambda s: {"mean": s[..., 0] / s[..., 1]}, rng, 300)["mean"]
        covered += low <= 2.0 <= high
    assert 0.89 <= covered / 400 <= 0.98


def test_one_event_has_an_interval_of_no_width():
    counts = confusion(*random_case(10, 3))[1:2]
    ends = intervals(counts, scores_from_counts, np.random.default_rng(5), 20)
    np.testing.assert_array_equal(ends["accuracy"], np.repeat(scores_from_counts(counts[0])["accuracy"], 2))


def test_absent_class_has_no_interval():
    counts = np.zeros((5, 3, 3))
    counts[:, 0, 0] = counts[:, 1, 1] = 4
    ends = intervals(counts, scores_from_counts, np.random.default_rng(6), 20)
    assert np.isnan(ends["f1"][:, 2]).all() and (ends["macro_f1"] == 1).all()


def test_no_events_are_refused():
    with pytest.raises(BenchmarkError, match="no events to resample"):
        resampled_sums(np.zeros((0, 2, 2)), np.random.default_rng(7))


# --- the report ---


def test_report_is_plain_and_complete():
    counts = confusion(*random_case(11, 4, n_events=30))
    ends = intervals(counts, scores_from_counts, np.random.default_rng(8), 200)
    values = report(counts, CLASSES, ends)
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert set(values["overall"]) == set(OVERALL) and set(values["per_class"]) == set(CLASSES)
    for entry in (*values["overall"].values(), *(e for c in values["per_class"].values() for e in c.values())):
        assert entry["low"] <= entry["value"] <= entry["high"]
    assert values["n_events"] == 30
    assert sum(values["support"].values()) == counts.sum()
    np.testing.assert_array_equal(values["confusion"], counts.sum(0))


def test_report_writes_null_for_an_absent_class():
    counts = np.zeros((2, 4, 4), int)
    counts[:, 0, 0] = 3
    values = report(counts, CLASSES)
    assert values["per_class"]["michel"]["f1"] == {"value": None}
    assert values["overall"]["macro_f1"] == {"value": 1.0}
    assert values["support"] == {"shower": 6, "track": 0, "michel": 0, "delta": 0}


# --- the publication's way of counting ---

THEIRS = {"macro_f1": "f1_macro", "macro_precision": "precision_macro", "macro_recall": "accuracy_macro",
          "accuracy": "accuracy_micro"}  # fmt: skip


@pytest.mark.parametrize("which", ["", "rand_"])
def test_one_batch_scores_as_in_the_reference(shared_dir, which):
    """golden/public_reduced_segsem.npz: what the published model logs for a batch of three events."""
    golden = shared_dir / "reference/polarmae/golden"
    case = np.load(golden / "public_reduced_segsem.npz")
    batch = np.load(golden / "public_batch.npz")
    kept, target = case["point_mask"], batch["semantic_id"][..., 0]
    prediction = case["rand_pred" if which else "id_pred"]
    offsets = np.concatenate([[0], np.cumsum(kept.sum(1))])
    found = mean_over_batches(confusion(one_hot(prediction[kept], 4), target[kept], offsets))
    for ours, theirs in THEIRS.items():
        np.testing.assert_allclose(found[f"{ours}_mean_over_batches"], case[f"{which}metric_{theirs}"], rtol=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_the_mean_over_batches_equals_torchmetrics(seed):
    import torch
    from torchmetrics.functional import classification as tm

    scores, target, offsets = random_case(seed, 4, n_events=70, skill=[0, 0.5, 0.8, 1.0][seed])
    scores[: offsets[60], 3] = -1
    target = np.where((np.arange(len(target)) < offsets[60]) & (target == 3), -1, target)  # not in the first batch
    functions = {
        "macro_f1": (tm.multiclass_f1_score, "macro"), "macro_precision": (tm.multiclass_precision, "macro"),
        "macro_recall": (tm.multiclass_accuracy, "macro"), "accuracy": (tm.multiclass_accuracy, "micro"),
    }  # fmt: skip
    found = mean_over_batches(confusion(scores, target, offsets))
    for name, (function, average) in functions.items():
        total = 0.0
        for first in range(0, 70, 32):
            n_events = min(32, 70 - first)
            rows = slice(offsets[first], offsets[first + n_events])
            batch = torch.from_numpy(scores[rows].argmax(1)), torch.from_numpy(target[rows])
            total += n_events * float(function(*batch, num_classes=4, average=average, ignore_index=-1))
        np.testing.assert_allclose(found[f"{name}_mean_over_batches"], total / 70, rtol=1e-5, err_msg=name)


def test_in_one_batch_the_mean_over_batches_is_the_score_itself_and_in_several_it_is_not():
    counts = confusion(*random_case(12, 4, n_events=40))
    pooled = scores_from_counts(counts.sum(0))["macro_f1"]
    np.testing.assert_allclose(mean_over_batches(counts, 40)["macro_f1_mean_over_batches"], pooled)
    assert abs(mean_over_batches(counts, 4)["macro_f1_mean_over_batches"] - pooled) > 1e-3
