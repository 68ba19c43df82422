"""Data-efficiency curves: labels needed by hand, limits said as limits, ratios paired, figures with both panels."""

import dataclasses

import numpy as np
import pytest

from benchmark.cli import main
from benchmark.errors import ConfigError, UnknownNameError
from benchmark.io import sha256_text
from benchmark.plots.efficiency_curves import draw_curve
from benchmark.records.published import comparable
from benchmark.reports.efficiency import chosen_curves, curves, label_ratio, labels_to_reach, reachable, resolve_curve
from benchmark.reports.frames import points, runs
from benchmark.reports.leaderboard import leaderboards
from builders.many_records import counts, made_up

N = 80


def board(qualities, draws=2, seed=0):
    """qualities: model -> {labels: quality}."""
    rng = np.random.default_rng(seed)
    records = [
        made_up(model, labels, draw, 0, rng, quality=quality, n_events=N)
        for model, of in qualities.items() for labels, quality in of.items() for draw in range(draws)
    ]  # fmt: skip
    (found,) = leaderboards(records)
    return found


def test_between_budgets_scores_grow_with_the_logarithm_of_the_labels():
    (curve,) = curves(board({"m": {10: 0.7, 1000: 0.9}}))
    low, high = (p.value for p in curve.points)
    found = labels_to_reach(curve, (low + high) / 2)
    assert found.value == pytest.approx(100, rel=1e-6)  # half the way in log(labels)
    assert found.low < 100 < found.high
    assert labels_to_reach(curve, high).value == pytest.approx(1000)


def test_what_was_not_measured_is_said_as_a_limit():
    (curve,) = curves(board({"m": {10: 0.7, 1000: 0.9}}))
    low, high = (p.value for p in curve.points)
    assert labels_to_reach(curve, low - 0.1).text == "at most 10"
    assert labels_to_reach(curve, high + 0.05).text == "more than 1,000"
    assert np.isposinf(labels_to_reach(curve, high + 0.05).value)


def test_an_error_is_reached_from_above():
    (curve,) = curves(board({"m": {10: 0.9, 1000: 0.7}}))
    high, low = (p.value for p in curve.points)
    assert labels_to_reach(curve, (low + high) / 2, smaller=True).value == pytest.approx(100, rel=1e-6)


def test_a_model_that_learns_the_same_from_a_tenth_of_the_labels_has_a_ratio_of_ten():
    rng = np.random.default_rng(1)
    states = {q: counts(q, N, rng) for q in (0.7, 0.8, 0.9)}
    lines = [("quick", {10: 0.7, 100: 0.8, 1000: 0.9}), ("slow", {100: 0.7, 1000: 0.8, 10_000: 0.9})]
    records = [made_up(m, n, 0, 0, rng, states=states[q]) for m, of in lines for n, q in of.items()]
    (found,) = leaderboards(records)
    quick, slow = (resolve_curve(curves(found), name) for name in ("quick", "slow"))
    target = quick.points[1].value
    ratio = label_ratio(quick, slow, target - 0.01)
    assert ratio.value == pytest.approx(10, rel=1e-6)
    assert ratio.low == pytest.approx(10, rel=1e-6) and ratio.high == pytest.approx(10, rel=1e-6)  # the same counts
    assert label_ratio(slow, quick, target - 0.01).value == pytest.approx(0.1, rel=1e-6)


def test_a_ratio_beyond_the_measured_budgets_is_a_lower_limit():
    found = curves(board({"quick": {10: 0.8, 1000: 0.9}, "slow": {10: 0.6, 1000: 0.7}}))
    quick, slow = (resolve_curve(found, name) for name in ("quick", "slow"))
    target = quick.points[0].value + 0.02
    assert label_ratio(quick, slow, target).text.startswith("more than ")
    assert label_ratio(slow, quick, target).value is None


def test_curves_are_told_apart_by_mode_and_settings_and_found_by_name():
    rng = np.random.default_rng(2)
    records = [made_up("m", n, 0, 0, rng, n_events=N) for n in (10, 100)]
    longer = [made_up("m", n, 1, 0, rng, n_events=N) for n in (10, 100)]
    for record in longer:
        record.config["train"]["steps"] = 900
        record.training["steps"] = 900
    tuned = made_up("other", 10, 0, 0, rng, n_events=N), made_up("other", 100, 0, 0, rng, n_events=N)
    tuned[1].config["optim"]["lr"] = 3e-3  # searched for at each budget: one curve
    (found,) = leaderboards([*records, *longer, *tuned])
    names = [c.name for c in curves(found)]
    assert names == ["m (300 steps)", "m (900 steps)", "other"]
    with pytest.raises(ConfigError, match="several curves"):
        resolve_curve(curves(found), "m")
    with pytest.raises(UnknownNameError, match="Did you mean 'other'"):
        resolve_curve(curves(found), "othr")
    mode = longer[0].config["mode"]
    with pytest.raises(ConfigError, match=r"'m:\w+' has several curves.*300 steps.*900 steps"):
        resolve_curve(curves(found), f"m:{mode}")  # as `--ratio` and sweeps name it
    assert resolve_curve(curves(found), f"other:{mode}").name == resolve_curve(curves(found), "other").name == "other"
    assert [c.name for c in chosen_curves(curves(found), [f"m:{mode}"])] == ["m (300 steps)", "m (900 steps)"]
    with pytest.raises(UnknownNameError, match="no mode 'fff'"):
        resolve_curve(curves(found), "other:fff")


