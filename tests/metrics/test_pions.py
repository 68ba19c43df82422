"""Pion classification equals independent references, resamples equal repeated rows, and the rejection is 1/FPR."""

import csv
import json
import math
from itertools import pairwise

import numpy as np
import pytest
from sklearn import metrics as sk

from benchmark.errors import BenchmarkError
from benchmark.metrics import pions
from benchmark.metrics.pions import COLUMNS, SECTIONS, extra, rows, scores, state

ONCE = {"overall", "per_class", "by_abs_eta", "by_energy"}


def random_state(seed, n=300, ties=None, skill=1.0, share=0.6):
    """A state with `ties` distinct probabilities, or all distinct."""
    rng = np.random.default_rng(seed)
    label = (rng.random(n) < share).astype(int)
    probability = 1 / (1 + np.exp(-rng.normal(skill * (2 * label - 1))))
    if ties:
        probability = np.clip(np.round(probability * ties), 1, ties - 1) / ties
    energy, eta = 10 ** rng.uniform(-1.2, 3.5, n), rng.uniform(0, 3.1, n)
    return state(np.stack([1 - probability, probability], axis=1), label, energy, eta)


def plain(values):
    return scores(values, np.ones((1, len(values)), int))


def overall(values):
    return {name: score[0] for name, score in plain(values)["overall"].items()}


def reference(values, percent):
    """(FPR of the step rule, FPR on the line between vertices), by loops over every threshold."""
    probability, label = values[:, 0], values[:, 1] == 1
    signal = np.sort(probability[label])[::-1]
    step = (probability[~label] >= signal[math.ceil(percent * len(signal) / 100) - 1]).mean()
    fpr, tpr, _ = sk.roc_curve(label, probability, drop_intermediate=False)
    vertex = next(i for i in range(len(tpr)) if tpr[i] * len(signal) >= percent * len(signal) / 100 - 1e-9)
    share = (percent / 100 - tpr[vertex - 1]) / (tpr[vertex] - tpr[vertex - 1])
    return step, fpr[vertex - 1] + share * (fpr[vertex] - fpr[vertex - 1])


# --- against references ---


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("ties", [None, 40, 5])
@pytest.mark.parametrize("n", [23, 300])
def test_scores_equal_scikit_learn(seed, ties, n):
    values = random_state(seed, n, ties)
    truth, probability = values[:, 1].astype(int), values[:, 0]
    chosen, ours = (probability > 0.5).astype(int), overall(values)
    expected = {
        "roc_auc": sk.roc_auc_score(truth, probability),
        "accuracy": sk.accuracy_score(truth, chosen),
        "f1_signal": sk.f1_score(truth, chosen),
        "f1_background": sk.f1_score(truth, chosen, pos_label=0),
        "macro_f1": sk.f1_score(truth, chosen, average="macro"),
        "precision": sk.precision_score(truth, chosen, zero_division=0),
        "recall": sk.recall_score(truth, chosen),
    }
    for percent in (90, 95):
        for name, fpr in zip(("", "_interpolated"), reference(values, percent), strict=True):
            expected[f"rejection_{percent}{name}"] = 1 / fpr if fpr else np.inf
    assert set(ours) == set(expected)
    for name, value in expected.items():
        np.testing.assert_allclose(ours[name], value, rtol=1e-12, err_msg=name)
    per_class = plain(values)["per_class"]
    for name, theirs in zip(("precision", "recall", "f1"), sk.precision_recall_fscore_support(
        truth, chosen, zero_division=0), strict=False):  # fmt: skip
        np.testing.assert_allclose(per_class[name][0], theirs, rtol=1e-12)
    np.testing.assert_array_equal(extra(values)["confusion"], sk.confusion_matrix(truth, chosen))


