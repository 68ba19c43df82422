"""What tells rows of one name apart."""

import dataclasses

import numpy as np

from benchmark.reports.differing import differing_settings
from benchmark.reports.leaderboard import leaderboards
from builders.many_records import made_up


def record(model="gnn", labels=100, draw=0, steps=None, **sections):
    made = made_up(model, labels, draw, 0, np.random.default_rng(draw), n_events=20)
    training = made.training if steps is None else {**made.training, "pretraining": {"steps": steps, "events": 2000}}
    config = {**made.config, **{name: {**made.config.get(name, {}), **v} for name, v in sections.items()}}
    name = f"{abs(hash(str(config))):064x}"[:64]
    return dataclasses.replace(made, config=config, training=training, fingerprint=name)


def test_rows_of_different_names_need_no_settings():
    rows = [record(optim={"lr": 1.0}), record("ptv3", optim={"lr": 2.0}), record(labels=10, optim={"lr": 3.0})]
    assert differing_settings(rows) == ["", "", ""]


def test_what_most_rows_have_goes_without_saying():
    rows = [record(), record(optim={"lr": 3e-3}), record(model_config={"width": 16}, optim={"lr": 1e-3})]
    assert differing_settings(rows) == ["", "optim.lr=0.003", "model.width=16"]


def test_of_two_rows_both_are_named():
    assert differing_settings([record(), record(optim={"lr": 3e-3})]) == ["optim.lr=0.001", "optim.lr=0.003"]


def test_weights_that_ship_and_a_pretraining_here_are_told_apart_by_its_steps():
    rows = [record(steps=5000), record(steps=1500, pretrain={"steps": 1500, "batch_size": 8})]
    assert differing_settings(rows) == ["pretrain.steps=5000", "pretrain.steps=1500"]


def test_steps_have_a_column_of_their_own_and_unknown_settings_are_not_compared():
    rows = [record(), record(train={"steps": 900}), record(train={"steps": 901, "rotation": "none"})]
    assert differing_settings(rows) == ["", "", ""]


def test_a_setting_that_one_row_does_not_know_tells_the_others_apart():
    shipped = record(steps=5000)
    others = [record(steps=5000, pretrain_optim={"lr": rate}) for rate in (0.002, 0.009)]
    assert differing_settings([shipped, *others]) == ["", "pretrain_optim.lr=0.002", "pretrain_optim.lr=0.009"]


def test_rows_of_equal_settings_are_told_apart_by_their_weights_and_else_by_their_fingerprint():
    started = record(steps=5000)
    shipped, own, given = (
        dataclasses.replace(started, config={**started.config, **of}, fingerprint=c * 64)
        for c, of in (
            ("a", {"weights": {"name": "gnn"}}),
            ("b", {"pretrain": {"steps": 5000}}),
            ("c", {"checkpoint_sha256": "d" * 64}),
        )
    )
    assert differing_settings([shipped, own, given]) == ["weights that ship", "pre-trained", "checkpoint dddddd"]
    twin = dataclasses.replace(shipped, fingerprint="e" * 64)
    assert differing_settings([shipped, twin]) == ["run aaaaaa", "run eeeeee"]


def test_draws_of_a_row_are_no_difference_and_a_long_value_is_cut():
    assert differing_settings([record(), record(draw=1)], each_run=True) == ["", ""]
    long, short = differing_settings([record(optim={"note": "x" * 999}), record(optim={"note": "y"})])
    assert long == f"optim.note={'x' * 60}..." and short == "optim.note=y"


def test_the_column_stands_only_where_it_is_needed():
    plain, changed = record(), record(optim={"lr": 3e-3})
    (board,) = leaderboards([plain])
    assert "settings" not in [head.key for head in board.heads]
    (board,) = leaderboards([plain, changed, record(draw=1)])  # draws are one row
    assert sorted(cell.text for cell in board.column("settings")) == ["optim.lr=0.001", "optim.lr=0.003"]
