"""Batches of events: each as often as any other in training, exactly once in scoring, the same after every resume."""

from collections import Counter

import numpy as np
import pytest
import torch

from benchmark.data.augment import euler_rotation
from benchmark.data.budget import subset
from benchmark.data.stream import event_set, training_batch
from benchmark.registry import dataset_spec
from benchmark.runs.resolve import resolve
from builders.synthetic import N_TEST, N_TRAIN, execute, request


@pytest.fixture(scope="module")
def sets(data):
    """Usable events of the training and the test split."""
    config, spec = resolve(request()), dataset_spec("pilarnet-m")
    dataset = spec.open(spec.config(), data)
    return tuple(event_set(dataset, split, config.task, config.preprocess) for split in ("train", "test"))


def batch(events, step, size=4, seed=0, stage="finetune", rotation="none", share=(0, 1)):
    return training_batch(events, step, size, seed, stage, rotation=rotation, share=share)


def test_training_shows_every_event_equally_often(sets):
    seen = Counter(i for step in range(N_TRAIN) for i in batch(sets[0], step).event_ids)  # 4 times through
    assert seen == {i: 4 for i in sets[0].event_ids}


def test_the_order_of_events_changes_with_each_pass_seed_and_stage(sets):
    def order(first_step=0, **names):
        return [batch(sets[0], first_step + k, size=3, **names).event_ids for k in range(N_TRAIN // 3)]

    orders = [order(), order(first_step=N_TRAIN // 3), order(seed=1), order(stage="pretrain")]
    assert all(a != b for i, a in enumerate(orders) for b in orders[:i])
    assert order() == orders[0]


def test_a_batch_larger_than_the_budget_repeats_its_events(sets):
    few = sets[0].chosen(subset(sets[0].event_ids, 2, 0))
    assert Counter(batch(few, 0, size=6).event_ids) == {i: 3 for i in few.event_ids}


def test_every_step_turns_its_events_anew_and_keeps_their_shapes(sets):
    one = sets[0].chosen(subset(sets[0].event_ids, 1, 0))
    plain, first, second, again = batch(one, 0, 1), *(batch(one, step, 1, rotation="event") for step in (0, 1, 0))
    assert not np.allclose(first.coords, second.coords)
    np.testing.assert_array_equal(first.coords, again.coords)
    np.testing.assert_array_equal(first.target, plain.target)

    def distances(b):
        return np.linalg.norm(b.coords - b.coords[:1], axis=1)

    for turned in (first, second):
        assert not np.allclose(turned.coords, plain.coords)
        np.testing.assert_allclose(distances(turned), distances(plain), atol=0.01)


@pytest.mark.parametrize("size", [1, 3, 100])
def test_scoring_reads_every_event_once_with_its_own_labels(sets, size):
    batches = list(sets[1].in_order(size))
    assert sorted(i for b in batches for i in b.event_ids) == sorted(sets[1].event_ids)
    assert len(sets[1]) == N_TEST
    alone = {sets[1].event_ids[k]: sets[1].batch([k]) for k in range(N_TEST)}
    for b in batches:
        for k, event_id in enumerate(b.event_ids):
            rows = slice(b.offsets[k], b.offsets[k + 1])
            np.testing.assert_array_equal(b.coords[rows], alone[event_id].coords)
            np.testing.assert_array_equal(b.target[rows], alone[event_id].target)


def test_a_choice_of_unlabelled_events_is_drawn_by_name(sets):
    events = sets[0]
    assert events.first(5, "a", 0).event_ids == events.first(5, "a", 0).event_ids
    assert events.first(5, "a", 0).event_ids != events.first(5, "a", 1).event_ids
    assert len(set(events.first(5, "a", 0).event_ids) & set(events.event_ids)) == 5
    assert events.first(0, "a") is events
    assert events.first(10**6, "a") is events


def test_every_step_of_every_stage_draws_its_own_random_numbers(data, tmp_path, monkeypatch):
    monkeypatch.setenv("PARTICLEBENCH_CACHE", str(tmp_path / "cache"))
    from benchmark.training.module import Training

    seeds, original = [], Training.training_step

    def watched(self, points, index):
        loss = original(self, points, index)
        seeds.append(torch.initial_seed())
        return loss

    monkeypatch.setattr(Training, "training_step", watched)
    execute(data, tmp_path, request("polarmae"))
    assert len(seeds) == len(set(seeds)) == 3 + 4


def test_the_shares_of_a_batch_are_the_batch_itself(sets):
    """Training on several devices: every event of the global batch once, turned as on a single one."""
    for rotation in ("event", "lattice", "batch", "none"):
        whole = batch(sets[0], 2, size=5, rotation=rotation)
        shares = [batch(sets[0], 2, size=5, rotation=rotation, share=(rank, 2)) for rank in range(2)]
        assert [s.event_ids for s in shares] == [whole.event_ids[0::2], whole.event_ids[1::2]]
        for event_id in whole.event_ids:
            (owner,) = (s for s in shares if event_id in s.event_ids)
            np.testing.assert_array_equal(coords_of(owner, event_id), coords_of(whole, event_id))


def coords_of(points, event_id):
    k = points.event_ids.index(event_id)
    return points.coords[points.offsets[k] : points.offsets[k + 1]]


def test_one_rotation_per_batch_turns_all_its_events_alike(sets):
    plain, turned = batch(sets[0], 0, 3), batch(sets[0], 0, 3, rotation="batch")
    centre = np.asarray(plain.frame.centre)
    matrix, *_ = np.linalg.lstsq(plain.coords - centre, turned.coords - centre, rcond=None)
    np.testing.assert_allclose((plain.coords - centre) @ matrix + centre, turned.coords, atol=0.01)
    each = batch(sets[0], 0, 3, rotation="event")
    assert not np.allclose(each.coords, turned.coords, atol=1.0)


def test_euler_rotations_equal_the_references(shared_dir):
    golden = np.load(shared_dir / "reference/polarmae/golden/public_batch.npz")
    matrix = euler_rotation(golden["rot_angles"])
    np.testing.assert_allclose(matrix, golden["rot_matrix"], atol=1e-6)
    n = golden["lengths"][0]
    turned = golden["points_norm"][0, :n, :3] @ matrix.T
    np.testing.assert_allclose(turned, golden["points_norm_rotated_ev0"][:n, :3], atol=1e-6)
