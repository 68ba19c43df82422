"""Predictions made elsewhere: exported events, scored to the numbers of the suite, recorded as reported."""

import json
import re

import numpy as np
import pytest

from benchmark import api
from benchmark.cli import main
from benchmark.exchange.files import FORMATS, read_table, write_table
from benchmark.exchange.table import Table
from benchmark.records.store import read_records
from benchmark.reports.check import check_records
from builders.lif_files import CHAIN
from builders.lif_files import write_folder as write_scans
from builders.paths import ROOT

TASK = "lartpc-segmentation"
ANY_SIZE = ("--set", "preprocess.min_points=0")
PIONS = {f"data.{kind}_{split}": 12 for kind in ("pions", "mixtures") for split in ("train", "val", "test")}
PIONS["preprocess.match_energy"] = False
SIZES = [word for name, value in PIONS.items() for word in ("--set", f"{name}={json.dumps(value)}")]


def export(out, *options, task=TASK):
    main(["export", task, "--out", str(out), *options])
    return read_table(out)


def score(file, folder, *options, task=TASK, labels="4"):
    main(["score", str(file), "--task", task, "--name", "my_net", "--labels", labels, "--records", str(folder),
          *options])  # fmt: skip
    (record,) = read_records(folder)[0]
    return record


@pytest.fixture(scope="module")
def own(data):
    """What a model of the suite says of the test events, and the scores that the suite gives it."""
    settings = {"preprocess.min_points": 0}
    events = api.events("pilarnet-m", data=data, settings=settings)
    scores = api.predict(api.build("pointnet", "tiny", dataset="pilarnet-m", settings=settings), events)
    return scores, api.score(TASK, scores, events)


@pytest.fixture
def where(data):
    return ("--dataset", "pilarnet-m", "--data", str(data), *ANY_SIZE)


@pytest.mark.parametrize("ending", FORMATS)
def test_predictions_in_a_file_have_the_scores_that_they_have_inside_the_suite(tmp_path, own, where, ending):
    scores, metrics = own
    exported = export(tmp_path / f"events{ending}", *where)
    assert exported.event_ids == tuple(scores)
    columns = {name: exported.columns[name] for name in ("x", "y", "z")}
    columns["score"] = np.concatenate(list(scores.values()))
    if ending in (".npz", ".h5"):
        columns["scores"] = columns.pop("score")
    turned = np.arange(exported.n_rows)[::-1]  # points in another order
    back = Table(exported.event_ids[::-1], {n: v[turned] for n, v in columns.items()},
                 np.concatenate([[0], np.cumsum(np.diff(exported.offsets)[::-1])]))  # fmt: skip
    write_table(tmp_path / f"predicted{ending}", back)
    record = score(tmp_path / f"predicted{ending}", tmp_path / "records", *where)
    assert record.metrics == metrics
    assert record.config["mode"] == record.config["preset"] == "reported" and record.model == "my_net"


