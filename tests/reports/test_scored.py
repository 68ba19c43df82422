"""What a table compares and claims: one split, one set of events with their truth; intervals where events suffice."""

import dataclasses
import json

import numpy as np
import pytest

from benchmark.cli import main
from benchmark.metrics import families
from benchmark.metrics.bootstrap import interval, multiplicities
from benchmark.metrics.families import family
from benchmark.metrics.few_events import MIN_EVENTS, MIN_WITH_CLASS
from benchmark.records.counts import pack_counts, pack_units, unpack_units
from benchmark.records.scored import founded, units_of
from benchmark.reports.averages import averages
from benchmark.reports.check import check_records
from benchmark.reports.compare import compare
from benchmark.reports.efficiency import board_of, curves, labels_to_reach
from benchmark.reports.frames import runs as runs_frame
from benchmark.reports.leaderboard import leaderboards
from benchmark.reports.tables import run_table
from benchmark.seeding import generator
from benchmark.tasks import TASKS
from builders.many_records import counts, made_up, write

N = 60
MICHEL = 2  # position among the classes


@pytest.fixture
def rng():
    return np.random.default_rng(4)


def elsewhere(record, split="train", n=22, **config):
    """The record as `transfer` would write it for another split: other events, another fingerprint."""
    states = counts(0.99, n, np.random.default_rng(1))
    return dataclasses.replace(
        record, fingerprint=record.fingerprint[::-1], created="2026-12-24T00:00:00+00:00",
        events={**record.events, "test": n, "split": split, "excluded": {split: {}}},
        config={**record.config, **config}, metrics=made_up("x", 10, 0, 0, None, states=states).metrics,
        per_event=pack_counts(states, tuple(f"{split} {i}" for i in range(n))),
    )  # fmt: skip


def with_michel_in(states, n_events):
    """The same events, with Michel electrons in the first `n_events` alone, and none predicted in the others."""
    result = states.copy()
    result[n_events:, MICHEL] = 0
    result[n_events:, :, MICHEL] = 0
    return result


# ---- what a score was made on


def test_a_score_of_another_split_takes_no_place_in_the_table(rng):
    tested = made_up("a", 100, 0, 0, rng, n_events=N)
    trained = elsewhere(tested)
    (board,) = leaderboards([tested, trained])
    assert board.title.endswith("test split") and board.column("n_events")[0].value == N
    assert board.averages[0].runs == (tested,)
    (other,) = leaderboards([tested, trained], split="train")
    assert other.title.endswith("train split") and other.averages[0].runs == (trained,)
    assert sorted(row.n_runs for row in averages([tested, trained])) == [1, 1]
    assert not compare(tested, trained).same_events and "22 train events" in compare(tested, trained).verdict
    assert board_of([tested, trained], "lartpc-segmentation").averages == board.averages
    assert runs_frame([tested, trained]).split.tolist() == ["test", "train"]


def test_older_records_name_their_split_by_what_was_left_out_of_it(rng):
    record = made_up("a", 100, 0, 0, rng, n_events=N)
    for excluded, split in (({}, "test"), ({"train": {}, "test": {}}, "test"), ({"train": {}}, "train"),
                            ({"val": {"too_few_points": 3}}, "val")):  # fmt: skip
        assert dataclasses.replace(record, events={**record.events, "excluded": excluded}).split == split


def test_the_command_counts_what_it_leaves_out_and_shows_it_on_request(rng, tmp_path, capsys):
    tested = made_up("a", 100, 0, 0, rng, n_events=N)
    for record in (tested, elsewhere(tested)):
        write(tmp_path, record)
    main(["leaderboard", "--records", str(tmp_path)])
    text = capsys.readouterr().out
    assert "test split" in text and "1 of them scored on another split and left out: type --split train" in text
    main(["leaderboard", "--records", str(tmp_path), "--split", "train", "--format", "markdown"])
    assert "train split**" in capsys.readouterr().out


def test_the_check_finds_splits_that_contradict_themselves(rng, tmp_path):
    tested = made_up("a", 100, 0, 0, rng, n_events=N)
    claimed = dataclasses.replace(elsewhere(tested), command=["benchmark", "transfer", "r.json", "--split", "train"])
    claimed = dataclasses.replace(claimed, events={**claimed.events, "split": "test"})
    for record in (tested, made_up("b", 100, 0, 0, rng, n_events=N)):
        write(tmp_path, record)
    path = write(tmp_path, claimed)
    errors = {f.text for f in check_records(tmp_path)[1] if f.error and f.path == path}
    assert any("names events left out of train alone" in text for text in errors)
    assert any("its command says train" in text for text in errors)
    assert any("was scored on other events than the 2 others" in text for text in errors)


def test_an_honest_record_of_another_split_is_noted(rng, tmp_path):
    path = write(tmp_path, elsewhere(made_up("a", 100, 0, 0, rng, n_events=N)))
    (finding,) = check_records(tmp_path)[1]
    assert (finding.path, finding.error) == (path, False) and "train split" in finding.text


