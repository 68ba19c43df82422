"""What a record's scores were made on: the identity that all rows of a table, and both sides of a difference, share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np

from benchmark.metrics.families import FAMILIES, OVERALL
from benchmark.metrics.few_events import Rule
from benchmark.metrics.summary import plain
from benchmark.records.counts import unpack_counts, unpack_units
from benchmark.records.record import RunRecord
from benchmark.records.scores import family_name, family_of
from benchmark.settings import flat

INPUTS = ("columns", "event_columns")  # settings of the preprocessing that change what a model sees, not the events
COMMON = 20  # events with a class, of which a thousand resamples hold some each
Ends = Mapping[tuple[str, str], np.ndarray]  # (section, score) -> (2,) or (2, rows) ends of intervals


@dataclass(frozen=True, order=True)
class Scored:
    """Task, data, split, and the events with their true classes."""

    task: str
    version: str
    dataset: str
    revision: str
    protocol: str  # empty: the suite's own
    split: str
    events: str  # hash of the events' ids; empty in a record that keeps none

    @property
    def without_events(self) -> tuple[str, str, str, str, str, str]:
        """The same for all cuts of the events."""
        return (self.task, self.version, self.dataset, self.revision, self.protocol, self.split)


def scored(record: RunRecord) -> Scored:
    """What the scores of a record were made on; the truth of its events apart (`by_truth`)."""
    data = (record.dataset["name"], record.dataset["revision"])
    return Scored(
        record.task["name"], str(record.task["version"]), *data, record.protocol, record.split,
        record.per_event.get("event_ids_sha256") or "",
    )  # fmt: skip


def same_scored(runs: Sequence[RunRecord]) -> bool:
    """Whether these runs were scored on the same events with the same truth."""
    found = {scored(run) for run in runs}
    return len(found) == 1 and next(iter(found)).events != "" and len(by_truth(runs)) == 1


def by_truth(runs: Sequence[RunRecord]) -> list[list[RunRecord]]:
    """Runs on the same events, apart where their cuts left other points or labels in these; the largest group first."""
    groups: dict[str, list[RunRecord]] = {}
    for run in runs:
        groups.setdefault(cuts(run), []).append(run)
    if len(groups) == 1:
        return list(groups.values())
    same: dict[str, list[RunRecord]] = {}
    for group in groups.values():
        same.setdefault(truth_hash(group[0]), []).extend(group)
    return sorted(same.values(), key=len, reverse=True)


def cuts(record: RunRecord) -> str:
    """The settings of the preprocessing that can change the events or their points."""
    return json.dumps({k: v for k, v in record.config["preprocess"].items() if k not in INPUTS}, sort_keys=True)


def cuts_text(record: RunRecord, usual: RunRecord) -> str:
    """`preprocess.min_points=6000`: the settings of events in which a record differs from the usual one."""
    settings, others = (
        flat({
            "preprocess": json.loads(cuts(r)),
            "data": r.config.get("data") or {},
        })
        for r in (record, usual)
    )  # fmt: skip
    changed = {name: value for name, value in settings.items() if value != others.get(name)}
    return ", ".join(f"{name}={value}" for name, value in sorted(changed.items())) or "other events"


def units_of(record: RunRecord) -> np.ndarray | None:
    """(n_events,) number of the independent event of each sample.

    None in an older record of clusters, tracks or tiles, which does not say what was recorded together.
    """
    units = unpack_units(record.per_event)
    if units is not None:
        return units
    task = record.config.get("task", {})
    is_part = task.get("sample", "event") != "event" or task.get("data") == "volumes"
    return None if is_part else np.arange(record.per_event["shape"][0])


def n_independent(record: RunRecord) -> int:
    """Number of independent events among the scored samples; of all where the record does not say."""
    units = units_of(record) if record.per_event else None
    return int(record.events["test"]) if units is None else int(units.max()) + 1


def rule_of(record: RunRecord) -> Rule | None:
    """Which scores of a record may have an interval; None: none of them."""
    if not record.per_event or not record.metrics:
        return None
    units = units_of(record)
    return None if units is None else Rule(family_of(record).made_of(unpack_counts(record.per_event)), units)


def with_ends(record: RunRecord, ends: Ends) -> dict[str, Any]:
    """A record's metrics with these intervals: (section, score) -> (2,) or (2, rows); None where one is left out."""
    score_family, metrics = family_of(record), dict(record.metrics)

    def entries(section: str, scores: Mapping[str, Any], *row: int) -> dict[str, Any]:
        found = {name: ends.get((section, name)) for name in scores}
        low, high = ({name: None if e is None else plain(e[side][row]) for name, e in found.items()} for side in (0, 1))
        return {name: {**entry, "low": low[name], "high": high[name]} for name, entry in scores.items()}

    for section in (s for s in score_family.sections if s in metrics):
        if section == OVERALL:
            metrics[section] = entries(section, metrics[section])
        else:
            rows = enumerate(score_family.rows(section, record.task["classes"]))
            metrics[section] = {
                label: entries(section, metrics[section][label], i) for i, label in rows if label in metrics[section]
            }
    return metrics


def has_todays_intervals(record: RunRecord) -> bool:
    """Whether a record's own intervals follow today's rule: made by it, or by resampling events that are independent.

    Older ones let a resample without a class average the others; none of theirs lacks a class that COMMON events have.
    """
    if "n_independent" in record.metrics:
        return True
    rule = rule_of(record)
    return rule is not None and _are_independent(record) and rule.fewest >= COMMON


def _are_independent(record: RunRecord) -> bool:
    units = units_of(record)
    return units is not None and int(units.max()) + 1 == len(units)


def founded(record: RunRecord) -> RunRecord:
    """The record without those of its own intervals that it may not have: older ones have them all."""
    if "n_independent" in record.metrics:
        return record
    rule, score_family = rule_of(record), family_of(record)
    rule = rule if record.per_event and _are_independent(record) else None
    ends: dict[tuple[str, str], np.ndarray] = {}
    for section in (s for s in score_family.sections if rule is not None and s in record.metrics):
        scores = record.metrics[section]
        labels = score_family.rows(section, record.task["classes"])
        rows = [scores] if section == OVERALL else [scores.get(label, {}) for label in labels]
        for name in {name for row in rows for name in row}:
            entries = [row.get(name, {}) for row in rows]
            low, high = (np.array([e.get(end) for e in entries], np.float64) for end in ("low", "high"))
            allowed = rule.allows(section, name) & (low != high)  # type: ignore[union-attr]
            kept = np.where(allowed, [low, high], np.nan)
            ends[section, name] = kept[:, 0] if section == OVERALL else kept
    return replace(record, metrics=with_ends(record, ends))


def truth_hash(record: RunRecord) -> str:
    """Hash of the true counts of each event; empty in a record that keeps no counts. Raises RecordError."""
    packed = record.per_event
    if not packed:
        return ""
    return _hash(family_name(record), packed["encoding"], tuple(packed["shape"]), packed["data"])


@lru_cache(maxsize=1 << 14)
def _hash(family: str, encoding: str, shape: tuple[int, ...], data: str) -> str:
    counts = unpack_counts({"encoding": encoding, "shape": shape, "data": data})
    return hashlib.sha256(FAMILIES[family].truth(counts).astype("<i8").tobytes()).hexdigest()[:16]