def test_the_record_is_one_like_any_other(tmp_path, own, where, data, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    scores, _ = own
    np.savez("p.npz", event_ids=list(scores), offsets=np.cumsum([0, *map(len, scores.values())]),
             scores=np.concatenate(list(scores.values())))  # fmt: skip
    record = score("p.npz", tmp_path / "runs/records", *where, "--external", "ImageNet", "--parameters", "1234")
    run = api.run("majority", 4, dataset="pilarnet-m", data=data, settings={"preprocess.min_points": 0}, threads=1)
    assert record.subset_sha256 == run.subset_sha256 and record.events["labelled"] == 4
    assert record.training["external_data"] == "ImageNet" and record.resources["n_parameters"] == 1234
    files, findings = check_records(tmp_path / "runs/records")
    assert len(files) == 2 and not [f for f in findings if f.error]
    capsys.readouterr()
    for command in ("leaderboard", "fairness", "curve", "site"):
        main([command])
        assert "Traceback" not in capsys.readouterr().err
    frame = api.leaderboard("runs/records")
    assert sorted(frame["model"]) == ["majority", "my_net"]
    assert set(frame["mode"]) == {"scratch", "reported"}
    again = [word for word in record.command[3:]]
    main(again)  # the command that the record holds repeats it
    assert len(list((tmp_path / "runs/records").rglob("*.json"))) == 2


def test_classes_alone_have_scores_and_no_calibration(tmp_path, own, where):
    scores, metrics = own
    ids, lengths = list(scores), [len(v) for v in scores.values()]
    classes = np.concatenate([v.argmax(axis=1) for v in scores.values()])
    np.savez(tmp_path / "p.npz", event_ids=ids, offsets=np.cumsum([0, *lengths]), **{"class": classes})
    record = score(tmp_path / "p.npz", tmp_path / "records", *where)
    assert record.metrics["overall"] == metrics["overall"]
    assert "calibration" in metrics and "calibration" not in record.metrics


def test_labels_come_with_a_budget_and_with_validation_alone(tmp_path, data, where):
    test = export(tmp_path / "test.npz", *where)
    train = export(tmp_path / "train.npz", *where, "--split", "train")
    val = export(tmp_path / "val.npz", *where, "--split", "val")
    budget = export(tmp_path / "budget.npz", *where, "--split", "train", "--labels", "3", "--draw", "1")
    assert "label" not in test.columns and "label" not in train.columns
    assert set(np.unique(val.columns["label"])) <= {-1, 0, 1, 2, 3}
    about = json.loads(str(np.load(tmp_path / "budget.npz")["about"]))
    run = api.run("majority", 3, draw=1, dataset="pilarnet-m", data=data, settings={"preprocess.min_points": 0},
                  threads=1, records=tmp_path / "records", runs=tmp_path / "runs")  # fmt: skip
    assert about["events_sha256"] == run.subset_sha256 and about["labels"] == "3"
    assert len(budget.event_ids) == 3 and set(budget.event_ids) <= set(train.event_ids)
    labelled = api.events("pilarnet-m", "train", data=data, settings={"preprocess.min_points": 0})
    batch = api.batch(labelled, [labelled.position(budget.event_ids[0])])
    assert np.array_equal(budget.columns["label"][budget.rows(0)], batch.target)
    assert np.array_equal(budget.columns["x"][budget.rows(0)], batch.coords[:, 0])
    assert np.array_equal(budget.columns["energy"][budget.rows(0)], batch.energy)


@pytest.mark.parametrize("task", ["pion-classification", "pion-regression", "cell-to-track"])
def test_pions(tmp_path, task):
    exported = export(tmp_path / "events.csv", *SIZES, task=task)
    assert {"energy", "x", "y", "z"} <= set(exported.columns)
    events = api.events("calo-sim", task=task, settings=PIONS)
    rng = np.random.default_rng(0)
    n = exported.n_rows if task == "cell-to-track" else len(events)
    outputs = {"pion-classification": 2, "pion-regression": 1, "cell-to-track": 3}[task]
    values = rng.normal(size=(n, outputs)).astype(np.float32)
    ids = exported.row_ids() if task == "cell-to-track" else np.array(exported.event_ids, object)
    names = ["value"] if outputs == 1 else [f"score_{name}" for name in events.task.classes]
    rows = [[str(i), *(repr(float(v)) for v in row)] for i, row in zip(ids, values, strict=True)]
    lines = [",".join(row) for row in (["event_id", *names], *rows)]
    (tmp_path / "p.csv").write_text("\n".join(lines) + "\n")
    record = score(tmp_path / "p.csv", tmp_path / "records", *SIZES, task=task)
    by_event = values if task != "cell-to-track" else [values[exported.rows(i)] for i in range(len(events))]
    assert record.metrics == api.score(task, dict(zip(events.ids, by_event, strict=True)), events)


def test_volumes(tmp_path):
    folder = write_scans(tmp_path / "scans")
    options = ["--dataset", "lif-scans", "--data", str(folder)]
    options += [word for name, value in CHAIN.items() for word in ("--set", f"data.{name}={_typed(value)}")]
    exported = export(tmp_path / "events.h5", *options, task="lif-segmentation")
    events = api.events(
        "lif-scans", task="lif-segmentation", data=folder, settings={f"data.{k}": v for k, v in CHAIN.items()}
    )
    volumes = exported.columns["volume"]
    assert volumes.shape[0] == len(events) and volumes.ndim == 4
    scores = np.stack([-volumes, *[volumes] * (events.task.n_outputs - 1)], axis=1)  # (B, C, Z, Y, X)
    np.savez(tmp_path / "p.npz", event_ids=list(exported.event_ids), scores=scores)
    record = score(tmp_path / "p.npz", tmp_path / "records", *options, task="lif-segmentation")
    by_event = dict(zip(exported.event_ids, scores, strict=True))
    assert record.metrics == api.score("lif-segmentation", by_event, events)


def _typed(value):
    return json.dumps(value) if isinstance(value, list | tuple) else str(value)


REFUSED = {
    "a model of the suite": (["--name", "gnn"], "--name gnn is a model of the suite"),
    "no name of a file": (["--name", "a/b"], "--name 'a/b' cannot name a model"),
    "markup": (["--name", "<b>x</b>"], "cannot name a model"),
    "no budget": (["--labels", "few"], "is not a label budget"),
    "more than there are": (["--labels", "1000000"], "is more than the"),
    "another split": (["--split", "val"], "an event of the test split"),
    "another task": (["--task", "lartpc-token-probe"], "takes no predictions from files"),
    "no file": (["nothing.npz"], "There is no file nothing.npz"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_scored_is_refused_and_leaves_no_record(tmp_path, own, where, capsys, case):
    scores, _ = own
    options, said = REFUSED[case]
    file = tmp_path / "p.npz"
    np.savez(file, event_ids=list(scores), offsets=np.cumsum([0, *map(len, scores.values())]),
             scores=np.concatenate(list(scores.values())))  # fmt: skip
    first = options.pop(0) if options[0].endswith(".npz") else str(file)
    words = ["score", first, "--task", TASK, "--name", "my_net", "--labels", "4", *where, *options]
    with pytest.raises(SystemExit) as end:
        main([*words, "--records", str(tmp_path / "records")])
    error = capsys.readouterr().err
    assert end.value.code == 2 and said in error and "Traceback" not in error
    assert not (tmp_path / "records").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--labels", "3"], "--labels 3 is a budget of the training split, and --split test was asked for"),
        (["--split", "dev"], "split of pilarnet-m"),
        (["--out", "events.root"], "format of a table"),
    ],
)
def test_an_export_that_cannot_be_is_refused(tmp_path, where, capsys, monkeypatch, options, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        main(["export", TASK, "--out", "events.npz", *where, *options])
    assert end.value.code == 2 and said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_classes_do_not_serve_tasks_that_are_scored_from_scores(tmp_path, capsys):
    exported = export(tmp_path / "events.npz", *SIZES, task="pion-classification")
    np.savez(
        tmp_path / "p.npz", event_ids=list(exported.event_ids), **{"class": np.zeros(len(exported.event_ids), int)}
    )
    with pytest.raises(SystemExit):
        score(tmp_path / "p.npz", tmp_path / "records", *SIZES, task="pion-classification")
    assert "holds classes alone, and pion-classification is scored from scores" in capsys.readouterr().err


def test_the_example_of_the_page_runs_and_is_better_than_nothing(tmp_path, monkeypatch, data):
    page = (ROOT / "docs/predictions.md").read_text(encoding="utf-8")
    commands = re.findall(r"^python -m benchmark (.*)$", page, re.MULTILINE)
    code, by_number = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(commands) == 3 and len(code.splitlines()) <= 20
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("benchmark.datasets._simulation.available_cores", lambda: 1)
    few = [word for name, n in {"train": 110, "val": 2, "test": 12}.items() for word in ("--set", f"data.{name}={n}")]
    for command in commands[:2]:
        main([*command.split(), *few])
    exec(compile(code, "predictions.md", "exec"), {})
    exec(compile(by_number, "predictions.md", "exec"), {})
    main([*commands[2].split(), *few])
    (record,) = read_records(tmp_path / "runs/records")[0]
    assert record.events["labelled"] == 100 and record.metrics["overall"]["macro_f1"]["value"] > 0.2