@pytest.mark.parametrize(
    ("section", "column", "edges"),
    [("by_abs_eta", 3, (0, 0.7, 1.4, 3)), ("by_energy", 2, (0.1, 1, 10, 100, 1000, 10000))],
)
@pytest.mark.parametrize("ties", [None, 8])
def test_a_bins_scores_are_those_of_its_events(section, column, edges, ties):
    values = random_state(1, ties=ties)
    found = plain(values)[section]
    for number, (low, high) in enumerate(pairwise(edges)):
        own = overall(values[(values[:, column] >= low) & (values[:, column] < high)])
        for name, of_rows in found.items():
            np.testing.assert_array_equal(of_rows[0, number], own[name], err_msg=name)
    assert [len(rows(s)) for s in SECTIONS] == [0, 2, 3, 5]
    assert {s: set(names) for s, names in plain(values).items()} == {
        "overall": set(overall(values)),
        "per_class": {"precision", "recall", "f1"},
        "by_abs_eta": {"roc_auc", "rejection_90"},
        "by_energy": {"roc_auc", "rejection_90", "accuracy"},
    }


@pytest.mark.parametrize("energy_gev", [0.1, 1.0, 10.0, 1000.0])
def test_an_event_at_an_edge_lies_in_the_bin_above(energy_gev):
    values = state([[0.2, 0.8], [0.9, 0.1]], [1, 0], [energy_gev] * 2, [0.7, 0.7])
    label = next(name for name in rows("by_energy") if name.startswith(f"{energy_gev:g}-"))
    points = extra(values)
    assert points["by_energy"][label]["n_signal"] == 1 and points["by_abs_eta"]["0.7-1.4"]["n_background"] == 1
    assert sum(p["n_signal"] for p in points["by_energy"].values()) == 1


def test_events_outside_all_bins_count_overall_alone():
    values = state([[0.2, 0.8], [0.9, 0.1]], [1, 0], [0.05, 10000.0], [3.0, 3.5])
    assert np.isnan(plain(values)["by_energy"]["roc_auc"]).all() and overall(values)["roc_auc"] == 1
    assert extra(values)["n_outside_bins"] == {"by_abs_eta": 2, "by_energy": 2}


# --- resamples ---


@pytest.mark.parametrize("ties", [None, 12])
@pytest.mark.parametrize("seed", range(3))
def test_resamples_equal_repeated_rows_exactly(ties, seed, monkeypatch):
    values = random_state(seed, 120, ties)
    times = np.random.default_rng(seed).multinomial(120, np.full(120, 1 / 120), size=17)
    times[3] = 0
    monkeypatch.setattr(pions, "_BLOCK_ELEMENTS", 120 * 5)  # several blocks, the last one short
    found = scores(values, times)
    assert set(found) == ONCE
    for r, drawn in enumerate(times):
        repeated = plain(np.repeat(values, drawn, axis=0))
        for section, names in found.items():
            for name, of_resamples in names.items():
                np.testing.assert_array_equal(of_resamples[r], repeated[section][name][0], err_msg=f"{section} {name}")


def test_order_of_events_does_not_matter():
    values = random_state(4, ties=10)
    shuffled = values[np.random.default_rng(0).permutation(len(values))]
    assert json.dumps(extra(values)) == json.dumps(extra(shuffled))
    for section, names in plain(values).items():
        for name, score in names.items():
            np.testing.assert_array_equal(score, plain(shuffled)[section][name])


# --- where scores are undefined ---


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_alone_has_no_roc(label):
    values = random_state(5)
    ours = overall(values[values[:, 1] == label])
    undefined = {name for name, value in ours.items() if np.isnan(value)}
    assert undefined == {"roc_auc"} | {name for name in ours if name.startswith("rejection")}
    assert extra(values[values[:, 1] == label])["overall"] == {
        "n_signal": int((values[:, 1] == label).sum()) * label,
        "n_background": int((values[:, 1] == label).sum()) * (1 - label),
    }


def test_no_events_have_no_scores():
    empty = state(np.zeros((0, 2)), np.zeros(0), np.zeros(0), np.zeros(0))
    assert all(np.isnan(score).all() for names in plain(empty).values() for score in names.values())
    assert json.loads(json.dumps(extra(empty), allow_nan=False))["overall"] == {"n_signal": 0, "n_background": 0}


