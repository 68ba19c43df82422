"""The interface for notebooks: its examples run, its scores are the records', and misuse is told in one sentence."""

import doctest
import inspect
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmark import api
from benchmark.contracts import Event
from benchmark.errors import BenchmarkError, CheckpointError, ConfigError, DataError, UnknownNameError
from benchmark.paths import PROGRAM
from benchmark.records.store import record_path
from benchmark.runs.config import Request
from benchmark.runs.execution import Execution
from benchmark.runs.prepared import identify, prepare
from benchmark.runs.weights import run_folder
from builders import calo_files
from builders.lif_files import CHAIN, write_folder
from builders.many_records import made_up
from builders.paths import ROOT
from builders.synthetic import N_TEST, N_TRAIN

ANY_SIZE = {"preprocess.min_points": 0}
FEW = {**ANY_SIZE, "train.steps": 4}
TASK = "lartpc-segmentation"

OWN = '''
from dataclasses import dataclass

from torch import nn

from benchmark.contracts import ModelSpec, Preset
from benchmark.contracts.heads import PointModel


@dataclass(frozen=True)
class Config:
    """Sizes."""

    width: int = 4  # of the layer


class Own(PointModel):
    def __init__(self, config, inputs, task):
        super().__init__(task)
        self.layer = nn.Linear(inputs.n_features, config.width)
        self.add_head(config.width)

    def features(self, batch):
        return self.layer(batch.feats).relu()


PRESETS = {"default": Preset(), "tiny": Preset()}
SPEC = ModelSpec(name="own", summary="", config=Config, build=Own, presets=PRESETS)
'''


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder of its own to run in, where records and weights go."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PARTICLEBENCH_RECORDS", raising=False)
    return tmp_path


@pytest.fixture(scope="module")
def made(data, tmp_path_factory):
    """(record, folder of runs) of a short training."""
    runs = tmp_path_factory.mktemp("made")
    return run("pointnet", data, records=runs / "records", runs=runs / "runs"), runs / "runs"


def run(model, data, labels=6, settings=FEW, **more):
    more = {"preset": "tiny", "dataset": "pilarnet-m", **more}
    return api.run(model, labels, data=data, settings=settings, threads=1, device="cpu", **more)


def opened(data, split="test", settings=ANY_SIZE, **more):
    return api.events("pilarnet-m", split, data=data, settings=settings, **more)


def test_the_examples_give_what_they_show(here):
    found = doctest.testmod(api)
    assert found.attempted > 40
    assert found.failed == 0


def test_every_function_has_an_example_types_and_no_open_arguments():
    for name in api.__all__:
        function = getattr(api, name)
        assert inspect.getdoc(function), name
        if inspect.isclass(function):
            continue
        assert ">>>" in function.__doc__, name
        signature = inspect.signature(function)
        assert signature.return_annotation is not inspect.Signature.empty
        for parameter in signature.parameters.values():
            assert parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL), name
            assert parameter.annotation is not parameter.empty, (name, parameter)


def test_importing_it_imports_nothing_heavy():
    heavy = ("torch", "lightning", "numba", "scipy", "h5py", "pandas", "matplotlib", "sklearn", "rich")
    code = f"import sys, benchmark.api; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_run_and_pretrain_take_the_options_of_the_command_line():
    from benchmark.cli.pretrain import pretrain
    from benchmark.cli.run import run

    names = {"set_": "settings"}
    for command, function in ((run, api.run), (pretrain, api.pretrain)):
        typed = {names.get(n, n): p.default for n, p in inspect.signature(command).parameters.items()}
        given = {n: p.default for n, p in inspect.signature(function).parameters.items()}
        screen = {"as_json", "beside", "backend"}  # what is shown, and a short form of a setting
        assert set(typed) - screen <= set(given)
        assert set(given) - set(typed) <= {"runs", "quiet"}
        for name in set(given) & set(typed) - {"settings", "labels"}:
            assert given[name] == typed[name], name


