"""Whole runs of the calorimeter's tasks on tiny files: what is recorded, what a model may see, pictures, bad input."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest

from benchmark import registry, tasks
from benchmark.cli import main
from benchmark.data.preparation import preparation
from benchmark.data.stream import event_set
from benchmark.errors import BenchmarkError, ConfigError
from benchmark.metrics import calibration
from benchmark.metrics.families import report
from benchmark.records.counts import unpack_counts, unpack_units
from benchmark.records.scores import family_of
from benchmark.records.store import record_path
from benchmark.runs.config import Request
from benchmark.runs.events import bootstrap_rng
from benchmark.runs.execution import Execution
from benchmark.runs.resolve import can_do, resolve
from benchmark.runs.run import run
from benchmark.studies.recipes import PUBLISHED, Plan, recipes_study
from builders import calo_files

CALO = [t.name for t in tasks.TASKS.values() if t.detector == "calorimeter"]
FEW = ("train.steps=3", "train.batch_size=4", "preprocess.min_cells=1")

SPY = '''
"""Fails where it is shown a label of the split that is scored."""

from dataclasses import dataclass

import numpy as np

from benchmark.contracts import Model, ModelSpec, Preset


@dataclass(frozen=True)
class Config:
    """Nothing."""


class Spy(Model):
    def __init__(self, task):
        self.task = task

    def fit(self, batches, task):
        for batch in batches:
            assert batch.target is not None
            assert (batch.whole.auxiliary is not None) == bool(task.auxiliary)

    def predict(self, batch):
        assert batch.target is None and batch.whole.auxiliary is None and batch.instance is None
        rows = batch.n_points if self.task.level == "point" else batch.n_events
        return np.zeros((rows, self.task.n_outputs), np.float32)

    def save(self, path, metadata):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("")

    def load(self, path):
        return {}


SPEC = ModelSpec(
    name="spy", summary="", config=Config, build=lambda c, i, t: Spy(t), levels=("point", "event"),
    kinds=("classification", "regression"), presets={"default": Preset(), "tiny": Preset()},
)
'''


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    rng = np.random.default_rng(7)
    geo = calo_files.make_geometry(rng)
    folder = tmp_path_factory.mktemp("calo") / "files"
    return calo_files.write_folder(folder, rng, geo, {"train": 12, "val": 6, "test": 8})


def execute(data, root, model, task, *assignments, **values):
    few = FEW if registry.model_spec(model).data and model not in ("em_scale", "p_em") else FEW[2:]
    asked = Request(model, task, "atlas-pions", "tiny", "6", assignments=(*few, *assignments), **values)
    execution = Execution("cpu", 1, data, root / "records", root / "runs")
    return run(asked, execution, say=lambda text: None)


@pytest.mark.parametrize("task", CALO)
def test_a_run_is_recorded_and_its_scores_follow_from_what_the_record_keeps(data, tmp_path, task):
    record = execute(data, tmp_path, "pointnet", task).record
    assert record.status == "finished"
    assert record.task["metrics"] == tasks.task(task).metrics
    assert record.config["train"]["rotation"] == "mirror"
    assert record.config["task"]["loss"]["kind"] == tasks.task(task).loss.kind
    assert record.training["steps"] == 3
    metrics = json.loads(json.dumps(record.metrics, allow_nan=False))
    judged = metrics.pop("calibration", None)  # where one of several classes is chosen
    spec = registry.dataset_spec("atlas-pions")
    dataset = spec.open(spec.config(), data)
    states = unpack_counts(record.per_event)
    units = unpack_units(record.per_event)
    again = report(family_of(record), states, tasks.task(task), bootstrap_rng(tasks.task(task), dataset), units)
    assert json.loads(json.dumps(again)) == metrics
    assert (judged is not None) == calibration.can_be_judged(tasks.task(task))
    assert execute(data, tmp_path, "pointnet", task).fresh is False


@pytest.mark.parametrize("task", CALO)
def test_no_label_of_the_scored_split_reaches_a_model(data, tmp_path, task, monkeypatch):
    (tmp_path / "spy.py").write_text(SPY)
    monkeypatch.chdir(tmp_path)
    assert execute(data, tmp_path, str(tmp_path / "spy.py"), task).record.status == "finished"


@pytest.mark.parametrize("task", CALO)
def test_every_split_has_other_events(data, task):
    spec, asked = registry.dataset_spec("atlas-pions"), tasks.task(task)
    dataset = spec.open(spec.config(), data)
    every = [event_set(dataset, s, asked, loose(asked)).event_ids for s in ("train", "val", "test")]
    ids = [{i.rpartition(":")[0] for i in of_split} for of_split in every]  # of events, without cluster or track
    assert all(ids)
    assert not ids[0] & ids[1] | ids[0] & ids[2] | ids[1] & ids[2]


def loose(task):
    return replace(preparation(task), min_cells=1)


def test_the_same_labelled_samples_for_every_model(data, tmp_path):
    hashes = {m: execute(data, tmp_path, m, "pion-classification").record for m in ("pointnet", "deep_sets", "p_em")}
    assert len({r.subset_sha256 for r in hashes.values()}) == 1
    assert len({json.dumps(r.events, sort_keys=True) for r in hashes.values()}) == 1
    assert len({json.dumps(asdict(r)["config"]["preprocess"], sort_keys=True) for r in hashes.values()}) == 1


@pytest.mark.parametrize("optimiser", ["adamw", "adam", "sgd"])
@pytest.mark.parametrize("schedule", ["cosine", "cyclical", "constant"])
def test_optimisers_and_schedules_change_the_weights_in_their_own_way(data, tmp_path, optimiser, schedule):
    settings = (f"optim.optimiser={optimiser}", f"optim.schedule={schedule}", "optim.lr=0.01")
    record = execute(data, tmp_path, "deep_sets", "pion-regression", *settings).record
    assert record.config["optim"]["optimiser"] == optimiser
    assert record.status == "finished"


@pytest.mark.parametrize("mode", ["fft", "peft", "frozen", "scratch"])
def test_a_self_supervised_model_is_pretrained_on_unlabelled_clusters(data, tmp_path, mode):
    changes = () if mode == "scratch" else ("pretrain.steps=2", "pretrain.batch_size=4")
    record = execute(data, tmp_path, "polarmae", "pion-classification", *changes, mode=mode).record
    assert record.status == "finished"
    assert (record.events["unlabelled"] > 0) == (mode != "scratch")


def test_the_task_brings_its_dataset_its_loss_and_its_steps():
    config = resolve(Request("pointnet", "cell-to-track"))
    assert config.dataset == "calo-sim"
    assert config.train.steps == tasks.task("cell-to-track").train["steps"]
    changed = resolve(Request("pointnet", "cell-to-track", assignments=("loss.kind=dice", "loss.energy_power=2")))
    assert changed.task.loss.kind == "dice"
    assert changed.task.loss.energy_power == 2
    assert resolve(Request("pointnet")).dataset == "lartpc-sim"


@pytest.mark.parametrize(
    ("model", "task", "words"),
    [("cnn", "lartpc-segmentation", "cnn cannot do"), ("p_em", "pion-regression", "p_em cannot do"),
     ("em_scale", "pion-classification", "em_scale cannot do"), ("majority", "pion-regression", "majority cannot do")],
)  # fmt: skip
def test_a_model_that_cannot_do_a_task_says_so(model, task, words):
    with pytest.raises(ConfigError, match=words):
        resolve(Request(model, task))
    assert not can_do(registry.model_spec(model), tasks.task(task))


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (["run", "--model", "pointnet", "--task", "pion-clasification"], "Did you mean 'pion-classification'"),
        (["run", "--model", "pointnet", "--task", "pion-regression", "--set", "loss.kind=mape"], "mae, huber"),
        (["run", "--model", "pointnet", "--task", "pion-regression", "--set", "loss.kind=focal"], "mae, huber, mse"),
        (["run", "--model", "pointnet", "--task", "pion-regression", "--dataset", "atlas-pions"], "--data FOLDER"),
        (["run", "--model", "pointnet", "--task", "pion-regression", "--dataset", "lartpc-sim"], "no labels for"),
        (["plot", "roc", "--task", "pion-regression"], "pion-classification was expected"),
        (["study", "recipes", "--task", "pion-regression"], "classification was expected"),
        (["leaderboard", "--detector", "calorimetre"], "Did you mean 'calorimeter'"),
        (["pretrain", "--model", "polarmae", "--task", "pion-regression", "--probe-every", "5"], "Leave --probe-every"),
    ],
)
def test_bad_input_is_one_sentence(typed, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "records").mkdir(parents=True)
    with pytest.raises(SystemExit) as end:
        main(typed)
    told = capsys.readouterr().err
    assert end.value.code == 2
    assert words in told
    assert told.count("\n") == 1


def test_a_recorded_run_is_scored_on_other_files(data, tmp_path):
    from benchmark.runs.transfer import Target, transfer

    record = execute(data, tmp_path, "pointnet", "pion-regression").record
    path = record_path(tmp_path / "records", record)
    execution = Execution("cpu", 1, data, tmp_path / "records", tmp_path / "runs")
    again = transfer(path, Target("atlas-pions"), execution)
    np.testing.assert_array_equal(unpack_counts(again.per_event), unpack_counts(record.per_event))
    with pytest.raises(BenchmarkError, match="Leave --figure out"):
        transfer(path, Target("atlas-pions", figure=tmp_path / "events.png"), execution)


def test_damaged_files_are_refused_by_name_and_leave_no_record(tmp_path):
    rng = np.random.default_rng(7)
    geo = calo_files.make_geometry(rng)
    folder = calo_files.write_folder(tmp_path / "files", rng, geo)
    tree = calo_files.altered(calo_files.pions(rng, geo), "cells", "cluster_cell_E", 4, np.nan)
    from benchmark.datasets._mltree_npy import write_tree

    write_tree(folder / "train" / "pions_0000.npy", tree)
    with pytest.raises(BenchmarkError, match=r"pions_0000\.npy.*expected"):
        execute(folder, tmp_path, "pointnet", "pion-classification")
    assert not list((tmp_path / "records").rglob("*.json"))


def test_recipes_are_trained_once_scored_on_validation_samples_and_drawn(data, tmp_path):
    from benchmark.studies.base import save

    plan = Plan(dataset="atlas-pions", preset="tiny", labels="6", steps=4, every=2, events=6, assignments=FEW[1:])
    said = []
    execution = Execution("cpu", 1, data, runs=tmp_path / "runs")
    study = recipes_study(plan, execution, said.append)
    assert said == [r.name for r in PUBLISHED]
    steps = {r.name: [row["step"] for row in study.rows if row["recipe"] == r.name] for r in PUBLISHED}
    assert all(s == [0, 2, 4] for s in steps.values())
    assert {"majority", "random_guess", "particle_flow"} <= set(study.findings["trivial"])
    again = recipes_study(plan, execution, said.append)
    assert again.rows == study.rows
    assert len(said) == len(PUBLISHED)
    written = save(study, tmp_path / "out", None, ["benchmark"])
    assert {p.suffix for p in written} == {".csv", ".png", ".json"}


def test_results_and_a_sample_are_drawn_from_the_command_line(data, tmp_path, monkeypatch, capsys):
    for model, task in (("pointnet", "pion-classification"), ("p_em", "pion-classification"),
                        ("em_scale", "pion-regression"), ("pointnet", "pion-regression")):  # fmt: skip
        execute(data, tmp_path, model, task)
    monkeypatch.chdir(tmp_path)
    records = ["--records", str(tmp_path / "records"), "--labels", "6"]
    main(["plot", "roc", *records, "--models", "pointnet,p_em", "--out", "roc.png"])
    with pytest.raises(SystemExit):
        main(["plot", "response", *records, "--out", "response.png"])
    assert "More events were expected" in capsys.readouterr().err
    for task in ("pion-classification", "pion-track-regression", "cell-to-track"):
        main(["plot", "cells", "--task", task, "--dataset", "atlas-pions", "--data", str(data), "--out", f"{task}.png",
              "--split", "train"])  # fmt: skip
    main(["training-curves", "--records", str(tmp_path / "records"), "--task", "pion-regression", "--labels", "6"])
    main(["leaderboard", "--records", str(tmp_path / "records"), "--detector", "calorimeter", "--format", "markdown"])
    assert "rejection_90 [95%]" in capsys.readouterr().out
    for path in tmp_path.glob("*.png"):
        assert path.read_bytes()[:4] == b"\x89PNG"
    assert len(list(tmp_path.glob("*.png"))) == 5
    with pytest.raises(SystemExit):
        main(["plot", "cells", "--dataset", "atlas-pions", "--data", str(data), "--event", "999"])
    assert "--event 999 does not exist" in capsys.readouterr().err
