"""The search for a learning rate: trials are runs in little on the validation split, kept, resumed and checked."""

import dataclasses
import json
import sys
from pathlib import Path

import pytest

from benchmark.cli import main
from benchmark.data.stream import event_set
from benchmark.errors import BenchmarkError, ConfigError, DataError, RecordError
from benchmark.records.tuning import (
    best_of,
    find_tuning,
    is_at_edge,
    read_tuning,
    read_tunings,
    tuning_path,
    write_tuning,
)
from benchmark.registry import dataset_spec
from benchmark.runs import prepared
from benchmark.runs import tune as tuning_module
from benchmark.runs.config import Request
from benchmark.runs.execution import Execution
from benchmark.runs.resolve import resolve
from benchmark.runs.tune import Search, advice, best_command, parse_rates, tune
from builders.synthetic import execute, request

RATES = (1e-3, 1e-2)
HUGE = 1e30  # after one step the weights are no numbers


def search(data, root, asked=None, rates=RATES, steps=None, **values):
    """A search on one CPU thread that keeps everything below `root`."""
    execution = Execution(device="cpu", threads=1, data=data, runs=root / "runs")
    said = values.pop("say", lambda text: None)
    return tune(asked or request(), dataclasses.replace(execution, **values), Search(tuple(rates), steps), said)


@pytest.fixture(scope="module")
def searched(data, tmp_path_factory):
    root = tmp_path_factory.mktemp("searched")
    return search(data, root, rates=(1e-3, 1e-2, HUGE)).tuning, root


@pytest.fixture
def trained(monkeypatch):
    """The rates of the trials that were trained, in order."""
    rates = []
    original = tuning_module.train_on_labels

    def spy(model, prepared, *rest):
        rates.append(prepared.config.optim.lr)
        return original(model, prepared, *rest)

    monkeypatch.setattr(tuning_module, "train_on_labels", spy)
    return rates


def test_every_rate_of_the_grid_has_one_entry_and_the_best_is_named(searched):
    tuning, _ = searched
    assert tuning.rates == [1e-3, 1e-2, HUGE]
    assert [t["rate"] for t in tuning.trials] == tuning.rates
    finished = tuning.trials[:2]
    for trial in finished:
        assert trial["status"] == "finished"
        assert 0 <= trial["score"]["value"] <= 1 and trial["score"]["low"] is None  # a few validation events
        assert set(trial["f1"]) == {"shower", "track", "michel", "delta"}
        assert trial["steps"] == 4
        assert trial["trained"] == (trial["last_loss"] < trial["first_loss"])
        assert trial["grad_norm"] > 0 and trial["wall_s"] > 0
    assert max(t["score"]["value"] for t in finished) == next(
        t["score"]["value"] for t in finished if t["rate"] == tuning.best_rate
    )


def test_a_rate_at_which_the_loss_diverges_is_recorded_as_failed_and_the_others_go_on(searched):
    failed = searched[0].trials[2]
    assert failed["status"] == "failed"
    assert "nan" in failed["error"]
    assert failed["score"] is None and not failed["trained"]
    assert searched[0].best_rate != HUGE


def test_the_result_says_where_it_comes_from(searched, data):
    tuning, root = searched
    record = execute(data, root, request()).record
    assert tuning.subset_sha256 == record.subset_sha256  # the same labelled events as a run of the budget
    assert tuning.dataset == record.dataset
    assert tuning.task == record.task
    assert tuning.events["labelled"] == 6 and tuning.events["selection"] == 2
    assert {"commit", "dirty", "threads", "versions"} <= set(tuning.environment)
    assert "optuna" in tuning.environment["versions"]
    assert tuning.config["train"] == record.config["train"]
    assert len(tuning.code_sha256) == 64