def test_a_quiet_run_says_nothing(data, here, capsys):
    run("majority", data, quiet=True)
    assert capsys.readouterr() == ("", "")
    run("majority", data, draw=1)
    assert "scoring the test split" in capsys.readouterr().err


def test_events_are_sorted_lazy_and_can_be_cut(data):
    events = opened(data)
    assert len(events) == len(events.ids) == N_TEST
    assert list(events.ids) == sorted(events.ids)
    assert [event.event_id for event in events] == list(events.ids)
    assert isinstance(events[-1], Event)
    assert events[-1].event_id == events.ids[-1]
    assert events[1:3].ids == events.ids[1:3]
    assert events[[4, 0]].ids == (events.ids[0], events.ids[4])
    assert events[np.arange(N_TEST) > 4].ids == events.ids[5:]
    assert events.position(events.ids[3]) == 3
    assert events.task.name == TASK
    assert len(opened(data, "train")) == N_TRAIN
    strict = api.events("pilarnet-m", "train", data=data, settings={"preprocess.min_points": 200})
    assert strict.excluded["below_min_points"] + len(strict) == N_TRAIN
    with pytest.raises(IndexError):
        events[N_TEST]


def test_a_batch_is_what_a_model_of_the_task_takes(data):
    events = opened(data)
    batch = api.batch(events, [2, 0])
    assert batch.event_ids == (events.ids[2], events.ids[0])
    assert set(np.unique(batch.target)) <= set(range(len(events.task.classes)))
    assert api.batch(events, 1).event_ids == events.ids[1:2]
    assert api.batch(events, -1).event_ids == events.ids[-1:]
    assert api.batch(events).n_events == N_TEST
    assert api.batch(events[2:4]).event_ids == api.batch(events, slice(2, 4)).event_ids
    five = opened(data, task="lartpc-segmentation-5")
    assert api.batch(five).n_points > api.batch(events).n_points  # low-energy scatters stay


def test_a_model_starts_as_the_run_of_its_seed_does_and_leaves_torchs_numbers_alone(data):
    before = torch.get_rng_state()
    model = api.build("pointnet", "tiny", seed=3)
    assert torch.equal(before, torch.get_rng_state())
    request = Request("pointnet", dataset="pilarnet-m", preset="tiny", seed=3)
    other = prepare(identify(request, "cpu"), Execution("cpu", 1, data)).build_model()
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))
    scores = api.predict(model, opened(data), threads=1)
    assert {s.dtype for s in scores.values()} == {np.dtype("float32")}


def test_numbers_and_texts_dictionaries_and_lists_mean_the_same_run(data, here):
    first = run("majority", data)
    again = run("majority", data, labels="6", settings=[f"{k}={v}" for k, v in FEW.items()])
    assert again == first
    assert record_path(Path("runs/records"), first).is_file()
    assert first.command[:4] == [*PROGRAM, "run"]
    assert run("majority", data, labels="all").events["labelled"] == N_TRAIN


def test_scores_of_predictions_are_those_of_the_record(data, made):
    record, runs = made
    events = opened(data)
    predictions = api.predict(record, events, runs=runs, threads=1)
    assert list(predictions) == list(events.ids)
    lengths = api.batch(events).lengths.tolist()
    assert [p.shape for p in predictions.values()] == [(n, 4) for n in lengths]
    metrics = api.score(TASK, predictions, events)
    assert json.loads(json.dumps(metrics)) == json.loads(json.dumps(record.metrics))
    assert api.score(TASK, list(predictions.values()), events) == metrics
    one_by_one = api.predict(record, events, runs=runs, batch_size=1, threads=1)
    assert all(np.allclose(predictions[i], one_by_one[i], atol=1e-4) for i in events.ids)


def test_a_part_of_the_events_is_predicted_as_in_the_whole(data, made):
    record, runs = made
    events = opened(data)
    whole, part = (api.predict(record, e, runs=runs, threads=1) for e in (events, events[2:5]))
    assert list(part) == list(events.ids[2:5])
    assert all(np.allclose(whole[i], part[i], atol=1e-4) for i in part)
    n = api.score(TASK, part, events[2:5])["n_events"]
    assert n == 3


