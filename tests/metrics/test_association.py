"""Cell-to-track scores equal scikit-learn's with the energies as weights, add up over events, and see cells alone."""

import json
from itertools import pairwise

import numpy as np
import pytest
from sklearn import metrics as sk

from benchmark.errors import BenchmarkError
from benchmark.metrics.association import CLASSES, COLUMNS, SECTIONS, extra, rows, scores, state

NAMES = ("f1", "precision", "recall", "accuracy", "majority_accuracy")


def random_case(seed, n_classes=3, n_events=9):
    """Arguments of `state`: events of different sizes, one of tracks alone, some cells of negative energy."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(5, 60, n_events)
    n = lengths.sum()
    fractions = rng.dirichlet([0.3] * 3, n)
    guess = 0.6 * fractions + 0.4 * rng.dirichlet([0.3] * 3, n)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    is_cell = rng.random(n) < 0.8
    is_cell[offsets[2] : offsets[3]] = False
    energy = np.where(rng.random(n) < 0.1, -1.0, 1.0) * rng.lognormal(-2, 2, n)
    return {
        "probabilities": guess[:, :n_classes], "fractions": fractions[:, :n_classes], "energy_gev": energy,
        "is_cell": is_cell, "offsets": offsets,
    }  # fmt: skip


def plain(values):
    return scores(values, np.ones((1, len(values)), int))


# --- against scikit-learn ---


@pytest.mark.parametrize("n_classes", [1, 2, 3])
@pytest.mark.parametrize("ending", ["", "_unweighted"])
@pytest.mark.parametrize("seed", range(3))
def test_scores_equal_scikit_learn(n_classes, ending, seed):
    case = random_case(seed, n_classes)
    found = plain(state(**case))
    cells = case["is_cell"]
    weight = np.maximum(case["energy_gev"][cells], 0) if not ending else None
    truth, chosen = case["fractions"][cells] > 0.5, case["probabilities"][cells] > 0.5
    f1 = []
    for number in range(n_classes):
        t, c = truth[:, number], chosen[:, number]
        expected = {
            "f1": sk.f1_score(t, c, sample_weight=weight),
            "precision": sk.precision_score(t, c, sample_weight=weight),
            "recall": sk.recall_score(t, c, sample_weight=weight),
            "accuracy": sk.accuracy_score(t, c, sample_weight=weight),
            "majority_accuracy": max(sk.accuracy_score(t, np.full(len(t), x), sample_weight=weight) for x in (0, 1)),
        }
        f1.append(expected["f1"])
        for name, value in expected.items():
            np.testing.assert_allclose(found["per_class"][name + ending][0, number], value, rtol=1e-6)
            if number == 0:
                np.testing.assert_allclose(found["overall"][name + ending], value, rtol=1e-6)
    np.testing.assert_allclose(found["overall"]["macro_f1" + ending], np.mean(f1), rtol=1e-6)


def test_sections_and_names():
    found = plain(state(**random_case(0, 2)))
    both = {name + ending for name in NAMES for ending in ("", "_unweighted")}
    assert tuple(found) == SECTIONS == ("overall", "per_class")
    assert set(found["per_class"]) == both
    assert set(found["overall"]) == both | {"macro_f1", "macro_f1_unweighted"}
    assert rows("per_class") == CLASSES and rows("per_class", 1) == ("focus",) and rows("overall") == ()
    assert found["per_class"]["f1"].shape == (1, 2)


# --- what counts ---


def test_weighted_and_unweighted_sums_of_a_small_event():
    """Cells: hit, false, missed, rightly left out, a hit of negative energy; then the focus track's own point."""
    values = state(
        probabilities=[[0.9], [0.8], [0.2], [0.1], [0.9], [1.0]],
        fractions=[[0.8], [0.1], [0.9], [0.0], [0.7], [0.0]],
        energy_gev=[4.0, 2.0, 1.0, 8.0, -3.0, 99.0],
        is_cell=[True] * 5 + [False],
        offsets=[0, 6],
    )
    assert values.dtype == np.float32 and values.shape == (1, 1, 2, len(COLUMNS))
    np.testing.assert_array_equal(values[0, 0], [[4, 2, 1, 8], [2, 1, 1, 1]])


@pytest.mark.parametrize("which", ["fractions", "probabilities"])
def test_exactly_one_half_is_not_most(which):
    case = {"probabilities": [[0.9]], "fractions": [[0.9]], "energy_gev": [1.0], "is_cell": [True], "offsets": [0, 1]}
    values = state(**(case | {which: [[0.5]]}))
    assert values[0, 0, 1, 0] == 0 and values[0, 0, 1].sum() == 1


def test_points_that_are_no_cells_change_nothing():
    case = random_case(1)
    before, others = state(**case), ~case["is_cell"]
    for name, value in (("probabilities", np.nan), ("fractions", -1), ("energy_gev", np.inf)):
        case[name] = case[name].copy()
        case[name][others] = value
    np.testing.assert_array_equal(state(**case), before)