def test_rows_with_other_cuts_have_a_table_of_their_own_that_says_what_was_set(rng, tmp_path):
    usual = [made_up(m, 100, 0, 0, rng, n_events=N, quality=0.8) for m in ("a", "b")]
    cut = elsewhere(usual[0], split="test", n=20, preprocess={"columns": ["log_energy"], "min_points": 6000})
    first, second = leaderboards([cut, *usual])
    assert [len(first.rows), len(second.rows)] == [2, 1]
    assert second.title.endswith("test split, preprocess.min_points=6000") and not first.cuts
    assert (first.column("n_events")[0].value, second.column("n_events")[0].value) == (N, 20)
    for record in (cut, *usual):
        write(tmp_path, record)
    (finding,) = check_records(tmp_path)[1]
    assert not finding.error and "20 events of its own (preprocess.min_points=6000)" in finding.text


def test_a_cut_that_leaves_other_points_in_the_same_events_makes_another_table(rng):
    usual = made_up("a", 100, 0, 0, rng, n_events=N, quality=0.8)
    states = counts(0.9, N, rng)
    states[:, 0] //= 2  # half of the points of one class
    cut = made_up("b", 100, 0, 0, rng, states=states)
    cut.config["preprocess"]["energy_min_mev"] = 0.5
    assert len(leaderboards([usual, cut])) == 2
    assert not compare(usual, cut).same_events
    inputs = made_up("c", 100, 0, 0, rng, n_events=N)
    inputs.config["preprocess"] |= {"columns": ["energy"], "log_eps_mev": 0.5}  # what the model sees, not the truth
    (board,) = leaderboards([usual, inputs])
    assert len(board.rows) == 2


def test_the_check_finds_counts_of_another_truth(rng, tmp_path):
    records = [made_up(m, 100, 0, 0, rng, n_events=N) for m in ("a", "b")]
    states = counts(0.99, N, rng)
    states[0, 0, 0] += 1000  # points that this event does not have
    records.append(made_up("forged", 100, 0, 0, rng, states=states))
    paths = [write(tmp_path, record) for record in records]
    (finding,) = check_records(tmp_path)[1]
    assert (finding.path, finding.error) == (paths[-1], True) and "other events" in finding.text


# ---- the classes of a macro mean


def test_a_resample_without_a_class_averages_no_other_classes(rng):
    """As in 12 events with Michel electrons in 3, never found: without them the mean would be of three classes."""
    states = with_michel_in(counts(0.6, 12, rng), 3)
    states[:, :, 0] += states[:, :, MICHEL]
    states[:, :, MICHEL] = 0
    task = TASKS["lartpc-segmentation"]
    entry = families.report(family("segmentation"), states, task, generator("bootstrap"))["overall"]["macro_f1"]
    values = []
    for times in np.concatenate(list(multiplicities(np.arange(12), generator("bootstrap")))):
        total = np.einsum("b,bij->ij", times, states)
        f1 = 2 * np.diag(total) / np.maximum(total.sum(0) + total.sum(1), 1)
        if total[MICHEL].any():
            values.append(f1.mean())
    low, high = interval(np.array(values)[:, None])[:, 0]
    assert (entry["low"], entry["high"]) == pytest.approx((low, high))
    assert entry["high"] < 1.15 * entry["value"]  # a mean over three classes is a third higher
    (row,) = averages([made_up("a", 100, 0, 0, rng, states=states)])
    assert row.record.metrics["overall"]["macro_f1"]["high"] < 1.15 * entry["value"]
    shown = [r for r in row.replicates if np.isfinite(r)]
    assert max(shown) < 1.2 * entry["value"]


# ---- few events, and constants


def no_interval(record, section, row, name):
    entry = record.metrics[section][name] if row is None else record.metrics[section][row][name]
    return entry["value"] is not None and entry["low"] is entry["high"] is None


@pytest.mark.parametrize("n_events", [1, 2, MIN_EVENTS - 1])
def test_few_events_give_a_score_and_no_claim(rng, tmp_path, capsys, n_events):
    good, bad = (made_up(m, 100, 0, 0, rng, n_events=n_events, quality=q) for m, q in (("good", 0.95), ("bad", 0.5)))
    (board,) = leaderboards([good, bad])
    assert not any(cell.bold for row in board.rows for cell in row)
    assert all(cell.text.endswith("[-]") and cell.low is None for cell in board.column("macro_f1"))
    assert board.column("difference_to_best")[1].text.endswith(" [-]")
    assert board.column("n_events")[0].value == n_events
    assert any("fewer than 10 independent events" in note for note in board.notes)
    verdict = compare(good, bad).verdict
    assert verdict.startswith("No verdict") and f"{n_events} test events" in verdict
    (curve, _) = curves(board)
    assert curve.points[0].low is None and curve.points[0].replicates is None
    assert labels_to_reach(curve, 0.1).low is None
    assert "[-]" in run_table(good).columns[1].cells[0]
    assert not any(name.endswith(" low") for name in runs_frame([good]).columns)
    write(tmp_path, good)
    (finding,) = check_records(tmp_path)[1]
    assert f"has {n_events} independent events" in finding.text and not finding.error


