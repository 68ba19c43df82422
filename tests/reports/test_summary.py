"""Ranks over contests: by hand, with ties, missing methods, single runs, few events and corrections for many rows."""

import numpy as np
import pytest

from benchmark.cli import main
from benchmark.reports.leaderboard import leaderboards
from benchmark.reports.summary import holm, markdown, method_of, rich, summary
from builders.many_records import counts, made_up, write

N = 60


def records(qualities, labels=(100,), draws=2, task="lartpc-segmentation", seed=0, n_events=N):
    """method -> quality, at each budget."""
    rng = np.random.default_rng(seed)
    return [
        made_up(m, n, d, 0, rng, quality=q, n_events=n_events, task=task)
        for n in labels for m, q in qualities.items() for d in range(draws)
    ]  # fmt: skip


def standings(found):
    return {s.method: s for s in found.standings}


def test_wins_and_ranks_by_hand():
    found = summary(leaderboards(records({"a": 0.9, "b": 0.8, "c": 0.7}, labels=(10, 100))))
    told = standings(found)
    assert [s.method for s in found.standings] == ["a", "b", "c"]
    assert [s.wins.value for s in found.standings] == [1, 0.5, 0]
    assert [s.rank.value for s in found.standings] == [1, 2, 3]
    assert told["a"].wins.low == told["a"].wins.high == 1  # separated in every resample
    assert found.wins[0, 1] == 1 and found.wins[1, 0] == 0 and np.isnan(np.diag(found.wins)).all()
    assert (found.n_common[0] == [0, 2, 2]).all()
    assert [c.n_as_good for c in found.contests] == [1, 1]


def test_equal_methods_share_wins_and_ranks():
    rng = np.random.default_rng(0)
    states = counts(0.8, N, rng)
    found = summary(leaderboards([made_up(m, 100, d, 0, rng, states=states) for m in ("a", "b") for d in (0, 1)]))
    assert [s.wins.value for s in found.standings] == [0.5, 0.5]
    assert [s.rank.value for s in found.standings] == [1.5, 1.5]
    assert found.contests[0].n_as_good == 2 and found.contests[0].detectable == 0


def alike(n_methods, seed, **others):
    """Methods of one quality, each with counts of its own, and further methods -> quality."""
    rng = np.random.default_rng(seed)
    qualities = {**{f"m{i}": 0.8 for i in range(n_methods)}, **others}
    return [
        made_up(m, 100, d, 0, rng, states=states) for m, q in qualities.items() for states in [counts(q, N, rng)]
        for d in (0, 1)
    ]  # fmt: skip


def test_what_cannot_be_told_apart_has_wide_intervals():
    found = summary(leaderboards(alike(2, seed=0, bad=0.5)))
    told = standings(found)
    assert all(told[m].wins.low == 0.5 and told[m].wins.high == 1 for m in ("m0", "m1"))
    assert told["bad"].wins.high == 0
    assert found.contests[0].n_as_good == 2


def test_methods_of_few_contests_stand_behind_and_have_no_mean_rank():
    many = records({"a": 0.8, "b": 0.7}, labels=(10, 100, 1000, 10_000))
    one = records({"lucky": 0.95}, labels=(10,), seed=1)
    found = summary(leaderboards([*many, *one]))
    assert [(s.method, s.n_contests) for s in found.standings] == [("a", 4), ("b", 4), ("lucky", 1)]
    told = standings(found)
    assert told["lucky"].wins.value == 1 and told["lucky"].rank is None
    assert told["a"].rank.value == 1  # among the methods of every contest
    assert told["a"].wins.value == pytest.approx((1 + 0) / 2)  # against b always, against lucky never


