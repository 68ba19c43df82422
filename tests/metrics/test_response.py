"""Energy responses equal independent references, resamples equal repeated rows, real clusters score as published."""

import json
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import binned_statistic

from benchmark.errors import BenchmarkError
from benchmark.metrics import pions
from benchmark.metrics.response import COLUMNS, NAMES, SECTIONS, extra, fine_edges, repeated_percentiles, rows, scores
from benchmark.metrics.response import state as make_state

MEANS = ("mean_response", "mae_log10", "share_within_10_percent")
COMMON = {"n", "median", "q16", "q84", "iqr_over_2median", "mean"}


def random_state(seed, n=1500, rounded=False):
    rng = np.random.default_rng(seed)
    true = 10 ** rng.uniform(-1.3, 3.6, n)
    response = rng.lognormal(0, 0.15, n)
    if rounded:
        true, response = 2.0 ** np.round(np.log2(true)), np.round(response * 8 + 0.5) / 8  # many equal responses
    return make_state(true * response, true, rng.integers(0, 2, n), rng.uniform(0, 3, n))


def plain(values):
    return scores(values, np.ones((1, len(values)), int))


def reference(values):
    """Every score of one part, in the textbook's way."""
    if not len(values):
        return dict.fromkeys(NAMES, np.nan)
    predicted, true = values[:, 0].astype(float), values[:, 1].astype(float)
    response = predicted / true
    q16, q50, q84 = np.percentile(response, [16, 50, 84])
    return {
        "median_response": q50,
        "iqr_over_2median": (q84 - q16) / (2 * q50),
        "iqr_over_median": (q84 - q16) / q50,
        "mean_response": response.mean(),
        "mae_log10": np.abs(np.log10(predicted / true)).mean(),
        "share_within_10_percent": (np.abs(response - 1) <= 0.1).mean(),
    }


# --- against references ---


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("rounded", [False, True])
def test_scores_equal_numpy(seed, rounded):
    values = random_state(seed, rounded=rounded)
    found, true = plain(values), values[:, 1]
    decades = 10.0 ** np.arange(-1, 5)
    parts = {
        "per_class": [values[values[:, 2] == label] for label in (0, 1)],
        "by_energy": [values[(true >= lo) & (true < hi)] for lo, hi in pairwise(decades)],
    }
    assert set(found) == set(SECTIONS)
    for name in NAMES:
        np.testing.assert_allclose(found["overall"][name], reference(values)[name], rtol=1e-9)
        for section, members in parts.items():
            expected = [reference(part)[name] for part in members]
            np.testing.assert_allclose(found[section][name][0], expected, rtol=1e-9, err_msg=f"{section} {name}")


@pytest.mark.parametrize("seed", range(3))
def test_fine_bins_equal_scipys(seed):
    values = random_state(seed, 300)
    values = values[(values[:, 1] < 4) | (values[:, 1] > 9)]  # some bins are empty
    true, response = values[:, 1].astype(float), values[:, 0].astype(float) / values[:, 1]
    assert len(fine_edges()) == 41
    n = binned_statistic(true, response, "count", fine_edges()).statistic
    median = binned_statistic(true, response, "median", fine_edges()).statistic
    width = binned_statistic(true, response, lambda r: np.subtract(*np.percentile(r, [84, 16])), fine_edges()).statistic
    found = plain(values)["fine_bins"]
    assert (n < 5).any() and (n == 0).any() and (n >= 5).any()
    for name, expected in (("median_response", median), ("iqr_over_2median", width / (2 * median))):
        np.testing.assert_allclose(found[name][0], np.where(n >= 5, expected, np.nan), rtol=1e-12)
    assert [part["n"] for part in extra(values)["fine_bins"].values()] == n.tolist()


@pytest.mark.parametrize(
    ("energy_gev", "fine", "decade"),
    [
        (0.0999, None, None),
        (0.1, 0, 0),
        (float(np.float32(fine_edges()[7])), 7, 0),
        (1.0, 10, 1),
        (999.0, 39, 3),
        (1000.0, 39, 4),  # the last fine bin is closed above, decades are not
        (1000.1, None, 4),
        (10000.0, None, None),
    ],
)
def test_edges_belong_to_the_bin_above_except_the_last_fine_one(energy_gev, fine, decade):
    counts = extra(make_state([1.0], [energy_gev], [1], [0.0]))
    for section, expected in (("fine_bins", fine), ("by_energy", decade)):
        filled = [i for i, part in enumerate(counts[section].values()) if part["n"]]
        assert filled == ([] if expected is None else [expected])
        assert counts["n_outside_bins"][section] == (expected is None)


