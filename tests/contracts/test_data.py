"""Batches: every array of every part follows when they are joined, moved, blinded and sent to another process."""

import dataclasses
import pickle

import numpy as np
import pytest
import torch

from benchmark.contracts import Links, PointBatch, Volumes, WholeEvents, concatenate
from benchmark.tasks import TASKS
from builders import calo_batches, lif_batches

BATCHES = {
    "pion-classification": calo_batches.make_batch,
    "cell-to-track": calo_batches.make_batch,
    "lif-segmentation": lif_batches.make_batch,
    "lif-reconstruction": lif_batches.make_batch,
}
PARTS = {"links": Links, "whole": WholeEvents, "volumes": Volumes}


def batch_of(name):
    return BATCHES[name](TASKS[name])


def arrays(value, name="batch"):
    """Every array in a batch by its place, whatever the fields are called."""
    if isinstance(value, np.ndarray | torch.Tensor):
        return {name: value}
    if isinstance(value, dict):
        inside = value.items()
    elif dataclasses.is_dataclass(value):
        inside = [(f.name, getattr(value, f.name)) for f in dataclasses.fields(value)]
    else:
        return {}
    return {place: array for key, v in inside for place, array in arrays(v, f"{name}.{key}").items()}


@pytest.mark.parametrize("name", BATCHES)
def test_every_array_becomes_a_tensor_of_the_same_values(name):
    batch = batch_of(name)
    before, after = arrays(batch), arrays(batch.to_torch())
    assert list(after) == list(before)
    assert all(isinstance(a, torch.Tensor) for a in after.values())
    for place, values in before.items():
        np.testing.assert_array_equal(after[place], values)


@pytest.mark.parametrize("name", BATCHES)
def test_a_batch_is_the_same_after_pickling(name):
    batch = batch_of(name)
    again = pickle.loads(pickle.dumps(batch))
    assert list(arrays(again)) == list(arrays(batch))
    for place, values in arrays(batch).items():
        np.testing.assert_array_equal(arrays(again)[place], values)
    assert again.whole.columns == batch.whole.columns and again.frame == batch.frame


@pytest.mark.parametrize("name", BATCHES)
def test_a_batch_that_is_scored_holds_no_label(name):
    batch = batch_of(name)
    labels = {"target", "instance", "whole.auxiliary", "volumes.target", "volumes.instance"}
    kept = [place for place in arrays(batch) if place.removeprefix("batch.") not in labels]
    assert list(arrays(batch.without_target())) == kept
    assert len(kept) < len(arrays(batch))


@pytest.mark.parametrize("name", BATCHES)
def test_parts_of_a_batch_of_one_are_those_of_the_event(name):
    batch = batch_of(name)
    assert batch.n_events == 3
    for place, values in arrays(concatenate([batch])).items():
        np.testing.assert_array_equal(values, arrays(batch)[place])


@pytest.mark.parametrize(("name", "part"), PARTS.items())
def test_a_part_names_all_its_arrays(name, part):
    """Those that are not names of columns, in `ARRAYS`, which joining and moving go by."""
    assert tuple(f.name for f in dataclasses.fields(part) if "columns" not in f.name) == part.ARRAYS
    batch = PointBatch(
        coords=np.zeros((1, 3)), energy=np.zeros(1), feats=np.zeros((1, 1)), offsets=np.array([0, 1]),
        event_ids=("a",), columns=("c",), frame=lif_batches.frame_of(),
    )  # fmt: skip
    assert getattr(batch, name) == part()  # empty, as for most detectors


def test_a_batch_without_tokens_has_no_hidden_voxels():
    with pytest.raises(ValueError, match="no tokens that may be hidden"):
        batch_of("lif-segmentation").hidden_voxels  # noqa: B018
