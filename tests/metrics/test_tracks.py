"""Voxels of tracks and tracks as objects, on volumes made by hand."""

import numpy as np
import pytest
from sklearn.metrics import f1_score, jaccard_score, precision_score, recall_score

from benchmark.metrics import tracks
from benchmark.metrics.families import family, report
from benchmark.metrics.tracks import COLUMNS, MIN_VOXELS, connected, scores, state
from benchmark.seeding import generator
from benchmark.tasks import TASKS
from builders.lif_batches import make_batch

TASK = TASKS["lif-segmentation"]


def volume():
    return np.zeros((5, 40, 40), np.int64)


def bar(y, x, length=10, width=3):
    """A box of 3 slices."""
    where = np.zeros((5, 40, 40), bool)
    where[1:4, y : y + width, x : x + length] = True
    return where


def counted(called, instance):
    return dict(zip(COLUMNS, state(called[None], instance[None])[0].tolist(), strict=True))


def overall(called, instance):
    states = state(called[None], instance[None])
    return {k: v[0] for k, v in scores(states, np.ones((1, 1)))["overall"].items()}


def test_voxels_count_as_another_library_counts_them():
    rng = generator("voxels")
    truth, called = rng.random((2, 5, 40, 40)) < 0.2, rng.random((2, 5, 40, 40)) < 0.3
    states = state(called, truth.astype(int))
    found = {k: v[0] for k, v in scores(states, np.ones((1, 2)))["overall"].items()}
    y, p = truth.ravel(), called.ravel()
    theirs = {"f1": f1_score, "precision": precision_score, "recall": recall_score, "iou": jaccard_score}
    for name, function in theirs.items():
        assert found[name] == pytest.approx(function(y, p))


def test_a_track_is_found_where_half_of_it_is_called_and_separated_where_one_object_matches():
    instance = volume()
    instance[bar(5, 5)], instance[bar(20, 5)] = 1, 2
    called = bar(5, 5, length=5) | bar(20, 5, length=4)  # a half, and less than a half
    found = overall(called, instance)
    assert found["efficiency"] == 0.5 and found["efficiency_iou"] == 0.5 and found["purity"] == 1


def test_an_object_over_two_tracks_finds_both_and_separates_neither():
    instance = volume()
    instance[bar(5, 5)], instance[bar(8, 5)] = 1, 2  # side by side
    found = overall(bar(5, 5, width=6), instance)
    assert found["efficiency"] == 1 and found["efficiency_iou"] == 1  # each is exactly a half of the object
    instance[bar(11, 5)] = 3
    found = overall(bar(5, 5, width=9), instance)
    assert found["efficiency"] == 1 and found["efficiency_iou"] == 0 and found["purity"] == 0


def test_a_track_in_two_pieces_is_found_by_both_together():
    instance = volume()
    instance[bar(5, 5, length=20)] = 1
    found = counted(bar(5, 5, length=8) | bar(5, 17, length=8), instance)
    assert found["n_objects"] == 2 and found["n_pure"] == 2 and found["n_separated"] == 0
    assert sum(found[f"n_found_{i}"] for i in range(3)) == 1


def test_speckle_is_no_object_but_its_voxels_count():
    called = volume().astype(bool)
    called[0, ::6, ::6] = True
    found = counted(called, volume())
    assert found["n_objects"] == 0 and found["fp"] == called.sum() > 0
    lonely = volume()
    lonely[0, 0, : MIN_VOXELS - 1] = 1  # too small to be a track that counts
    assert sum(counted(called, lonely)[f"n_true_{i}"] for i in range(3)) == 0


def test_neighbours_across_edges_and_corners_are_connected():
    called = volume().astype(bool)
    for i in range(5):
        called[i, 10 + i, 10 + i] = True
    groups, n = connected(called, min_voxels=5)
    assert n == 1 and (groups > 0).sum() == 5
    assert connected(called, min_voxels=6)[1] == 0


def test_tracks_fall_into_bins_of_size():
    instance = volume()
    instance[bar(2, 2, length=10)] = 4  # 90 voxels
    instance[bar(10, 2, length=30)] = 7  # 270
    instance[bar(20, 2, length=36, width=15)] = 9  # 1,620
    states = state((instance == 7)[None], instance[None])
    found = scores(states, np.ones((1, 1)))["by_size"]["efficiency"][0]
    np.testing.assert_array_equal(found, [0, 1, 0])
    assert tracks.rows("by_size") == ("20-199", "200-799", "800+")


def test_nothing_true_and_nothing_called_is_undefined_not_an_error():
    found = overall(volume().astype(bool), volume())
    assert all(np.isnan(found[k]) for k in ("f1", "efficiency", "purity"))
    called = overall(bar(5, 5), volume())
    assert called["f1"] == 0 and called["purity"] == 0 and np.isnan(called["efficiency"])
    full = np.ones((5, 40, 40), np.int64)
    assert overall(full.astype(bool), full)["f1"] == 1


def test_points_and_volumes_that_say_the_same_count_the_same():
    batch = make_batch(TASK, 3)
    rng = generator("points")
    points = rng.normal(size=(batch.n_points, 2)).astype(np.float32)
    dense = np.zeros((3, 2, *batch.volumes.values.shape[1:]), np.float32)
    dense[:, 0] = 1.0
    z, y, x = np.unravel_index(batch.volumes.voxel, batch.volumes.values.shape[1:])
    dense[batch.event_index, :, z, y, x] = points
    count = family("tracks").count
    np.testing.assert_array_equal(count(points, batch, TASK), count(dense, batch, TASK))
    found = report(family("tracks"), count(points, batch, TASK), TASK, generator("bootstrap"))
    assert found["details"]["voxels"]["tp"] > 0
    assert set(found["by_size"]) == set(tracks.rows("by_size"))
