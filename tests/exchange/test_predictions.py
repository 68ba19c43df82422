"""Predictions from a file: matched by place or by order, and whatever does not fit is refused by its first offender."""

import dataclasses

import numpy as np
import pytest

from benchmark import api
from benchmark.errors import DataError
from benchmark.exchange.events import table_of
from benchmark.exchange.predictions import matched
from benchmark.exchange.table import Table


@pytest.fixture(scope="module")
def events(data):
    return api.events("pilarnet-m", data=data, settings={"preprocess.min_points": 0}).prepared


@pytest.fixture(scope="module")
def exported(events):
    return table_of(events, {}, has_labels=False)


def no_split(event_id):
    return None


def predictions(exported, **changes):
    """Points with random scores, in the order of the export."""
    rng = np.random.default_rng(1)
    columns = {name: exported.columns[name] for name in ("x", "y", "z")}
    columns["scores"] = rng.normal(size=(exported.n_rows, 4)).astype(np.float32)
    return Table(exported.event_ids, {**columns, **changes}, exported.offsets)


def without(table, *names):
    return dataclasses.replace(table, columns={n: v for n, v in table.columns.items() if n not in names})


def select(table, keep):
    """The rows where `keep` is true, by event."""
    lengths = [int(keep[table.rows(i)].sum()) for i in range(len(table.event_ids))]
    columns = {n: v[keep] for n, v in table.columns.items()}
    return Table(table.event_ids, columns, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))


def test_points_in_any_order_are_matched_by_place(events, exported):
    table = predictions(exported)
    order = np.concatenate([
        np.random.default_rng(i).permutation(np.arange(table.n_rows)[table.rows(i)]) for i in range(len(events))
    ])  # fmt: skip
    shuffled = dataclasses.replace(table, columns={n: v[order] for n, v in table.columns.items()})
    found = matched(shuffled, events, no_split)
    assert found.has_scores and found.n_ignored == 0
    for i, event_id in enumerate(events.event_ids):
        assert np.array_equal(found.scores[event_id], table.columns["scores"][table.rows(i)])


def test_without_coordinates_the_order_of_the_export_counts(events, exported):
    table = without(predictions(exported), "x", "y", "z")
    found = matched(table, events, no_split)
    for i, event_id in enumerate(events.event_ids):
        assert np.array_equal(found.scores[event_id], table.columns["scores"][table.rows(i)])


def test_events_may_stand_in_any_order(events, exported):
    table = without(predictions(exported), "x", "y", "z")
    last_first = np.concatenate([np.arange(table.n_rows)[table.rows(i)] for i in reversed(range(len(events)))])
    lengths = np.diff(table.offsets)[::-1]
    turned = Table(table.event_ids[::-1], {"scores": table.columns["scores"][last_first]},
                   np.concatenate([[0], np.cumsum(lengths)]))  # fmt: skip
    one, other = (matched(t, events, no_split).scores for t in (table, turned))
    assert list(one) == list(other) and all(np.array_equal(one[i], other[i]) for i in one)


def test_points_that_the_task_leaves_out_are_not_counted(data, events, exported):
    """Low-energy scatters are recorded and not scored: somebody who read the original file predicts them too."""
    five = api.events("pilarnet-m", task="lartpc-segmentation-5", data=data, settings={"preprocess.min_points": 0})
    everything = table_of(five.prepared, {}, has_labels=True)
    dropped = everything.columns["label"] == 4
    table = predictions(everything)
    found = matched(table, events, no_split)
    assert found.n_ignored == dropped.sum() > 0
    kept = select(table, ~dropped)
    for i, event_id in enumerate(events.event_ids):
        assert np.array_equal(found.scores[event_id], kept.columns["scores"][kept.rows(i)])


@pytest.mark.parametrize("form", ["numbers", "floats", "names", "columns by name", "columns by number"])
def test_classes_and_columns_of_scores(events, exported, form):
    rng = np.random.default_rng(2)
    classes = rng.integers(0, 4, exported.n_rows)
    names = events.task.classes
    columns = {
        "numbers": {"class": classes},
        "floats": {"class": classes.astype(float)},
        "names": {"class": np.array([names[c] for c in classes], object)},
        "columns by name": {f"score_{name}": (classes == i).astype(float) for i, name in enumerate(names)},
        "columns by number": {f"score_{i}": (classes == i).astype(float) for i in range(4)},
    }[form]
    found = matched(without(predictions(exported, **columns), "scores"), events, no_split)
    assert found.has_scores == form.startswith("columns")
    joined = np.concatenate([found.scores[i].argmax(axis=1) for i in events.event_ids])
    assert np.array_equal(joined, classes)


def refused(table, events, split_of=no_split):
    with pytest.raises(DataError) as error:
        matched(table, events, split_of)
    text = str(error.value)
    assert text.count(" expected") == 1 and text.endswith(".")
    return text


def test_events_that_are_missing_doubled_or_of_another_split(events, exported):
    table = predictions(exported)
    ids, last = table.event_ids, slice(0, int(table.offsets[-2]))
    fewer = Table(ids[:-1], {n: v[last] for n, v in table.columns.items()}, table.offsets[:-1])
    assert f"1 of the {len(ids)} scored events are missing (first: {ids[-1]})" in refused(fewer, events)
    twice = dataclasses.replace(table, event_ids=(ids[0], *ids[:-1]))
    assert f"Event {ids[0]} is in the file twice" in refused(twice, events)
    other = dataclasses.replace(table, event_ids=(*ids[:-1], "train/x:0000001"))
    text = refused(other, events, lambda event_id: "train")
    assert "(first: train/x:0000001, an event of the train split), and 1 of the" in text
    assert "left out by its cuts" in refused(other, events)