def trainings(rng, steps_at):
    """Records of one model: (labels, steps) -> quality and draws."""
    found = []
    for (labels, steps), (quality, draws) in steps_at.items():
        for draw in range(draws):
            record = made_up("m", labels, draw, 0, rng, quality=quality, n_events=N)
            record.config["train"]["steps"] = record.training["steps"] = steps
            found.append(dataclasses.replace(record, fingerprint=sha256_text(f"{labels} {steps} {draw}")))
    return found


def test_steps_that_follow_the_budget_make_one_curve_and_the_runs_that_check_them_are_not_in_it():
    rng = np.random.default_rng(3)
    rule = {(10, 600): (0.7, 3), (100, 1200): (0.8, 3), (1000, 2400): (0.85, 1)}
    checks = {(100, 600): (0.6, 2), (100, 2400): (0.9, 2), (1000, 1200): (0.6, 1), (1000, 4800): (0.95, 1)}
    (alone,) = leaderboards(trainings(rng, rule))
    (checked,) = leaderboards(trainings(np.random.default_rng(3), {**rule, **checks}))
    (curve,), (same,) = curves(alone), curves(checked)
    assert curve.name == same.name == "m"
    assert [p.labels for p in curve.points] == [10, 100, 1000]
    assert [p.value for p in same.points] == [p.value for p in curve.points]
    assert [p.converged for p in curve.points] == [None, None, None]
    assert [p.converged for p in same.points] == [None, False, False]  # 10,000: of equal runs the one that was checked


def test_pre_trainings_of_other_lengths_are_other_curves():
    rng = np.random.default_rng(2)
    records = [made_up("m", n, draw, 0, rng, n_events=N) for n in (10, 100) for draw in (0, 1)]
    for record in records:
        steps = 1500 if record.config["draw"] else 5000
        record.config["pretrain"] = {"steps": steps}
        record.training["pretraining"] = {"steps": steps}
    (found,) = leaderboards(records)
    assert [c.name for c in curves(found)] == ["m (1500 pre-training steps)", "m (5000 pre-training steps)"]
    assert all([p.labels for p in c.points] == [10, 100] for c in curves(found))


def test_classes_have_curves_of_their_own_with_intervals():
    found = board({"m": {10: 0.7, 1000: 0.9}})
    (michel,) = curves(found, "michel")
    record = found.averages[0].record
    assert michel.points[0].value == record.metrics["per_class"]["michel"]["f1"]["value"]
    assert michel.points[0].replicates.shape == (1000,)
    low, high = np.quantile(michel.points[0].replicates, (0.025, 0.975))
    assert (low, high) == pytest.approx((michel.points[0].low, michel.points[0].high))


def test_a_first_look_takes_a_score_that_most_curves_cross():
    found = curves(board({"a": {10: 0.7, 1000: 0.9}, "b": {10: 0.65, 1000: 0.88}, "c": {10: 0.3, 1000: 0.35}}))
    target = reachable(found)
    crossed = [bool(np.isfinite(labels_to_reach(c, target).value)) for c in found]
    assert crossed == [True, True, False]
    assert reachable(curves(board({"a": {10: 0.7}}))) is None


def test_frames_hold_every_run_and_every_point():
    found = board({"a": {10: 0.7, 1000: 0.9}}, draws=3)
    (curve,) = curves(found)
    frame = runs(curve.runs)
    assert len(frame) == 6
    assert set(frame.labels) == {10, 1000}
    assert frame["f1 michel"].notna().all()
    assert list(points([curve]).runs) == [3, 3]


def test_one_panel_holds_the_measured_curves_and_nothing_else(tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    drawn, savefig = [], Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *rest, **named: (drawn.append(self), savefig(self, *rest, **named))
    )
    boards = board({"a": {10: 0.7, 1000: 0.9}, "b": {10: 0.6, 1000: 0.8}})
    draw_curve(boards, tmp_path / "one.png", one_panel=True)
    (axis,) = drawn[0].axes
    assert [sorted(line.get_xdata()) for line in axis.get_lines()] == [[10, 1000], [10, 1000]]
    assert [text.get_text() for text in drawn[0].legends[0].get_texts()] == ["a", "b"]  # the best at the end first
    assert (tmp_path / "one.png").is_file()


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_the_figure_keeps_measured_and_published_apart(tmp_path, ending):
    path = tmp_path / f"curve.{ending}"
    published = comparable("lartpc-segmentation", "macro_f1")
    assert published
    draw_curve(board({"a": {10: 0.7, 1000: 0.9}, "b": {10: 0.6, 1000: 0.8}}), path, published)
    assert path.stat().st_size > 5_000
    if ending == "svg":
        text = path.read_text()
        assert "<!-- measured" in text or "measured" in text
        assert "published" in text


def test_the_command_draws_and_says_what_is_needed(tmp_path, capsys):
    from builders.many_records import write

    rng = np.random.default_rng(0)
    for model, of in {"a": {10: 0.7, 1000: 0.9}, "b": {10: 0.6, 1000: 0.85}}.items():
        for labels, quality in of.items():
            write(tmp_path / "records", made_up(model, labels, 0, 0, rng, quality=quality, n_events=N))
    out = tmp_path / "c.png"
    main(["curve", "--records", str(tmp_path / "records"), "--out", str(out), "--score", "0.6", "--ratio", "a,b"])
    text = capsys.readouterr().out
    assert out.is_file()
    assert "labelled events needed for macro_f1 = 0.6" in text
    assert "times the labels of a for 0.6" in text
    for wrong in (["--models", "c"], ["--out", "x.jpg"], ["--ratio", "a"], ["--dataset", "none"], ["--score", "nan"]):
        with pytest.raises(SystemExit) as end:
            main(["curve", "--records", str(tmp_path / "records"), "--out", str(out), *wrong])
        assert end.value.code == 2
