"""Packed caches of every detector: a changed byte in any of their files is found, and the pack is made again."""

import dataclasses
import json

import numpy as np
import pytest

from benchmark import tasks
from benchmark.data.preparation import preparation
from benchmark.data.stream import event_set
from builders.tiny_datasets import make

TASKS = {"pilarnet-m": "lartpc-segmentation", "atlas-pions": "pion-classification", "lif-scans": "lif-segmentation"}
FOLDERS = {"pilarnet-m": "packed", "atlas-pions": "packed", "lif-scans": "tiles"}  # of the cache


def contents(dataset, name):
    """Every value that a model could see of the first usable events."""
    task = tasks.task(TASKS[name])
    settings = preparation(task)
    if hasattr(settings, "min_points"):
        settings = dataclasses.replace(settings, min_points=1)
    batch = event_set(dataset, "test", task, settings).batch([0, 1])
    return [np.asarray(a) for a in (batch.coords, batch.energy, batch.feats, batch.offsets)], batch.event_ids


@pytest.mark.parametrize("name", FOLDERS)
def test_a_changed_file_of_a_pack_is_made_again(name, tmp_path, own_cache):
    made = make(name, tmp_path / "data")
    expected, ids = contents(made.dataset, name)
    files = sorted(p for p in (own_cache / FOLDERS[name]).rglob("*") if p.is_file())
    assert any(p.name == "manifest.json" for p in files) and len(files) > 2
    rng = np.random.default_rng(0)
    for path in files:
        content = bytearray(path.read_bytes())
        if not content:
            continue
        content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        values, same_ids = contents(made.again(), name)
        assert same_ids == ids, path.name
        for value, wanted in zip(values, expected, strict=True):
            np.testing.assert_array_equal(value, wanted, err_msg=path.name)


def test_a_manifest_that_someone_has_edited_is_not_believed(tmp_path, own_cache):
    made = make("lif-scans", tmp_path / "data")
    _, ids = contents(made.dataset, "lif-scans")
    (path,) = (own_cache / "tiles").rglob("manifest.json")
    manifest = json.loads(path.read_text())
    for tile in manifest["tiles"]:
        tile["split"] = "test"
    path.write_text(json.dumps(manifest))
    assert contents(made.again(), "lif-scans")[1] == ids
