"""Data of a run's page: settings, scores, confusion, calibration, training curves, worst events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmark.metrics.families import OVERALL
from benchmark.metrics.segmentation import wrong_shares
from benchmark.records.counts import unpack_event_ids
from benchmark.records.record import RunRecord
from benchmark.records.scored import founded
from benchmark.records.scores import family_of
from benchmark.reports.resampling import confusions
from benchmark.reports.tables import describe, scored_text
from benchmark.settings import flat

N_WORST = 12
MAX_STEPS = 200  # points of a training's curve
MIN_POINTS = 50  # of an event among the worst: in a smaller one few errors are a large share


def run_data(run: RunRecord) -> dict[str, Any]:
    """Plain values of one run, for its page's script. A record without counts has no worst events and no intervals."""
    run = founded(run) if run.metrics else run
    return {
        "title": describe(run), "model": run.method, "task": run.task["name"], "dataset": run.dataset["name"],
        "revision": run.dataset["revision"], "status": run.status, "created": run.created,
        "fingerprint": run.fingerprint, "command": run.command_line, "error": run.error,
        "classes": list(run.task["classes"]),
        "scores": _score_tables(run), "confusion": run.metrics.get("confusion"),
        "calibration": run.metrics.get("calibration"), "history": _history(run.training.get("history") or {}),
        "worst": worst_events(run), "facts": _facts(run),
        "settings": [[k, str(v)] for k, v in sorted(flat(run.config).items()) if v is not None],
    }  # fmt: skip


def worst_events(run: RunRecord) -> list[list[Any]]:
    """[event, share of wrong points, points] of the events with most errors, where a task counts points or tokens."""
    counts = confusions(run)
    if counts is None:
        return []
    ids, n_points = unpack_event_ids(run.per_event), counts.sum(axis=(1, 2))
    share = np.where(n_points >= min(MIN_POINTS, n_points.max(initial=0)), wrong_shares(counts), -1.0)
    order = np.argsort(-share, kind="stable")[:N_WORST]
    return [
        [ids[i] if ids is not None else f"event {i} of {len(counts)}", round(float(share[i]), 4), int(n_points[i])]
        for i in order
        if share[i] > 0
    ]


def _score_tables(run: RunRecord) -> list[dict[str, Any]]:
    """Tables of scores: overall, then one for each section with a row per class or range."""
    tables, score_family = [], family_of(run)
    for section in score_family.sections:
        recorded = run.metrics.get(section)
        if not recorded:
            continue
        row_names = list(score_family.rows(section, run.task["classes"])) if section != OVERALL else []
        rows = {"all": recorded} if section == OVERALL else {row: recorded[row] for row in row_names if row in recorded}
        names = list(next(iter(rows.values())))
        lines = [[row, *(_entry_values(scores.get(name)) for name in names)] for row, scores in rows.items()]
        tables.append({"section": section.replace("_", " "), "names": names, "rows": lines})
    return tables


def _entry_values(entry: Mapping[str, Any] | None) -> list[float | None]:
    if entry is None:
        return [None, None, None]
    return [None if (v := entry.get(end)) is None else round(v, 5) for end in ("value", "low", "high")]


def _history(history: Mapping[str, Any]) -> dict[str, list[float | None]]:
    """The training curves with at most MAX_STEPS points."""
    steps = history.get("step")
    if not steps:
        return {}
    every = max(1, -(-len(steps) // MAX_STEPS))
    numbers = {
        k: v for k, v in history.items()
        if isinstance(v, list) and len(v) == len(steps) and all(x is None or isinstance(x, int | float) for x in v)
    }  # fmt: skip
    return {k: [None if x is None else float(f"{x:.5g}") for x in v[::every]] for k, v in numbers.items()}


def _facts(run: RunRecord) -> list[list[str]]:
    e, r = run.environment, run.resources
    versions = ", ".join(f"{k} {v}" for k, v in (e.get("versions") or {}).items())
    dirty = " (with uncommitted changes)" if e.get("dirty") else ""
    facts = {
        "labelled events": run.events["labelled"], "unlabelled events": run.events.get("unlabelled"),
        "selection labels": run.events.get("selection"), "scored on": scored_text(run),
        "steps": run.training.get("steps"), "parameters": r.get("n_parameters"),
        "FLOPs per event": r.get("flops_per_event"), "preparation of the events, s": r.get("prepare_s"),
        "pre-training, s": r.get("pretrain_s"), "training, s": r.get("train_s") if "score_s" in r else None,
        "scoring, s": r.get("score_s"), "whole command, s": r.get("wall_s"),
        "predicted events per s": r.get("predict_events_per_s"), "peak memory, bytes": r.get("peak_memory_bytes"),
        "energy, J": r.get("energy_j"), "device": e.get("device_name"), "threads": e.get("threads"),
        "precision": e.get("precision"), "commit": f"{run.code}{dirty}", "versions": versions,
        "labelled subset": run.subset_sha256,
    }  # fmt: skip
    return [[name, f"{v:,}" if isinstance(v, int | float) else str(v)] for name, v in facts.items() if v is not None]
