"""Families of scores: from a model's outputs to a record, an average and a table, the same for every task."""

from __future__ import annotations

import dataclasses
import json
from itertools import pairwise

import numpy as np
import pytest

from benchmark.contracts import concatenate
from benchmark.metrics import pions
from benchmark.metrics.bootstrap import percentiles
from benchmark.metrics.families import FAMILIES, family, report, softmax
from benchmark.records.counts import pack_counts, unpack_counts
from benchmark.records.record import RunRecord, describe_task
from benchmark.reports.averages import averages
from benchmark.reports.formats import markdown
from benchmark.reports.leaderboard import leaderboards
from benchmark.reports.tables import run_table
from benchmark.seeding import generator
from benchmark.tasks import TASKS
from builders.calo_batches import make_batch, sample

CALO = [t for t in TASKS.values() if t.detector == "calorimeter"]
SIZES = (30, 60, 45, 80, 26, 70, 33, 50, 41, 64, 37, 55)


def outputs(task, batch, seed=0, noise=0.5):
    """What a middling model answers."""
    rng = np.random.default_rng(seed)
    noise = 3 * noise if task.metrics == "pions" else noise  # else no false positive is left
    if task.kind == "regression":
        return (np.asarray(batch.target) + 0.1 * noise * rng.normal(size=batch.n_events))[:, None]
    target = np.asarray(batch.target)
    truth = target if task.soft else np.eye(task.n_outputs)[np.maximum(target, 0)]
    return 2 * truth + noise * rng.normal(size=truth.shape)


def states(task, seed=0, sizes=SIZES):
    batch = make_batch(task, sizes)
    return family(task.metrics).count(outputs(task, batch, seed), batch, task)


def record(task, counts, draw=0, model="some", **resources):
    kind = family(task.metrics)
    metrics = json.loads(json.dumps(report(kind, counts, task, generator("families"))))
    config = {
        "model": model, "preset": "default", "mode": "scratch", "labels": 100, "draw": draw, "seed": 0,
        "preprocess": {}, "model_config": {}, "train": {},
    }  # fmt: skip
    return RunRecord(
        fingerprint=f"{model}{draw}", status="finished", created="2026-01-01", command=[], config=config,
        task=describe_task(task), dataset={"name": "calo-sim", "revision": "r", "files": {}},
        events={"labelled": 100, "test": len(counts)}, subset_sha256="", metrics=metrics,
        per_event=pack_counts(counts, tuple(map(str, range(len(counts))))), resources=resources,
    )  # fmt: skip


@pytest.mark.parametrize("task", CALO, ids=lambda t: t.name)
def test_an_events_state_does_not_depend_on_its_batch(task):
    kind = family(task.metrics)
    parts = [sample(task, n, i) for i, n in enumerate(SIZES)]
    whole = concatenate(parts)
    answers = outputs(task, whole)
    together = kind.count(answers, whole, task)
    cuts = np.cumsum([p.n_points if task.level == "point" else 1 for p in parts])[:-1]
    alone = [kind.count(a, p, task) for a, p in zip(np.split(answers, cuts), parts, strict=True)]
    np.testing.assert_array_equal(np.concatenate(alone), together)
    assert together.shape == (len(SIZES), *kind.shape(task))
    assert together.dtype == kind.dtype


@pytest.mark.parametrize("task", CALO, ids=lambda t: t.name)
def test_a_record_keeps_all_that_its_scores_follow_from(task):
    counts = states(task)
    kept = unpack_counts(json.loads(json.dumps(pack_counts(counts, tuple(map(str, range(len(counts))))))))
    np.testing.assert_array_equal(kept, counts)
    first, again = (report(family(task.metrics), c, task, generator("families")) for c in (counts, kept))
    assert json.dumps(first) == json.dumps(again)


@pytest.mark.parametrize("task", CALO, ids=lambda t: t.name)
def test_scores_carry_intervals_around_them_and_the_primary_metric_is_one(task):
    counts = np.concatenate([states(task, seed) for seed in range(8)])
    metrics = report(family(task.metrics), counts, task, generator("families"))
    entry = metrics["overall"][task.primary_metric]
    assert entry["value"] is not None
    assert entry["low"] <= entry["value"] <= entry["high"]
    assert entry["low"] < entry["high"]
    assert metrics["n_events"] == len(counts)