def test_ten_events_have_an_interval(rng):
    (row,) = averages([made_up("a", 100, 0, 0, rng, n_events=MIN_EVENTS)])
    entry = row.record.metrics["overall"]["macro_f1"]
    assert entry["low"] < entry["value"] < entry["high"]


@pytest.mark.parametrize("n_with", [1, 2, 3])
def test_a_class_in_few_events_has_no_interval_and_neither_has_its_macro_mean(rng, n_with):
    states = with_michel_in(counts(0.8, N, rng), n_with)
    (row,) = averages([made_up("a", 100, 0, 0, rng, states=states)])
    expected = n_with < MIN_WITH_CLASS
    assert no_interval(row.record, "per_class", "michel", "f1") == expected
    assert no_interval(row.record, "overall", None, "macro_f1") == expected
    assert not no_interval(row.record, "per_class", "track", "f1")
    found = families.report(family("segmentation"), states, TASKS["lartpc-segmentation"], generator("bootstrap"))
    assert (found["per_class"]["michel"]["f1"]["low"] is None) == expected
    assert (found["overall"]["macro_f1"]["low"] is None) == expected
    assert found["overall"]["accuracy"]["low"] is not None


def test_a_class_that_is_never_predicted_and_a_constant_predictor_have_no_interval(rng):
    states = counts(0.8, N, rng)
    constant = np.zeros_like(states)
    constant[:, :, 1] = states.sum(axis=2)  # always a track
    model = [made_up("model", 100, draw, 0, rng, states=states) for draw in (0, 1)]
    majority = made_up("majority", 100, 0, 0, rng, states=constant)
    (board,) = leaderboards([*model, majority])
    assert [c.text for c in board.column("f1_michel")][1] == "0.000 [-]"
    assert board.column("f1_track")[1].low is not None  # depends on the share of tracks
    assert board.column("macro_f1")[0].bold  # the difference to a constant is no constant
    found = families.report(family("segmentation"), constant, TASKS["lartpc-segmentation"], generator("bootstrap"))
    assert found["per_class"]["track"]["recall"] == {"value": 1.0, "low": None, "high": None}
    assert found["per_class"]["michel"]["f1"] == {"value": 0.0, "low": None, "high": None}


def test_an_older_record_shows_no_interval_that_it_may_not_have(rng):
    old = made_up("a", 100, 0, 0, rng, n_events=2)
    assert old.metrics["overall"]["macro_f1"]["low"] is not None
    assert no_interval(founded(old), "overall", None, "macro_f1")
    assert founded(old).metrics["support"] == old.metrics["support"]
    common = made_up("b", 100, 0, 0, rng, n_events=N)
    assert founded(common).metrics["overall"] == common.metrics["overall"]


# ---- samples of one event


def together(record, units):
    return dataclasses.replace(record, per_event={**record.per_event, **pack_units(units)})


def test_samples_of_one_event_are_drawn_together_in_rows_and_single_runs(rng):
    """Twenty events of ten equal samples each: an interval over 200 samples would be three times too narrow."""
    states = np.repeat(np.concatenate([counts(q, 1, rng) for q in rng.uniform(0.4, 0.9, 20)]), 10, axis=0)
    units = np.repeat(np.arange(20), 10)
    record = made_up("a", 100, 0, 0, rng, states=states)

    def width(which):
        (row,) = averages([which])
        entry = row.record.metrics["overall"]["macro_f1"]
        return entry["high"] - entry["low"]

    assert width(together(record, units)) == pytest.approx(np.sqrt(10) * width(record), rel=0.15)
    task = TASKS["lartpc-segmentation"]
    kind, alone = family("segmentation"), np.arange(len(states))
    made = [families.report(kind, states, task, generator("b"), u)["overall"]["macro_f1"] for u in (units, alone)]
    ratio = (made[0]["high"] - made[0]["low"]) / (made[1]["high"] - made[1]["low"])
    assert ratio == pytest.approx(np.sqrt(10), rel=0.15)


def test_tiles_of_three_scans_are_too_few(rng):
    record = together(made_up("a", 100, 0, 0, rng, n_events=N), np.arange(N) % 3)
    (board,) = leaderboards([record])
    assert board.column("macro_f1")[0].text.endswith("[-]")
    assert any("3 independent events" in note for note in board.notes)


def test_an_older_record_of_parts_of_events_has_no_interval(rng):
    record = made_up("a", 100, 0, 0, rng, n_events=N)
    record.config["task"]["sample"] = "cluster"
    assert units_of(record) is None
    (board,) = leaderboards([record])
    assert board.column("macro_f1")[0].low is None
    assert any("do not say which samples are of one event" in note for note in board.notes)


def test_units_survive_their_packing(rng):
    units = np.repeat(np.arange(30), rng.integers(1, 4, 30))[rng.permutation(30)]
    units = np.unique(units, return_inverse=True)[1]
    packed = {"shape": [len(units)], **json.loads(json.dumps(pack_units(units)))}
    np.testing.assert_array_equal(unpack_units(packed), units)