def test_without_false_positives_the_rejection_is_infinite_and_its_limit_stated():
    probability = np.concatenate([np.linspace(0.6, 0.9, 10), np.linspace(0.1, 0.4, 30)])
    values = state(np.stack([1 - probability, probability], 1), [1] * 10 + [0] * 30, np.ones(40), np.ones(40))
    assert overall(values)["rejection_90"] == np.inf and overall(values)["roc_auc"] == 1
    point = extra(values)["overall"]["at_90"]
    assert point["rejection_at_least"] == 10 and point["n_false_positive"] == 0 and point["efficiency"] == 0.9
    assert (1 - 1 / point["rejection_at_least"]) ** 30 <= 0.05  # a rate as high would have shown with 95% chance
    by_three = extra(values, np.arange(40) // 3)["overall"]["at_90"]  # three clusters of an event count as one
    assert by_three["rejection_at_least"] == 11 / 3 and by_three["n_false_positive"] == 0


def test_equal_scores_reject_nothing():
    values = state(np.full((10, 2), 0.5), [0, 1] * 5, np.ones(10), np.ones(10))
    ours = overall(values)
    assert (ours["roc_auc"], ours["rejection_90"]) == (0.5, 1) and ours["recall"] == 0  # 0.5 does not exceed 0.5
    np.testing.assert_allclose(ours["rejection_90_interpolated"], 1 / 0.9)
    assert extra(values)["overall"]["at_90"]["efficiency"] == 1


# --- rejection ---


def test_the_rejection_is_one_over_the_false_positive_rate():
    """10 charged pions; 4 of 20 neutral ones score above the ninth."""
    signal, background = np.linspace(0.95, 0.5, 10), np.concatenate([np.full(4, 0.93), np.full(16, 0.2)])
    probability = np.concatenate([signal, background])
    values = state(np.stack([1 - probability, probability], 1), [1] * 10 + [0] * 20, np.ones(30), np.ones(30))
    assert overall(values)["rejection_90"] == 5  # not 1 - 4/20


def test_published_rejections_are_one_over_a_rate(shared_dir):
    """A sample with each published false-positive rate gives the published rejection, and 1 - FPR never does."""
    path = shared_dir / "reference/calorimeter/published_rejection_table.csv"
    with path.open() as stream:
        table = list(csv.DictReader(stream))
    assert len(table) == 7
    for row in table:
        published, fpr = float(row["rejection_at_90pct_pipm_eff"]), float(row["implied_pi0_fpr"])
        n = 100_000
        n_false = round(fpr * n)
        label = np.concatenate([np.ones(n, int), np.zeros(n, int)])
        probability = np.concatenate([np.full(n, 0.8), np.full(n_false, 0.9), np.full(n - n_false, 0.1)])
        values = state(np.stack([1 - probability, probability], 1), label, np.ones(2 * n), np.ones(2 * n))
        np.testing.assert_allclose(overall(values)["rejection_90"], published, rtol=3e-4)
        assert abs(float(row["implied_one_minus_fpr"]) - (1 - fpr)) < 2e-6 and published > 1
    ratio = {(r["model"], r["eta_range"]): float(r["ratio_to_P_EM"]) for r in table}
    for row in table:
        base = next(r for r in table if r["model"] == "P_EM_clus" and r["eta_range"] == row["eta_range"])
        ours = float(base["implied_pi0_fpr"]) / float(row["implied_pi0_fpr"])
        np.testing.assert_allclose(ours, ratio[row["model"], row["eta_range"]], rtol=1e-3)


# --- real clusters ---


@pytest.fixture(scope="module")
def clusters(shared_dir):
    table = np.genfromtxt(shared_dir / "reference/calorimeter/clusters_public.csv", delimiter=",", names=True)
    expected = json.loads((shared_dir / "reference/calorimeter/expected_public.json").read_text())
    return table, expected["expected"]["classification"]


@pytest.mark.parametrize("form", ["probabilities", "logits", "log-probabilities"])
def test_every_published_number_of_the_classification(clusters, form):
    table, expected = clusters
    p = table["prob_pipm"]
    given = {
        "probabilities": np.stack([1 - p, p], axis=1),
        "logits": np.stack([np.full(len(p), 3.0), 3 + np.log(p / (1 - p))], axis=1),
        "log-probabilities": np.log(np.stack([1 - p, p], axis=1)),
    }[form]
    values = state(given, table["label"], table["e_true_gev"], np.abs(table["eta"]))
    ours, points = overall(values), extra(values)
    (tn, fp), (fn, tp) = points["confusion"]
    n_signal, n_background = points["overall"]["n_signal"], points["overall"]["n_background"]
    found = {
        "n": len(values), "n_signal": n_signal, "n_background": n_background,
        "tp": tp, "fp": fp, "tn": tn, "fn": fn, "f1_macro": ours["macro_f1"],
        **{name: ours[name] for name in ("accuracy", "precision", "recall", "f1_signal", "f1_background", "roc_auc")},
    }  # fmt: skip
    for percent in (90, 95):
        point = points["overall"][f"at_{percent}"]
        step, line = ours[f"rejection_{percent}"], ours[f"rejection_{percent}_interpolated"]
        found[f"eff{percent}"] = {
            "threshold": point["threshold"], "achieved_tpr": point["efficiency"], "fpr_step": point["fpr"],
            "rejection_1_over_fpr_step": step, "one_minus_fpr_step": 1 - 1 / step,
            "fpr_interp": 1 / line, "rejection_1_over_fpr_interp": line,
        }  # fmt: skip
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        leaves = value.items() if isinstance(value, dict) else [("", value)]
        assert not isinstance(value, dict) or value.keys() == found[name].keys()
        for leaf, number in leaves:
            ours_here = found[name][leaf] if leaf else found[name]
            np.testing.assert_allclose(ours_here, number, rtol=1e-6, err_msg=f"{name} {leaf}")


# --- the state ---


def test_logits_become_probabilities_without_overflow():
    logits = np.array([[0.0, 0.0], [0.0, 2000.0], [2000.0, 0.0], [1.0, 3.0]])
    values = state(logits, [0, 1, 0, 1], [1, 2, 3, 4], [0.1, 0.2, 0.3, 0.4])
    assert values.dtype == np.float32 and values.shape == (4, len(COLUMNS))
    np.testing.assert_allclose(values[:, 0], [0.5, 1, 0, 1 / (1 + np.exp(-2))], rtol=1e-6)
    np.testing.assert_array_equal(values[:, 2], [1, 2, 3, 4])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": np.zeros((3, 3))}, r"shape \(3, 3\)"),
        ({"scores": np.zeros(3)}, r"shape \(3,\)"),
        ({"scores": np.array([[0, 1], [0, np.nan], [np.inf, 0]])}, "2 of 3 rows of scores are not finite"),
        ({"target": np.array([0, 1, 2])}, "A target is 2"),
        ({"target": np.array([0, 1])}, r"label of shape \(2,\)"),
        ({"energy_gev": np.array([1, np.nan, 1])}, "1 of 3 values of energy_gev are not finite"),
        ({"abs_eta": np.zeros((3, 1))}, r"abs_eta of shape \(3, 1\)"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    good = {"scores": np.zeros((3, 2)), "target": np.array([0, 1, 1]), "energy_gev": np.ones(3), "abs_eta": np.ones(3)}
    with pytest.raises(BenchmarkError, match=message):
        state(**(good | change))


@pytest.mark.parametrize("shape", [(300,), (2, 299), (0, 300)])
def test_multiplicities_of_another_shape_are_refused(shape):
    with pytest.raises(BenchmarkError, match="multiplicities have shape"):
        scores(random_state(0), np.ones(shape))


def test_a_misspelt_section_is_told():
    with pytest.raises(BenchmarkError, match="Did you mean 'by_energy'"):
        rows("by_energies")


def test_extra_is_plain():
    values = extra(random_state(6))
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert {*values} == {"confusion", "n_outside_bins", "overall", "by_abs_eta", "by_energy"}
    assert tuple(values["by_energy"]) == rows("by_energy") == ("0.1-1", "1-10", "10-100", "100-1000", "1000-10000")
    assert tuple(values["by_abs_eta"]) == rows("by_abs_eta") == ("0-0.7", "0.7-1.4", "1.4-3")
