"""Folders of made-up records for tests and timings: real in form, random in content."""

import dataclasses
import json
from pathlib import Path

import numpy as np

from benchmark.io import sha256_text
from benchmark.metrics import bootstrap, segmentation
from benchmark.records.counts import pack_counts
from benchmark.records.record import RunRecord
from benchmark.records.store import record_path

CLASSES = ("shower", "track", "michel", "delta")
SUPPORT = np.array([1300, 1500, 20, 60])  # points per event


def counts(quality, n_events, rng):
    """(B, 4, 4) int64 counts of events in which a share `quality` of each class is right."""
    n = len(CLASSES)
    wrong = (1 - quality) / (n - 1)
    chances = np.full((n, n), wrong) + np.eye(n) * (quality - wrong)
    sizes = np.random.default_rng(0).poisson(SUPPORT, (n_events, n))  # the truth of an event is the same for all models
    return np.stack([rng.multinomial(sizes[:, c], chances[c]) for c in range(n)], axis=1)


def made_up(model, labels, draw, seed, rng, n_events=400, task="lartpc-segmentation", quality=None, states=None):
    """One finished record; scores rise with the logarithm of the label budget unless `quality` is given."""
    if states is None:
        base = 0.55 + 0.1 * np.log10(labels) / 2 + (len(model) % 7) * 0.01 if quality is None else quality
        states = counts(float(np.clip(base + rng.normal(0, 0.005), 0.3, 0.99)), n_events, rng)
    ends = bootstrap.intervals(states, segmentation.scores_from_counts, np.random.default_rng(0), n_resamples=50)
    ids = tuple(f"event {i}" for i in range(len(states)))
    return RunRecord(
        fingerprint=sha256_text(f"{task} {model} {labels} {draw} {seed}"),
        status="finished",
        created="2026-11-20T00:00:00+00:00",
        command=["benchmark", "run", "--model", model],
        config={
            "model": model, "preset": "default", "mode": "scratch", "labels": labels, "draw": draw, "seed": seed,
            "dataset": "made-up", "preprocess": {"columns": ["log_energy"]}, "model_config": {"width": 8},
            "train": {"steps": 300, "batch_size": 8}, "optim": {"lr": 1e-3}, "task": {"name": task},
        },
        task={"name": task, "version": 1, "classes": list(CLASSES), "primary_metric": "macro_f1",
              "metrics": "segmentation", "smaller_is_better": False},
        dataset={"name": "made-up", "revision": "r1", "files": {}},
        events={"labelled": labels, "unlabelled": 0, "selection": 0, "test": len(states), "excluded": {}},
        subset_sha256=sha256_text(f"{labels} {draw}"),
        metrics=segmentation.report(states, CLASSES, ends),
        per_event=pack_counts(states, ids),
        training={"steps": 300, "n_steps": 300, "first_loss": 1.2, "last_loss": 0.2},
        resources={"n_parameters": 100_000, "wall_s": 60.0, "flops_per_event": 3_000_000},
        environment={"device": "cpu", "device_name": "made-up", "commit": "0" * 40, "dirty": False},
    )  # fmt: skip


def write(root, record):
    """Write a record where it belongs, without waiting for the disk."""
    path = record_path(Path(root), record)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(dataclasses.asdict(record)))
    return path


def write_many(root, n_models=20, budgets=(10, 100, 1000, 10_000, 100_000), n_draws=10, n_seeds=10, n_events=400):
    """A record for each model, budget, draw and seed: 10,000 by default."""
    rng = np.random.default_rng(0)
    pool = {}
    for model in (f"model_{i:02d}" for i in range(n_models)):
        for labels in budgets:
            for draw in range(n_draws):
                for seed in range(n_seeds):
                    key = (model, labels, (draw * n_seeds + seed) % 3)
                    if key not in pool:
                        pool[key] = made_up(model, labels, draw, seed, rng, n_events)
                    record = pool[key]
                    config = {**record.config, "draw": draw, "seed": seed}
                    write(root, dataclasses.replace(
                        record, config=config, fingerprint=sha256_text(f"{model} {labels} {draw} {seed}"),
                        subset_sha256=sha256_text(f"{labels} {draw}"),
                    ))  # fmt: skip
