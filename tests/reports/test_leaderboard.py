"""Leaderboards: paired differences, bold only where they separate, every form, and records that cannot be trusted."""

import csv
import dataclasses
import html
import io
import json
import re

import numpy as np
import pytest
from rich.console import Console

from benchmark.cli import main
from benchmark.records.store import read_record, record_path
from benchmark.reports.averages import averages
from benchmark.reports.check import check_records, conflicts
from benchmark.reports.formats import csv_text, html_page, latex, markdown, rich
from benchmark.reports.leaderboard import leaderboards
from benchmark.reports.paired_differences import difference, is_separated_best
from builders.many_records import CLASSES, counts, made_up, write

N = 60


@pytest.fixture
def rng():
    return np.random.default_rng(5)


def three(rng):
    """Two models that one can tell apart, and one that equals the best but for noise."""
    good = counts(0.9, N, rng)
    close = good.copy()
    close[: N // 2] = counts(0.9, N // 2, rng)
    return [
        made_up("good", 100, 0, 0, rng, states=good),
        made_up("close", 100, 0, 0, rng, states=close),
        made_up("bad", 100, 0, 0, rng, quality=0.7, n_events=N),
    ]


def test_the_difference_of_a_model_to_itself_is_zero_and_separates_nothing(rng):
    states = counts(0.8, N, rng)
    rows = averages([made_up(name, 100, 0, 0, rng, states=states) for name in ("a", "b")])
    found = difference(*rows)
    assert (found.value, found.low, found.high) == (0, 0, 0)
    assert not found.separated
    assert not is_separated_best(rows)


def test_paired_intervals_are_narrower_than_the_scores_own(rng):
    """Events of very different difficulty, and a second model that is a little better in each."""
    ease = rng.uniform(0.5, 0.95, N)
    one = np.concatenate([counts(q, 1, rng) for q in ease])
    other = np.concatenate([counts(min(q + 0.03, 0.99), 1, rng) for q in ease])
    rows = {r.record.model: r for r in averages([made_up("one", 100, 0, 0, rng, states=one),
                                                 made_up("other", 100, 0, 0, rng, states=other)])}  # fmt: skip
    found = difference(rows["other"], rows["one"])
    entry = rows["one"].record.metrics["overall"]["macro_f1"]
    own = made_up("x", 100, 0, 0, rng, states=one).metrics["overall"]["macro_f1"]
    assert found.separated
    assert found.high - found.low < 0.5 * (own["high"] - own["low"])
    assert entry["value"] == pytest.approx(own["value"])


def test_runs_on_other_events_are_not_compared(rng):
    one, other = (made_up(name, 100, 0, 0, rng, n_events=n) for name, n in (("a", N), ("b", N + 1)))
    assert difference(*averages([one, other])) is None


def test_bold_stands_only_where_the_interval_separates_from_every_other_row(rng):
    good, close, bad = three(rng)
    again = made_up("good", 100, 1, 0, rng, quality=0.9, n_events=N)
    (both,) = leaderboards([good, again, bad])
    assert [c.bold for c in both.column("macro_f1")] == [True, False]
    (board,) = leaderboards([good, again, close, bad])
    assert not any(c.bold for c in board.column("macro_f1"))
    assert [c.text for c in board.column("model")][2] == "bad"
    assert board.column("difference_to_best")[0].text == "-"
    assert board.column("difference_to_best")[2].high < 0
    assert any("bold" in note for note in both.notes)
    assert not any("bold" in note for note in board.notes)


def test_a_single_run_claims_nothing(rng):
    good, _, bad = three(rng)
    worse = made_up("bad", 100, 1, 0, rng, quality=0.7, n_events=N)
    (board,) = leaderboards([good, bad, worse])
    difference_of_bad = board.column("difference_to_best")[1]
    assert difference_of_bad.high < 0  # separated over the events
    assert not any(c.bold for c in board.column("macro_f1"))


def test_each_budget_has_its_own_best(rng):
    records = [
        made_up(m, n, d, 0, rng, quality=q, n_events=N)
        for n in (10, 100) for m, q in (("a", 0.9), ("b", 0.7)) for d in (0, 1)
    ]  # fmt: skip
    (board,) = leaderboards(records)
    assert [c.text for c in board.column("labels")] == ["10", "10", "100", "100"]
    assert [c.bold for c in board.column("macro_f1")] == [True, False, True, False]


def test_every_form_has_every_row_and_number(rng):
    (board,) = leaderboards(three(rng))
    lines = list(csv.DictReader(io.StringIO(csv_text([board]))))
    assert [line["model"] for line in lines] == [c.text for c in board.column("model")]
    best = float(lines[0]["macro_f1"])
    assert float(lines[0]["macro_f1_low"]) < best < float(lines[0]["macro_f1_high"])
    assert lines[0]["task"] == "lartpc-segmentation"
    for text in (markdown(board), latex(board), html_page([board])):
        assert f"{best:.3f}" in text
        assert all(name in text for name in ("good", "close", "bad"))
    assert r"macro\_f1 [95\%]" in latex(board)
    assert latex(board).count(r" \\") == 4


EVIL = '<script>alert("x")</script>|&_[bold]'


def test_html_in_a_models_name_stays_text_in_every_form(rng, capsys):
    record = made_up("fine", 100, 0, 0, rng, n_events=N)
    record = dataclasses.replace(record, config={**record.config, "model": EVIL})
    (board,) = leaderboards([record])
    page = html_page([board])
    assert "<script>" not in page
    assert html.escape(EVIL) in page
    assert "<script>" not in markdown(board)
    (row,) = [line for line in markdown(board).splitlines() if "alert" in line]
    heads = markdown(board).splitlines()[2]
    assert len(re.findall(r"(?<!\\)\|", row)) == len(re.findall(r"(?<!\\)\|", heads))
    assert r"\&\_" in latex(board)
    console = Console(width=400, file=io.StringIO())
    console.print(rich(board))
    assert "[bold]" in console.file.getvalue()
    assert next(csv.DictReader(io.StringIO(csv_text([board]))))["model"] == EVIL


# ---- records that cannot be trusted


def test_good_records_pass_the_check(rng, tmp_path):
    for record in three(rng):
        write(tmp_path, record)
    files, findings = check_records(tmp_path)
    assert len(files) == 3
    assert findings == []


def damaged(tmp_path, record, **changes):
    path = write(tmp_path, record)
    values = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps(values))
    return path


