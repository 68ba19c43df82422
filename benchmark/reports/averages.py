"""Runs that differ only in draw and seed, as one row: mean, spread, and an interval over events and runs.

The interval is a percentile bootstrap (B. Efron and R. Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13)
of the mean over runs. Each resample draws the independent test events with replacement, once for all runs, because they
are scored on the same events, and the runs themselves with replacement. With the usual three runs the latter
underestimates the variation between draws; the spread is the standard deviation of the runs.

Rows on the same events share the resamples, so that differences between them are paired:
`benchmark.reports.paired_differences`.
"""

from __future__ import annotations

import dataclasses
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmark.metrics.bootstrap import interval
from benchmark.metrics.families import OVERALL, Column, as_entries
from benchmark.records.record import EVALUATED, RunRecord
from benchmark.records.scored import Ends, founded, has_todays_intervals, scored, with_ends
from benchmark.records.scores import family_of, primary, score_in_column
from benchmark.reports.resampling import Resamples, resampled

REPETITION = ("draw", "seed")  # settings in which the runs of an average differ
_PATH, _HASH = "checkpoint", "checkpoint_sha256"  # a path is another on each machine


@dataclass(frozen=True)
class Average:
    """Runs that differ only in draw and seed."""

    runs: tuple[RunRecord, ...]  # by draw and seed
    record: RunRecord  # the first run's, with the means and intervals of all in its metrics
    spread: float | None  # standard deviation of the primary metric over the runs; None of a single one
    # (R,) the primary metric's mean in each resample; None where it may have no interval
    replicates: np.ndarray | None = field(default=None, compare=False, repr=False)
    # (R, rows) of the scores in "per_class", where a class has one: name -> resamples
    by_class: dict[str, np.ndarray] = field(default_factory=dict, compare=False, repr=False)

    @property
    def n_runs(self) -> int:
        """How many runs were averaged."""
        return len(self.runs)


def averages(records: Iterable[RunRecord], each_run: bool = False) -> list[Average]:
    """Finished runs averaged over draws and seeds, in sorted order; `each_run`: every run a row of its own.

    Of records with equal settings the newest counts; a leaderboard's notes give the number of the others. Stopped runs
    have a row of their own, and so do records with different scores and one fingerprint.
    """
    ordered = sorted(records, key=lambda r: (r.created, r.fingerprint))
    rows: list[tuple[RunRecord, ...]]
    if each_run:
        rows = [(record,) for record in ordered]
    else:
        groups = _group_repetitions(ordered)
        rows = [tuple(runs[r] for r in sorted(runs)) for _, runs in sorted(groups.items())]
    resamples_of_rows = resampled(rows)
    return [_average(row, resamples) for row, resamples in zip(rows, resamples_of_rows, strict=True)]


def _group_repetitions(ordered: Sequence[RunRecord]) -> dict[str, dict[tuple[int, ...], RunRecord]]:
    repeated = {name for name, n in Counter(record.fingerprint for record in ordered).items() if n > 1}
    digests: dict[str, set[str]] = {}
    for record in ordered:
        if record.fingerprint in repeated:
            digests.setdefault(record.fingerprint, set()).add(score_digest(record))
    groups: dict[str, dict[tuple[int, ...], RunRecord]] = {}
    for record in ordered:
        separate = record.status != "finished" or len(digests.get(record.fingerprint, ())) > 1
        mark = f"{record.fingerprint} {score_digest(record)}" if separate else ""
        repetition = tuple(int(record.config[name]) for name in REPETITION)
        groups.setdefault(_settings_key(record, mark), {})[repetition] = record
    return groups


def score_digest(record: RunRecord) -> str:
    """Status, scores and counts of a record, to compare two of them."""
    return json.dumps([record.status, record.metrics.get(OVERALL), record.per_event.get("data")], sort_keys=True)


def _settings_key(record: RunRecord, mark: str) -> str:
    """Key shared by the runs of an average."""
    # weights that were evaluated differ with draw and seed; a training belongs to those that it started from
    free = (*REPETITION, _PATH, *((_HASH,) if record.config["mode"] == EVALUATED else ()))
    config = {k: v for k, v in record.config.items() if k not in free}
    return json.dumps([record.task, dataclasses.astuple(scored(record)), config, mark], sort_keys=True)


def _average(runs: tuple[RunRecord, ...], resamples: Resamples | None) -> Average:
    first, metric = runs[0], runs[0].task["primary_metric"]
    resamples = resamples or {}
    replicates = resamples.get((OVERALL, metric))
    if replicates is not None and np.isnan(replicates).all():
        replicates = None
    by_class = {name: v for (section, name), v in resamples.items() if section == "per_class"}
    ends = {score: interval(values) for score, values in resamples.items()}
    if len(runs) == 1:
        own = has_todays_intervals(first)
        record = founded(first) if own else dataclasses.replace(first, metrics=with_ends(first, ends))
        return Average(runs, record, None, replicates, by_class)
    values = [(primary(run) or {}).get("value") for run in runs]
    known = [value for value in values if value is not None]
    spread = float(np.std(known, ddof=1)) if len(known) == len(runs) else None
    metrics = _mean_metrics(runs, ends)
    return Average(runs, dataclasses.replace(first, metrics=metrics), spread, replicates, by_class)


def _mean_metrics(runs: Sequence[RunRecord], ends: Ends) -> dict[str, Any]:
    """Means of every score, intervals of those in tables; same layout as a record's metrics."""
    score_family, first = family_of(runs[0]), runs[0]
    classes = first.task["classes"]
    intervals: dict[str, dict[str, np.ndarray]] = {}
    for (section, name), low_and_high in ends.items():
        intervals.setdefault(section, {})[name] = low_and_high
    values: dict[str, dict[str, Any]] = {}
    for section in (s for s in score_family.sections if s in first.metrics):
        rows = [None] if section == OVERALL else list(score_family.rows(section, classes))
        names = first.metrics[section] if section == OVERALL else first.metrics[section].get(rows[0], {})
        values[section] = {name: _mean_score(runs, section, rows, name) for name in names}
    return as_entries(score_family, values, intervals, classes)


def _mean_score(runs: Sequence[RunRecord], section: str, rows: list[Any], name: str) -> np.ndarray:
    """() or (rows,) mean over runs of a score; NaN where it is undefined in one of them."""
    values = [[_value(run, section, row, name) for row in rows] for run in runs]
    means: np.ndarray = np.array(values, dtype=np.float64).mean(axis=0)  # None becomes NaN
    return means.reshape(()) if rows == [None] else means


def _value(run: RunRecord, section: str, row: str | None, name: str) -> float | None:
    """A score of a run; None where it is undefined or absent."""
    return (score_in_column(run, Column(name, section, row, name)) or {}).get("value")