def test_records_files_and_checkpoints_predict_the_same(data, made):
    record, runs = made
    events = opened(data)
    weights = run_folder(runs, record) / "model.safetensors"
    file = record_path(runs.parent / "records", record)
    ways = (record, file, str(weights))
    first, *others = (api.predict(way, events, runs=runs, threads=1) for way in ways)
    for other in others:
        assert all(np.array_equal(first[i], other[i]) for i in events.ids)


def test_true_classes_as_arrays_give_the_same_scores_as_events(data, made):
    record, runs = made
    events = opened(data)
    predictions = api.predict(record, events, runs=runs, threads=1)
    truth = {event_id: api.batch(events, i).target for i, event_id in enumerate(events.ids)}
    mine, whole = api.score(TASK, predictions, truth), api.score(TASK, predictions, events)
    assert mine["confusion"] == whole["confusion"]
    assert mine["overall"]["macro_f1"]["value"] == whole["overall"]["macro_f1"]["value"]


@pytest.mark.parametrize("task", ["pion-classification", "pion-regression", "cell-to-track"])
def test_calorimeter_tasks_are_predicted_and_scored(tmp_path, task):
    rng = np.random.default_rng(7)
    splits = {"train": 12, "val": 6, "test": 8}
    folder = calo_files.write_folder(tmp_path / "calo", rng, calo_files.make_geometry(rng), splits)
    loose = {"preprocess.min_cells": 1}
    where = {"task": task, "data": folder}
    record = api.run(
        "pointnet", 6, dataset="atlas-pions", preset="tiny", settings={**loose, "train.steps": 2}, threads=1,
        records=tmp_path / "records", runs=tmp_path / "runs", **where,
    )  # fmt: skip
    events = api.events("atlas-pions", settings=loose, **where)
    predictions = api.predict(record, events, runs=tmp_path / "runs", threads=1)
    of_events = task != "cell-to-track"
    shapes = {p.shape[1:] if not of_events else p.shape for p in predictions.values()}
    assert shapes == {(events.task.n_outputs,)}
    metrics = api.score(task, predictions, events)
    assert json.loads(json.dumps(metrics)) == json.loads(json.dumps(record.metrics))
    with pytest.raises(ConfigError, match=r"more than classes of points\. `Events` were expected"):
        api.score(task, predictions, {i: np.zeros(3, int) for i in events.ids})


@pytest.mark.parametrize("model", ["intensity_threshold", "conv_unet"])
def test_volumes_are_predicted_and_scored(tmp_path, model):
    write_folder(tmp_path / "lif", scans=("a", "b", "c"))
    where = {"task": "lif-segmentation", "dataset": "lif-scans", "data": tmp_path / "lif"}
    record = api.run(
        model, "all", preset="tiny", settings={**CHAIN, "train.steps": 2}, threads=1, records=tmp_path / "records",
        runs=tmp_path / "runs", **where,
    )  # fmt: skip
    events = api.events(settings={f"data.{k}": v for k, v in CHAIN.items()}, **where)
    predictions = api.predict(record, events, runs=tmp_path / "runs", threads=1)
    assert {p.shape for p in predictions.values()} == {(2, *CHAIN["tile"])}
    metrics = api.score("lif-segmentation", predictions, events)
    assert json.loads(json.dumps(metrics)) == json.loads(json.dumps(record.metrics))


def test_a_model_in_a_file_is_run_and_predicts(data, here):
    Path("own.py").write_text(OWN)
    record = run("own.py", data)
    assert record.model == "own"
    events = opened(data)
    scores = api.predict(record, events, model="own.py", threads=1)
    assert scores[events.ids[0]].shape[1] == 4
    assert api.build(Path("own.py")).n_parameters > 0
    with pytest.raises(UnknownNameError, match="own"):
        api.predict(record, events)
    with pytest.raises(ConfigError, match=r"defines pointnet\. The run's own was expected"):
        api.predict(record, events, model="pointnet")


