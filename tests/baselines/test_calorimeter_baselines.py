"""Baselines without gradients on the calorimeter: what they read, what they learn, and particle flow's bookkeeping."""

import dataclasses
import math

import numpy as np
import pytest

from benchmark import registry
from benchmark.baselines._particle_flow import (
    N_RINGS,
    N_SAMPLINGS,
    Cells,
    Clusters,
    Constants,
    Table,
    Track,
    cells_of,
    learn_table,
    matched,
    rings,
    subtract,
    tracks_of,
)
from benchmark.baselines.particle_flow import ParticleFlowConfig, events_of
from benchmark.contracts import PointBatch, concatenate
from benchmark.errors import CheckpointError, DataError
from benchmark.seeding import generator
from benchmark.tasks import TASKS
from builders.calo_batches import CALO_TASKS, FRAME, SIZES, inputs_of, make_batch, permuted, sample

NAMES = ("em_scale", "local_weighting", "p_em", "particle_flow", "random_guess", "majority")
CASES = [
    pytest.param(name, task, id=f"{name}-{task.name}")
    for name in NAMES
    for task in CALO_TASKS
    for spec in [registry.model_spec(name)]
    if task.level in spec.levels and task.kind in spec.kinds and (not spec.tasks or task.name in spec.tasks)
]
ASSOCIATION = [TASKS["cell-to-track"], TASKS["cell-to-track-binary"]]
CONSTANTS = ParticleFlowConfig().constants


def fitted(name, task, n=40, **settings):
    spec = registry.model_spec(name)
    model = spec.build(spec.config(**settings), inputs_of(task), task)
    model.fit(iter([make_batch(task, (70,) * n, "fit")]), task)
    return model


def rows_of(batch, task, event):
    return slice(*batch.offsets[event : event + 2]) if task.level == "point" else slice(event, event + 1)


def test_every_baseline_serves_the_tasks_it_is_for():
    served = {name: {c.values[1].name for c in CASES if c.values[0] == name} for name in NAMES}
    regressions = {"pion-regression", "pion-track-regression"}
    assert served["em_scale"] == served["local_weighting"] == regressions
    assert served["p_em"] == {"pion-classification"}
    assert served["particle_flow"] == {"cell-to-track", "cell-to-track-binary", "pion-track-regression"}
    assert served["random_guess"] == served["majority"] == {t.name for t in CALO_TASKS} - regressions


@pytest.mark.parametrize(("name", "task"), CASES)
def test_batch_mates_and_order_never_change_a_score(name, task):
    model, batch = fitted(name, task), make_batch(task)
    scores = model.predict(batch.without_target())
    assert scores.dtype == np.float32
    assert scores.shape == (batch.n_points if task.level == "point" else batch.n_events, task.n_outputs)
    assert np.isfinite(scores).all()
    for i, size in enumerate(SIZES):
        alone = dataclasses.replace(sample(task, size, i), event_ids=("another name",))
        np.testing.assert_array_equal(model.predict(alone), scores[rows_of(batch, task, i)])
    reverse = concatenate([sample(task, size, i) for i, size in reversed(list(enumerate(SIZES)))])
    turned = model.predict(reverse)
    for i in range(3):
        np.testing.assert_array_equal(turned[rows_of(reverse, task, 2 - i)], scores[rows_of(batch, task, i)])


@pytest.mark.parametrize(("name", "task"), CASES)
def test_permuting_points_permutes_scores(name, task):
    model, batch = fitted(name, task), sample(task, 120)
    order = np.random.default_rng(3).permutation(batch.n_points)
    expected = model.predict(batch)[order] if task.level == "point" else model.predict(batch)
    np.testing.assert_allclose(model.predict(permuted(batch, order)), expected, atol=1e-5)


@pytest.mark.parametrize(("name", "task"), CASES)
def test_one_cell_is_scored(name, task):
    assert np.isfinite(fitted(name, task).predict(sample(task, 1))).all()


@pytest.mark.parametrize(("name", "task"), CASES)
def test_a_file_keeps_every_score_and_no_other_file_is_taken(name, task, tmp_path):
    model, batch = fitted(name, task), make_batch(task)
    model.save(tmp_path / "weights", {})
    other = fitted(name, task, n=3)
    other.load(tmp_path / "weights")
    np.testing.assert_array_equal(other.predict(batch), model.predict(batch))
    assert other.n_parameters == model.n_parameters
    (tmp_path / "bytes").write_bytes(b"not a checkpoint")
    (tmp_path / "empty").write_bytes(b"")
    np.save(tmp_path / "numbers.npy", np.arange(5.0))
    for wrong in ("bytes", "empty", "numbers.npy", "missing"):
        with pytest.raises(CheckpointError, match="expected"):
            other.load(tmp_path / wrong)


