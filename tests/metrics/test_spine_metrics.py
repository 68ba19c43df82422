"""Our counts and scores are those of SPINE's own analysis: `SegmentAna` per event, `spine-report` over its files."""

import csv
import json
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from benchmark.metrics.segmentation import confusion, scores_from_counts

WHY = "SPINE (pip install spine) is not installed"
CLASSES = 5


@pytest.fixture
def events():
    """Scores (N, 5), targets (N,) and offsets of 20 events; the last class is in neither truth nor prediction."""
    rng = np.random.default_rng(4)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(1, 200, 20))])
    target = rng.integers(0, CLASSES - 1, offsets[-1])
    scores = rng.normal(size=(offsets[-1], CLASSES)).astype("f4")
    scores[np.arange(len(target)), target] += 1.0
    scores[:, CLASSES - 1] = -10
    return scores, target, offsets


@pytest.fixture
def rows(events, tmp_path, monkeypatch):
    """What SegmentAna writes of each event."""
    segment = pytest.importorskip("spine.ana.metric.segment", reason=WHY)
    monkeypatch.chdir(tmp_path)
    scores, target, offsets = events
    analysis = segment.SegmentAna(summary=True, num_classes=CLASSES)
    kept = []
    analysis.append = lambda name, **row: kept.append({"index": len(kept), "file_index": 0, **row})
    for begin, end in pairwise(offsets):
        labels = SimpleNamespace(values=target[begin:end].astype(float))
        analysis.process({"seg_label": labels, "segmentation": scores[begin:end]})
    return kept


def test_counts_per_event_equal_those_of_segment_ana(events, rows):
    scores, target, offsets = events
    ours = confusion(scores, target, offsets)
    theirs = [[[row[f"count_{p}{t}"] for p in range(CLASSES)] for t in range(CLASSES)] for row in rows]  # p: predicted
    np.testing.assert_array_equal(ours, theirs)


def test_scores_equal_those_of_spine_report(events, rows, tmp_path, monkeypatch):
    report = pytest.importorskip("spine.bin.report", reason=WHY)
    monkeypatch.setenv("MPLBACKEND", "agg")
    source = tmp_path / "metrics"
    source.mkdir()
    for shard, part in enumerate((rows[:12], rows[12:])):
        with (source / f"shard_{shard}_segment_eval_summary.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(part)
    recipe = tmp_path / "recipe.yaml"
    settings = {"name": "segment_confusion", "source": "*.csv", "num_classes": CLASSES}
    recipe.write_text(json.dumps({"metrics": {"semantic": settings}, "formats": ["json"]}), encoding="utf-8")
    report.cli(["--config", str(recipe), "--input-dir", str(source), "--output-dir", str(tmp_path / "out")])
    theirs = json.loads((tmp_path / "out" / "summary.json").read_text(encoding="utf-8"))["metrics"]["semantic"]
    ours = scores_from_counts(confusion(*events).sum(0))
    per_class = list(theirs["per_class"].values())
    for name in ("recall", "precision"):
        np.testing.assert_allclose(np.nan_to_num(ours[name]), [c[name] for c in per_class], rtol=1e-12)
    assert [c["support"] for c in per_class] == np.bincount(events[1], minlength=CLASSES).tolist()
    np.testing.assert_allclose(ours["accuracy"], theirs["accuracy"], rtol=1e-12)