def test_a_run_starts_from_the_weights_that_pretrain_made(data, here, own_cache):
    few = {**FEW, "pretrain.steps": 2, "pretrain.events": 4}
    where = {"dataset": "pilarnet-m", "preset": "tiny", "data": data, "settings": few, "threads": 1, "device": "cpu"}
    made = api.pretrain("polarmae", out="copy.safetensors", **where)
    assert made.weights.is_file() and made.weights.parent == made.folder
    assert Path("copy.safetensors").read_bytes() == made.weights.read_bytes()
    assert api.pretrain("polarmae", **where).fresh is False
    record = api.run("polarmae", 6, **where)
    assert record.training["pretraining"]["weights_sha256"] == made.record["weights_sha256"]
    with pytest.raises(CheckpointError, match="has no trained head"):
        api.predict(made.weights, opened(data))


def test_other_cuts_than_the_runs_are_refused_and_harmless_ones_are_not(data, made):
    record, runs = made
    alike = opened(data, settings={"preprocess.min_points": 50})
    assert list(api.predict(record, alike, runs=runs, threads=1)) == list(alike.ids)
    other = opened(data, settings={**ANY_SIZE, "preprocess.energy_min_mev": 0.5})
    with pytest.raises(ConfigError, match=r"keep other points.*settings=\{'preprocess.energy_min_mev': 0.13\}"):
        api.predict(record, other, runs=runs)
    with pytest.raises(ConfigError, match=r"cuts of lartpc-segmentation-5.*task='lartpc-segmentation'"):
        api.predict(record, opened(data, task="lartpc-segmentation-5"), runs=runs)


def test_tables_and_curves_come_from_a_folder_or_from_records(tmp_path):
    small = ROOT / "leaderboards" / "small"
    frame = api.leaderboard(small)
    assert {"model", "labels", "runs", "macro_f1", "macro_f1_low", "macro_f1_high", "difference_to_best"} <= set(
        frame.columns
    )
    assert frame.macro_f1.between(frame.macro_f1_low, frame.macro_f1_high).all()
    rng = np.random.default_rng(0)
    records = [made_up(m, n, d, 0, rng, n_events=30) for m in ("a", "bb") for n in (10, 100) for d in (0, 1)]
    assert api.leaderboard(records).runs.tolist() == [2, 2, 2, 2]
    assert len(api.leaderboard(records, each_run=True)) == len(records)
    figure = api.curve(records, models=["a"])
    figure.savefig(tmp_path / "curve.png")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a"]
    assert len(api.curve(records).legends[0].get_texts()) == 2


def test_a_curve_leaves_the_settings_of_matplotlib_alone():
    import matplotlib

    before = dict(matplotlib.rcParams)
    rng = np.random.default_rng(0)
    api.curve([made_up("a", n, 0, 0, rng, n_events=30) for n in (10, 100)])
    assert dict(matplotlib.rcParams) == before


