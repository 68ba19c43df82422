"""The tables on fairness: every figure is a record's, and how a rate was chosen is said of fitting searches only."""

import dataclasses
import subprocess
import sys

import pytest

from benchmark.cli import main
from benchmark.records.store import find_record, write_record
from benchmark.records.tuning import best_of, is_at_edge, write_tuning
from benchmark.reports.fairness import chosen_by, fair_tables
from benchmark.runs.execution import Execution
from benchmark.runs.tune import Search, tune
from builders.paths import ROOT
from builders.synthetic import execute, request

RATES = (3e-4, 1e-3, 3e-3)


@pytest.fixture(scope="module")
def made(data, tmp_path_factory):
    """Runs of pointnet (two draws), polarmae and majority, and a search for pointnet."""
    root = tmp_path_factory.mktemp("made")
    asked = request("pointnet", "optim.lr=1e-3")
    execution = Execution(device="cpu", threads=1, data=data, runs=root / "runs")
    tuning = tune(request(), execution, Search(RATES, steps=2), lambda text: None).tuning
    records = {
        "pointnet": execute(data, root, asked).record,
        "draw 1": execute(data, root, dataclasses.replace(asked, draw=1)).record,
        "polarmae": execute(data, root, request("polarmae", "optim.backbone_lr_scale=0.3")).record,
        "majority": execute(data, root, request("majority")).record,
    }
    return records, with_best(tuning, 1e-3), root


def with_best(tuning, rate):
    """The search as if this rate had been its best."""
    trials = [{**t, "score": {**t["score"], "value": 0.9 if t["rate"] == rate else 0.1}} for t in tuning.trials]
    assert best_of(trials) == rate
    return dataclasses.replace(tuning, trials=trials, best_rate=rate, at_edge=is_at_edge(rate, tuning.rates))


def changed(record, **config):
    return dataclasses.replace(record, config={**record.config, **config})


def rows(records, tunings=()):
    (table,) = fair_tables(records, tunings)
    return table, [dict(zip(table.columns, row, strict=True)) for row in table.rows]


def test_every_figure_is_the_records(made):
    records, tuning, _ = made
    table, shown = rows(records.values(), [tuning])
    assert table.title.endswith("6 labelled events")
    assert "pilarnet-m" in table.title and "lartpc-segmentation (version 1)" in table.title
    by_model = {row["model"].rstrip("*"): row for row in shown}
    assert set(by_model) == {"pointnet", "polarmae", "majority"}
    pointnet, polarmae, majority = by_model["pointnet"], by_model["polarmae"], by_model["majority"]
    assert pointnet["runs"] == "2"  # both draws
    for name, row in (("pointnet", pointnet), ("polarmae", polarmae)):
        record = records[name]
        assert row["parameters"] == f"{record.resources['n_parameters']:,}"
        assert float(row["GFLOPs per event"]) == pytest.approx(record.resources["flops_per_event"] / 1e9, abs=0.01)
        assert row["steps"] == "4"
        assert row["events seen"] == str(4 * record.config["train"]["batch_size"])
        assert row["learning rate"] == f"{record.config['optim']['lr']:g}"
    assert (pointnet["unlabelled events"], pointnet["pre-training steps"]) == ("0", "0")
    assert (polarmae["unlabelled events"], polarmae["pre-training steps"]) == ("8", "3")
    for column in ("steps", "events seen", "GFLOPs per event", "learning rate", "chosen by"):
        assert majority[column] == "-"


def test_the_best_stands_first(made):
    records, _, _ = made
    _, shown = rows(records.values())
    scores = [float(row["macro_f1 [95%]"].split()[0]) for row in shown]
    assert scores == sorted(scores, reverse=True)


def test_the_part_of_the_recipe_that_all_share_stands_above_and_the_rest_in_columns(made):
    records, _, _ = made
    table, shown = rows(records.values())
    rotation = records["pointnet"].config["train"]["rotation"]
    assert f"augmentation rotation={rotation}" in table.common and "augmentation" not in table.columns
    assert "batch 2 events" in table.common and "AdamW (0.9, 0.999)" in table.common
    told = {row["model"].rstrip("*"): row["backbone's rate"] for row in shown}
    assert told == {"pointnet": "the same", "polarmae": "times 0.3", "majority": "-"}
    other = changed(records["draw 1"], train={**records["draw 1"].config["train"], "rotation": "none"})
    table, shown = rows([records["pointnet"], other])
    assert {row["augmentation"] for row in shown} == {f"rotation={rotation}", "rotation=none"}


def test_each_budget_dataset_and_task_has_its_own_table(made):
    records, _, _ = made
    record = records["pointnet"]
    other_data = dataclasses.replace(record, dataset={**record.dataset, "revision": "another"})
    different = [changed(record, labels=n) for n in (1000, None, 20)]
    titles = [table.title for table in fair_tables([record, *different, other_data], [])]
    assert [t.rpartition(": ")[2] for t in titles[-4:]] == [
        "6 labelled events", "20 labelled events", "1000 labelled events", "all labelled events"
    ]  # fmt: skip
    assert len(titles) == len(set(titles)) == 5