@pytest.mark.parametrize("task", CALO, ids=lambda t: t.name)
def test_two_equal_runs_average_to_themselves_and_different_ones_to_their_mean(task):
    counts = np.concatenate([states(task, seed) for seed in range(5)])
    same = record(task, counts), record(task, counts, draw=1)
    (row,) = averages(same)
    metric = task.primary_metric
    assert row.spread == 0
    assert row.record.metrics["overall"][metric]["value"] == pytest.approx(same[0].metrics["overall"][metric]["value"])
    other = np.concatenate([states(task, seed) for seed in range(5, 10)])
    runs = same[0], record(task, other, draw=1)
    (row,) = averages(runs)
    for section, rows in row.record.metrics.items():
        assert rows.keys() == runs[0].metrics[section].keys()
    values = [r.metrics["overall"][metric]["value"] for r in runs]
    assert row.record.metrics["overall"][metric]["value"] == pytest.approx(np.mean(values))
    assert row.record.metrics["overall"][metric]["low"] is not None


@pytest.mark.parametrize("task", CALO, ids=lambda t: t.name)
def test_tables_rank_by_the_primary_metric_in_its_own_direction(task):
    good = record(task, np.concatenate([states(task, s) for s in range(6)]), model="good")
    batch = make_batch(task, SIZES * 6)
    bad_outputs = outputs(task, batch, noise=6.0)
    bad = record(task, family(task.metrics).count(bad_outputs, batch, task), model="bad")
    (table,) = leaderboards([bad, good])
    assert [cell.text for cell in table.column("model")] == ["good", "bad"]
    assert len(table.heads) == len(table.rows[0])
    text = markdown(table, full=True)
    heads = {line.replace("\\|", "").count("|") for line in text.splitlines() if line.startswith("|")}
    assert heads == {len(table.heads) + 1}  # no cell or title breaks a column
    assert len(run_table(good, bad).columns[0].cells) > 3


def test_a_rejection_without_false_positives_ranks_first_and_is_shown_as_a_limit():
    task = TASKS["pion-classification"]
    n = 60
    label = np.arange(2 * n) % 2
    energy, eta = np.full(2 * n, 5.0), np.full(2 * n, 0.1)
    perfect, middling = (
        pions.state(np.stack([-x, x], 1), label, energy, eta) for x in (label - 0.5, np.sin(np.arange(2 * n)) + label)
    )
    rows = [record(task, middling, model="middling"), record(task, perfect, model="perfect")]
    (table,) = leaderboards(rows)
    assert [cell.text for cell in table.column("model")] == ["perfect", "middling"]
    assert table.column(task.primary_metric)[0].text == "> 20.0"
    assert json.loads(json.dumps(rows[1].metrics, allow_nan=False))


def test_an_interval_among_infinite_resamples_has_no_upper_end():
    low, high = percentiles(np.array([1.0, 2.0, 3.0, np.inf, np.inf, np.inf])[:, None])
    assert low[0] == pytest.approx(1.125)
    assert high[0] == np.inf


def test_softmax_is_that_of_large_numbers_too():
    np.testing.assert_allclose(softmax(np.array([[1000.0, 1000.0], [-5.0, 1e4]])), [[0.5, 0.5], [0.0, 1.0]])


def test_every_task_has_a_family_and_a_floor_that_can_do_it():
    from benchmark import registry
    from benchmark.runs.resolve import can_do

    for task in TASKS.values():
        assert task.metrics in FAMILIES
        if task.level != "token":
            assert can_do(registry.model_spec(task.floor), task)


def test_association_counts_cells_only():
    task = TASKS["cell-to-track"]
    batch = make_batch(task, SIZES)
    counts = family("association").count(outputs(task, batch), batch, task)
    n_cells = [(batch.point_info["category"][a:b] == 1).sum() for a, b in pairwise(batch.offsets)]
    np.testing.assert_array_equal(counts[:, :, 1].sum(-1), np.repeat(np.array(n_cells)[:, None], 3, axis=1))
    hard = TASKS["cell-to-track-binary"]
    binary = family("association").count(outputs(hard, make_batch(hard, SIZES)), make_batch(hard, SIZES), hard)
    assert binary.shape == (len(SIZES), 1, 2, 4)
    assert dataclasses.asdict(hard)["classes"] == ("rest", "focus")