def test_fine_bins_with_fewer_than_five_rows_have_no_score():
    for n, defined in ((4, False), (5, True)):
        values = make_state(np.linspace(1, 1.1, n), np.full(n, 1.05), np.ones(n), np.zeros(n))
        assert np.isfinite(plain(values)["fine_bins"]["median_response"]).sum() == defined


def test_one_width_is_twice_the_other():
    overall = plain(random_state(7))["overall"]
    np.testing.assert_array_equal(overall["iqr_over_median"], 2 * overall["iqr_over_2median"])


def test_share_within_ten_percent_counts_both_sides():
    values = make_state([0.5, 0.95, 1.0, 1.05, 1.2], np.ones(5), np.ones(5), np.zeros(5))
    assert plain(values)["overall"]["share_within_10_percent"] == 0.6


# --- resamples ---


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("n", [1, 2, 7, 100])
def test_percentiles_equal_numpys_of_the_repeated_rows_exactly(seed, n):
    rng = np.random.default_rng(seed)
    rising = np.sort(rng.lognormal(size=n))
    times = rng.poisson(0.8, size=(60, n))
    times[5] = 0
    percent = (0, 16, 37, 50, 84, 100)
    found = repeated_percentiles(rising, times.astype(float), percent)
    for r in range(60):
        repeated = np.repeat(rising, times[r])
        expected = np.percentile(repeated, percent) if len(repeated) else np.full(len(percent), np.nan)
        np.testing.assert_array_equal(found[r], expected)


@pytest.mark.parametrize("rounded", [False, True])
def test_resamples_equal_repeated_rows(rounded, monkeypatch):
    values = random_state(8, 200, rounded)
    times = np.random.default_rng(1).multinomial(200, np.full(200, 1 / 200), size=13)
    monkeypatch.setattr(pions, "_BLOCK_ELEMENTS", 200 * 4)
    found = scores(values, times)
    for r, drawn in enumerate(times):
        repeated = plain(np.repeat(values, drawn, axis=0))
        for section, names in found.items():
            for name, of_resamples in names.items():
                tolerance = 1e-12 if name in MEANS else 0  # sums depend on their order in the last digits
                np.testing.assert_allclose(of_resamples[r], repeated[section][name][0], rtol=tolerance, atol=0)


# --- empty parts ---


def test_one_class_missing_and_empty_bins_have_no_score():
    values = random_state(9)
    found = plain(values[(values[:, 2] == 1) & (values[:, 1] < 100)])
    assert np.isnan(found["per_class"]["median_response"][0, 0]) and found["per_class"]["median_response"][0, 1] > 0
    np.testing.assert_array_equal(np.isnan(found["by_energy"]["mae_log10"][0]), [False] * 3 + [True] * 2)


def test_no_events_have_no_scores():
    empty = make_state(*[np.zeros(0)] * 4)
    assert all(np.isnan(score).all() for names in plain(empty).values() for score in names.values())
    assert json.loads(json.dumps(extra(empty), allow_nan=False))["overall"] == {"n": 0}


# --- real clusters ---


@pytest.fixture(scope="module")
def clusters(shared_dir):
    folder = shared_dir / "reference/calorimeter"
    expected = json.loads((folder / "expected_public.json").read_text())["expected"]
    return np.genfromtxt(folder / "clusters_public.csv", delimiter=",", names=True), expected


def values_of(table, column, precision):
    """The state of the real clusters: in float32 as records hold it, or with all digits of the table."""
    columns = (table[column], table["e_true_gev"], table["label"], np.abs(table["eta"]))
    return make_state(*columns) if precision == "float32" else np.stack(columns, axis=1)


def part(values):
    """What the reference says of one part of the sample, from our own scores and counts."""
    score = {name: value[0] for name, value in plain(values)["overall"].items()}
    counts = extra(values)["overall"]
    named = {"median": "median_response", "mean": "mean_response", "iqr_over_2median": "iqr_over_2median"}
    return {theirs: score[ours] for theirs, ours in named.items()} | {k: counts[k] for k in ("n", "q16", "q84")}


def sections(values):
    """The reference's whole block on one estimator, in its shape; decades and classes from our own sections."""
    scored, counts = plain(values), extra(values)
    gev = {"mae": "mae_gev", "mse": "mse_gev2", "r2": "r2"}
    found = {"mae_log10": scored["overall"]["mae_log10"][0]}
    decades = [float(edge) for label in rows("by_energy") for edge in label.split("-")]
    for name, label in (("all", None), ("pi0", 0), ("pipm", 1)):
        chosen = values if label is None else values[values[:, 2] == label]
        found[name] = part(chosen)
        summary = counts["overall"] if label is None else counts["per_class"][name]
        found[f"gev_{name}"] = {theirs: summary[ours] for theirs, ours in gev.items()}
        own, of_rows = plain(chosen)["by_energy"], extra(chosen)["by_energy"].values()
        found[f"by_decade_{name}"] = [
            {
                "lo": low, "hi": high, "n": row["n"], "q16": row["q16"], "q84": row["q84"],
                "median": own["median_response"][0, i], "mean": own["mean_response"][0, i],
                "iqr_over_2median": own["iqr_over_2median"][0, i],
            }
            for i, (low, high, row) in enumerate(zip(decades[::2], decades[1::2], of_rows, strict=True))
        ]  # fmt: skip
    return found


