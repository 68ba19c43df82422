"""Runs that differ in draw and seed alone, as one row: mean, spread, and an interval over events and runs.

The interval is a percentile bootstrap (B. Efron and R. Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13)
of the mean over runs. Each resample draws the test events with replacement, once for all runs, because they are scored
on the same events, and the runs themselves with replacement. With the usual three runs the latter underestimates how
far other draws may lie from these; the spread beside it is the runs' own standard deviation.

Rows on the same events share the resamples, so that differences between them are paired: `benchmark.comparisons`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmark.errors import RecordError
from benchmark.metrics.bootstrap import N_RESAMPLES, percentiles
from benchmark.metrics.families import OVERALL, Family, as_entries, family
from benchmark.records import RunRecord, unpack_counts
from benchmark.seeding import generator

REPETITION = ("draw", "seed")  # what the runs of an average differ in
_ELSEWHERE = ("checkpoint", "checkpoint_sha256")  # of weights that a draw or a seed made
_BLOCK = 256  # runs resampled at once: about 10 MB
Drawn = dict[tuple[str, str], np.ndarray]  # (section, score) -> (R,) or (R, rows) resampled scores


@dataclass(frozen=True)
class Average:
    """Equal runs but for their draw and seed."""

    runs: tuple[RunRecord, ...]  # by draw and seed
    record: RunRecord  # the first run's, with the means and intervals of all in its metrics
    spread: float | None  # standard deviation of the primary metric over the runs; None of a single one
    # (R,) the primary metric's mean in each resample; None where the runs were not scored on the same events
    replicates: np.ndarray | None = field(default=None, compare=False, repr=False)
    # (R, rows) of the scores in "per_class", where a class has one: name -> resamples
    by_class: dict[str, np.ndarray] = field(default_factory=dict, compare=False, repr=False)

    @property
    def n_runs(self) -> int:
        """How many runs were averaged."""
        return len(self.runs)

    @property
    def events(self) -> str | None:
        """Hash of the ids of the events that all runs were scored on; None where they differ."""
        return same_events(self.runs)


def averages(records: Iterable[RunRecord], each_run: bool = False) -> list[Average]:
    """Finished runs averaged over draws and seeds, in sorted order; `each_run`: every run a row of its own.

    Of two records with equal settings the newer one counts (see `superseded`). Runs that were stopped stand alone, and
    so do two records that claim different scores under one fingerprint.
    """
    ordered = sorted(records, key=lambda r: (r.created, r.fingerprint))
    if each_run:
        rows = [(record,) for record in ordered]
    else:
        groups = _grouped(ordered)
        rows = [tuple(runs[r] for r in sorted(runs)) for _, runs in sorted(groups.items())]
    drawn = _resampled(rows)
    return [_average(row, resamples) for row, resamples in zip(rows, drawn, strict=True)]


def superseded(records: Iterable[RunRecord]) -> list[RunRecord]:
    """Records that `averages` leaves out, because a newer one has the same settings, draw and seed."""
    ordered = sorted(records, key=lambda r: (r.created, r.fingerprint))
    kept = {id(r) for runs in _grouped(ordered).values() for r in runs.values()}
    return [r for r in ordered if id(r) not in kept]


def same_events(runs: Sequence[RunRecord]) -> str | None:
    """Hash of the ids of the events that these runs were scored on; None where they differ or are not known."""
    hashes = {run.per_event.get("event_ids_sha256") for run in runs}
    return next(iter(hashes)) if len(hashes) == 1 else None


def _grouped(ordered: Sequence[RunRecord]) -> dict[str, dict[tuple[int, ...], RunRecord]]:
    scores: dict[str, set[str]] = {}
    for record in ordered:
        scores.setdefault(record.fingerprint, set()).add(claim(record))
    groups: dict[str, dict[tuple[int, ...], RunRecord]] = {}
    for record in ordered:
        alone = record.status != "finished" or len(scores[record.fingerprint]) > 1
        mark = f"{record.fingerprint} {claim(record)}" if alone else ""
        repetition = tuple(int(record.config[name]) for name in REPETITION)
        groups.setdefault(_key(record, mark), {})[repetition] = record
    return groups


def claim(record: RunRecord) -> str:
    """What a record says its run has scored, to tell whether two of them agree."""
    return json.dumps([record.status, record.metrics.get(OVERALL), record.per_event.get("data")], sort_keys=True)


def _key(record: RunRecord, alone: str) -> str:
    """What the runs of an average have in common."""
    config = {k: v for k, v in record.config.items() if k not in (*REPETITION, *_ELSEWHERE)}
    return json.dumps([record.task, record.dataset["name"], record.dataset["revision"], config, alone], sort_keys=True)


def _average(runs: tuple[RunRecord, ...], drawn: Drawn | None) -> Average:
    first, metric = runs[0], runs[0].task["primary_metric"]
    replicates = None if drawn is None else drawn.get((OVERALL, metric))
    by_class = {} if drawn is None else {name: v for (section, name), v in drawn.items() if section == "per_class"}
    if len(runs) == 1:
        return Average(runs, first, None, replicates, by_class)
    values = [run.metrics["overall"][metric]["value"] for run in runs]
    spread = float(np.std(values, ddof=1)) if None not in values else None
    metrics = _metrics(runs, drawn or {})
    return Average(runs, dataclasses.replace(first, metrics=metrics), spread, replicates, by_class)


def family_of(record: RunRecord) -> Family:
    """The family of scores that a record's metrics are of."""
    probed = bool(record.config.get("probe"))
    return family("multilabel" if probed else record.task.get("metrics", "segmentation"))  # older records do not say it


