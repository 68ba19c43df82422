"""Records and searches of strangers: read rightly or refused in one sentence, and no table or page fails."""

import contextlib
import dataclasses
import json
import random
import tracemalloc

import numpy as np
import pytest

from benchmark.cli import main
from benchmark.errors import BenchmarkError, CheckpointError, RecordError
from benchmark.records.counts import MAX_UNPACKED, unpack_counts
from benchmark.records.store import read_record, read_records, write_record
from benchmark.records.tuning import read_tuning
from benchmark.reports.check import check_records, readable
from benchmark.reports.compare import compare
from benchmark.reports.efficiency import curves
from benchmark.reports.fairness import fair_tables
from benchmark.reports.formats import FORMATS, csv_text, markdown
from benchmark.reports.frames import runs
from benchmark.reports.leaderboard import leaderboards
from benchmark.reports.tables import run_table
from benchmark.site.boards import board_data
from benchmark.site.pages import script
from benchmark.site.runs import run_data
from benchmark.verification.rerun import request_of
from builders.many_records import made_up, write
from builders.mutants import bomb, broken, mutant
from builders.paths import ROOT
from builders.records import make_record

N_MUTANTS = 250


def use_everywhere(records):
    """What tables, pages and checks make of records."""
    boards = leaderboards(r for r in records if r.status != "failed")
    for _, format_boards in FORMATS.values():
        format_boards(boards).encode()
    for board in boards:
        curves(board)
        script("x", board_data(board))
    runs(records)
    [table.markdown() for table in fair_tables(records, [])]
    for record in records:
        run_table(record)
        script("x", run_data(record))
        json.dumps(dataclasses.asdict(record), allow_nan=False)


def test_no_mutant_of_a_record_stops_a_table_or_hides_another_record(tmp_path):
    rng, states = random.Random(0), np.random.default_rng(0)
    good, other = (made_up("model_a", 100, draw, 0, states, n_events=6) for draw in (0, 1))
    write(tmp_path, good)
    path = write(tmp_path, other)
    whole = path.read_text()
    n_refused = 0
    for i in range(N_MUTANTS):
        changed = broken(rng, whole) if i % 8 == 0 else mutant(rng, json.loads(whole)).encode()
        path.write_bytes(changed)
        records, problems = read_records(tmp_path)
        assert len(records) + len(problems) == 2 and good.fingerprint in {r.fingerprint for r in records}
        assert all(len(text) < 900 and text.isprintable() for text in problems)
        n_refused += len(problems)
        use_everywhere(records)
        if i % 5 == 0:
            check_records(tmp_path)
            readable(tmp_path)
        for record in (r for r in records if r.fingerprint != good.fingerprint):
            for use in (lambda r=record: compare(good, r), lambda r=record: request_of(r)):
                try:
                    use()
                except BenchmarkError as error:
                    assert "xpected" in str(error)
    assert 0.2 * N_MUTANTS < n_refused < N_MUTANTS


def test_no_mutant_of_a_search_is_more_than_one_sentence(tmp_path):
    from benchmark.cli.tune import table

    rng = random.Random(0)
    files = sorted((ROOT / "leaderboards" / "tuning").rglob("*.json"))
    path = tmp_path / "search.json"
    for i in range(N_MUTANTS):
        whole = rng.choice(files).read_text(encoding="utf-8")
        path.write_bytes(broken(rng, whole) if i % 8 == 0 else mutant(rng, json.loads(whole)).encode())
        try:
            search = read_tuning(path)
        except RecordError as error:
            assert "expected" in str(error) and len(str(error)) < 900 and str(error).isprintable()
        else:
            table(search)
            json.dumps(dataclasses.asdict(search), allow_nan=False)


def test_all_committed_records_fit_the_schema():
    for folder in ("records", "small", "labels"):
        records, problems = read_records(ROOT / "leaderboards" / folder)
        assert records and not problems


