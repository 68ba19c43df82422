"""Calorimeter samples on their way to a model: cuts, energy matching, features, labels."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from benchmark.contracts import concatenate
from benchmark.data.augment import rotate, rotations
from benchmark.data.cells import CellPreprocess, matched_in_energy
from benchmark.errors import BenchmarkError, DataError
from benchmark.seeding import generator
from benchmark.settings import override
from benchmark.tasks import TASKS
from builders.calo_batches import FRAME, make_batch, make_event

CALO = [t for t in TASKS.values() if t.detector == "calorimeter"]
PIONS = TASKS["pion-classification"]


def source(**table):
    n = len(table["n_cells"])
    ids = tuple(f"e{i}" for i in range(n))
    return SimpleNamespace(table={k: np.asarray(v) for k, v in table.items()}, event_ids=ids)


@pytest.mark.parametrize("task", CALO, ids=lambda t: t.name)
def test_every_column_of_every_task_is_finite_and_of_order_one(task):
    batch = make_batch(task, sizes=(40, 90, 150))
    assert batch.feats.shape == (batch.n_points, len(batch.columns))
    assert batch.whole.feats.shape == (3, len(batch.whole.columns))
    assert np.isfinite(batch.feats).all()
    assert np.isfinite(batch.whole.feats).all()
    assert np.abs(batch.feats).max() < 12
    assert np.abs(batch.whole.feats).max() < 12


def test_absent_clusters_are_below_every_real_one_and_never_the_mean():
    task = TASKS["pion-track-regression"]
    batch = make_batch(task, sizes=(60,))
    first, last = (batch.whole.feats[0, batch.whole.columns.index(f"log_cluster_e_{i}")] for i in (0, 9))
    assert batch.event_info["cluster_e_9"] == 0
    assert last < first
    assert last < -1.5


def test_energy_matching_leaves_as_many_of_each_class_in_every_bin_and_is_the_same_every_time():
    rng = np.random.default_rng(2)
    label = rng.integers(0, 2, 4000)
    energy = 10 ** (rng.normal(1.0 + 0.3 * label, 0.6))
    ids = [f"pions:{i:05d}" for i in range(4000)]
    kept = matched_in_energy(energy, label, ids)
    assert (np.diff(kept) > 0).all()
    bins = np.floor(np.log10(energy) * 10)
    for value in np.unique(bins):
        here, left = bins == value, bins[kept] == value
        counts = np.bincount(label[here], minlength=2)
        assert np.bincount(label[kept][left], minlength=2).tolist() == [counts.min()] * 2
    order = rng.permutation(4000)
    again = matched_in_energy(energy[order], label[order], [ids[i] for i in order])
    assert set(order[again]) == set(kept)


def test_what_is_left_out_is_counted_by_reason():
    table = {"n_cells": [3, 0, 5, 7, 9], "true_energy": [1.0, 1.0, 0.1, 1.1, 1.1], "pion": [0, 1, 1, 1, 1]}
    found = CellPreprocess.of(PIONS).eligible(source(**table), PIONS)
    assert len(found.indices) == 2
    assert 0 in found.indices
    assert found.excluded == {"too_few_cells": 1, "below_true_energy": 1, "unmatched_energy": 1}
    found = CellPreprocess.of(TASKS["pion-regression"]).eligible(source(**table), TASKS["pion-regression"])
    assert found.indices.tolist() == [0, 2, 3, 4]


def test_links_and_named_quantities_follow_their_event_when_batches_are_joined():
    parts = [make_batch(PIONS, sizes=(n,), stream=f"join{n}") for n in (30, 50, 20)]
    joined = concatenate(parts)
    sender, receiver = joined.links.ends.T
    assert (joined.event_index[sender] == joined.event_index[receiver]).all()
    first, second = (part.links.ends for part in parts[:2])
    np.testing.assert_array_equal(joined.links.ends[len(first) :][: len(second)], second + 30)
    np.testing.assert_array_equal(joined.point_info["eta"], np.concatenate([p.point_info["eta"] for p in parts]))
    assert joined.event_info["cluster_e"].shape == (3,)


def test_a_batch_that_is_scored_has_no_label_at_all():
    batch = make_batch(PIONS).without_target()
    assert batch.target is None
    assert batch.whole.auxiliary is None
    names = {*batch.point_info, *batch.event_info}
    assert not {n for n in names if "true" in n or "truth" in n or n in ("pion", "fractions", "focus")}


@pytest.mark.parametrize("task", CALO, ids=lambda t: t.name)
def test_a_mirror_turns_signs_of_the_first_two_coordinates_and_nothing_else(task):
    batch = make_batch(task, sizes=(40, 30, 50, 20))
    turned = rotate(batch, rotations("mirror", 4, generator("mirror", 1)))
    np.testing.assert_array_equal(np.abs(turned.coords), np.abs(batch.coords))
    np.testing.assert_array_equal(turned.coords[:, 2], batch.coords[:, 2])
    np.testing.assert_array_equal(turned.feats, batch.feats)
    signs = {tuple(m.diagonal()) for s in range(30) for m in rotations("mirror", 4, generator("mirror", s))}
    assert signs == {(a, b, 1.0) for a in (-1.0, 1.0) for b in (-1.0, 1.0)}


def test_a_missing_feature_or_label_is_named():
    event = make_event(PIONS, 20, "a0")
    features = {k: v for k, v in event.features.items() if k != "sigma_gev"}
    with pytest.raises(DataError, match=r"sigma_gev.*expected"):
        CellPreprocess.of(PIONS).apply(dataclasses.replace(event, features=features), PIONS, FRAME)
    with pytest.raises(DataError, match=r"'pion'.*Choose"):
        CellPreprocess.of(PIONS).apply(dataclasses.replace(event, labels={}), PIONS, FRAME)
    with pytest.raises(DataError, match=r"label 2.*expected"):
        labels = {**event.labels, "pion": np.int64(2)}
        CellPreprocess.of(PIONS).apply(dataclasses.replace(event, labels=labels), PIONS, FRAME)


@pytest.mark.parametrize(
    "changes",
    [{"min_cells": "0"}, {"true_energy_min_gev": "nan"}, {"columns": "log_enery"}, {"columns": ""}, {"min_points": "3"},
     {"event_columns": "log_cluster_e,log_cluster_e"}],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(changes):
    with pytest.raises(BenchmarkError, match=r"[Ee]xpected"):
        override(CellPreprocess(), changes, "preprocess")


def test_log_energies_are_inverted():
    batch = make_batch(PIONS)
    energy = CellPreprocess.of(PIONS).energy_of(batch.column("log_energy"))
    np.testing.assert_allclose(energy, batch.energy, rtol=1e-5)