@pytest.mark.parametrize("model", ["pointnet", "polarmae"])
def test_a_trial_trains_as_a_run_with_its_rate_does(data, tmp_path, monkeypatch, model):
    monkeypatch.setenv("PARTICLEBENCH_CACHE", str(tmp_path / "cache"))
    said = []
    tuning = search(data, tmp_path, request(model), say=said.append).tuning
    assert sum("pre-training" in text for text in said) == (model == "polarmae")  # once for all trials
    for trial in tuning.trials:
        run = execute(data, tmp_path, request(model, f"optim.lr={trial['rate']}"))
        for name in ("steps", "first_loss", "last_loss", "grad_norm"):
            assert trial[name] == run.record.training[name]


def test_the_test_split_is_not_opened(data, tmp_path, monkeypatch):
    opened = []
    dataset = type(dataset_spec("pilarnet-m").open(resolve(request()).data, data))
    original = dataset.events

    def spy(self, split):
        opened.append(split)
        return original(self, split)

    monkeypatch.setattr(dataset, "events", spy)
    search(data, tmp_path)
    assert sorted(set(opened)) == ["train", "val"]


def test_the_score_is_that_of_the_whole_validation_split(data, tmp_path, monkeypatch):
    seen = []
    original = tuning_module.evaluate

    def spy(model, events, *rest, **options):
        seen.append(events.event_ids)
        return original(model, events, *rest, **options)

    monkeypatch.setattr(tuning_module, "evaluate", spy)
    search(data, tmp_path)
    config = resolve(request())
    whole = event_set(
        dataset_spec("pilarnet-m").open(config.data, data), "val", config.task, config.preprocess
    ).event_ids
    assert seen == [whole, whole]


def test_events_in_both_splits_are_refused(data, tmp_path, monkeypatch):
    original = prepared.event_set
    monkeypatch.setattr(prepared, "event_set", lambda dataset, split, *rest: original(dataset, "train", *rest))
    with pytest.raises(DataError, match="in both the training and the val split"):
        search(data, tmp_path)


def test_fewer_steps_are_recorded(data, tmp_path):
    tuning = search(data, tmp_path, steps=2).tuning
    assert tuning.steps == 2
    assert [t["steps"] for t in tuning.trials] == [2, 2]


def test_a_recorded_search_is_not_made_again_unless_forced(data, tmp_path, trained):
    first = search(data, tmp_path)
    again = search(data, tmp_path)
    assert first.fresh and not again.fresh
    assert again.tuning == first.tuning
    assert len(trained) == 2
    forced = search(data, tmp_path, force=True)
    assert forced.fresh and len(trained) == 4
    assert [t["score"] for t in forced.tuning.trials] == [t["score"] for t in first.tuning.trials]


def test_a_wider_grid_trains_the_new_rates_only(data, tmp_path, trained):
    first = search(data, tmp_path, rates=(1e-3, 1e-2)).tuning
    wider = search(data, tmp_path, rates=(1e-4, 1e-3, 1e-2, 3e-2)).tuning
    assert sorted(trained) == [1e-4, 1e-3, 1e-2, 3e-2]
    assert wider.trials[1:3] == first.trials


def test_other_settings_are_another_search(data, tmp_path, trained):
    search(data, tmp_path)
    search(data, tmp_path, request("pointnet", "train.batch_size=3"))
    assert len(trained) == 4


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, RuntimeError, DataError("the disk is gone")])
def test_an_interrupted_search_goes_on_with_what_is_missing(data, tmp_path, monkeypatch, trained, error):
    whole = search(data, tmp_path / "whole", rates=(1e-3, 1e-2, HUGE)).tuning
    trained.clear()
    counted = tuning_module.train_on_labels

    def breaking(model, *rest):
        if len(trained) == 2:
            raise error
        return counted(model, *rest)

    monkeypatch.setattr(tuning_module, "train_on_labels", breaking)
    with pytest.raises(error if isinstance(error, type) else DataError):
        search(data, tmp_path / "cut", rates=(1e-3, 1e-2, HUGE))
    assert not list((tmp_path / "cut").rglob("*.json"))
    monkeypatch.setattr(tuning_module, "train_on_labels", counted)
    resumed = search(data, tmp_path / "cut", rates=(1e-3, 1e-2, HUGE)).tuning
    assert sorted(trained) == [1e-3, 1e-2, HUGE]  # two before and one after: none twice

    def timeless(trials):
        return [{k: v for k, v in t.items() if k != "wall_s"} for t in trials]

    assert timeless(resumed.trials) == timeless(whole.trials)


