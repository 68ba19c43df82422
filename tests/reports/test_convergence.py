"""A row is marked as not converged where longer training gives another score."""

import dataclasses

import numpy as np
import pytest

from benchmark.plots.efficiency_curves import draw_curve
from benchmark.reports.averages import averages
from benchmark.reports.convergence import MARK, NOTE, converged
from benchmark.reports.efficiency import curves
from benchmark.reports.fairness import fair_tables
from benchmark.reports.leaderboard import leaderboards
from builders.many_records import counts, made_up

N = 60


def run(quality, steps, model="gnn", labels=100, draw=0, **sections):
    rng = np.random.default_rng([draw, steps])
    made = made_up(model, labels, draw, 0, rng, states=counts(quality, N, rng))
    config = {**made.config, "train": {"steps": steps, "batch_size": 8}}
    config |= {name: {**made.config[name], **values} for name, values in sections.items()}
    training = {**made.training, "steps": steps, "n_steps": steps}
    name = f"{abs(hash((model, labels, draw, str(config)))):064x}"[:64]
    return dataclasses.replace(made, config=config, training=training, fingerprint=name)


def with_config(record, **config):
    return dataclasses.replace(record, config={**record.config, **config}, fingerprint=f"{abs(hash(str(config))):064x}")


def told(*runs):
    """Steps -> verdict of each row."""
    rows = averages(runs)
    return {r.record.training["steps"]: v for r, v in zip(rows, converged(rows), strict=True)}


def test_a_score_that_twice_the_steps_move_is_not_converged_and_one_that_stays_is():
    short = [run(q, 300, draw=d) for d, q in enumerate((0.60, 0.61, 0.62))]
    long = [run(q, 600, draw=d) for d, q in enumerate((0.80, 0.81, 0.82))]
    longest = [run(q, 1200, draw=d) for d, q in enumerate((0.803, 0.81, 0.819))]
    assert told(*short, *long, *longest) == {300: False, 600: True, 1200: None}


def test_a_score_that_falls_moves_too():
    runs = [run(q, s, draw=d) for s, best in ((300, 0.8), (600, 0.7)) for d, q in enumerate((best, best + 0.01))]
    assert told(*runs) == {300: False, 600: None}


def test_single_runs_are_compared_by_their_paired_interval():
    assert told(run(0.6, 300), run(0.8, 900)) == {300: False, 900: None}
    states = run(0.7, 300)
    same = dataclasses.replace(run(0.7, 600), metrics=states.metrics, per_event=states.per_event)
    assert told(states, same) == {300: True, 600: None}


@pytest.mark.parametrize(
    "other",
    [
        run(0.9, 500),  # less than twice the steps
        run(0.9, 600, labels=10), run(0.9, 600, model="ptv3"), run(0.9, 600, model_config={"width": 16}),
        with_config(run(0.9, 600), pretrain_optim={"lr": 0.1}), with_config(run(0.9, 600), checkpoint_sha256="a" * 64),
    ],
)  # fmt: skip
def test_only_the_same_training_with_twice_the_steps_says_so(other):
    rows = averages([run(0.6, 300), other])
    assert set(converged(rows)) == {None}


def test_another_rate_may_suit_longer_training():
    assert told(run(0.6, 300), run(0.8, 600, optim={"lr": 5e-4}))[300] is False


def test_tables_curves_and_costs_name_the_rows(tmp_path):
    runs = [run(0.6, 300), run(0.8, 600), run(0.7, 300, labels=10)]
    (board,) = leaderboards(runs)
    assert [cell.text for cell in board.column("model")] == ["gnn", "gnn", f"gnn {MARK}"]
    assert {cell.value for cell in board.column("model")} == {"gnn"} and NOTE in board.notes
    assert {p.converged for curve in curves(board) for p in curve.points} == {None, False}
    draw_curve(board, tmp_path / "c.png")
    hundred = next(table for table in fair_tables(runs, []) if "100 labelled" in table.title)
    at = hundred.columns.index("converged")
    assert sorted(row[at] for row in hundred.rows) == ["-", "no"]
    (board,) = leaderboards(runs[1:])
    assert MARK not in str(board.rows) and NOTE not in board.notes