def test_contests_of_few_events_are_listed_and_not_counted():
    found = summary(leaderboards([*records({"a": 0.9, "b": 0.7}), *records({"a": 0.5, "b": 0.9}, labels=(7,))]))
    assert standings(found)["a"].n_contests == 2
    few = records({"a": 0.5, "b": 0.9}, task="lartpc-segmentation-5", n_events=4)
    found = summary(leaderboards([*records({"a": 0.9, "b": 0.7}), *few]))
    assert [c.has_intervals for c in found.contests] == [True, False]
    assert standings(found)["a"].wins.value == 1 and standings(found)["a"].n_contests == 1
    assert found.contests[1].n_as_good is None and found.contests[1].detectable is None


def test_a_best_of_one_run_is_not_said_to_be_alone():
    found = summary(leaderboards(records({"a": 0.9, "b": 0.7}, draws=1)))
    assert found.contests[0].n_as_good is None and found.contests[0].detectable > 0


def test_an_error_counts_with_its_sign_turned():
    rows = records({"a": 0.9, "b": 0.7})
    for record in rows:
        record.task["smaller_is_better"] = True
    assert [s.method for s in summary(leaderboards(rows)).standings] == ["b", "a"]


def test_scores_are_normalised_between_the_floor_and_the_best():
    labels = (10, 100, 1000, 10_000)
    rows = records({"a": 0.9, "majority": 0.3, "b": 0.6}, labels=labels)
    for record in rows:
        record.config["task"]["floor"] = "majority"
    told = standings(summary(leaderboards(rows)))
    assert told["a"].middle == pytest.approx(1) and told["majority"].middle == pytest.approx(0)
    assert 0.2 < told["b"].middle < 0.8
    fewer = standings(summary(leaderboards([r for r in rows if r.config["labels"] > 10])))
    assert fewer["a"].middle is None  # of three scores


def test_holms_rule():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_differences_of_noise_alone_are_not_claimed_among_many():
    as_good = [summary(leaderboards(alike(12, seed))).contests[0].n_as_good for seed in range(4)]
    assert as_good == [12, 12, 12, 12]


def test_methods_are_named_by_what_is_not_usual():
    record = made_up("gnn", 100, 0, 0, np.random.default_rng(0), n_events=N)
    assert method_of(record) == "gnn"
    record.config.update(mode="fft", pretext="masked", preset="paper")
    assert method_of(record) == "gnn+masked:fft (paper)"
    record.config.update(mode="reported", pretext=None, preset="reported")
    assert method_of(record) == "gnn:reported"


def test_the_command_prints_both_tables_in_80_columns(tmp_path, capsys, monkeypatch):
    for record in records({"a": 0.9, "b": 0.8}, labels=(10, 100)):
        write(tmp_path, record)
    monkeypatch.setenv("COLUMNS", "80")
    main(["leaderboard", "--records", str(tmp_path), "--summary"])
    text = capsys.readouterr().out
    assert "2 of 2" in text and "1.00 [1.00, 1.00]" in text and max(map(len, text.splitlines())) <= 80
    main(["leaderboard", "--records", str(tmp_path), "--summary", "--format", "markdown"])
    assert "| a | 2 of 2 | 1.00 [1.00, 1.00] | 1.0 [1.0, 1.0] |" in capsys.readouterr().out
    for wrong, said in ((["--statement"], "exclude each other"), (["--format", "csv"], "--summary has no format csv")):
        with pytest.raises(SystemExit) as end:
            main(["leaderboard", "--records", str(tmp_path), "--summary", *wrong])
        assert end.value.code == 2 and said in capsys.readouterr().err


def test_one_method_alone_is_no_contest(tmp_path, capsys):
    for record in records({"a": 0.9}):
        write(tmp_path, record)
    with pytest.raises(SystemExit):
        main(["leaderboard", "--records", str(tmp_path), "--summary"])
    assert "No two methods were scored on the same events" in capsys.readouterr().err


def test_every_form_has_every_method():
    found = summary(leaderboards(records({"a": 0.9, "b": 0.8})))
    assert [len(table.columns[0].cells) for table in rich(found)] == [2, 1]
    assert "| b |" in markdown(found)
