"""Records run again, and released weights against published numbers: what agrees passes, what differs is told."""

import dataclasses
import json

import numpy as np
import pytest

from benchmark.checkpoints.load import open_released
from benchmark.cli import main
from benchmark.errors import ConfigError
from benchmark.records.counts import pack_counts, unpack_counts
from benchmark.records.published import Published
from benchmark.records.store import record_path
from benchmark.runs.execution import Execution
from benchmark.runs.transfer import Target
from benchmark.verification.released import Compared, _check, published_scores, verify_released
from benchmark.verification.rerun import _equal_counts, request_of, rerun
from builders import released_files as released
from builders.synthetic import execute, make_data, request


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """(folder, data, record of an untrained-in-a-moment network, record of a floor)."""
    root = tmp_path_factory.mktemp("verification")
    data = make_data(root)
    asked = request("pointnet", "optim.lr=0.005", "model.head=24,12")
    return root, data, execute(data, root, asked).record, execute(data, root, request("majority")).record


def again(data, **values):
    return Execution(device="cpu", threads=1, data=data, **values)


def test_a_record_run_again_has_equal_counts(ran):
    _, data, trained, floor = ran
    for record in (trained, floor):
        check = rerun(record, again(data))
        assert check.passed and not check.noted, check.found
        assert "equal counts in every event" in check.found


def test_settings_come_from_the_record_not_from_what_was_typed(ran):
    _, _, trained, _ = ran
    silent = dataclasses.replace(trained, command=[])
    assert {"model.head=24,12", "optim.lr=0.005"} <= set(request_of(silent).assignments)


def test_a_record_with_another_score_is_told_and_by_how_much(ran, tmp_path, capsys):
    _, data, trained, _ = ran
    counts = unpack_counts(trained.per_event)[:, ::-1].copy()
    ids = tuple(str(i) for i in range(len(counts)))
    metrics = json.loads(json.dumps(trained.metrics))
    metrics["overall"]["macro_f1"]["value"] += 0.25
    tampered = dataclasses.replace(trained, per_event=pack_counts(counts, ids), metrics=metrics)
    check = rerun(tampered, again(data))
    assert not check.passed and "largest difference of a score 0.25" in check.found
    assert rerun(tampered, again(data), tolerance=0.3).passed
    path = tmp_path / "r.json"
    path.write_text(json.dumps(dataclasses.asdict(tampered)))
    with pytest.raises(SystemExit) as end:
        main(["verify", "--records", str(path), "--data", str(data), "--json"])
    assert end.value.code == 1
    assert json.loads(capsys.readouterr().out)["passed"] is False


@pytest.mark.parametrize("section", ["overall", "per_class"])
def test_a_score_that_the_records_own_counts_contradict_is_told(ran, section):
    _, data, _, floor = ran
    metrics = json.loads(json.dumps(floor.metrics))
    (metrics["overall"]["macro_f1"] if section == "overall" else metrics["per_class"]["track"]["f1"])["value"] += 0.01
    check = rerun(dataclasses.replace(floor, metrics=metrics), again(data))
    assert check.status == "FAILED"
    assert "the record is inconsistent" in check.found and "largest difference of a score 0.01" in check.found


def test_equal_numbers_that_are_undefined_are_equal(ran):
    """Regressions keep what is undefined as NaN, which equals nothing, not even itself."""
    _, _, trained, _ = ran
    states = np.array([[1.0, np.nan], [2.0, 3.0]], np.float32)
    one = dataclasses.replace(trained, per_event=pack_counts(states, ("a", "b")))
    assert _equal_counts(one, one)
    other = dataclasses.replace(trained, per_event=pack_counts(states + 1, ("a", "b")))
    assert not _equal_counts(one, other)


def test_the_command_runs_a_folder_of_records_again(ran, capsys):
    root, data, *_ = ran
    main(["verify", "--records", str(root / "records"), "--data", str(data), "--json"])
    told = json.loads(capsys.readouterr().out)
    assert [c["status"] for c in told["checks"]] == ["passed", "passed"]
    main(["verify", "--records", str(root / "records"), "--data", str(data), "--limit", "1", "--json"])
    assert len(json.loads(capsys.readouterr().out)["checks"]) == 1


def test_a_folder_without_records_or_with_damaged_ones_does_not_pass(tmp_path, capsys):
    with pytest.raises(SystemExit) as end:
        main(["verify", "--records", str(tmp_path)])
    assert end.value.code == 2 and "There is no record in" in capsys.readouterr().err
    (tmp_path / "r.json").write_text("{}")
    with pytest.raises(SystemExit) as end:
        main(["verify", "--records", str(tmp_path), "--json"])
    assert end.value.code == 1
    assert json.loads(capsys.readouterr().out)["checks"][0]["name"] == "unreadable record"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--limit", "0"], "--limit 0 is not possible"),
        (["--tolerance", "-1"], "--tolerance -1.0 is not possible"),
        (["--tolerance", "nan"], "--tolerance nan is not possible"),
    ],
)
def test_impossible_options_are_one_sentence(tmp_path, capsys, options, said):
    with pytest.raises(SystemExit) as end:
        main(["verify", "--records", str(tmp_path), *options])
    assert end.value.code == 2 and said in capsys.readouterr().err