@pytest.mark.parametrize(("task", "key"), [("pion-regression", "cluster_e"), ("pion-track-regression", "sum_e")])
def test_the_electromagnetic_scale_is_the_measured_energy(task, key):
    batch = make_batch(TASKS[task])
    predicted = fitted("em_scale", TASKS[task]).predict(batch)[:, 0]
    np.testing.assert_allclose(10.0**predicted, batch.event_info[key], rtol=1e-6)
    adds_to = "cluster_e" if key == "cluster_e" else "track_p"  # what a network that adds 0 predicts
    np.testing.assert_allclose(10.0**batch.whole.baseline, batch.event_info[adds_to], rtol=1e-6)


def test_local_weighting_is_like_for_like():
    batch = make_batch(TASKS["pion-regression"])
    predicted = 10.0 ** fitted("local_weighting", TASKS["pion-regression"]).predict(batch)[:, 0]
    info = batch.event_info
    np.testing.assert_allclose(predicted, info["cluster_e"] * info["hadronic_weight"], rtol=1e-5)
    batch = make_batch(TASKS["pion-track-regression"])
    predicted = 10.0 ** fitted("local_weighting", TASKS["pion-track-regression"]).predict(batch)[:, 0]
    np.testing.assert_allclose(predicted, batch.event_info["sum_lc_e"], rtol=1e-5)


def test_energies_without_a_logarithm_are_the_least_there_is():
    batch = sample(TASKS["pion-regression"], 20)
    batch = dataclasses.replace(batch, event_info={**batch.event_info, "cluster_e": np.array([-1.0])})
    for name in ("em_scale", "local_weighting"):
        assert fitted(name, TASKS["pion-regression"]).predict(batch)[0, 0] == -1.0  # 0.1 GeV


@pytest.mark.parametrize("p", [0.0, 1.0, 0.3, 1 - 6e-8])
def test_the_softmax_of_p_em_is_p_em(p):
    task = TASKS["pion-classification"]
    batch = sample(task, 20)
    batch = dataclasses.replace(batch, event_info={**batch.event_info, "em_probability": np.array([p], np.float32)})
    scores = fitted("p_em", task).predict(batch).astype(np.float64)[0]
    assert np.exp(scores[0]) / np.exp(scores).sum() == pytest.approx(float(np.float32(p)), abs=1e-8)


@pytest.mark.parametrize("p", [-0.1, 1.2, math.nan])
def test_probabilities_that_are_none_are_refused(p):
    task = TASKS["pion-classification"]
    batch = sample(task, 20)
    batch = dataclasses.replace(batch, event_info={**batch.event_info, "em_probability": np.array([p])})
    with pytest.raises(DataError, match="expected"):
        fitted("p_em", task).predict(batch)


def test_a_batch_of_another_detector_is_refused():
    n = 4
    batch = PointBatch(
        coords=np.zeros((n, 3), np.float32), energy=np.ones(n, np.float32), feats=np.zeros((n, 1), np.float32),
        offsets=np.array([0, n]), event_ids=("a",), columns=("log_energy",), frame=FRAME,
    )  # fmt: skip
    with pytest.raises(DataError, match="no 'cluster_e'"):
        fitted("em_scale", TASKS["pion-regression"]).predict(batch)


def test_majority_takes_the_mean_fractions_by_energy():
    task = TASKS["cell-to-track"]
    batch = make_batch(task, stream="fit", sizes=(70,) * 40)
    scores = fitted("majority", task).predict(batch)
    weight = np.where(batch.point_info["category"] == 1, batch.energy, 0).astype(np.float64)
    expected = weight @ batch.target / weight.sum()
    np.testing.assert_allclose(np.exp(scores[0]) / np.exp(scores[0]).sum(), expected, rtol=1e-4)
    assert (scores == scores[0]).all()
    hard = TASKS["cell-to-track-binary"]
    batch = make_batch(hard, stream="fit", sizes=(70,) * 40)
    rate = batch.energy[batch.target == 1].sum() / batch.energy[batch.target >= 0].sum()
    assert fitted("majority", hard).predict(batch)[0, 1] == pytest.approx(rate, rel=1e-5)