def test_a_score_that_the_counts_do_not_give_is_found(rng, tmp_path):
    record = three(rng)[0]
    metrics = json.loads(json.dumps(record.metrics))
    metrics["per_class"]["michel"]["f1"]["value"] += 0.01
    path = damaged(tmp_path, record, metrics=metrics)
    _, findings = check_records(tmp_path)
    assert [(f.path, f.error) for f in findings] == [(path, True)]
    assert "says f1 of michel" in findings[0].text


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"schema": 99}, "schema 99"),
        ({"status": "great"}, "status"),
        ({"events": {"labelled": 100, "test": "many"}}, "events.test"),
        ({"per_event": {}}, "no counts"),
        ({"fingerprint": "../../x"}, "wrong fingerprint"),
        ({"fingerprint": "abc"}, "no SHA-256"),
    ],
)
def test_a_damaged_record_is_reported_and_the_others_are_shown(rng, tmp_path, changes, said, capsys):
    good, other, _ = three(rng)
    write(tmp_path, good)
    path = damaged(tmp_path, other, **changes)
    _, findings = check_records(tmp_path)
    assert any(f.path == path and f.error and said in f.text for f in findings)
    main(["leaderboard", "--records", str(tmp_path), "--format", "markdown"])
    shown = capsys.readouterr()
    assert "good" in shown.out
    with pytest.raises(SystemExit) as end:
        main(["leaderboard", "--records", str(tmp_path), "--check"])
    assert end.value.code == 1
    assert str(path) in capsys.readouterr().out


def test_a_half_written_record_is_named_and_costs_no_other(rng, tmp_path, capsys):
    good, other, _ = three(rng)
    write(tmp_path, good)
    path = write(tmp_path, other)
    path.write_text(path.read_text()[:500])
    main(["leaderboard", "--records", str(tmp_path), "--format", "markdown"])
    shown = capsys.readouterr()
    assert "good" in shown.out
    assert str(path) in shown.err and "damaged" in shown.err