def test_options_of_records_need_records(capsys):
    with pytest.raises(SystemExit) as end:
        main(["verify", "--tolerance", "0.1"])
    assert end.value.code == 2 and "belong to --records" in capsys.readouterr().err


def test_what_cannot_be_run_again_is_noted_with_its_reason(ran):
    _, data, trained, _ = ran
    config = {**trained.config, "model_config": {**trained.config["model_config"], "gone": 3}}
    cases = {
        "no finished run": dataclasses.replace(trained, status="failed"),
        "model_config.gone": dataclasses.replace(trained, config=config),
        "own checkpoint": dataclasses.replace(trained, config={**trained.config, "checkpoint": "x.ckpt"}),
    }
    for said, record in cases.items():
        check = rerun(record, again(data))
        assert check.noted and said in check.found


# ---- released weights


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("released") / "released.ckpt"
    return open_released(released.write(path, released.content()), "polarmae")


def row(value):
    return Published("s", "i", "d", "t", "m", "fft", 10, "f1", "track", value, 3, "")


def test_a_number_agrees_within_the_tolerance_or_the_interval_or_by_batches():
    assert Compared(row(0.900), 0.905, 0.9, 0.91, None).agrees(0.01)
    assert Compared(row(0.900), 0.950, 0.88, 0.97, None).agrees(0.01)
    assert Compared(row(0.900), 0.950, 0.94, 0.96, 0.902).agrees(0.01)
    assert not Compared(row(0.900), 0.950, 0.94, 0.96, 0.945).agrees(0.01)
    assert not Compared(row(0.900), None, None, None, None).agrees(0.01)
    assert not Compared(row(0.900), 0.950, 0.88, 0.97, None).agrees(0.01, strict=True)
    assert Compared(row(0.900), 0.905, 0.88, 0.97, None).agrees(0.01, strict=True)
    assert Compared(row(0.900), 0.950, 0.94, 0.96, 0.902).ways(0.01) == ("mean over batches",)


def test_many_events_of_the_published_data_are_judged_and_numbers_of_a_single_batch_only_shown():
    off = Compared(row(0.900), 0.950, 0.94, 0.96, None)
    assert [_check(off, 0.01, n, "D", False).status for n in (99, 100)] == ["noted", "FAILED"]
    assert _check(off, 0.01, 2, "D", True).status == "FAILED"
    elsewhere = _check(off, 0.01, 100, "other v2", False)
    assert elsewhere.status == "noted" and "published of d" in elsewhere.found
    batch = dataclasses.replace(off, row=dataclasses.replace(off.row, note="printed for a single batch of 32 events"))
    shown = _check(batch, 0.01, 10_000, "d", True)
    assert shown.status == "noted" and "single batch" in shown.expected


def test_every_published_number_of_the_line_is_compared_in_both_ways_of_counting(ran, checkpoint, tmp_path):
    _, data, *_ = ran
    execution = again(data, records=tmp_path)
    report, record = verify_released(checkpoint, Target("pilarnet-m", "test"), execution, "fft",
                                     assignments=("min_points=0",))  # fmt: skip
    table = [c for c in report.checks if "Table 7" in c.group]
    assert len(table) == 15  # f1, precision, recall of four classes, and their means
    macro = next(c for c in table if c.name == "macro_f1")
    assert "mean over batches" in macro.found
    assert macro.expected == "0.837"
    assert f"{record.metrics['overall']['macro_f1']['value']:.4f}" in macro.found
    assert all(c.noted for c in report.checks)  # a handful of events tells nothing
    assert record_path(tmp_path, record).is_file()


def test_which_published_line_has_to_be_said_where_the_weights_do_not(checkpoint):
    with pytest.raises(ConfigError, match="does not say how it was trained"):
        published_scores(checkpoint, None)
    with pytest.raises(ConfigError, match="fft, fine-tuned, peft was expected"):
        published_scores(checkpoint, "frozen")
    assert {r.setting for r in published_scores(checkpoint, "peft")} == {"peft"}


def test_a_released_checkpoint_is_compared_on_the_real_events(shared_dir, tmp_path, capsys):
    """Random sample weights and two events: the path that real weights and a real folder take."""
    reference = shared_dir / "reference"
    main(["verify", "published", "--checkpoint", str(reference / "polarmae/checkpoint_sample_finetune.ckpt"),
          "--model", "polarmae", "--data", str(reference / "lartpc/real_events/h5_v2"), "--split", "test",
          "--setting", "fft", "--records", str(tmp_path), "--threads", "1", "--json"])  # fmt: skip
    told = json.loads(capsys.readouterr().out)
    assert told["details"]["n_events"] == 2
    assert told["details"]["agree"] + told["details"]["differ"] == len(told["checks"]) == 26
    assert told["details"]["revision"].startswith("v2")
    assert {c["status"] for c in told["checks"]} == {"noted"}