def test_guesses_are_as_frequent_as_the_labels_and_know_nothing():
    task = dataclasses.replace(TASKS["cell-to-track-binary"], loss=TASKS["lartpc-segmentation"].loss)
    model = fitted("random_guess", task)
    batch = make_batch(task, (200,) * 40, "test")
    scores, is_cell = model.predict(batch), batch.point_info["category"] == 1
    said, true = scores[is_cell].argmax(1) == 1, batch.target[is_cell] == 1
    assert said.mean() == pytest.approx(model.frequencies[1], abs=0.02)
    assert true[said].mean() == pytest.approx(true.mean(), abs=0.02)
    top = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    assert top.max(axis=1).min() > 0.5  # decided, whatever the cut on a probability
    assert len(np.unique(scores[is_cell])) > 1000  # ranked at random


def test_a_guess_before_any_labels_is_refused():
    task = TASKS["pion-classification"]
    spec = registry.model_spec("random_guess")
    with pytest.raises(RuntimeError, match="fit"):
        spec.build(spec.config(), inputs_of(task), task).predict(sample(task, 5))


# --- particle flow --------------------------------------------------------------------------------------------------

WIDE = Table(np.array([0.0]), np.array([0.5]), np.array([0.1]))  # E/p = 0.5 +- 0.1
DENSITY = np.concatenate([[0.0] * 2 * N_RINGS, 1.0 / np.arange(1, N_RINGS + 1), [0.0] * (N_SAMPLINGS - 3) * N_RINGS])


def track_of(p, eta=0.0, phi=0.0):
    return Track(0, p, p, np.full(N_SAMPLINGS, eta), np.full(N_SAMPLINGS, phi), eta, phi)


def line_of_cells(energies, cluster=None, step=0.025):
    """Cells of EMB2 in a row along eta, the first one at the track."""
    n = len(energies)
    cluster = np.zeros(n, int) if cluster is None else np.asarray(cluster)
    eta = np.arange(n) * step
    cells = Cells(
        np.arange(n), np.asarray(energies, float), np.full(n, 2), eta, np.zeros(n), np.full(n, step / 2), cluster
    )
    members = [cluster == k for k in range(cluster.max() + 1)]
    clusters = Clusters(
        np.array([cells.energy[m].sum() for m in members]), np.array([eta[m].mean() for m in members]),
        np.zeros(len(members)), np.full(len(members), 0.05), np.full(len(members), 0.05),
    )  # fmt: skip
    return cells, clusters


def test_a_track_takes_what_is_expected_of_it_ring_by_ring():
    cells, clusters = line_of_cells([4.0, 3.0, 2.0, 10.0])
    taken = subtract(track_of(10.0), cells, clusters, np.ones(4), WIDE, DENSITY, CONSTANTS)
    np.testing.assert_allclose(taken, [1, 1 / 3, 0, 0])  # 5 GeV: 4 of the first ring, 1 of the next
    assert (taken * cells.energy).sum() == pytest.approx(5.0)


def test_rings_go_by_their_expected_density():
    cells, clusters = line_of_cells([4.0, 3.0, 2.0, 10.0])
    taken = subtract(track_of(10.0), cells, clusters, np.ones(4), WIDE, DENSITY[::-1].copy(), CONSTANTS)
    np.testing.assert_allclose(taken, [1, 1 / 3, 0, 0])  # densities unknown here: the nearest first
    far_first = np.zeros_like(DENSITY)
    far_first[rings(cells, track_of(10.0))[0]] = [1, 2, 3, 4]
    taken = subtract(track_of(10.0), cells, clusters, np.ones(4), WIDE, far_first, CONSTANTS)
    np.testing.assert_allclose(taken, [0, 0, 0, 0.5])


def test_what_is_no_more_than_a_fluctuation_goes_too():
    cells, clusters = line_of_cells([4.0, 2.4])  # 1.4 sigmas above 5 GeV
    assert (subtract(track_of(10.0), cells, clusters, np.ones(2), WIDE, DENSITY, CONSTANTS) == 1).all()
    cells, clusters = line_of_cells([4.0, 2.6])  # 1.6 sigmas
    taken = subtract(track_of(10.0), cells, clusters, np.ones(2), WIDE, DENSITY, CONSTANTS)
    assert (taken * cells.energy).sum() == pytest.approx(5.0)


