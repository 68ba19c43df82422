"""Why two records differ: settings, data, code and machines, and their scores on the same events. No torch needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmark.errors import ConfigError
from benchmark.metrics.bootstrap import interval
from benchmark.metrics.families import OVERALL
from benchmark.metrics.few_events import RULE
from benchmark.metrics.segmentation import wrong_shares
from benchmark.metrics.summary import plain
from benchmark.records.counts import unpack_event_ids
from benchmark.records.record import RunRecord
from benchmark.records.scored import same_scored
from benchmark.reports.averages import averages
from benchmark.reports.paired_differences import Difference, difference
from benchmark.reports.resampling import confusions
from benchmark.reports.tables import scored_text
from benchmark.settings import flat

N_EVENTS = 5  # with the largest difference
ABSENT = "-"


@dataclass(frozen=True)
class ScoreChange:
    """One score of both; low, high: paired 95% interval of second minus first, where it is defined."""

    name: str
    first: float | None
    second: float | None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Comparison:
    """Differences of two records."""

    changes: tuple[tuple[str, str, str], ...]  # field, first, second
    scores: tuple[ScoreChange, ...]
    primary: Difference | None  # second minus first; None where the events differ
    events: tuple[tuple[str, float, float], ...]  # id, share of wrong points in each; largest difference first
    same_events: bool
    scored: tuple[str, str]  # what each was scored on

    @property
    def verdict(self) -> str:
        """One sentence."""
        if not self.same_events:
            return f"The two were scored on different events ({'; '.join(self.scored)}): their scores are not compared."
        if self.primary is None:
            return "A score is undefined: the runs are not compared."
        if self.primary.low is None:
            return f"No verdict: the difference has no interval ({self.scored[0]}). {RULE}."
        if not self.primary.separated:
            return "The paired interval contains zero: these events do not distinguish the two."
        return f"The second is {'higher' if self.primary.value > 0 else 'lower'} by more than these events explain."


def compare(first: RunRecord, second: RunRecord) -> Comparison:
    """Compare two finished records of one task. Raises ConfigError."""
    if first.task["name"] != second.task["name"] or "failed" in (first.status, second.status):
        raise ConfigError(
            f"The records are of {first.task['name']} ({first.status}) and {second.task['name']} ({second.status}). "
            f"Two finished runs of one task were expected. Choose others."
        )
    same_events = same_scored((first, second))
    rows = {id(row.runs[0]): row for row in averages([first, second], each_run=True)} if same_events else {}
    pair = [rows[id(r)] for r in (first, second)] if same_events else []
    scores = [_score_change(name, name, None, first, second) for name in first.metrics.get(OVERALL, {})]
    for row, class_scores in first.metrics.get("per_class", {}).items():
        scores += [_score_change(f"{name} {row}", name, row, first, second) for name in class_scores if name == "f1"]
    if same_events and "f1" in pair[0].by_class:
        scores = [
            _with_interval(s, pair[0].by_class["f1"], pair[1].by_class["f1"], first.task["classes"]) for s in scores
        ]
    primary = difference(pair[1], pair[0]) if same_events else None
    if primary is not None:
        metric = first.task["primary_metric"]
        scores = [
            ScoreChange(s.name, s.first, s.second, primary.low, primary.high) if s.name == metric else s for s in scores
        ]
    return Comparison(
        _differing_fields(first, second),
        tuple(scores),
        primary,
        _most_different_events(first, second) if same_events else (),
        same_events,
        (scored_text(first), scored_text(second)),
    )


def _score_change(label: str, name: str, row: str | None, first: RunRecord, second: RunRecord) -> ScoreChange:
    values = []
    for record in (first, second):
        section = record.metrics.get(OVERALL, {}) if row is None else record.metrics.get("per_class", {}).get(row, {})
        values.append((section.get(name) or {}).get("value"))
    return ScoreChange(label, *values)


def _with_interval(score: ScoreChange, one: np.ndarray, other: np.ndarray, classes: list[str]) -> ScoreChange:
    name, _, row = score.name.partition(" ")
    if name != "f1" or row not in classes:
        return score
    low, high = interval((other - one)[:, classes.index(row)])
    return ScoreChange(score.name, score.first, score.second, plain(low), plain(high))


def _differing_fields(first: RunRecord, second: RunRecord) -> tuple[tuple[str, str, str], ...]:
    """Fields that differ, settings first."""
    before, after = (
        _flat_texts({
            "config": r.config, "task": r.task, "dataset": {k: r.dataset[k] for k in ("name", "revision")},
            "scored split": r.split,
            "events": r.events, "subset": r.subset_sha256[:12], "environment": r.environment,
            "resources": {**{k: r.resources.get(k) for k in ("n_parameters", "flops_per_event")}, "wall_s": r.run_s},
        }) for r in (first, second)
    )  # fmt: skip
    names = [*before, *(name for name in after if name not in before)]
    pairs = ((name, before.get(name, ABSENT), after.get(name, ABSENT)) for name in names)
    return tuple(change for change in pairs if change[1] != change[2])


def _flat_texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {name.removeprefix("config."): str(value) for name, value in flat(values).items()}


def _most_different_events(first: RunRecord, second: RunRecord) -> tuple[tuple[str, float, float], ...]:
    """Events in which the shares of wrong points differ most, where points or events are counted."""
    counts = [confusions(record) for record in (first, second)]
    if counts[0] is None or counts[1] is None:
        return ()
    wrong = [wrong_shares(counts[0]), wrong_shares(counts[1])]
    ids = unpack_event_ids(first.per_event) or unpack_event_ids(second.per_event)
    order = np.argsort(-np.abs(wrong[1] - wrong[0]), kind="stable")[:N_EVENTS]
    return tuple((ids[i] if ids else f"event {i}", float(wrong[0][i]), float(wrong[1][i])) for i in order)
