"""The table of backbones against pretexts."""

import numpy as np
import pytest

from benchmark.records.counts import with_scores
from benchmark.reports.leaderboard import leaderboards
from benchmark.reports.pretexts import SCRATCH, markdown, pretext_table, rich
from builders.records import make_record

CLASSES = ["a", "b"]


def record(share, pretext=None, model="gnn", mode="fft", labels=100, draw=0, steps=300, pretrained=1500, **config):
    """A run with this share of 100 points right in each of 40 events."""
    made = make_record()
    settings = {
        **made.config, "model": model, "mode": mode if pretext else "scratch", "labels": labels, "draw": draw,
        "preset": "default", "train": {"steps": steps}, **({"pretext": pretext} if pretext else {}), **config,
    }  # fmt: skip
    right = np.round(share * 50 + np.arange(40) % 5).astype(int)
    counts = np.stack([np.stack([right, 50 - right], 1), np.stack([50 - right, right], 1)], 1)  # (40, 2, 2)
    task = {**made.task, "classes": CLASSES}
    changed = make_record(
        config=settings, task=task, fingerprint=f"{abs(hash((share, pretext, model, labels, draw, steps))):064x}"[:64],
        training={"pretraining": {"steps": pretrained, "events": 2000}} if pretext else {},
        events={"labelled": labels, "test": 40, "split": "test"},
    )  # fmt: skip
    metrics = {"overall": {"macro_f1": {"value": share, "low": None, "high": None}}}
    return with_scores(changed, metrics, counts, [f"e{i}" for i in range(40)], np.arange(40))


@pytest.fixture
def table():
    runs = [
        *(record(0.6 + 0.01 * d, draw=d) for d in range(3)),
        *(record(0.8 + 0.01 * d, "masked", draw=d) for d in range(3)),
        record(0.7, "contrast"),
        record(0.85, "masked", pretrained=5000, pretrain={"steps": 5000}),
        record(0.65, "masked", mode="frozen"),
        record(0.5, model="pointnet"),  # without any pretext: no row
        record(0.55, "masked", model="ptv3", labels=10),  # without a run from scratch
        record(0.9, steps=1500),  # of other steps: not compared
    ]
    (board,) = leaderboards(runs)
    return pretext_table(board)


def test_a_row_is_a_backbone_and_budget_and_a_column_a_pretext(table):
    heads = ("contrast, 1,500 steps", "masked, 1,500 steps", "masked, 5,000 steps")
    assert table.columns == ("labels", "backbone", "mode", "steps", SCRATCH, *heads)
    assert [row[:4] for row in table.rows] == [
        ("10", "ptv3", "fft", "300"), ("100", "gnn", "fft", "300"), ("100", "gnn", "frozen", "300"),
    ]  # fmt: skip


def test_a_cell_tells_the_mean_and_the_paired_gain_over_scratch(table):
    gnn = table.rows[1]
    assert gnn[4].startswith("0.610")
    score, gain = gnn[6].split("\n")
    assert score.startswith("0.810") and gain.startswith("+0.200 [")
    assert gnn[7].startswith("0.850")
    ptv3 = table.rows[0]
    assert ptv3[4] == "" and ptv3[5] == "" and "\n" not in ptv3[6]


def test_markdown_has_a_line_for_each_row(table):
    lines = markdown(table).splitlines()
    assert len([line for line in lines if line.startswith("| 10")]) == 3
    assert not any("\n" in cell for line in lines for cell in line.split("|"))
    assert len(rich(table).columns) == len(table.columns)


def test_without_a_pretext_there_is_no_table():
    (board,) = leaderboards([record(0.6)])
    assert pretext_table(board) is None


def test_a_narrow_terminal_shows_the_backbone_of_each_row(table):
    import io

    from rich.console import Console

    console = Console(width=80, file=io.StringIO())
    console.print(rich(table))
    shown = console.file.getvalue()
    assert "ptv3" in shown and "gnn" in shown
