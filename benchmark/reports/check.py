"""Checks of a folder of records before it is merged or published: every file is read, every score recomputed.

A record keeps the counts of each test event, so that its scores can be recomputed without data or weights.
`leaderboard --check` runs this over a folder of records (CONTRIBUTING.md).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from benchmark.errors import RecordError
from benchmark.metrics.families import OVERALL
from benchmark.metrics.few_events import MIN_EVENTS
from benchmark.records.counts import unpack_counts
from benchmark.records.record import UNKNOWN, RunRecord
from benchmark.records.scored import cuts, cuts_text, n_independent, scored, truth_hash, units_of
from benchmark.records.scores import family_of
from benchmark.records.store import read_each_file, read_record, record_path
from benchmark.reports.averages import score_digest

TOLERANCE = 1e-5  # relative; states of some families are kept in single precision
_HEX = set("0123456789abcdef")


@dataclass(frozen=True)
class Finding:
    """One problem in a record file. An error must be fixed; a note is for the reviewer."""

    path: Path
    text: str
    error: bool = True


def check_records(root: Path) -> tuple[list[tuple[Path, RunRecord]], list[Finding]]:
    """Every readable record with its file, and the findings, by file."""
    files, problems = read_each_file(root, read_record)
    findings = [Finding(path, problem) for path, problem in problems]
    for path, record in files:
        findings += [Finding(path, text) for text in _errors(root, path, record)]
        findings += [Finding(path, text, error=False) for text in _notes(record)]
    findings += [Finding(path, text) for path, text in conflicts(files)]
    findings += list(_event_set_outliers(files))
    return files, sorted(findings, key=lambda f: (str(f.path), f.text))


def readable(root: Path) -> tuple[list[RunRecord], list[str]]:
    """Every readable record, and a message for each file that is unreadable or contradicts another."""
    files, problems = read_each_file(root, read_record)
    messages = [text for _, text in problems] + [f"{path} {text}" for path, text in conflicts(files)]
    return [record for _, record in files], messages


def conflicts(files: Sequence[tuple[Path, RunRecord]]) -> list[tuple[Path, str]]:
    """Files whose scores differ from an earlier one with the same fingerprint."""
    first: dict[tuple[str, str], tuple[Path, RunRecord]] = {}
    messages = []
    for path, record in files:
        key = (record.fingerprint, record.status)
        other_path, other = first.setdefault(key, (path, record))
        if record is not other and score_digest(record) != score_digest(other):
            messages.append(
                (
                    path,
                    f"has the fingerprint of {other_path} and other scores; both are shown, and one of them is wrong",
                )
            )
    return messages


def _errors(root: Path, path: Path, record: RunRecord) -> Iterable[str]:
    expected = record_path(Path(), record)
    if path.parts[-len(expected.parts) :] != expected.parts:
        yield f"lies in the wrong place: {root / expected} was expected"
    if len(record.fingerprint) != 64 or set(record.fingerprint) - _HEX:
        yield "has a fingerprint that is no SHA-256"
    if record.status != "finished":
        yield f"is of a run that {record.status}; finished ones were expected"
        return
    yield from _split_errors(record)
    yield from _score_errors(record)


def _score_errors(record: RunRecord) -> Iterable[str]:
    """Messages of scores that do not follow from the record's counts."""
    if not record.per_event:
        yield "keeps no counts of its events, so that its scores cannot be followed up"
        return
    try:
        states = unpack_counts(record.per_event)
        score_family = family_of(record)
        scores = score_family.scores(states, np.ones((1, len(states))))
    except (RecordError, ValueError, IndexError) as error:
        yield f"keeps counts that cannot be read ({error})"
        return
    if len(states) != record.events["test"]:
        yield f"says that {record.events['test']} events were scored and keeps the counts of {len(states)}"
        return
    told = record.metrics.get("n_independent", n_independent(record))
    if told != n_independent(record):
        yield f"says that {told} of its events are independent, and {n_independent(record)} are"
    for section in (s for s in score_family.sections if s in record.metrics):
        rows = [None] if section == OVERALL else list(score_family.rows(section, record.task["classes"]))
        for i, row in enumerate(rows):
            recorded = record.metrics[section] if row is None else record.metrics[section].get(row, {})
            for name, values in scores[section].items():
                entry = recorded.get(name)
                if entry is None:
                    continue
                computed = float(values[0] if row is None else values[0][i])
                if not _is_equal(entry["value"], computed):
                    score = name if row is None else f"{name} of {row}"
                    yield f"says {score} = {entry['value']}, and its counts give {computed:.6g}"


def _is_equal(recorded: float | None, computed: float) -> bool:
    if recorded is None or not np.isfinite(computed):
        return recorded is None and not np.isfinite(computed)
    return abs(recorded - computed) <= TOLERANCE * max(1.0, abs(computed))