def test_counts_that_unpack_to_far_more_than_they_say_take_no_memory():
    packed = {"encoding": "base64 zlib int32 little-endian", "data": bomb(200_000_000)}
    tracemalloc.start()
    for shape in ([3, 4, 4], [200_000_000 // 64, 4, 4], [10**12, 4, 4]):
        with pytest.raises(RecordError, match=r"counts per event are damaged .* expected\. Delete"):
            unpack_counts({**packed, "shape": shape})
    assert tracemalloc.get_traced_memory()[1] < 120_000_000 < MAX_UNPACKED
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"config": {"model": 300 * "x"}}, "config.model"), ({"config": {"model": "a$b"}}, "config.model"),
        ({"config": {"preset": "../../x"}}, "config.preset"), ({"config": {"model": "evil.py"}}, "config.model"),
        ({"config": {"draw": 10**400}}, "config: a number has more than 64 bits"),
        ({"config": {"model_config": {"width": 10**7}}}, "config.model_config: a size of the model"),
        ({"task": {"name": ".."}}, "task.name"), ({"task": {"classes": ["a", "a"]}}, "task.classes"),
        ({"task": {"metrics": "own"}}, "task.metrics"), ({"events": {"test": [3]}}, "events.test"),
        ({"metrics": {"overall": {"macro_f1": {"value": [1]}}}}, "metrics.overall.macro_f1.value"),
        ({"metrics": {"overall": {"other": {"value": 1}}}}, "metrics.overall"),
        ({"metrics": {"per_class": {"a": {"f1": 1}}}}, "metrics.per_class.a.f1"),
        ({"training": {"history": {"step": [1, 2], "loss": [1.0], "grad_norm": [1.0]}}}, "training.history"),
        ({"resources": {"wall_s": "long"}}, "resources.wall_s"), ({"environment": {"threads": 10**9}}, "environment."),
        ({"environment": {"device_name": "a\x1b[2Jb"}}, "environment: a text has control characters"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named(tmp_path, change, field):
    values = dataclasses.asdict(make_record())
    for section, fields in change.items():
        values[section] = {**values[section], **fields}
    path = write_record(tmp_path, make_record())
    path.write_text(json.dumps(values))
    with pytest.raises(RecordError, match=rf"wrong {field}.*expected\. Delete it and run again\.$"):
        read_record(path)


def test_tables_hold_no_formula_and_no_link_of_a_record():
    environment = {"device_name": "=HYPERLINK(1)", "commit": "[x](javascript:y)"}
    record = make_record(environment=environment, dataset={"name": "pilarnet-m", "revision": "<b>[x](y)"})
    boards = leaderboards([record])
    assert ",'=HYPERLINK" in csv_text(boards) and ",=HYPERLINK" not in csv_text(boards)
    text = markdown(boards[0], full=True)
    assert "](" not in text and "<b>" not in text


@pytest.mark.parametrize(
    "change", [{"events": [1]}, {"wall_s": "x"}, {"history": {"loss": [1], "step": [1, 2]}}, {"config": {}}]
)
def test_a_changed_record_of_shipped_weights_is_one_sentence(tmp_path, monkeypatch, change):
    from benchmark.checkpoints import shipped

    (tmp_path / "weights").mkdir()
    values = json.loads((ROOT / "models" / "weights" / "pointmae.json").read_text(encoding="utf-8"))
    (tmp_path / "weights" / "pointmae.json").write_text(json.dumps({**values, **change}))
    monkeypatch.setattr(shipped, "weights_folder", lambda model: tmp_path / "weights")
    with pytest.raises(CheckpointError, match=r"training record .* is damaged \(.*expected\. Install"):
        shipped.find_shipped("pointmae")


@pytest.mark.parametrize(
    "command",
    [
        ["verify", "--records", "{}"], ["display", "--run", "{}"], ["transfer", "{}", "--dataset", "lartpc-sim"],
        ["site", "--records", "{folder}", "--out", "{folder}/site"], ["compare", "{}", "{}"],
        ["leaderboard", "--records", "{folder}"], ["curve", "--records", "{folder}", "--out", "{folder}/c.png"],
    ],
    ids=lambda command: command[0],
)  # fmt: skip
@pytest.mark.parametrize("field", ["model", "dataset"])
def test_no_command_runs_a_file_that_a_record_names(tmp_path, monkeypatch, capsys, command, field):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.py").write_text("import pathlib\npathlib.Path('ran').touch()\n")
    record = make_record()
    path = write_record(tmp_path / "records", record)
    path.write_text(json.dumps({**dataclasses.asdict(record), "config": {**record.config, field: "evil.py"}}))
    with contextlib.suppress(SystemExit):
        main([word.format(path, folder=path.parent) for word in command])
    said = " ".join("".join(capsys.readouterr()).split())
    assert not (tmp_path / "ran").exists()
    assert f"wrong config.{field}" in said and "not a file of code" in said