def test_training_states_are_deleted_when_a_trial_is_kept(searched):
    _, root = searched
    assert list(root.rglob("journal.log"))
    assert not list(root.rglob("*.ckpt"))


def trials(*scores):
    return [
        {"rate": float(rate), "status": "finished" if s is not None else "failed", "score": {"value": s}}
        for rate, s in enumerate(scores, start=1)
    ]


def test_the_best_rate_is_that_of_the_highest_score_and_the_smaller_of_two_equal_ones():
    assert best_of(trials(0.1, 0.3, 0.2)) == 2.0
    assert best_of(trials(0.3, 0.3, 0.2)) == 1.0
    assert best_of(trials(None, 0.1)) == 2.0
    assert best_of(trials(None, None)) is None
    assert is_at_edge(1.0, [1.0, 2.0, 3.0]) and is_at_edge(3.0, [1.0, 2.0, 3.0])
    assert not is_at_edge(2.0, [1.0, 2.0, 3.0]) and not is_at_edge(None, [1.0, 2.0])


@pytest.mark.parametrize(
    ("best", "says"),
    [
        (3e-4, "smallest of the grid"),
        (1e-3, None),
        (3e-3, "largest of the grid"),
        (None, "No rate trained the model"),
    ],
)
def test_a_best_rate_at_the_edge_of_the_grid_comes_with_a_wider_one(searched, best, says):
    rates = [3e-4, 1e-3, 3e-3]
    told = advice(dataclasses.replace(searched[0], rates=rates, best_rate=best, at_edge=is_at_edge(best, rates)))
    if says is None:
        assert told is None
        return
    assert says in told
    wider = parse_rates(told.split("--rates ")[1].split(" ")[0].rstrip("."))
    assert set(rates) < set(wider) if best is not None else max(wider) < max(rates)


def test_the_command_to_type_names_what_is_not_the_default(searched):
    found = dataclasses.replace(searched[0], best_rate=3e-3)
    start = "python -m benchmark run --model pointnet --labels"
    plain, how = Request("pointnet"), Execution()
    assert best_command(found, plain, how) == f"{start} 100 --set optim.lr=0.003"
    asked = dataclasses.replace(plain, labels="all", preset="paper", draw=2, assignments=("model.width=a b",))
    changed = "--preset paper --draw 2 --set 'model.width=a b' --set optim.lr=0.003"
    assert best_command(found, asked, how) == f"{start} all {changed}"
    elsewhere = Execution("cpu", 2, Path("my events"))
    assert best_command(found, plain, elsewhere).endswith("--data 'my events' --device cpu --threads 2")


def test_all_trials_may_fail(data, tmp_path):
    tuning = search(data, tmp_path, rates=(HUGE, 2 * HUGE)).tuning
    assert tuning.best_rate is None and not tuning.at_edge
    assert best_command(tuning, request(), Execution()) is None
    (path,) = (tmp_path / "runs" / "tuning").rglob("*.json")
    assert read_tuning(path) == tuning


def test_the_file_is_named_by_the_budget_and_reads_back(searched, tmp_path):
    tuning, root = searched
    name = f"pointnet-tiny-scratch-6-d0-s0-{tuning.fingerprint[:12]}.json"
    expected = root / "runs/tuning/lartpc-segmentation/pilarnet-m" / name
    assert tuning_path(root / "runs/tuning", tuning) == expected
    assert read_tuning(expected) == tuning
    assert read_tunings(root / "runs/tuning") == ([tuning], [])
    assert find_tuning(tmp_path, tuning) is None