def test_points_that_are_missing_doubled_or_strange(events, exported):
    table = predictions(exported)
    keep = np.ones(table.n_rows, bool)
    keep[5] = False
    first = ", ".join(f"{table.columns[n][5]:g}" for n in "xyz")
    text = refused(select(table, keep), events)
    assert f"The point ({first}) of event {table.event_ids[0]} has no prediction (1 of" in text
    text = refused(without(select(table, keep), "x", "y", "z"), events)
    n = int(table.offsets[1])
    assert f"has {n - 1:,} predictions for its {n:,} scored points" in text

    moved = {n: table.columns[n].copy() for n in "xyz"}
    for name in "xyz":
        moved[name][1] = moved[name][0]
    assert "is in the file twice" in refused(predictions(exported, **moved), events)

    extra = np.concatenate([np.arange(table.n_rows), [0]])  # a copy of a point in the last event, elsewhere
    columns = {n: v[extra] for n, v in table.columns.items()}
    columns["x"] = np.concatenate([table.columns["x"], [3000]])
    offsets = table.offsets.copy()
    offsets[-1] += 1
    text = refused(Table(table.event_ids, columns, offsets), events)
    assert text.startswith("The point (3000,") and "is no point of it" in text


def test_values_that_are_none(events, exported):
    bad = predictions(exported).columns["scores"].copy()
    bad[int(exported.offsets[1]) + 2, 1] = np.nan
    text = refused(predictions(exported, scores=bad), events)
    assert f"1 of {exported.n_rows:,} predictions are not finite (first: in event {exported.event_ids[1]})" in text
    assert "not finite" in refused(predictions(exported, x=np.full(exported.n_rows, np.inf)), events)
    assert "has the shape" in refused(predictions(exported, scores=np.zeros((exported.n_rows, 3))), events)
    columns = {f"score_{name}": np.zeros((exported.n_rows, 2)) for name in events.task.classes}
    assert "One number in each row" in refused(without(predictions(exported, **columns), "scores"), events)
    assert "its columns are x, y, z" in refused(without(predictions(exported), "scores"), events)
    assert "the column y alone" in refused(without(predictions(exported), "x", "z"), events)
    wrong = np.zeros(exported.n_rows, np.int64)
    wrong[-1] = 4
    text = refused(without(predictions(exported, **{"class": wrong}), "scores"), events)
    assert f"`class` is '4' in a row of event {exported.event_ids[-1]}. 0 to 3 were expected" in text
    texts = np.array(["track"] * (exported.n_rows - 1) + ["muon"], object)
    assert "`class` is 'muon'" in refused(without(predictions(exported, **{"class": texts}), "scores"), events)
    assert "`scores` holds texts" in refused(predictions(exported, scores=texts), events)


def test_one_of_x_y_z_says_nothing_of_a_place_and_two_at_one_place_are_told(events, exported):
    from benchmark.exchange.predictions import _by_place

    here = np.zeros((1, 3))
    with pytest.raises(DataError, match="several points at one place"):
        _by_place(np.array([[0.0, 0, 0], [1, 1, 1]]), np.concatenate([here, here]), here, "e")


def test_events_may_be_named_by_their_number_in_the_export(events, exported, tmp_path):
    from benchmark.exchange.files import read_table

    table = without(predictions(exported), "x", "y", "z")
    n = len(table.event_ids)
    np.savez(tmp_path / "p.npz", event_index=np.arange(n), offsets=table.offsets, scores=table.columns["scores"])
    numbered = read_table(tmp_path / "p.npz")
    one, other = (matched(t, events, no_split).scores for t in (table, numbered))
    assert all(np.array_equal(one[i], other[i]) for i in one)
    for numbers, said in ((np.arange(n) + 1, f"first wrong one: {n}"), (np.arange(n) * 0.5, "float64")):
        np.savez(tmp_path / "p.npz", event_index=numbers, offsets=table.offsets, scores=table.columns["scores"])
        assert said in refused(read_table(tmp_path / "p.npz"), events)
    np.savez(tmp_path / "p.npz", event_index=np.zeros(n, int), offsets=table.offsets, scores=table.columns["scores"])
    assert "is in the file twice" in refused(read_table(tmp_path / "p.npz"), events)


@pytest.mark.parametrize("version", [1, 2])
def test_files_of_spines_own_writer_are_read(events, exported, tmp_path, version):
    writers = pytest.importorskip(
        "spine.io.write.hdf5.writer", reason="spine is not installed; the extra `test` brings it"
    )
    from benchmark.exchange.files import read_table

    table = predictions(exported)
    per_event = [table.columns["scores"][table.rows(i)] for i in range(len(table.event_ids))]
    path = tmp_path / "spine.h5"
    writer = writers.HDF5Writer(file_name=str(path), format_version=version)
    for begin in range(0, len(per_event), 2):  # batches of two events
        part = per_event[begin : begin + 2]
        writer({"index": np.arange(begin, begin + len(part)), "segmentation": part}, {})
    writer.finalize()
    writer.close()
    found = matched(read_table(path), events, no_split)
    for i, event_id in enumerate(events.event_ids):
        assert np.array_equal(found.scores[event_id], per_event[i])


def test_a_file_of_spine_without_scores_says_what_to_write(tmp_path):
    import h5py

    from benchmark.exchange.files import read_table

    with h5py.File(tmp_path / "s.h5", "w") as file:
        file.create_group("info").attrs["format"] = "spine_hdf5"
        file.create_group("products/index")
    with pytest.raises(DataError, match=r"`segmentation` was expected\. Add it to the `keys`"):
        read_table(tmp_path / "s.h5")
