"""Datasets outside the suite on the command line, and what `data info` says of labels that are missing."""

import dataclasses
import json

import numpy as np
import pytest

from benchmark import registry
from benchmark.cli import main
from benchmark.errors import RecordError
from benchmark.records.store import read_record, read_records
from builders import calo_files, lif_files, npz_files
from builders.outside import contributed

UNDECLARED = (
    'labels={"semantic": "0 shower, 1 track, 2 Michel electron, 3 delta ray, 4 low-energy scatter"},',
    'labels={"energy": "MeV, again"},',
)
UNGIVEN = (
    "return Event(self.event_ids[index], coords, energy, labels)",
    "return Event(self.event_ids[index], coords, energy)",
)
TASK = """
TASK = Task(
    name="my-shapes", version=1, summary="Five shapes", data="points", level="point", kind="classification",
    label="semantic", classes=("a", "b", "c", "d", "e"), detector="mine", dataset="my-npz",
)
"""
MORE = "own_tasks=(TASK,), preparation=lambda task: Preprocess(min_points=7)"
OWN = (
    ('tasks=("lartpc-segmentation", "lartpc-segmentation-5"),', 'tasks=("my-shapes",),'),
    ("import DatasetInfo, DatasetSpec, Event, Frame\n", "import DatasetInfo, DatasetSpec, Event, Frame, Task\n"),
    ("from benchmark.errors", "from benchmark.data.preprocess import Preprocess\nfrom benchmark.errors"),
    ("open=_open, prepare=_open)", f"open=_open, prepare=_open, {MORE})"),
    ("\n\nSPEC = ", f"\n\n{TASK}SPEC = "),
)


@pytest.fixture
def call(tmp_path, monkeypatch, capsys):
    """`call("run", ...)` in a folder with `events`: (exit code, standard output, standard error)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_datasets_by_path", {})
    monkeypatch.delenv("PARTICLEBENCH_RECORDS", raising=False)
    npz_files.write_folder(tmp_path / "events", {"train": 6, "val": 2, "test": 3})

    def run(*typed):
        code = 0
        try:
            main([str(t) for t in typed])
        except SystemExit as end:
            code = end.code or 0
        return code, *capsys.readouterr()

    return run


def on(path, *more):
    few = ["--labels", "4", "--preset", "tiny", "--threads", "1", "--device", "cpu", "--set", "train.steps=2", *more]
    return ["run", "--model", "deep_sets", "--dataset", path, "--data", "events", *few]


def test_a_dataset_by_path_runs_without_instances(call, tmp_path):
    path = contributed(tmp_path)
    code, _, err = call(*on(path, "--set", "min_points=0"))
    assert code == 0, err
    records, _ = read_records(tmp_path / "runs" / "records")
    assert {record.dataset["name"] for record in records} == {"my-npz"}
    assert {record.config["dataset"] for record in records} == {"my-npz"}
    code, _, err = call(*on(path, "--set", "min_points=0", "--set", "preprocess.instance=fragment"))
    assert code == 2 and "has no label 'fragment', which lartpc-segmentation needs" in err


@pytest.mark.parametrize(("change", "where"), [(UNDECLARED, "The dataset my-npz"), (UNGIVEN, "Event train/")])
def test_info_and_run_name_the_label_that_is_missing(call, tmp_path, change, where):
    path = contributed(tmp_path, change)
    few = ("--set", "min_points=0", "--task", "lartpc-segmentation-5")
    code, out, _ = call("data", "info", path, "--data", "events", "--json")
    report = json.loads(out)
    assert code == 0
    assert report["train"]["usable for lartpc-segmentation-5"] == 0
    assert "has no label 'semantic'" in report["train"]["why not for lartpc-segmentation-5"]
    code, _, err = call(*on(path, *few))
    assert code == 2
    assert where in err and "no label 'semantic', which lartpc-segmentation-5 needs" in err


def test_info_tells_labels_frame_and_usable_events(call, tmp_path):
    code, out, _ = call("data", "info", contributed(tmp_path), "--data", "events", "--json")
    report = json.loads(out)
    assert code == 0
    assert report["labels"]["semantic"].startswith("0 shower")
    assert report["frame"] == "768 x 768 x 768, unit: voxel of 3 mm"
    assert report["test"]["events"] == 3
    assert report["test"]["why not for lartpc-segmentation"] == "no event passes the cuts: 3 below_min_points"
    assert "my-npz" in call("data", "info", tmp_path / "my_npz.py", "--data", "events")[1]


def test_a_task_of_the_datasets_own_runs_with_its_own_cuts(call, tmp_path):
    path = contributed(tmp_path, *OWN)
    code, _, err = call(*on(path, "--task", "my-shapes"))
    assert code == 0, err
    records, _ = read_records(tmp_path / "runs" / "records")
    assert {record.task["name"] for record in records} == {"my-shapes"}
    assert {record.config["preprocess"]["min_points"] for record in records} == {7}
    assert "my-shapes" in call("list", "tasks")[1]
    code, out, _ = call("data", "info", path, "--data", "events", "--json")
    assert code == 0 and json.loads(out)["train"]["usable for my-shapes"] == 6


def test_a_file_that_is_no_dataset_is_one_sentence(call, tmp_path):
    (tmp_path / "mine.py").write_text("x = 1\n")
    for path, message in (("mine.py", "does not bind SPEC to a DatasetSpec"), ("gone.py", "There is no file gone.py")):
        code, _, err = call(*on(path))
        assert code == 2 and message in err and "expected" in err


def test_a_record_never_says_what_code_to_run(call, tmp_path):
    assert call(*on(contributed(tmp_path), "--set", "min_points=0"))[0] == 0
    path = next((tmp_path / "runs" / "records").rglob("*.json"))
    values = dataclasses.asdict(read_record(path))
    values["config"]["dataset"] = "my_npz.py"
    path.write_text(json.dumps(values))
    with pytest.raises(RecordError, match=r"config\.dataset"):
        read_record(path)


def test_one_sort_of_events_that_is_missing_leaves_the_others_in_the_table(call, tmp_path):
    rng = np.random.default_rng(5)
    folder = calo_files.write_folder(tmp_path / "calo", rng, calo_files.make_geometry(rng))
    for path in folder.rglob("mixtures_*"):
        path.unlink()
    code, out, err = call("data", "info", "atlas-pions", "--data", folder, "--json")
    assert code == 0, err
    report = json.loads(out)["train"]
    assert report["usable for pion-regression"] > 0 and report["usable for cell-to-track"] == 0
    assert report["why not for cell-to-track"]


def test_scans_without_labels_are_shown(call, tmp_path):
    folder = lif_files.write_folder(tmp_path / "lif", labelled=False)
    tiles = [part for name, value in lif_files.CHAIN.items() for part in ("--set", f"{name}={value}".replace(" ", ""))]
    code, out, err = call("data", "info", "lif-scans", "--data", folder, "--json", *tiles)
    assert code == 0, err
    report = json.loads(out)["train"]
    assert report["usable for lif-reconstruction"] > 0 and report["usable for lif-segmentation"] == 0
    assert "no labels" in report["why not for lif-segmentation"]
