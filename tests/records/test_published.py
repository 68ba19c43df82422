"""Published numbers: read or refused line by line, consistent with themselves and with what the suite builds."""

import csv
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from benchmark import tasks
from benchmark.cli import main
from benchmark.errors import DataError
from benchmark.records.published import COLUMNS, Published, comparable, published, published_file
from benchmark.verification.consistency import consistency
from benchmark.verification.derived import derived
from benchmark.verification.tokens import tokens
from builders.pilarnet_files import make_event, write_folder

CLASSES = ("shower", "track", "michel", "delta", "low_energy")

TEXT = published_file().read_text(encoding="utf-8")


def changed(tmp_path, before, after):
    assert TEXT.count(before) == 1, before
    path = tmp_path / f"published-{len(list(tmp_path.iterdir()))}.csv"
    path.write_text(TEXT.replace(before, after), encoding="utf-8")
    return published(path)


def failed(checks):
    return [c.name for c in checks if not c.passed]


def test_every_number_has_a_source_and_a_task_of_the_suite_where_there_is_one():
    rows = published()
    assert len(rows) > 250
    known = {r.task for r in rows if r.task in tasks.TASKS}
    assert {"lartpc-segmentation", "lartpc-segmentation-5", "lartpc-token-probe", "pion-classification"} <= known
    scores = [r for r in rows if r.metric in ("f1", "macro_f1", "precision", "recall", "accuracy")]
    assert all(0 <= r.value <= 1 for r in scores)


def test_the_tables_are_consistent_with_themselves():
    checks = consistency(published())
    assert failed(checks) == []
    assert len(checks) > 30
    assert sum(c.noted for c in checks) == 3


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("untrained,,precision,michel,0.01", "untrained,,precision,michel,0.05", "F1 from P and R"),
        ("polarmae,fft,10000,f1,delta,0.569", "polarmae,fft,10000,f1,delta,0.579", "F1 from P and R"),
        ("pointmae,peft,10000,macro_recall,,0.948", "pointmae,peft,10000,macro_recall,,0.958", "macro recall"),
        ("sparse_uresnet,from scratch,1000,macro_f1,,0.54", "sparse_uresnet,from scratch,1000,macro_f1,,0.44", "rises"),
    ],
)  # fmt: skip
def test_a_wrong_digit_is_found(tmp_path, before, after, said):
    names = failed(consistency(changed(tmp_path, before, after)))
    assert names and any(name.startswith(said) for name in names)


def made_up(metric, value, places):
    return Published("s", "i", "d", "t", "m", "s", None, metric, "c", value, places, "")


@pytest.mark.parametrize(("f1", "agrees"), [(0.667, True), (0.6665, True), (0.668, True), (0.669, False)])
def test_f1_may_differ_by_what_rounding_can_do_and_no_more(f1, agrees):
    """P = R = 0.667 may each be as large as 0.6675, and F1 itself is rounded by 0.0005: at most 0.668."""
    rows = [made_up("precision", 0.667, 3), made_up("recall", 0.667, 3), made_up("f1", f1, 3)]
    assert [c.passed for c in consistency(rows)] == [agrees]


def test_all_digits_of_a_program_need_to_agree_in_single_precision_only():
    rows = [made_up("precision", 0.75, 16), made_up("recall", 0.25, 16), made_up("f1", 0.3750001, 16)]
    assert consistency(rows)[0].passed
    assert not consistency([*rows[:2], made_up("f1", 0.37501, 16)])[0].passed


def test_what_follows_from_published_statements_holds_here():
    checks = derived(published())
    assert failed(checks) == []
    assert sum(c.name.startswith("parameters") and not c.noted for c in checks) >= 7


def test_a_wrong_number_of_parameters_or_voxels_is_found(tmp_path):
    rows = changed(tmp_path, "polarmae,encoder,,n_parameters,,21837568", "polarmae,encoder,,n_parameters,,21837569")
    assert failed(derived(rows)) == ["parameters: polarmae, encoder (PoLAr-MAE repository)"]
    rows = changed(tmp_path, "voxels,michel,34083197", "voxels,michel,44083197")
    assert failed(derived(rows)) == ["class weights of lartpc-segmentation", "class weights of lartpc-segmentation-5"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("a,b,c,t,m,s,10,f1,,high,", "line 2: value is 'high'"),
        ("a,b,c,t,m,s,10,f1,,nan,", "line 2: value is 'nan'"),
        ("a,b,c,t,m,s,1e3,f1,,0.5,", "line 2: labelled_events is '1e3'"),
        ("a,b,c,t,m,s,²,f1,,0.5,", "line 2: labelled_events is '²'"),
        ("a,b,c,t,m,s,10,f1,,5e-1,", "line 2: value is '5e-1'"),
        ("a,b,c,t,m,s,10,macro_f1,,83.7,", r"line 2: macro_f1 is 83\.7\. A score from 0 to 1 was expected"),
        ('a,b,c,t,m,s,10,f1,,0.5,"open', "line 2: unexpected end of data"),
        (",b,c,t,m,s,10,f1,,0.5,", "line 2: source is empty"),
        ("a,b,c,t,m,s,10,f1,0.5", "line 2: there are not 11 fields"),
        ("a,b,c,t,m,s,10,f1,,0.5,,more", "line 2: there are not 11 fields"),
        ("a,b,c,t,m,s,10,f1,,0.5,\na,b,c,t,m,s,10,f1,,0.6,", "line 3: .* twice, first in line 2"),
    ],
)
def test_a_bad_row_is_refused_with_its_line(tmp_path, line, said):
    path = tmp_path / "p.csv"
    path.write_text(",".join(COLUMNS) + "\n" + line + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=said):
        published(path)