def test_an_isolated_track_takes_all_and_a_distant_one_nothing():
    cells, clusters = line_of_cells([3.0, 1.0])
    assert (subtract(track_of(10.0), cells, clusters, np.ones(2), WIDE, DENSITY, CONSTANTS) == 1).all()
    away = track_of(10.0, phi=0.05 * 1.64 + 0.01)
    assert (subtract(away, cells, clusters, np.ones(2), WIDE, DENSITY, CONSTANTS) == 0).all()
    soft = line_of_cells([0.5, 0.4])  # less than a tenth of the momentum
    assert (subtract(track_of(10.0), *soft, np.ones(2), WIDE, DENSITY, CONSTANTS) == 0).all()


def test_a_split_shower_is_joined():
    cells, clusters = line_of_cells([3.0, 0.5, 0.5, 1.0], cluster=[0, 0, 1, 1])
    assert (subtract(track_of(10.0), cells, clusters, np.ones(4), WIDE, DENSITY, CONSTANTS) == 1).all()
    whole = line_of_cells([4.2, 0.5, 0.5, 1.0], cluster=[0, 0, 1, 1])  # 0.3 sigmas below: not split
    taken = subtract(track_of(10.0), *whole, np.ones(4), WIDE, DENSITY, CONSTANTS)
    np.testing.assert_allclose(taken, [1, 1, 0, 0])
    far = dataclasses.replace(ParticleFlowConfig(), cone=0.01).constants
    assert matched(track_of(10.0), clusters, clusters.energy, 5.0, 1.0, far).tolist() == [True, False]


def test_a_second_track_takes_of_what_is_left():
    cells, clusters = line_of_cells([4.0, 3.0, 2.0, 10.0])
    first = subtract(track_of(10.0), cells, clusters, np.ones(4), WIDE, DENSITY, CONSTANTS)
    second = subtract(track_of(8.0), cells, clusters, 1 - first, WIDE, DENSITY, CONSTANTS)
    assert (first + second <= 1 + 1e-12).all()
    assert (second * cells.energy).sum() == pytest.approx(4.0)


def test_the_part_of_a_cluster_outside_of_the_sample_counts():
    cells, clusters = line_of_cells([4.0, 2.0])
    clusters = clusters._replace(energy=np.array([20.0]))  # so no remnant: 5 GeV alone are taken
    taken = subtract(track_of(10.0), cells, clusters, np.ones(2), WIDE, DENSITY, CONSTANTS)
    np.testing.assert_allclose(taken, [1, 0.5])


@pytest.mark.parametrize("seed", range(20))
def test_energy_is_conserved_and_no_track_takes_more_than_expected(seed):
    rng = np.random.default_rng(seed)
    n = 30
    cells, clusters = line_of_cells(rng.exponential(1.0, n), cluster=np.sort(rng.integers(0, 3, n)), step=0.02)
    cells = cells._replace(sampling=rng.integers(1, 4, n), phi=rng.normal(size=n) * 0.05)
    density, left, p = rng.exponential(size=N_SAMPLINGS * N_RINGS), rng.uniform(size=n), rng.uniform(1, 40)
    no_remnants = Constants(0.0, 100.0, 1.0, 0.2, 0.0)
    taken = subtract(track_of(p), cells, clusters, left, WIDE, density, no_remnants)
    assert (taken >= 0).all()
    assert (taken <= left + 1e-12).all()
    assert (taken * cells.energy).sum() <= 0.5 * p * (1 + 1e-12)


@pytest.mark.parametrize("task", ASSOCIATION, ids=lambda t: t.name)
def test_shares_of_a_cell_are_its_whole(task):
    model, batch = fitted("particle_flow", task), make_batch(task)
    powers = np.exp(model.predict(batch).astype(np.float64))
    for event in events_of(batch):
        shares = model.shares(event)
        assert (shares >= 0).all()
        assert (shares.sum(axis=1) <= 1 + 1e-9).all()
        assert (shares[event.point_info["category"] != 1] == 0).all()
    assert (np.abs(powers.sum(axis=1) - 1) < 3e-4).all()  # but for the least probability


@pytest.mark.parametrize("task", ASSOCIATION, ids=lambda t: t.name)
def test_particle_flow_finds_the_tracks_cells(task):
    model, batch = fitted("particle_flow", task, n=100), make_batch(task, (80,) * 60, "test")
    scores, is_cell = model.predict(batch), batch.point_info["category"] == 1
    focus = 0 if task.soft else 1
    said = (np.exp(scores[:, focus]) > 0.5)[is_cell]
    true = (batch.target[:, 0] > 0.5 if task.soft else batch.target == 1)[is_cell]
    e = batch.energy[is_cell]
    f1 = 2 * e[said & true].sum() / (e[said].sum() + e[true].sum())
    assert f1 > 0.8  # 0.36 by chance


