"""Tiles of volumes on their way to a model: bright voxels as points, hidden tokens, mirrors, losses."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from torch.nn import functional

from benchmark.contracts import concatenate
from benchmark.contracts.losses import dice_loss, labelled_rows, task_loss
from benchmark.contracts.task import Loss
from benchmark.data.augment import rotate, rotations
from benchmark.data.stream import EventSet, training_batch
from benchmark.data.volumes import VolumePreprocess
from benchmark.errors import DataError
from benchmark.ops.masks import hidden_tokens
from benchmark.seeding import generator
from benchmark.tasks import TASKS
from builders import lif_batches
from builders.lif_batches import frame_of, make_batch, make_event, sample

SEGMENTATION, RECONSTRUCTION = TASKS["lif-segmentation"], TASKS["lif-reconstruction"]


class Source:
    """Tiles by number, as a data set gives them."""

    labelled = True
    event_ids = tuple(f"t{i}" for i in range(6))
    n_points = np.full(6, 8000)

    def __len__(self):
        return 6

    def __getitem__(self, index):
        return make_event(self.event_ids[index])


def event_set(task, **settings):
    return EventSet(Source(), task, VolumePreprocess(**settings), frame_of(), np.arange(6), {})


def test_points_are_the_bright_voxels_with_their_labels_and_places():
    event = make_event("a")
    batch = VolumePreprocess(sigma_min=3.0).apply(event, SEGMENTATION, frame_of())
    median = np.median(event.volume)
    sigma = 1.4826 * np.median(np.abs(event.volume - median))
    expected = np.flatnonzero(event.volume.ravel() > median + 3 * sigma)
    np.testing.assert_array_equal(batch.volumes.voxel, expected)
    x, y, z = batch.coords.astype(int).T
    np.testing.assert_array_equal(np.ravel_multi_index((z, y, x), event.volume.shape), expected)
    np.testing.assert_array_equal(batch.target, event.labels["track"][z, y, x])
    np.testing.assert_allclose(np.sinh(batch.column("log_significance")), batch.energy, rtol=1e-5)
    assert batch.target.mean() > 0.2 > event.labels["track"].mean()


def test_a_tile_has_points_whatever_its_threshold_and_never_more_than_asked():
    flat = replace(make_event("a"), volume=np.zeros(lif_batches.SHAPE, np.float32))
    few = VolumePreprocess(min_points=7).apply(flat, SEGMENTATION, frame_of())
    np.testing.assert_array_equal(few.volumes.voxel, np.arange(7))  # among equal voxels the first
    many = VolumePreprocess(sigma_min=-5.0, max_points=100).apply(make_event("a"), SEGMENTATION, frame_of())
    assert many.n_points == 100
    brightest = np.sort(np.argsort(-make_event("a").volume.ravel(), kind="stable")[:100])
    np.testing.assert_array_equal(many.volumes.voxel, brightest)


def test_other_tiles_do_not_change_a_tiles_points():
    together, alone = make_batch(SEGMENTATION, 3), sample(SEGMENTATION, 1)
    begin, end = together.offsets[1:3]
    np.testing.assert_array_equal(together.feats[begin:end], alone.feats)
    np.testing.assert_array_equal(together.volumes.voxel[begin:end], alone.volumes.voxel)


@pytest.mark.parametrize("ratio", [0.2, 0.4, 0.6])
def test_random_masks_hide_their_share_in_each_volume_and_differ(ratio):
    hidden = hidden_tokens(generator("masks", 1).random((3, 1, 25, 25)), ratio)
    assert (hidden.reshape(3, -1).sum(1) == round(625 * ratio)).all()
    assert (hidden[0] != hidden[1]).any()


def test_stratified_masks_hide_as_many_in_every_block_of_tokens():
    hidden = hidden_tokens(generator("masks", 2).random((4, 1, 25, 25)), 0.4, "stratified")
    blocks = hidden.reshape(4, 5, 5, 5, 5).sum(axis=(2, 4))
    assert (blocks == 10).all()
    ragged = hidden_tokens(generator("masks", 3).random((1, 1, 7, 6)), 0.5, "stratified")
    sizes = [5 * 5, 5 * 1, 2 * 5, 2 * 1]
    parts = [ragged[0, 0, a, b].sum() for a, b in product((slice(0, 5), slice(5, 7)), (slice(0, 5), slice(5, 6)))]
    assert parts == [round(s / 2) for s in sizes]


def test_hidden_tokens_are_zero_and_the_same_whenever_an_event_is_scored():
    event = make_event("a")
    batch = VolumePreprocess().apply(event, RECONSTRUCTION, frame_of())
    again = VolumePreprocess().apply(event, RECONSTRUCTION, frame_of())
    np.testing.assert_array_equal(batch.volumes.hidden, again.volumes.hidden)
    assert batch.volumes.hidden.shape == (1, 1, 4, 4)
    assert batch.volumes.hidden.sum() == round(16 * 0.4)
    assert (batch.volumes.values[batch.volumes.hidden_voxels] == 0).all()
    np.testing.assert_array_equal(batch.volumes.target[0], event.volume)
    visible = ~batch.volumes.hidden_voxels
    np.testing.assert_array_equal(batch.volumes.values[visible], batch.volumes.target[visible])
    assert batch.without_target().volumes.target is None
    tensors = batch.to_torch()
    np.testing.assert_array_equal(tensors.volumes.hidden_voxels.numpy(), batch.volumes.hidden_voxels)


def test_every_step_of_training_hides_other_tokens_and_shares_are_those_of_the_whole_batch():
    events = event_set(RECONSTRUCTION)
    first, second = (training_batch(events, s, 4, 0, "finetune", rotation="none") for s in (0, 1))
    assert (first.volumes.hidden != second.volumes.hidden).any()
    assert (first.volumes.values[first.volumes.hidden_voxels] == 0).all()
    parts = [training_batch(events, 0, 4, 0, "finetune", rotation="mirror", share=(r, 2)) for r in (0, 1)]
    whole = training_batch(events, 0, 4, 0, "finetune", rotation="mirror")
    for r, part in enumerate(parts):
        assert part.event_ids == whole.event_ids[r::2]
        np.testing.assert_array_equal(part.volumes.values, whole.volumes.values[r::2])
        np.testing.assert_array_equal(part.volumes.hidden, whole.volumes.hidden[r::2])


def test_a_mirror_turns_points_and_volumes_alike():
    batch = make_batch(SEGMENTATION, 8)
    matrices = rotations("mirror", 8, generator("mirrors"))
    turned = rotate(batch, matrices)
    event = turned.event_index
    x, y, z = np.rint(turned.coords).astype(int).T
    np.testing.assert_allclose(turned.coords, np.stack([x, y, z], 1), atol=1e-4)
    np.testing.assert_array_equal(turned.volumes.target[event, z, y, x], turned.target)
    np.testing.assert_array_equal(
        turned.volumes.values[event, z, y, x],
        batch.volumes.values.reshape(8, -1)[batch.event_index, batch.volumes.voxel],
    )
    assert len({tuple(np.diag(m)) for m in matrices}) > 1


def test_tiles_that_do_not_divide_into_tokens_and_tiles_without_labels_are_refused():
    with pytest.raises(DataError, match="divide into tokens"):
        sample(RECONSTRUCTION, token=(5, 11, 10))
    with pytest.raises(DataError, match="no label 'track'"):
        VolumePreprocess().apply(replace(make_event("a"), labels={}), SEGMENTATION, frame_of())
    with pytest.raises(DataError, match="no volume"):
        VolumePreprocess().apply(replace(make_event("a"), volume=None), SEGMENTATION, frame_of())
    source = Source()
    source.labelled = False
    with pytest.raises(DataError, match="no labels"):
        VolumePreprocess().eligible(source, SEGMENTATION)
    assert len(VolumePreprocess().eligible(source, RECONSTRUCTION).indices) == 6


@pytest.mark.parametrize(
    "wrong",
    [{"sigma_min": np.nan}, {"min_points": 0}, {"max_points": 3}, {"columns": ()}, {"token": (0, 1, 1)},
     {"mask_ratio": 1.0}, {"mask": "all"}],
)  # fmt: skip
def test_settings_out_of_range_are_refused(wrong):
    with pytest.raises(ValueError, match="expected"):
        VolumePreprocess(**wrong)


def test_the_loss_of_a_reconstruction_is_the_error_of_hidden_voxels_alone():
    batch = make_batch(RECONSTRUCTION).to_torch()
    scores = torch.zeros(3, 1, *lif_batches.SHAPE)
    hidden = batch.volumes.hidden_voxels
    loss = task_loss(RECONSTRUCTION, scores, batch, None)
    torch.testing.assert_close(loss, batch.volumes.target[hidden].square().mean())
    scores[:, 0][~hidden] = 1e6
    torch.testing.assert_close(task_loss(RECONSTRUCTION, scores, batch, None), loss)


def test_the_loss_of_a_segmentation_counts_every_voxel_and_equals_its_parts():
    batch = make_batch(SEGMENTATION).to_torch()
    scores = torch.from_numpy(generator("scores").normal(size=(3, 2, *lif_batches.SHAPE)).astype(np.float32))
    rows, target = labelled_rows(scores, batch)
    assert rows.shape == (3 * 8000, 2)
    torch.testing.assert_close(rows[8000 + 41], scores[1, :, 0, 1, 1])
    assert target[8000 + 41] == batch.volumes.target[1, 0, 1, 1]
    ce = functional.cross_entropy(rows, target)
    dice = dice_loss(rows, functional.one_hot(target, 2).float(), torch.full((len(rows),), 1 / len(rows)))
    torch.testing.assert_close(task_loss(SEGMENTATION, scores, batch, None), ce + dice)
    plain = replace(SEGMENTATION, loss=Loss(kind="cross_entropy"))
    torch.testing.assert_close(task_loss(plain, scores, batch, None), ce)


def test_tiles_join_into_one_batch():
    parts = [sample(SEGMENTATION, i) for i in range(2)]
    batch = concatenate(parts)
    assert batch.volumes.values.shape == (2, *lif_batches.SHAPE)
    np.testing.assert_array_equal(batch.volumes.instance[1], parts[1].volumes.instance[0])