def _split_errors(record: RunRecord) -> Iterable[str]:
    """Messages where what a record says of its scored split contradicts itself."""
    excluded = set(record.events.get("excluded", {}))
    if excluded and record.split not in excluded:
        others = " and ".join(sorted(excluded))
        yield f"says that the {record.split} split was scored, and names events left out of {others} alone"
    typed = [split for option, split in pairwise(record.command) if option == "--split"]
    typed += [word.removeprefix("--split=") for word in record.command if word.startswith("--split=")]
    if typed and typed[-1] != record.split:
        yield f"says that the {record.split} split was scored, and its command says {typed[-1]}"


def _notes(record: RunRecord) -> Iterable[str]:
    if record.environment.get("dirty"):
        yield "was made from a working tree with uncommitted changes; its rows are marked with *"
    if record.code == UNKNOWN:
        yield "does not say which commit or wheel made it"
    if record.split != "test" and not record.protocol:
        yield f"was scored on the {record.split} split; tables of the test split leave it out"
    if record.status == "finished" and record.per_event:
        yield from _interval_notes(record)


def _interval_notes(record: RunRecord) -> Iterable[str]:
    try:
        units, n = units_of(record), n_independent(record)
    except RecordError:  # told as an error
        return
    if units is None:
        yield "does not say which of its samples are of one event or scan; its scores have no interval in tables"
    elif n < MIN_EVENTS:
        yield f"has {n} independent events, fewer than {MIN_EVENTS}: its scores have no interval in tables"


def _event_set_outliers(files: Sequence[tuple[Path, RunRecord]]) -> Iterable[Finding]:
    """Records scored or trained on other events than most records of their task and revision.

    An error where task, data, split and cuts are equal; a note where the cuts differ, as tables then differ too.
    """
    for stage, events_of in (("scored", _scored_events), ("trained", _labelled_events)):
        groups: dict[str, dict[str, list[Path]]] = {}
        for path, record in files:
            key_and_hash = events_of(record)
            if key_and_hash is not None:
                groups.setdefault(key_and_hash[0], {}).setdefault(key_and_hash[1], []).append(path)
        for hashes in groups.values():
            usual = max(hashes, key=lambda h: (len(hashes[h]), h))
            for path in (p for h, paths in hashes.items() if h != usual for p in paths):
                most = f"the {len(hashes[usual])} others of its task, data and settings"
                yield Finding(path, f"was {stage} on other events than {most}")
    yield from _other_cuts(files)


def _other_cuts(files: Sequence[tuple[Path, RunRecord]]) -> Iterable[Finding]:
    """Notes of records that were scored on other events than most of their task, data and split."""
    groups: dict[tuple[str, ...], dict[str, list[tuple[Path, RunRecord]]]] = {}
    for path, record in files:
        if record.status == "finished" and _scored_events(record) is not None:
            sets = groups.setdefault(scored(record).without_events, {})
            sets.setdefault(_events_hash(record), []).append((path, record))
    for sets in groups.values():
        usual = max(sets, key=lambda events: (len(sets[events]), sets[events][0][1].events["test"], events))
        for path, record in (pair for events, pairs in sets.items() if events != usual for pair in pairs):
            if cuts(record) != cuts(sets[usual][0][1]):  # else an error
                n, settings = record.events["test"], cuts_text(record, sets[usual][0][1])
                text = f"was scored on {n:,} events of its own ({settings}): it has a table of its own"
                yield Finding(path, text, error=False)


def _scored_events(record: RunRecord) -> tuple[str, str] | None:
    """Key of the events that should be equal, and the hash of their ids and their truth."""
    if record.status != "finished" or not record.per_event:
        return None
    try:
        events = _events_hash(record)
    except RecordError:  # told as an error
        return None
    key = [*_task_and_data(record), record.split, record.protocol, record.is_probe, cuts(record)]
    return (json.dumps(key), events) if events else None


def _events_hash(record: RunRecord) -> str:
    """Hash of the scored events' ids and of their true counts; empty without ids. Raises RecordError."""
    ids = scored(record).events
    return f"{ids} {truth_hash(record)}" if ids else ""


def _labelled_events(record: RunRecord) -> tuple[str, str] | None:
    if record.status != "finished" or not record.subset_sha256 or not record.events["labelled"]:
        return None
    c = record.config
    return json.dumps(
        [*_task_and_data(record), c["labels"], c["draw"], c["preprocess"]], sort_keys=True
    ), record.subset_sha256


def _task_and_data(record: RunRecord) -> list[str]:
    return [record.task["name"], str(record.task["version"]), record.dataset["name"], record.dataset["revision"]]
