"""Published numbers: read or refused line by line, consistent with themselves and with what the suite builds."""

import csv
import json

import pytest

from benchmark import tasks
from benchmark.cli import main
from benchmark.errors import DataError
from benchmark.published import COLUMNS, comparable, published, published_file
from benchmark.verification.consistency import consistency
from benchmark.verification.derived import derived

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
        ("polarmae,fft,10000,f1,delta,0.569", "polarmae,fft,10000,f1,delta,0.579", "F1 from P and R"),
        ("pointmae,peft,10000,macro_recall,,0.948", "pointmae,peft,10000,macro_recall,,0.958", "macro recall"),
        ("sparse_uresnet,from scratch,1000,macro_f1,,0.54", "sparse_uresnet,from scratch,1000,macro_f1,,0.44", "rises"),
    ],
)  # fmt: skip
def test_a_wrong_digit_is_found(tmp_path, before, after, said):
    names = failed(consistency(changed(tmp_path, before, after)))
    assert names and any(name.startswith(said) for name in names)


def test_what_follows_from_published_statements_holds_here():
    checks = derived(published())
    assert failed(checks) == []
    assert sum(c.name.startswith("parameters") and not c.noted for c in checks) >= 7


def test_a_wrong_number_of_parameters_or_voxels_is_found(tmp_path):
    rows = changed(tmp_path, "encoder,,n_parameters,,21837568", "encoder,,n_parameters,,21837569")
    assert failed(derived(rows)) == ["parameters: polarmae, encoder (PoLAr-MAE repository)"]
    rows = changed(tmp_path, "voxels,michel,34083197", "voxels,michel,44083197")
    assert failed(derived(rows)) == ["class weights of lartpc-segmentation", "class weights of lartpc-segmentation-5"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("a,b,c,t,m,s,10,f1,,high,", "line 2: value is 'high'"),
        ("a,b,c,t,m,s,10,f1,,nan,", "line 2: value is 'nan'"),
        ("a,b,c,t,m,s,1e3,f1,,0.5,", "line 2: labelled_events is '1e3'"),
        (",b,c,t,m,s,10,f1,,0.5,", "line 2: source is empty"),
        ("a,b,c,t,m,s,10,f1,0.5", "line 2: there are not 11 fields"),
        ("a,b,c,t,m,s,10,f1,,0.5,,more", "line 2: there are not 11 fields"),
        ("a,b,c,t,m,s,10,f1,,0.5,\na,b,c,t,m,s,10,f1,,0.6,", "twice"),
    ],
)
def test_a_bad_row_is_refused_with_its_line(tmp_path, line, said):
    path = tmp_path / "p.csv"
    path.write_text(",".join(COLUMNS) + "\n" + line + "\n")
    with pytest.raises(DataError, match=said):
        published(path)


def test_curves_show_the_tasks_own_metric_only():
    rows = comparable("lartpc-segmentation-5", "macro_f1")
    assert {r.metric for r in rows} == {"macro_f1"} and all(r.labelled_events for r in rows)
    assert {r.model for r in rows} >= {"sparse_uresnet", "ptv3", "panda"}
    assert not comparable("lif-segmentation", "f1")


def test_the_table_is_whole_beside_the_reference(shared_dir):
    """Every value of the reference list is in the project's."""
    with (shared_dir / "reference/published/published.csv").open(newline="") as stream:
        reference = list(csv.DictReader(stream))
    ours = sorted(round(r.value, 6) for r in published())
    for row in reference:
        assert round(float(row["value"]), 6) in ours


def test_the_command_needs_nothing_and_fails_where_a_check_does(capsys, monkeypatch, tmp_path):
    main(["verify", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["passed"] is True and len(told["checks"]) > 50
    path = tmp_path / "published.csv"
    path.write_text(TEXT.replace("polarmae,fft,10000,f1,delta,0.569", "polarmae,fft,10000,f1,delta,0.669"))
    monkeypatch.setattr("benchmark.published.published_file", lambda: path)
    published.cache_clear()
    with pytest.raises(SystemExit) as end:
        main(["verify", "--json"])
    published.cache_clear()
    assert end.value.code == 1
    assert json.loads(capsys.readouterr().out)["passed"] is False