def compare(found, expected, precision, where=""):
    """Every leaf of the reference, and none of ours left over. Returns how many numbers were compared.

    A width is a difference of responses near 1, so that the rounding of a state to float32 shows in it absolutely.
    """
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), where
        return sum(compare(found[name], value, precision, f"{where} {name}") for name, value in expected.items())
    if isinstance(expected, list):
        assert len(found) == len(expected), where
        return sum(
            compare(a, b, precision, f"{where}[{i}]") for i, (a, b) in enumerate(zip(found, expected, strict=True))
        )
    rounding = 1e-7 if precision == "float32" and "iqr" in where else 0
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=rounding, err_msg=where)
    return 1


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize(("estimator", "column"), [("response_gnn", "e_pred_gev"), ("response_em", "e_em_gev")])
def test_every_published_number_of_an_estimator(clusters, estimator, column, precision):
    table, expected = clusters
    values = values_of(table, column, precision)
    assert compare(sections(values), expected[estimator], precision) == 3 * (6 + 5 * 8 + 3) + 1
    below = int((values[:, 1] < 0.1).sum())
    assert below == expected["n_true_below_0p1"] == extra(values)["n_outside_bins"]["by_energy"]


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_every_published_number_of_the_fine_bins(clusters, precision):
    table, expected = clusters
    values = values_of(table, "e_pred_gev", precision)
    scored, counts, edges = plain(values)["fine_bins"], list(extra(values)["fine_bins"].values()), fine_edges()
    found = [
        {
            "bin": i, "lo": edges[i], "hi": edges[i + 1], "center_linear": (edges[i] + edges[i + 1]) / 2,
            "n": counts[i]["n"], "q16": counts[i]["q16"], "q84": counts[i]["q84"],
            "median": scored["median_response"][0, i], "mean": scored["mean_response"][0, i],
            "iqr_over_2median": scored["iqr_over_2median"][0, i],
        }
        for i in np.flatnonzero(np.isfinite(scored["median_response"][0]))
    ]  # fmt: skip
    theirs = expected["response_gnn_fine_bins_min5"]
    assert compare(found, theirs, precision) == 10 * len(theirs) == 360
    assert len(counts) == expected["n_fine_bins_total"] == len(rows("fine_bins"))


def test_nothing_else_is_published(clusters):
    assert set(clusters[1]) == {
        "classification", "n_true_below_0p1", "response_gnn", "response_em", "response_gnn_fine_bins_min5",
        "n_fine_bins_total",
    }  # fmt: skip
    assert set(clusters[1]["response_gnn"]["all"]) == COMMON


# --- the state ---


def test_the_state_is_float32_in_order():
    values = make_state([2.0, 3.0], [1.0, 4.0], [0, 1], [0.5, 2.5])
    assert values.dtype == np.float32 and len(COLUMNS) == 4
    np.testing.assert_array_equal(values, [[2, 1, 0, 0.5], [3, 4, 1, 2.5]])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"predicted_gev": np.array([1, 0, -1, np.nan])}, "3 of 4 predicted energies are not finite or not above 0"),
        ({"predicted_gev": np.array([1, np.inf, 1e300, 1])}, "2 of 4 predicted energies"),
        ({"true_gev": np.array([1, 0, 1, 1])}, "1 of 4 true energies"),
        ({"true_gev": np.array([1, np.nan, 1, 1])}, "1 of 4 values of true_gev are not finite"),
        ({"predicted_gev": np.ones((4, 1))}, r"predictions of shape \(4, 1\)"),
        ({"target_class": np.ones(3)}, r"label of shape \(3,\)"),
    ],
)
def test_what_does_not_fit_is_refused(change, message):
    good = {name: np.ones(4) for name in ("predicted_gev", "true_gev", "target_class", "abs_eta")}
    with pytest.raises(BenchmarkError, match=message):
        make_state(**(good | change))


def test_a_misspelt_section_is_told():
    with pytest.raises(BenchmarkError, match="Did you mean 'fine_bins'"):
        rows("fine_bin")


def test_extra_is_plain_and_names_the_rows():
    values = extra(random_state(10, 60))
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert tuple(values["per_class"]) == ("pi0", "pipm") == rows("per_class") and rows("overall") == ()
    assert rows("fine_bins")[0] == "0.1-0.12589" and rows("fine_bins")[-1] == "794.33-1000"