DAMAGE = {
    "a newer schema": (lambda v: v | {"schema": 2}, "has schema 2"),
    "no schema": (lambda v: {k: x for k, x in v.items() if k != "schema"}, "is not a record of a search"),
    "a missing field": (lambda v: {k: x for k, x in v.items() if k != "trials"}, "lacks or adds fields (trials)"),
    "an unknown field": (lambda v: v | {"extra": 1}, "lacks or adds fields (extra)"),
    "an incomplete configuration": (lambda v: v | {"config": {"model": "pointnet"}}, "wrong config"),
    "rates that are none": (lambda v: v | {"rates": [1e-3, "x", 1.0]}, "wrong rates.1: "),
    "rates without trials": (lambda v: v | {"rates": [1e-3, 1e-2]}, "wrong list of trials"),
    "a trial without score": (lambda v: v | {"trials": [v["trials"][0] | {"score": None}, *v["trials"][1:]]}, "trials"),
    "another best rate": (lambda v: v | {"best_rate": HUGE}, "wrong best rate"),
    "an edge that is none": (lambda v: v | {"at_edge": not v["at_edge"]}, "wrong best rate"),
    "no object": (lambda v: [], "is not a record of a search"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_search_is_one_sentence_with_a_remedy(searched, tmp_path, case):
    change, message = DAMAGE[case]
    path = write_tuning(tmp_path, searched[0])
    path.write_text(json.dumps(change(json.loads(path.read_text()))))
    with pytest.raises(RecordError) as error:
        read_tuning(path)
    assert message in str(error.value)
    assert str(error.value).count(". ") == 2
    assert read_tunings(tmp_path) == ([], [str(error.value)])


def test_text_that_is_no_json_is_one_sentence(tmp_path):
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(RecordError, match="cannot be read"):
        read_tuning(tmp_path / "x.json")


@pytest.mark.parametrize("text", ["", "1e-3", "1e-3,1e-3", "1e-3,x", "0,1e-3", "-1e-3,1e-3", "nan,1e-3", "inf,1e-3"])
def test_a_grid_that_is_none_is_refused(text):
    with pytest.raises(ConfigError, match="is not a grid"):
        parse_rates(text)


def test_rates_are_sorted():
    assert parse_rates("1e-2, 3e-4,1e-3") == (3e-4, 1e-3, 1e-2)


REFUSED = {
    "a learning rate": (request("pointnet", "optim.lr=1e-3"), {}, "fixes the learning rate"),
    "no steps": (request(), {"steps": 0}, "--steps 0"),
    "a model without": (request("majority"), {}, "majority has no learning rate"),
    "a task without": (request("polarmae", task="lartpc-token-probe", assignments=()), {}, "trains no weights"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_searched_is_refused_before_anything_is_trained(data, tmp_path, trained, case):
    asked, values, message = REFUSED[case]
    with pytest.raises(ConfigError, match=message):
        search(data, tmp_path, asked, **values)
    assert not trained


def test_without_optuna_there_is_one_sentence(data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(BenchmarkError, match=r"pip install 'optuna>=4,<6'"):
        search(data, tmp_path)


def test_the_command_shows_a_table_and_the_run_to_type(data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)
    typed = ["--model", "pointnet", "--labels", "6", "--dataset", "pilarnet-m", "--data", str(data), "--preset", "tiny"]
    typed += ["--rates", "1e-3,1e-2", "--threads", "1", "--device", "cpu"]
    typed += ["--set", "train.steps=3", "--set", "min_points=0"]
    main(["tune", *typed])
    shown = capsys.readouterr().out
    for part in ("learning rate", "macro_f1 [95%]", "F1 michel", "(best)", "2 validation events", "grid", "result: "):
        assert part in shown
    command = next(line for line in shown.splitlines() if line.startswith("run it: ")).split()
    assert command[2:6] == ["python", "-m", "benchmark", "run"]
    assert any(word.startswith("optim.lr=") for word in command)
    main([*command[5:], "--threads", "1", "--device", "cpu", "--beside", "none"])
    capsys.readouterr()
    main(["tune", *typed])
    assert "already recorded" in capsys.readouterr().out
    main(["tune", *typed, "--json"])
    values = json.loads(capsys.readouterr().out)
    (run,) = [json.loads(p.read_text()) for p in (tmp_path / "runs/records").rglob("*.json")]
    assert run["config"]["optim"]["lr"] == values["best_rate"]