def test_failed_runs_and_weights_of_other_data_are_left_out(made):
    records, _, _ = made
    record = records["pointnet"]
    failed = dataclasses.replace(record, status="failed")
    assert fair_tables([failed, changed(record, dataset="lartpc-sim"), changed(record, mode="evaluate")], []) == []


def test_a_record_without_flops_has_a_dash(made):
    records, _, _ = made
    old = dataclasses.replace(
        records["polarmae"], resources={k: v for k, v in records["polarmae"].resources.items() if "flops" not in k}
    )
    _, shown = rows([records["pointnet"], old])
    told = {row["model"].rstrip("*"): row["GFLOPs per event"] for row in shown}
    assert told["polarmae"] == "-" != told["pointnet"]


def test_the_rate_of_a_search_at_the_budget_is_called_its_best(made):
    records, tuning, _ = made
    assert chosen_by(records["pointnet"], [tuning]) == "best of 3 on 2 validation events, 2 steps"
    assert chosen_by(records["draw 1"], [tuning]) == "best of 3 on 2 validation events, 2 steps"
    at_edge = changed(records["pointnet"], optim={**records["pointnet"].config["optim"], "lr": 3e-3})
    assert chosen_by(at_edge, [with_best(tuning, 3e-3)]).endswith(", at the edge of the grid")


def test_another_rate_than_the_searchs_best_is_called_so(made):
    records, tuning, _ = made
    told = chosen_by(records["pointnet"], [with_best(tuning, 3e-4)])
    assert told.startswith("not by its search: 0.0003 was best of 3")


def test_the_rate_of_a_search_at_another_budget_names_that_budget(made):
    records, tuning, _ = made
    record = changed(records["pointnet"], labels=20)
    typed = "tuned at 6 labels: best of 3 on 2 validation events, 2 steps"
    assert chosen_by(record, [tuning]) == typed  # given by --set
    assert chosen_by(dataclasses.replace(record, command=["benchmark", "run"]), [tuning]) == f"preset's, {typed}"
    assert chosen_by(record, [with_best(tuning, 3e-4)]) == "not searched"


FOREIGN = {
    "model": lambda t: dataclasses.replace(t, config={**t.config, "model": "polarmae"}),
    "mode": lambda t: dataclasses.replace(t, config={**t.config, "mode": "fft"}),
    "preset": lambda t: dataclasses.replace(t, config={**t.config, "preset": "default"}),
    "a setting of the model": lambda t: dataclasses.replace(t, config={**t.config, "model_config": {"width": 1}}),
    "weight decay": lambda t: dataclasses.replace(
        t, config={**t.config, "optim": {**t.config["optim"], "weight_decay": 0.7}}
    ),
    "batch size": lambda t: dataclasses.replace(
        t, config={**t.config, "train": {**t.config["train"], "batch_size": 5}}
    ),
    "task version": lambda t: dataclasses.replace(t, task={**t.task, "version": 2}),
    "revision of the data": lambda t: dataclasses.replace(t, dataset={**t.dataset, "revision": "another"}),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_a_search_of_another(made, what):
    records, tuning, _ = made
    assert chosen_by(records["pointnet"], [FOREIGN[what](tuning)]) == "not searched"


def test_a_published_preset_keeps_its_rate_unless_another_is_typed(made):
    records, _, _ = made
    paper = changed(records["pointnet"], preset="paper")
    assert chosen_by(paper, []) == "not searched"  # --set optim.lr stands in its command
    assert chosen_by(dataclasses.replace(paper, command=["benchmark", "run"]), []) == "as published"


def test_the_command_reads_records_and_searches_and_prints_markdown(made, tmp_path, capsys):
    records, tuning, _ = made
    for record in records.values():
        write_record(tmp_path / "records", record)
    write_tuning(tmp_path / "tuning", tuning)
    (tmp_path / "tuning" / "broken.json").write_text("{")
    typed = ["fairness", "--records", str(tmp_path / "records"), "--tuning", str(tmp_path / "tuning")]
    main([*typed, "--markdown"])
    out, err = capsys.readouterr()
    assert "best of 3 on 2 validation events, 2 steps" in out
    assert "The same for every trained model: " in out
    lines = [line for line in out.splitlines() if line.startswith("|")]
    assert len(lines) == 2 + 3 and len({line.count("|") for line in lines}) == 1
    assert "broken.json cannot be read" in err
    main(typed)
    assert "4 records, 1 searches" in capsys.readouterr().out
    assert find_record(tmp_path / "records", [records["pointnet"].fingerprint]) is not None


@pytest.mark.parametrize("option", ["--records", "--tuning"])
def test_a_missing_folder_is_one_sentence(made, tmp_path, capsys, option):
    with pytest.raises(SystemExit) as end:
        main(["fairness", "--records", str(made[2] / "records"), option, str(tmp_path / "gone")])
    assert end.value.code == 2
    assert capsys.readouterr().err.startswith("error: There is no folder of")


@pytest.mark.parametrize("command", ["fairness", "tune"])
def test_help_loads_nothing_heavy(command):
    script = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from benchmark.cli import main
try:
    main([{command!r}, "--help"])
finally:
    print(sorted({{"torch", "numpy", "optuna", "lightning"}} & set(sys.modules)), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("Usage: ")
    assert done.stderr.splitlines()[-1] == "[]"