def _metrics(runs: Sequence[RunRecord], drawn: Drawn) -> dict[str, Any]:
    """Means of every score, with intervals of those that tables show, shaped as a record's metrics."""
    kind, first = family_of(runs[0]), runs[0]
    classes = first.task["classes"]
    ends: dict[str, dict[str, np.ndarray]] = {}
    for (section, name), values in drawn.items():
        ends.setdefault(section, {})[name] = percentiles(values)
    values: dict[str, dict[str, Any]] = {}
    for section in (s for s in kind.sections if s in first.metrics):
        rows = [None] if section == OVERALL else list(kind.rows(section, classes))
        names = first.metrics[section] if section == OVERALL else first.metrics[section][rows[0]]
        values[section] = {name: _means(runs, section, rows, name) for name in names}
    return as_entries(kind, values, ends, classes)


def _means(runs: Sequence[RunRecord], section: str, rows: list[Any], name: str) -> np.ndarray:
    """() or (rows,) mean over runs of a score; NaN where it is undefined in one of them."""
    every = [
        [(run.metrics[section] if row is None else run.metrics[section][row])[name]["value"] for row in rows]
        for run in runs
    ]
    means: np.ndarray = np.array(every, dtype=np.float64).mean(axis=0)  # None becomes NaN
    return means.reshape(()) if rows == [None] else means


# ---- resampling


def _resampled(rows: Sequence[tuple[RunRecord, ...]]) -> list[Drawn | None]:
    """The mean scores of every row in each resample; None where there are no common events.

    Rows on the same events of one task and revision share how often each event is drawn.
    """
    groups: dict[tuple[Any, ...], list[int]] = {}
    for i, runs in enumerate(rows):
        events, task = same_events(runs), runs[0].task
        if events is not None and runs[0].per_event and runs[0].metrics:
            n_events = runs[0].per_event["shape"][0]
            key = (task["name"], runs[0].dataset["revision"], events, n_events, bool(runs[0].config.get("probe")))
            groups.setdefault(key, []).append(i)
    result: list[Drawn | None] = [None] * len(rows)
    for (task_name, revision, _, n_events, _), members in sorted(groups.items(), key=lambda item: item[1][0]):
        rng = generator("bootstrap over runs", task_name, revision)
        times = rng.multinomial(n_events, np.full(n_events, 1 / n_events), size=N_RESAMPLES).astype(np.float64)
        seed = int(rng.integers(1 << 62))
        for i, drawn in zip(members, _of_rows([rows[i] for i in members], times, seed), strict=True):
            result[i] = drawn
    return result


def _of_rows(rows: Sequence[tuple[RunRecord, ...]], times: np.ndarray, seed: int) -> Iterable[Drawn]:
    """The resampled means of rows on the same events, in order."""
    block: list[tuple[RunRecord, ...]] = []
    for row in rows:
        block.append(row)
        if sum(map(len, block)) >= _BLOCK:
            yield from _of_block(block, times, seed)
            block = []
    yield from _of_block(block, times, seed)


def _of_block(rows: Sequence[tuple[RunRecord, ...]], times: np.ndarray, seed: int) -> Iterable[Drawn]:
    runs = [run for row in rows for run in row]
    if not runs:
        return
    every, begin = _scores(runs, times), 0
    for row in rows:
        shares = _shares(len(row), len(times), seed)
        mine = every[begin : begin + len(row)]
        begin += len(row)
        yield {
            which: np.einsum("rn,nr...->r...", shares, np.stack([drawn[which] for drawn in mine])) for which in mine[0]
        }


def _shares(n_runs: int, n_resamples: int, seed: int) -> np.ndarray:
    """(R, runs) weight of each run in each resample, the same for all rows of as many runs: draws are paired too."""
    rng = np.random.default_rng([seed, n_runs])
    shares: np.ndarray = rng.multinomial(n_runs, np.full(n_runs, 1 / n_runs), size=n_resamples) / n_runs
    return shares


def _scores(runs: Sequence[RunRecord], times: np.ndarray) -> list[Drawn]:
    """What tables show of each run in every resample: the primary metric and the columns of its family."""
    kind, task = family_of(runs[0]), runs[0].task
    states = [_checked(run) for run in runs]
    if kind.linear is not None and task["primary_metric"] == "macro_f1":
        features = np.stack([kind.linear.features(s) for s in states], axis=1)  # (B, runs, F)
        sums = (times @ features.reshape(len(features), -1)).reshape(len(times), len(runs), -1)
        drawn = kind.linear.scores(sums)
        return [{which: values[:, i] for which, values in drawn.items()} for i in range(len(runs))]
    wanted = {(OVERALL, task["primary_metric"])} | {(c.section, c.name) for c in kind.columns(task["classes"])}
    found = []
    for of_run in states:
        sections = kind.scores(of_run, times)
        found.append({(s, n): v for s, of in sections.items() for n, v in of.items() if (s, n) in wanted})
    return found


def _checked(run: RunRecord) -> np.ndarray:
    """The counts of every event. Raises RecordError where they do not fit the record's classes."""
    states = unpack_counts(run.per_event)
    n_classes, kind = len(run.task["classes"]), family_of(run)
    shapes = {"segmentation": (n_classes, n_classes), "multilabel": (n_classes + 1, 4)}
    expected = next((shape for name, shape in shapes.items() if kind is family(name)), states.shape[1:])
    if states.shape[1:] != expected:
        raise RecordError(
            f"The record {run.fingerprint[:12]} of {run.model} has counts of shape {states.shape[1:]} per event. "
            f"{expected}, for its {n_classes} classes, was expected. Delete it and run again."
        )
    return states
