"""Runs that differ in draw and seed alone, as one row: mean, spread, and an interval over events and runs.

The interval is a percentile bootstrap (B. Efron and R. Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13)
of the mean over runs. Each resample draws the test events with replacement, once for all runs, because they are scored
on the same events, and the runs themselves with replacement. With the usual three runs the latter underestimates how
far other draws may lie from these; the spread beside it is the runs' own standard deviation.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmark.metrics import multilabel, segmentation
from benchmark.metrics.bootstrap import N_RESAMPLES, percentiles
from benchmark.metrics.summary import plain
from benchmark.records import RunRecord, unpack_counts
from benchmark.seeding import generator

REPETITION = ("draw", "seed")  # what the runs of an average differ in
_ELSEWHERE = ("checkpoint", "checkpoint_sha256")  # of weights that a draw or a seed made


@dataclass(frozen=True)
class Average:
    """Equal runs but for their draw and seed."""

    runs: tuple[RunRecord, ...]  # by draw and seed
    record: RunRecord  # the first run's, with the means and intervals of all in its metrics
    spread: float | None  # standard deviation of the primary metric over the runs; None of a single one

    @property
    def n_runs(self) -> int:
        """How many runs were averaged."""
        return len(self.runs)


def averages(records: Iterable[RunRecord]) -> list[Average]:
    """Finished runs averaged over draws and seeds; of two records with equal settings the newer one counts.

    Runs that were stopped stand alone.
    """
    groups: dict[str, dict[tuple[int, ...], RunRecord]] = {}
    for record in sorted(records, key=lambda r: (r.created, r.fingerprint)):
        repetition = tuple(int(record.config[name]) for name in REPETITION)
        groups.setdefault(_key(record), {})[repetition] = record
    return [_average([runs[r] for r in sorted(runs)]) for _, runs in sorted(groups.items())]


def _key(record: RunRecord) -> str:
    """What the runs of an average have in common."""
    config = {k: v for k, v in record.config.items() if k not in (*REPETITION, *_ELSEWHERE)}
    alone = record.fingerprint if record.status != "finished" else ""
    return json.dumps([record.task, record.dataset["name"], record.dataset["revision"], config, alone], sort_keys=True)


def _average(runs: list[RunRecord]) -> Average:
    first, metric = runs[0], runs[0].task["primary_metric"]
    if len(runs) == 1:
        return Average((first,), first, None)
    values = [run.metrics["overall"][metric]["value"] for run in runs]
    spread = float(np.std(values, ddof=1)) if None not in values else None
    return Average(tuple(runs), dataclasses.replace(first, metrics=_metrics(runs)), spread)


def _metrics(runs: list[RunRecord]) -> dict[str, Any]:
    """Means and intervals, shaped as a record's metrics. Raises RecordError for damaged counts."""
    ends = _intervals(runs)
    first = runs[0]
    classes = first.task["classes"]

    def entry(name: str, of: Callable[[RunRecord], Mapping[str, Any]], where: tuple[int, ...]) -> dict[str, Any]:
        values = [of(run)[name]["value"] for run in runs]
        low, high = (plain(end[where]) for end in ends[name]) if name in ends else (None, None)
        return {"value": None if None in values else float(np.mean(values)), "low": low, "high": high}

    overall = {name: entry(name, lambda run: run.metrics["overall"], ()) for name in first.metrics["overall"]}
    per_class = {
        label: {
            name: entry(name, lambda run, label=label: run.metrics["per_class"][label], (number,))  # type: ignore[misc]
            for name in first.metrics["per_class"][label]
        }
        for number, label in enumerate(classes)
    }
    return {"overall": overall, "per_class": per_class}


def _intervals(runs: list[RunRecord]) -> dict[str, np.ndarray]:
    """(2, ...) lower and upper ends of every mean; none where the runs were not scored on the same events."""
    if len({run.per_event.get("event_ids_sha256") for run in runs}) != 1 or not runs[0].per_event:
        return {}
    scores = multilabel.scores_from_counts if runs[0].config.get("probe") else segmentation.scores_from_counts
    counts = np.stack([unpack_counts(run.per_event) for run in runs]).astype(np.float64)  # (runs, B, ...)
    n_runs, n_events = counts.shape[:2]
    rng = generator("bootstrap over runs", runs[0].task["name"], runs[0].dataset["revision"])
    times = rng.multinomial(n_events, np.full(n_events, 1 / n_events), size=N_RESAMPLES).astype(np.float64)
    shares = rng.multinomial(n_runs, np.full(n_runs, 1 / n_runs), size=N_RESAMPLES) / n_runs  # (R, runs)
    sums = np.stack([times @ of_run.reshape(n_events, -1) for of_run in counts], axis=1)  # (R, runs, ...)
    resampled = scores(sums.reshape(N_RESAMPLES, n_runs, *counts.shape[2:]))
    return {name: percentiles(np.einsum("rn,rn...->r...", shares, values)) for name, values in resampled.items()}