def test_a_sample_is_read_as_it_is():
    event = sample(TASKS["cell-to-track"], 90)
    cells, clusters = cells_of(event)
    assert len(cells.rows) == 90
    np.testing.assert_allclose(np.bincount(cells.cluster, cells.energy), clusters.energy, rtol=1e-5)
    tracks = tracks_of(event)
    assert [t.pt for t in tracks] == sorted([t.pt for t in tracks], reverse=True)
    focus = next(t for t in tracks if t.number == 0)
    assert focus.p == pytest.approx(event.event_info["track_p"][0])
    assert focus.eta[2] == pytest.approx(event.event_info["track_eta"][0], abs=1e-6)


def test_labels_teach_the_response():
    rng = np.random.default_rng(0)
    p = 10 ** rng.uniform(0, 2, 4000)
    table = learn_table(p, 0.4 + 0.1 * np.log10(p) + rng.normal(size=4000) * 0.1, 0.01, robust=False)
    centre, spread = table(np.array([10.0, 1e-9, 1e9]))
    assert centre == pytest.approx([0.5, 0.4, 0.6], abs=0.02)
    assert spread == pytest.approx([0.1] * 3, rel=0.15)
    one = learn_table(np.array([3.0]), np.array([0.7]), 0.05, robust=True)
    assert [float(v) for v in one(20.0)] == pytest.approx([0.7, 0.05])


def measurements(n, stream):
    """n pions: tracks whose resolution worsens with the momentum, a calorimeter whose resolution gets better."""
    task, rng = TASKS["pion-track-regression"], generator("measurements", stream)
    energy = 10 ** rng.uniform(0.5, 3, n)
    p = energy * np.exp(rng.normal(size=n) * (0.01 + 1e-3 * energy))
    calorimeter = 0.7 * energy * np.exp(rng.normal(size=n) * np.hypot(0.9 / np.sqrt(energy), 0.04))
    one = sample(task, 1)
    info = {key: np.repeat(value, n) for key, value in one.event_info.items()}
    return dataclasses.replace(
        one, offsets=np.arange(n + 1), event_ids=tuple(map(str, range(n))), target=np.log10(energy).astype(np.float32),
        event_info={**info, "track_p": p, "sum_e": calorimeter, "sum_lc_e": calorimeter / 0.7},
    )  # fmt: skip


def test_both_measurements_together_are_better_than_each():
    model, test = fitted("particle_flow", TASKS["pion-track-regression"]), measurements(3000, "test")
    model.fit(iter([measurements(3000, "fit")]), model.task)
    found = model.predict(test)[:, 0]

    def width(log_energy, chosen):
        low, high = np.quantile((log_energy - test.target)[chosen], [0.16, 0.84])
        return high - low

    track, calorimeter = (np.log10(test.event_info[key]) for key in ("track_p", "sum_e"))
    low, middle, high = ((test.target > a) & (test.target < b) for a, b in ((0.5, 1.0), (1.8, 2.1), (2.5, 3.0)))
    assert width(found, low) < 1.05 * width(track, low) < 0.2 * width(calorimeter, low)
    assert width(found, high) < 1.05 * width(calorimeter, high) < 0.4 * width(track, high)
    assert width(found, middle) < 0.95 * min(width(track, middle), width(calorimeter, middle))
    assert abs(np.median(found - test.target)) < 0.005


@pytest.mark.parametrize("setting", [{"cone": -1.0}, {"match_distance": math.nan}, {"calorimeter": "truth"}])
def test_settings_that_are_not_possible_are_refused(setting):
    with pytest.raises(ValueError, match="expected"):
        ParticleFlowConfig(**setting)


@pytest.mark.parametrize("name", ["pion-track-regression", "cell-to-track"])
def test_nothing_is_predicted_or_saved_before_a_fit(name, tmp_path):
    task, spec = TASKS[name], registry.model_spec("particle_flow")
    model = spec.build(spec.config(), inputs_of(task), task)
    with pytest.raises(RuntimeError, match="fit"):
        model.predict(sample(task, 10))
    with pytest.raises(RuntimeError, match="fit"):
        model.save(tmp_path / "weights", {})


def test_a_file_of_the_other_task_is_refused(tmp_path):
    for own, other in (("pion-track-regression", "cell-to-track"), ("cell-to-track", "pion-track-regression")):
        fitted("particle_flow", TASKS[own]).save(tmp_path / own, {})
        with pytest.raises(CheckpointError, match="same task was expected"):
            fitted("particle_flow", TASKS[other]).load(tmp_path / own)