def test_two_records_with_one_fingerprint_and_different_scores_are_both_shown_and_reported(rng, tmp_path):
    one = made_up("same", 100, 0, 0, rng, quality=0.9, n_events=N)
    other = dataclasses.replace(made_up("same", 100, 0, 0, rng, quality=0.6, n_events=N), created="2026-11-25T00:00:00")
    write(tmp_path / "a", one)
    write(tmp_path / "b", other)
    assert one.fingerprint == other.fingerprint
    files, findings = check_records(tmp_path)
    (board,) = leaderboards([record for _, record in files])
    assert [c.text for c in board.column("model")] == ["same", "same"]
    assert any("other scores" in f.text and f.error for f in findings)


def test_a_copy_of_a_record_counts_once(rng, tmp_path):
    record = made_up("same", 100, 0, 0, rng, n_events=N)
    for folder in ("a", "b"):
        write(tmp_path / folder, record)
    files, _ = check_records(tmp_path)
    assert conflicts(files) == []
    (board,) = leaderboards([r for _, r in files])
    assert [c.text for c in board.column("runs")] == ["1"]
    assert any("left out" in note for note in board.notes)


def test_a_record_scored_on_other_events_than_the_rest_is_found(rng, tmp_path):
    for record in three(rng):
        write(tmp_path, record)
    odd = made_up("odd", 100, 0, 0, rng, n_events=N)
    odd = dataclasses.replace(odd, per_event={**odd.per_event, "event_ids_sha256": "0" * 64})
    path = write(tmp_path, odd)
    _, findings = check_records(tmp_path)
    assert [(f.path, "other events" in f.text) for f in findings] == [(path, True)]


def test_a_records_name_cannot_lead_out_of_the_folder(rng, tmp_path):
    record = made_up("m", 100, 0, 0, rng, n_events=N)
    record = dataclasses.replace(record, fingerprint="../../../../etc", config={**record.config, "model": "../x"})
    assert record_path(tmp_path, record).resolve().is_relative_to(tmp_path.resolve())


def test_written_tables_are_checked_against_the_records(rng, tmp_path, capsys):
    records, out = tmp_path / "records", tmp_path / "tables"
    for record in three(rng):
        write(records, record)
    main(["leaderboard", "--records", str(records), "--out", str(out)])
    assert sorted(p.name for p in out.iterdir()) == [f"leaderboard.{e}" for e in ("csv", "html", "md", "tex")]
    main(["leaderboard", "--records", str(records), "--out", str(out), "--check"])
    assert "0 errors" in capsys.readouterr().out
    (out / "leaderboard.md").write_text((out / "leaderboard.md").read_text().replace("0.", "1.", 1))
    with pytest.raises(SystemExit):
        main(["leaderboard", "--records", str(records), "--out", str(out), "--check"])
    assert "leaderboard.md: does not follow from the records" in capsys.readouterr().out


def test_tables_are_equal_whether_resamples_were_kept_or_not(rng, tmp_path, monkeypatch):
    from benchmark.reports import resampling

    monkeypatch.setenv("PARTICLEBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(resampling, "CACHE_FROM", 2)
    records = [made_up(m, 100, d, 0, rng, n_events=N) for m in ("a", "b") for d in range(3)]
    first = csv_text(leaderboards(records))
    assert list((tmp_path / "cache").rglob("*.npz"))
    assert csv_text(leaderboards(records)) == first
    monkeypatch.setattr(resampling, "CACHE_FROM", 10**9)
    assert csv_text(leaderboards(records)) == first
    better = made_up("a", 100, 0, 0, rng, quality=0.95, n_events=N)  # a changed record is not taken from the cache
    monkeypatch.setattr(resampling, "CACHE_FROM", 2)
    assert csv_text(leaderboards([better, *records[1:]])) != first


@pytest.mark.parametrize("damage", [lambda c: b"", lambda c: c[: len(c) // 2], lambda c: c[:-300] + bytes(300)])
def test_a_damaged_cache_of_resamples_is_made_again(rng, tmp_path, monkeypatch, damage):
    from benchmark.reports import resampling

    monkeypatch.setenv("PARTICLEBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(resampling, "CACHE_FROM", 2)
    records = [made_up("a", 100, d, 0, rng, n_events=N) for d in range(3)]
    first = csv_text(leaderboards(records))
    (path,) = (tmp_path / "cache").rglob("*.npz")
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert csv_text(leaderboards(records)) == first
    assert len(path.read_bytes()) == len(whole)


def test_made_up_records_are_real_in_form(rng, tmp_path):
    record = made_up("m", 100, 0, 0, rng, n_events=N)
    assert read_record(write(tmp_path, record)) == record
    assert tuple(record.task["classes"]) == CLASSES
