"""Records made by hand."""

from benchmark.records.record import RunRecord


def make_record(**changes):
    values = {
        "fingerprint": "a1b2c3d4e5f6" + "0" * 52,
        "status": "finished",
        "created": "2026-01-01T00:00:00+00:00",
        "command": ["benchmark", "run"],
        "config": {
            **dict(model="pointnet", preset="tiny", mode="scratch", labels=10, draw=0, seed=0),
            **dict(preprocess={}, model_config={}, train={}),
        },
        "task": {"name": "lartpc-segmentation", "version": 1, "classes": ["a"], "primary_metric": "macro_f1"},
        "dataset": {"name": "pilarnet-m", "revision": "v2"},
        "events": {"labelled": 10, "test": 3},
        "subset_sha256": "ab" * 32,
        "metrics": {"overall": {"macro_f1": {"value": 0.5, "low": None, "high": 0.6}}},
    }
    return RunRecord(**{**values, **changes})
