"""Every registered dataset keeps the contract, on a tiny folder of it.

A dataset of one's own: `python -m pytest tests/conformance/test_datasets.py --dataset my_events.py --data FOLDER`, with
a small folder, of which the first events of each split are read.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from benchmark import registry, tasks
from benchmark.contracts import Event
from benchmark.data.preparation import preparation
from benchmark.data.stream import check_declared, check_labels, source_of
from benchmark.errors import DataError
from benchmark.settings import override
from builders.tiny_datasets import make

READ = 20  # events of a split
COPIED = 200e6  # bytes; a larger folder is not copied to damage it
TABLES = (".csv", ".json", ".txt", ".xlsx")  # what half of looks like a whole


def pytest_generate_tests(metafunc):
    """Every test runs over all datasets, or over the one of --dataset."""
    wanted = metafunc.config.getoption("--dataset", None)
    names = registry.dataset_names() if wanted is None else [wanted]
    metafunc.parametrize("made", names, indirect=True, scope="module", ids=[Path(name).stem for name in names])


@pytest.fixture(scope="module")
def made(request, tmp_path_factory):
    data = request.config.getoption("--data", None)
    return make(request.param, tmp_path_factory.mktemp("dataset"), None if data is None else Path(data))


def all_tasks(made):
    return [tasks.task(name) for name in made.spec.info.tasks]


def sources(made, dataset=None):
    """(split, sample, events) of all that the tasks read."""
    for split in made.splits:
        for sample, task in {t.sample: t for t in all_tasks(made)}.items():
            yield split, sample, source_of(dataset or made.dataset, split, task)


def first_events(source):
    return [source[i] for i in range(min(READ, len(source)))]


def test_what_is_said_of_it_is_complete(made):
    info = made.spec.info
    for name in ("name", "summary", "licence", "citation", "energy_unit"):
        assert getattr(info, name).strip(), f"DatasetInfo.{name} is empty"
    assert info.frame.unit.strip()
    assert info.frame.scale > 0 and np.isfinite(info.frame.scale)
    assert np.isfinite(info.frame.centre).all() and min(info.frame.extent) > 0
    assert info.tasks and all(meaning.strip() for meaning in info.labels.values())
    assert dataclasses.is_dataclass(made.spec.config) and made.spec.config() == made.spec.config()


def test_its_tasks_exist_and_its_own_do_not_take_the_suites_names(made):
    own = [task.name for task in made.spec.own_tasks]
    assert set(own) <= set(made.spec.info.tasks)
    assert not set(own) & set(tasks.TASKS)
    for task in all_tasks(made):
        check_declared(made.spec.info, task, preparation(task).suited(made.spec.info))


def test_its_content_has_a_name_and_its_files_have_checksums(made):
    assert made.dataset.revision.strip()
    assert made.dataset.files
    assert all(len(digest) >= 32 for digest in made.dataset.files.values())


def test_ids_are_unique_and_sorted(made):
    for split, sample, source in sources(made):
        ids = list(source.event_ids)
        assert ids, f"{split} has no {sample}"
        assert ids == sorted(set(ids))
        assert len(source) == len(ids) == len(source.n_points)


def test_splits_have_no_event_in_common(made):
    seen = {}
    for split, sample, source in sources(made):
        for event_id in source.event_ids:
            assert seen.setdefault((sample, event_id), split) == split


def test_opening_reads_no_event(made, monkeypatch):
    built = []
    usual = Event.__init__
    monkeypatch.setattr(Event, "__init__", lambda self, *args, **more: (built.append(1), usual(self, *args, **more))[1])
    for _, _, source in sources(made, made.again()):
        assert len(source) == len(source.event_ids) == len(np.asarray(source.n_points))
    assert not built
    next(sources(made))[2][0]
    assert built


def test_events_are_finite_and_lie_in_the_frame(made):
    frame = made.spec.info.frame
    for _, _, source in sources(made):
        for i, event in enumerate(first_events(source)):
            assert event.event_id == source.event_ids[i]
            if event.volume is not None:
                assert event.volume.dtype == np.float32 and np.isfinite(event.volume).all()
                assert event.volume.size == source.n_points[i]
                continue
            n = int(source.n_points[i])
            assert event.coords.shape == (n, 3) and event.energy.shape == (n,)
            assert event.coords.dtype == event.energy.dtype == np.float32
            assert np.isfinite(event.coords).all() and np.isfinite(event.energy).all()
            assert all(np.isfinite(values).all() for values in event.features.values())
            scaled = (event.coords - np.asarray(frame.centre)) * frame.scale
            assert np.linalg.norm(scaled, axis=1).max(initial=0) <= 1 + 1e-3, "a point lies outside the frame"


def test_labels_are_declared_and_in_the_range_of_every_task(made):
    info = made.spec.info
    for task in all_tasks(made):
        usual = preparation(task).suited(info)
        prepared = override(usual, dict([usual.looser.split("=")]), "preprocess")
        n_used = 0
        for split in made.splits:
            source = source_of(made.dataset, split, task)
            for i in prepared.eligible(source, task).indices[:READ]:
                event = source[int(i)]
                assert set(event.labels) <= set(info.labels), "a label is not in DatasetInfo.labels"
                check_labels(info, task, prepared, event)
                batch = prepared.apply(event, task, info.frame)
                assert in_range(batch, task), f"{task.label} of {event.event_id}"
                n_used += 1
        assert n_used, f"no event is usable for {task.name}"


def in_range(batch, task):
    """Whether targets are classes, fractions or finite numbers, as the task says."""
    values = batch.target if batch.volume_target is None else batch.volume_target
    if task.soft:
        return values.shape[-1] == len(task.classes) and values.min() >= 0 and values.max() <= 1 + 1e-5
    if task.kind == "regression":
        return bool(np.isfinite(values).all())
    known = values[values != task.ignore_index]
    return known.dtype == np.int64 and (not len(known) or (known.min() >= 0 and known.max() < len(task.classes)))


def content(event):
    """All that an event holds; labels may be a mapping that reads them when asked."""
    values = {field.name: getattr(event, field.name) for field in dataclasses.fields(event)}
    return {k: dict(v) if isinstance(v, Mapping) else v for k, v in values.items()}


def test_the_same_events_come_twice(made, tmp_path, monkeypatch):
    monkeypatch.setenv("PARTICLEBENCH_CACHE", str(tmp_path))
    again = made.again()
    assert again.revision == made.dataset.revision
    assert dict(again.files) == dict(made.dataset.files)
    for (_, _, first), (_, _, second) in zip(sources(made), sources(made, again), strict=True):
        assert first.event_ids == second.event_ids
        np.testing.assert_array_equal(first.n_points, second.n_points)
        for one, other in zip(first_events(first), first_events(second), strict=True):
            np.testing.assert_equal(content(one), content(other))


def test_a_truncated_file_is_refused_in_one_sentence(made, tmp_path):
    if sum(p.stat().st_size for p in made.folder.rglob("*") if p.is_file()) > COPIED:
        pytest.skip(f"{made.folder} is large. Give a smaller folder with --data")
    names = {Path(name).suffix: name for name in sorted(made.dataset.files) if (made.folder / name).is_file()}
    assert names, "no name in `files` is that of a file in the folder"
    for suffix, name in names.items():
        if suffix in TABLES:
            continue
        copy = tmp_path / suffix.strip(".")
        shutil.copytree(made.folder, copy)
        content = (copy / name).read_bytes()
        (copy / name).write_bytes(content[: len(content) // 2])
        with pytest.raises(DataError) as error:
            for _, _, source in sources(made, made.again(copy)):
                for event in source:
                    assert event is not None
        message = str(error.value)
        assert Path(name).stem in message and "expected" in message and "\n" not in message
