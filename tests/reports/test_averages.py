"""Rows that average runs: means and spreads by hand, intervals that cover what they should, nothing lost in silence."""

import dataclasses

import numpy as np
import pytest

from benchmark.metrics import bootstrap, segmentation
from benchmark.records.counts import pack_counts
from benchmark.reports.averages import averages
from benchmark.reports.leaderboard import leaderboards
from builders.records import make_record

CLASSES = ["a", "b"]
IDS = tuple(f"event {i}" for i in range(60))


def counts_with(accuracy, rng):
    """(B, 2, 2) counts of events of 100 points each."""
    right = rng.binomial(50, accuracy, (len(IDS), 2))
    return np.stack([np.array([[r[0], 50 - r[0]], [50 - r[1], r[1]]]) for r in right])


def run(draw, counts, seed=0, ids=IDS, **changes):
    ends = bootstrap.intervals(counts, segmentation.scores_from_counts, np.random.default_rng(0))
    config = {**make_record().config, "draw": draw, "seed": seed, **changes.pop("config", {})}
    return make_record(
        fingerprint=f"{draw}{seed}" + f"{abs(hash(str(counts.tolist())))}".zfill(62)[:62], config=config,
        task={**make_record().task, "classes": CLASSES}, metrics=segmentation.report(counts, CLASSES, ends),
        per_event=pack_counts(counts, ids), resources={"wall_s": 10.0 * (draw + 1), "n_parameters": 5}, **changes,
    )  # fmt: skip


@pytest.fixture
def three():
    rng = np.random.default_rng(1)
    return [run(draw, counts_with(accuracy, rng)) for draw, accuracy in enumerate((0.7, 0.8, 0.9))]


def f1(record):
    return record.metrics["overall"]["macro_f1"]["value"]


def test_draws_and_seeds_become_one_row_with_their_mean_and_standard_deviation(three):
    (row,) = averages([three[2], three[0], three[1]])
    assert [r.config["draw"] for r in row.runs] == [0, 1, 2]
    assert f1(row.record) == pytest.approx(np.mean([f1(r) for r in three]))
    assert row.spread == pytest.approx(np.std([f1(r) for r in three], ddof=1))
    per_class = [r.metrics["per_class"]["b"]["recall"]["value"] for r in three]
    assert row.record.metrics["per_class"]["b"]["recall"]["value"] == pytest.approx(np.mean(per_class))


def test_a_single_run_keeps_its_own_interval(three):
    (row,) = averages(three[:1])
    assert row.record == three[0]
    assert row.spread is None


def test_the_interval_covers_runs_that_differ_more_than_events_do(three):
    (row,) = averages(three)
    entry = row.record.metrics["overall"]["macro_f1"]
    assert entry["low"] < entry["value"] < entry["high"]
    own = three[0].metrics["overall"]["macro_f1"]
    assert entry["high"] - entry["low"] > 3 * (own["high"] - own["low"])  # 0.7 to 0.9 between runs


def test_equal_runs_have_the_interval_over_events():
    rng = np.random.default_rng(2)
    counts = counts_with(0.8, rng)
    same = [run(draw, counts) for draw in range(3)]
    (row,) = averages(same)
    entry, own = row.record.metrics["overall"]["macro_f1"], same[0].metrics["overall"]["macro_f1"]
    assert entry["value"] == pytest.approx(own["value"])
    assert entry["low"] == pytest.approx(own["low"], abs=0.004)
    assert entry["high"] == pytest.approx(own["high"], abs=0.004)


def test_other_settings_other_budgets_and_stopped_runs_stand_alone(three):
    rng = np.random.default_rng(3)
    others = [
        run(0, counts_with(0.5, rng), config={"labels": 20}),
        run(1, counts_with(0.5, rng), config={"train": {"steps": 7}}),
        run(1, counts_with(0.5, rng), status="stopped"),
    ]
    assert sorted(row.n_runs for row in averages([*three, *others])) == [1, 1, 1, 3]


def test_the_newer_of_two_records_with_equal_settings_counts(three):
    newer = dataclasses.replace(run(0, counts_with(0.2, np.random.default_rng(4))), created="2027-01-01T00:00:00+00:00")
    (row,) = averages([newer, *three])
    assert row.runs == (newer, *three[1:])


def test_runs_that_were_scored_on_other_events_are_not_averaged_with_the_rest(three):
    other = run(3, counts_with(0.9, np.random.default_rng(5)), ids=tuple(f"other {i}" for i in range(len(IDS))))
    assert sorted(row.n_runs for row in averages([*three, other])) == [1, 3]


def test_the_table_has_a_row_per_average_or_per_run(three):
    (board,) = leaderboards(three)
    assert [head.title for head in board.heads[4:7]] == ["runs", "spread", "macro_f1 [95%]"]
    assert len(board.rows) == 1
    assert board.column("runs")[0].text == "3"
    assert board.column("wall_s")[0].text == "20"  # mean wall time
    (board,) = leaderboards(three, each_run=True)
    assert [head.title for head in board.heads[4:6]] == ["draw", "seed"]
    assert [cell.text for cell in board.column("draw")] == ["2", "1", "0"]


def test_trainings_that_started_from_different_weights_are_rows_of_their_own():
    rng = np.random.default_rng(3)
    runs = [run(draw, counts_with(0.8, rng)) for draw in (0, 1)]
    weights = [{"checkpoint": f"{name}.safetensors", "checkpoint_sha256": name * 64} for name in "ab"]

    def started(mode, of):
        return [
            dataclasses.replace(r, config={**r.config, "mode": mode, **w}, fingerprint=c * 64)
            for r, w, c in zip(runs, of, "12", strict=True)
        ]

    assert [row.n_runs for row in averages(started("fft", weights))] == [1, 1]
    assert [row.n_runs for row in averages(started("fft", [weights[0], {**weights[0], "checkpoint": "moved"}]))] == [2]
    assert [row.n_runs for row in averages(started("evaluate", weights))] == [2]  # each draw has weights of its own
    (board,) = leaderboards(started("fft", weights))
    assert sorted(cell.text for cell in board.column("settings")) == ["checkpoint aaaaaa", "checkpoint bbbbbb"]