def test_a_constant_answer_scores_the_majority_accuracy():
    case = random_case(2)
    for constant in (0.0, 1.0):
        found = plain(state(**(case | {"probabilities": np.full_like(case["probabilities"], constant)})))["per_class"]
        best = np.maximum(found["accuracy"], 1 - found["accuracy"])
        np.testing.assert_allclose(found["majority_accuracy"], best, rtol=1e-6)


def test_guesses_at_random_score_the_share_that_is_true():
    rng = np.random.default_rng(3)
    n = 200_000
    fractions = (rng.random((n, 1)) < 0.06).astype(float)
    guess = (rng.random((n, 1)) < 0.06).astype(float)
    values = state(guess, fractions, np.ones(n), np.ones(n, bool), np.array([0, n]))
    share = extra(values)["true_share"]["focus"]["cells"]
    assert abs(plain(values)["overall"]["f1_unweighted"][0] - share) < 0.01


# --- additivity and resamples ---


def test_counts_do_not_depend_on_batches():
    case = random_case(4)
    whole = state(**case)
    for b, (begin, end) in enumerate(pairwise(case["offsets"])):
        own = {name: values[begin:end] for name, values in case.items() if name != "offsets"}
        np.testing.assert_array_equal(state(**own, offsets=np.array([0, end - begin]))[0], whole[b])
    merged = state(**(case | {"offsets": case["offsets"][[0, -1]]}))
    np.testing.assert_allclose(whole.sum(0, dtype=float), merged[0], rtol=1e-6)


def test_resamples_equal_repeated_rows():
    values = state(**random_case(5))
    times = np.random.default_rng(0).multinomial(9, np.full(9, 1 / 9), size=20)
    found = scores(values, times)
    for r, drawn in enumerate(times):
        repeated = plain(np.repeat(values, drawn, axis=0))
        for section, names in found.items():
            for name, of_resamples in names.items():
                tolerance = 0 if name.endswith("_unweighted") else 1e-12  # counts are exact, sums of energies nearly
                np.testing.assert_allclose(of_resamples[r], repeated[section][name][0], rtol=tolerance, atol=0)


# --- empty samples ---


def test_a_sample_without_cells_is_fine():
    values = state(np.zeros((3, 3)), np.zeros((3, 3)), np.ones(3), np.zeros(3, bool), np.array([0, 2, 2, 3]))
    assert values.shape == (3, 3, 2, 4) and not values.any()
    assert all(np.isnan(score).all() for names in plain(values).values() for score in names.values())
    counts = extra(values)
    assert counts["n_cells"] == 0 and counts["n_events_without_cells"] == 3
    assert counts["true_share"]["focus"] == {"energy_gev": None, "cells": None}


def test_a_class_that_never_occurs_is_left_out_of_the_macro_mean():
    fractions = np.array([[1.0, 0, 0], [0, 1, 0]])
    values = state(fractions, fractions, np.ones(2), np.ones(2, bool), np.array([0, 2]))
    found = plain(values)
    np.testing.assert_array_equal(found["per_class"]["f1"][0], [1, 1, np.nan])
    assert found["overall"]["macro_f1"] == 1 and found["per_class"]["accuracy"][0, 2] == 1


# --- refusals ---


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"probabilities": np.array([[2.0], [0.1]])}, "1 of 2 cells have probabilities outside 0 to 1"),
        ({"fractions": np.array([[0.5], [np.nan]])}, "1 of 2 cells have fractions outside 0 to 1"),
        ({"energy_gev": np.array([np.nan, 1])}, "1 of 2 cells have energies that are not finite"),
        ({"probabilities": np.zeros((2, 4))}, r"shape \(2, 4\)"),
        ({"fractions": np.zeros((2, 3))}, r"fractions of shape \(2, 3\)"),
        ({"is_cell": np.ones(3, bool)}, r"cell flags of shape \(3,\)"),
        ({"offsets": np.array([0, 3])}, "do not cut 2 points into events"),
        ({"offsets": np.array([0, 2, 1, 2])}, "do not cut 2 points into events"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    good = {
        "probabilities": np.full((2, 1), 0.3), "fractions": np.zeros((2, 1)), "energy_gev": np.ones(2),
        "is_cell": np.ones(2, bool), "offsets": np.array([0, 2]),
    }  # fmt: skip
    with pytest.raises(BenchmarkError, match=message):
        state(**(good | change))


def test_a_misspelt_section_is_told():
    with pytest.raises(BenchmarkError, match="Did you mean 'per_class'"):
        rows("perclass")


def test_extra_is_plain_and_adds_up():
    case = random_case(6)
    values = extra(state(**case))
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert values["n_cells"] == case["is_cell"].sum() and values["n_events_without_cells"] == 1
    assert all(sum(c["cells"].values()) == values["n_cells"] for c in values["counts"].values())
    np.testing.assert_allclose(values["energy_gev"], np.maximum(case["energy_gev"][case["is_cell"]], 0).sum())