def wrong_calls(data):
    """name -> (call, kind of error, what it says)."""
    events = opened(data)
    zeros = {i: np.zeros((api.batch(events, n).n_points, 4)) for n, i in enumerate(events.ids)}
    first = events.ids[0]
    labels = {i: z[:, 0].astype(int) for i, z in zeros.items()}
    nan = {**zeros, first: np.full_like(zeros[first], np.nan)}
    return {
        "dataset": (lambda: api.events("lartpc-simm"), UnknownNameError, "Did you mean 'lartpc-sim'"),
        "split": (lambda: opened(data, "tests"), UnknownNameError, "Did you mean 'test'"),
        "task": (lambda: opened(data, task="pion-regression"), UnknownNameError, "no task of pilarnet-m"),
        "section": (lambda: opened(data, settings={"train.steps": 3}), UnknownNameError, "section of settings"),
        "setting": (lambda: opened(data, settings={"min_point": 3}), UnknownNameError, "Did you mean 'min_points'"),
        "text": (lambda: opened(data, settings=["min_points"]), ConfigError, "has no value"),
        "no usable event": (lambda: opened(data, settings={"min_points": 10**6}), DataError, "No event of the test"),
        "id": (lambda: events.position("nowhere"), ConfigError, "no event 'nowhere'"),
        "position": (lambda: api.batch(events, [0, 99]), ConfigError, "not among the 7 events"),
        "no position": (lambda: api.batch(events, []), ConfigError, "no events"),
        "model": (lambda: api.build("pointnett"), UnknownNameError, "Did you mean 'pointnet'"),
        "preset": (lambda: api.build("pointnet", "big"), UnknownNameError, "no preset of pointnet"),
        "labels": (lambda: run("pointnet", data, labels=0), ConfigError, "--labels 0 is not a label budget"),
        "draw": (lambda: run("pointnet", data, draw=-1), ConfigError, "--draw -1 is negative"),
        "no pre-training": (lambda: api.pretrain("pointnet"), ConfigError, "has no pre-training"),
        "no checkpoint": (lambda: api.predict("gone.safetensors", events), CheckpointError, "no checkpoint gone"),
        "no record": (lambda: api.predict("gone.json", events), BenchmarkError, "no record gone.json"),
        "batch size": (lambda: api.predict("x", events, batch_size=0), ConfigError, "batch_size=0"),
        "missing": (lambda: api.score(TASK, {}, events), DataError, "lack 7 of 7 events"),
        "unknown": (lambda: api.score(TASK, {**zeros, "z": 1}, events), DataError, r"hold 1 other events \(first: z"),
        "too few": (lambda: api.score(TASK, [1, 2], events), DataError, "There are 2 predictions. 7 were"),
        "classes": (lambda: api.score(TASK, labels, events), DataError, r"pass np.eye\(4\)\[numbers\]"),
        "texts": (lambda: api.score(TASK, {**zeros, first: "track"}, events), DataError, "no array of numbers"),
        "nan": (lambda: api.score(TASK, nan, events), DataError, "not finite"),
        "task of truth": (lambda: api.score("lartpc-segmentation-5", zeros, events), ConfigError, "labels of lartpc-s"),
        "a probe": (lambda: api.score("lartpc-token-probe", zeros, events), ConfigError, "scored by a probe"),
        "fractions": (lambda: api.score(TASK, zeros, {i: z[:, 0] for i, z in zeros.items()}), DataError, "Whole numb"),
        "a large class": (lambda: api.score(TASK, zeros, {i: v + 4 for i, v in labels.items()}), DataError, "below 4"),
        "no events": (lambda: api.score(TASK, {}, {}), DataError, "no events"),
        "no folder": (lambda: api.leaderboard("gone"), DataError, "no folder of records at gone"),
        "no runs": (lambda: api.leaderboard([]), DataError, "no run to show"),
        "no curve": (lambda: api.curve([]), DataError, "no finished run"),
        "curve of nothing": (
            lambda: api.curve(ROOT / "leaderboards" / "small", models=["polarmea"]), UnknownNameError, "polarmae",
        ),
    }  # fmt: skip


def test_misuse_is_told_in_sentences(data, here):
    for name, (call, kind, text) in wrong_calls(data).items():
        with pytest.raises(kind, match=text) as error:
            call()
        message = str(error.value)
        assert isinstance(error.value, BenchmarkError), name
        assert "\n" not in message and message.endswith("."), name
        assert "xpected" in message, (name, message)


def test_records_of_probes_and_failures_predict_nothing(data, made):
    record, runs = made
    probe = replace(record, config={**record.config, "probe": {"protocol": "clean"}})
    with pytest.raises(ConfigError, match="trains no weights"):
        api.predict(probe, opened(data), runs=runs)
    with pytest.raises(ConfigError, match="of a failed run"):
        api.predict(replace(record, status="failed"), opened(data), runs=runs)
    with pytest.raises(CheckpointError, match=r"weights of .* are not at"):
        api.predict(record, opened(data), runs="nowhere")