def test_a_file_that_is_no_such_table_is_refused(tmp_path):
    path = tmp_path / "p.csv"
    cases = {
        b"a,b\n1,2\n": "has the columns a, b",
        b'"source': "line 1",
        b"\xff\xfe": "not UTF-8 text",
        b"": "has the columns",
    }
    for content, said in cases.items():
        path.write_bytes(content)
        published.cache_clear()
        with pytest.raises(DataError, match=said):
            published(path)
    with pytest.raises(DataError, match="There is no file"):
        published(tmp_path / "gone.csv")


def test_curves_show_the_tasks_own_metric_only():
    rows = comparable("lartpc-segmentation-5", "macro_f1")
    assert {r.metric for r in rows} == {"macro_f1"} and all(r.labelled_events for r in rows)
    assert {r.model for r in rows} >= {"sparse_uresnet", "ptv3", "panda"}
    assert not comparable("lif-segmentation", "f1")


def test_the_table_is_whole_beside_the_reference(shared_dir):
    """Every row of the reference list is one of the project's: same model, data, budget, class and number."""
    with (shared_dir / "reference/published/published.csv").open(newline="") as stream:
        reference = list(csv.DictReader(stream))
    ours = {(r.model, r.dataset, str(r.labelled_events or ""), r.cls, r.value) for r in published()}
    for row in reference:
        cls = row["cls"] if row["cls"] in CLASSES else ""
        assert (row["model"], row["dataset"], row["labelled_events"], cls, float(row["value"])) in ours, row


def test_no_number_of_the_further_list_is_left_out(shared_dir):
    """Composite cells are split, percentages of 1M labels are events, and scores in percent are fractions."""
    lines = (shared_dir / "reference/published/other_published.tsv").read_text(encoding="utf-8").splitlines()[1:]
    ours = published()
    for line in lines:
        _, _, metric, value, _ = line.split("\t")
        percent = metric.startswith(("mF1 @", "PQ", "ARI @"))
        for number in value.replace(",", "/").split("/"):
            wanted = float(number) / (100 if percent else 1)
            assert any(abs(r.value - wanted) <= r.half_digit + 1e-9 for r in ours if r.value < 2), line


def test_the_same_published_number_appears_once():
    numbers = Counter(
        (r.dataset, r.task, r.model, r.setting, r.labelled_events, r.metric, r.cls, r.value)
        for r in published() if r.metric.endswith("f1") and r.labelled_events
    )  # fmt: skip
    assert numbers and set(numbers.values()) == {1}


def test_tokens_are_measured_where_events_were_simulated_before(tmp_path, monkeypatch):
    monkeypatch.setenv("PARTICLEBENCH_CACHE", str(tmp_path))
    checks = tokens(published())
    assert [c.status for c in checks] == ["noted"] * 4 + ["passed"]
    assert all(c.found.startswith("not measured: no simulated events") for c in checks[:4])
    folder = tmp_path / "datasets" / "lartpc-sim" / "of-another-version"
    rng = np.random.default_rng(3)
    write_folder(folder, {"test": [make_event(rng, (20, 700, 700), 60) for _ in range(3)]})
    (folder / "simulation.json").write_text(json.dumps({"revision": "made-up", "files": {}}))
    found = {c.name.partition(" (")[0]: c.found for c in tokens(published())}
    assert "on 3 simulated events" in found["groups per event"]
    (folder / "simulation.json").write_text("{}")
    assert "lacks its revision" in tokens(published())[0].found


def test_another_overlap_factor_than_the_suites_is_found(tmp_path):
    checks = tokens(changed(tmp_path, "best_overlap_factor,,0.73", "best_overlap_factor,,0.72"))
    assert [c.name for c in checks if c.status == "FAILED"] == ["overlap factor (arXiv:2502.02558, Figures 4, 14, 15)"]


def test_the_command_needs_nothing_and_fails_where_a_check_does(capsys, monkeypatch, tmp_path):
    main(["verify", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["passed"] is True and len(told["checks"]) > 50
    assert {c["status"] for c in told["checks"]} == {"passed", "noted"}
    assert len({c["group"] for c in told["checks"]}) >= 6
    path = tmp_path / "published.csv"
    path.write_text(TEXT.replace("polarmae,fft,10000,f1,delta,0.569", "polarmae,fft,10000,f1,delta,0.669"))
    monkeypatch.setattr("benchmark.records.published.published_file", lambda: path)
    published.cache_clear()
    with pytest.raises(SystemExit) as end:
        main(["verify", "--json"])
    published.cache_clear()
    assert end.value.code == 1
    assert json.loads(capsys.readouterr().out)["passed"] is False


def test_a_table_larger_than_any_is_refused_unread(tmp_path, monkeypatch):
    path = tmp_path / "published.csv"
    with path.open("wb") as stream:
        stream.truncate(300_000_000)  # zeros that take no room on the disk
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: pytest.fail("it was read"))
    with pytest.raises(DataError, match=r"published\.csv is larger than 16 MB\. .*expected\. Restore it\.$"):
        published(path)
