"""How many labels pre-training saves: factors by hand, limits as limits, doubts said, one row for each architecture."""

import dataclasses

import numpy as np
import pytest

from benchmark.cli import main
from benchmark.reports.leaderboard import leaderboards
from benchmark.reports.statement import savings, statement
from builders.many_records import counts, made_up, write

N = 80
QUALITIES = (0.6, 0.7, 0.8, 0.9)


@pytest.fixture(scope="module")
def states():
    """Counts by quality: equal ones for every model, so that intervals have no width."""
    rng = np.random.default_rng(5)
    return {quality: counts(quality, N, rng) for quality in QUALITIES}


def of(states, model, pretext, points, draws=2):
    """Records of a network; with a pretext pre-trained, else from scratch. points: labels -> quality."""
    rng, found = np.random.default_rng(0), []
    for labels, quality in points.items():
        for draw in range(draws):
            name = model if pretext is None else f"{model}+{pretext}"
            record = made_up(name, labels, draw, 0, rng, states=states[quality])
            record.config.update(model=model, pretext=pretext, mode="scratch" if pretext is None else "fft")
            if pretext is not None:
                record.training["pretraining"] = {
                    "steps": 500, "wall_s": 7200, "hardware": {"device": "cpu", "threads": 2, "processes": 1},
                }  # fmt: skip
            found.append(record)
    return found


def board(*records):
    (found,) = leaderboards([record for group in records for record in group])
    return found


def test_ten_labels_that_are_as_good_as_a_thousand_save_a_factor_of_a_hundred(states):
    scratch = of(states, "m", None, {10: 0.6, 100: 0.7, 1000: 0.8})
    (saving,) = savings(board(scratch, of(states, "m", "masked", {10: 0.8})))
    assert saving.is_best and saving.at.labels == 10 and saving.scratch.name == "m"
    assert saving.needed.value == pytest.approx(1000)
    assert saving.needed.text == "1,000 [1,000, 1,000]" and saving.needed.over(10) == "100 [100, 100]"
    assert "m+masked:fft reaches macro_f1" in saving.sentence("macro_f1")
    assert "after 4.0 core-hours of pre-training" in saving.sentence("macro_f1")
    assert saving.sentence("macro_f1").endswith("needs 1,000 [1,000, 1,000] for that: a factor of 100 [100, 100].")


def test_outside_the_measured_budgets_a_factor_is_a_limit(states):
    scratch = of(states, "m", None, {10: 0.6, 1000: 0.8})
    (above,) = savings(board(scratch, of(states, "m", "masked", {100: 0.9})))
    assert above.needed.text == "more than 1,000" and above.needed.over(100) == "more than 10"
    (below,) = savings(board(scratch, of(states, "m", "masked", {100: 0.6})))
    assert below.needed.text == "at most 10" and below.needed.over(100) == "at most 0.1"


def test_the_interval_is_over_runs_and_events():
    rng = np.random.default_rng(0)
    scratch = [made_up("m", n, d, 0, rng, quality=0.5 + 0.1 * np.log10(n), n_events=N)
               for n in (10, 100, 1000) for d in range(3)]  # fmt: skip
    pretrained = [made_up("m+masked", 10, d, 0, rng, quality=0.7, n_events=N) for d in range(3)]
    for record in pretrained:
        record.config.update(model="m", pretext="masked", mode="fft")
    (saving,) = savings(board(scratch, pretrained))
    assert 10 < saving.needed.low < saving.needed.value < saving.needed.high < 1000
    assert saving.needed.low < 100 < saving.needed.high


def test_the_best_meets_the_best_and_every_network_its_own(states):
    found_board = board(
        of(states, "m", None, {10: 0.6, 1000: 0.7}),
        of(states, "other", None, {10: 0.7, 1000: 0.8}),
        of(states, "m", "masked", {10: 0.8}),
        of(states, "other", "masked", {10: 0.7}),
    )
    found = savings(found_board)
    told = [(s.pretrained.name, s.scratch.name, s.is_best, s.needed.text) for s in found]
    assert len(statement(found_board)) == 1 and len(statement(found_board, full=True)) == 3
    assert told == [
        ("m+masked:fft", "other", True, "1,000 [1,000, 1,000]"),
        ("m+masked:fft", "m", False, "more than 1,000"),
        ("other+masked:fft", "other", False, "at most 10"),
    ]


def test_single_runs_and_rows_that_have_not_converged_are_said(states):
    scratch, longer = of(states, "m", None, {10: 0.6, 100: 0.7}), of(states, "m", None, {100: 0.8}, draws=1)
    longer = [dataclasses.replace(record, fingerprint="0" * 64) for record in longer]
    for record, steps in (*((r, 600) for r in scratch if r.config["labels"] == 100), *((r, 1200) for r in longer)):
        record.config["train"]["steps"] = record.training["steps"] = steps
    (sentence,) = statement(board(scratch, longer, of(states, "m", "masked", {10: 0.7}, draws=1)))
    assert sentence.endswith("(m+masked:fft: one run at 10; m: not converged at 100).")


def test_there_is_no_sentence_without_both_kinds(states):
    assert statement(board(of(states, "m", None, {10: 0.6}))) == []
    assert statement(board(of(states, "m", "masked", {10: 0.6}))) == []


def test_the_command_prints_sentences_and_refuses_what_excludes_it(tmp_path, capsys, states):
    for record in (*of(states, "m", None, {10: 0.6, 100: 0.7}), *of(states, "m", "masked", {10: 0.7})):
        write(tmp_path, record)
    asked = ["leaderboard", "--records", str(tmp_path), "--statement"]
    main(asked)
    assert "a factor of 10 [10, 10]." in " ".join(capsys.readouterr().out.split())
    main([*asked, "--format", "markdown"])
    title, _, sentence = capsys.readouterr().out.splitlines()
    assert title.startswith("**lartpc-segmentation") and sentence.startswith("- With 10 labelled events m+masked:fft")
    for wrong, text in (
        (["--pretexts"], "--pretexts and --statement exclude each other"),
        (["--out", str(tmp_path / "tables")], "--statement and --out exclude each other"),
        (["--format", "latex"], "--statement has no format latex"),
    ):
        with pytest.raises(SystemExit) as end:
            main([*asked, *wrong])
        assert end.value.code == 2 and text in capsys.readouterr().err


def test_the_command_says_what_sentences_need(tmp_path, capsys, states):
    for record in of(states, "m", None, {10: 0.6}):
        write(tmp_path, record)
    with pytest.raises(SystemExit):
        main(["leaderboard", "--records", str(tmp_path), "--statement"])
    assert "No table has both a pre-trained network and one from scratch" in capsys.readouterr().err
