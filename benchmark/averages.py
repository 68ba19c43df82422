"""Runs that differ in draw and seed alone, as one row: mean, spread, and an interval over events and runs.

The interval is a percentile bootstrap (B. Efron and R. Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13)
of the mean over runs. Each resample draws the test events with replacement, once for all runs, because they are scored
on the same events, and the runs themselves with replacement. With the usual three runs the latter underestimates how
far other draws may lie from these; the spread beside it is the runs' own standard deviation.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmark.metrics.bootstrap import N_RESAMPLES, percentiles
from benchmark.metrics.families import OVERALL, Family, Sections, as_entries, family
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


def family_of(record: RunRecord) -> Family:
    """The family of scores that a record's metrics are of."""
    probed = bool(record.config.get("probe"))
    return family("multilabel" if probed else record.task.get("metrics", "segmentation"))  # older records do not say it


def _metrics(runs: list[RunRecord]) -> dict[str, Any]:
    """Means and intervals, shaped as a record's metrics. Raises RecordError for damaged counts."""
    kind, first = family_of(runs[0]), runs[0]
    classes = first.task["classes"]
    ends = _intervals(runs, kind)
    values: dict[str, dict[str, Any]] = {}
    for section in (s for s in kind.sections if s in first.metrics):
        rows = [None] if section == OVERALL else list(kind.rows(section, classes))
        names = first.metrics[section] if section == OVERALL else first.metrics[section][rows[0]]
        values[section] = {name: _means(runs, section, rows, name) for name in names}
    return as_entries(kind, values, ends, classes)


def _means(runs: list[RunRecord], section: str, rows: list[Any], name: str) -> np.ndarray:
    """() or (rows,) mean over runs of a score; NaN where it is undefined in one of them."""
    every = [
        [(run.metrics[section] if row is None else run.metrics[section][row])[name]["value"] for row in rows]
        for run in runs
    ]
    means: np.ndarray = np.array(every, dtype=np.float64).mean(axis=0)  # None becomes NaN
    return means.reshape(()) if rows == [None] else means


def _intervals(runs: list[RunRecord], kind: Family) -> Sections:
    """(2, ...) lower and upper ends of every mean; none where the runs were not scored on the same events."""
    if len({run.per_event.get("event_ids_sha256") for run in runs}) != 1 or not runs[0].per_event:
        return {}
    states = [unpack_counts(run.per_event) for run in runs]  # (B, ...) each
    n_runs, n_events = len(runs), len(states[0])
    rng = generator("bootstrap over runs", runs[0].task["name"], runs[0].dataset["revision"])
    times = rng.multinomial(n_events, np.full(n_events, 1 / n_events), size=N_RESAMPLES).astype(np.float64)
    shares = rng.multinomial(n_runs, np.full(n_runs, 1 / n_runs), size=N_RESAMPLES) / n_runs  # (R, runs)
    drawn = [kind.scores(of_run, times) for of_run in states]
    return {
        section: {
            name: percentiles(np.einsum("rn,rn...->r...", shares, np.stack([d[section][name] for d in drawn], axis=1)))
            for name in names
        }
        for section, names in drawn[0].items()
    }
