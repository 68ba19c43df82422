"""Records run again, from the settings in the record and not from the command line.

Changed defaults therefore do not matter; differences in code, data, versions or machine are listed. A run is reproduced
if every event gives the same counts and every score is equal, or if every score lies within a tolerance.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmark.errors import BenchmarkError, ConfigError
from benchmark.metrics.families import OVERALL
from benchmark.records.counts import unpack_counts
from benchmark.records.record import RunRecord
from benchmark.runs.config import SPLITS, Request, RunConfig
from benchmark.runs.execution import Execution
from benchmark.runs.resolve import resolve
from benchmark.runs.run import run
from benchmark.verification.report import Check

SECTIONS = {
    "data": "data",
    "preprocess": "preprocess",
    "model_config": "model",
    "optim": "optim",
    "train": "train",
    "pretrain": "pretrain",
    "pretrain_optim": "pretrain_optim",
    "pretext_config": "pretext",
    "probe": "probe",
}  # name in a record -> name for --set
EQUAL = "equal counts and scores"
ROUNDING = 1e-12  # of scores: the same counts give the same scores


def rerun(record: RunRecord, execution: Execution, tolerance: float = 0.0) -> Check:
    """Run a record again in a temporary folder, and compare."""
    name = f"{record.task['name']}: {record.method} {record.config['mode']}, {record.labels} labels, " + (
        f"draw {record.config['draw']}, seed {record.config['seed']} ({record.fingerprint[:12]})"
    )
    try:
        request = request_of(record)
        with TemporaryDirectory() as folder:
            temporary = replace(
                execution, records=Path(folder) / "records", runs=Path(folder) / "runs", force=True, resume=False,
                threads=execution.threads or record.environment.get("threads"),
                device=record.environment.get("device", "auto") if execution.device == "auto" else execution.device,
            )  # fmt: skip
            repeated = run(request, temporary).record
    except BenchmarkError as error:
        return Check(name, True, f"cannot be run again: {error}", EQUAL, noted=True)
    return _compare(name, record, repeated, tolerance)


def request_of(record: RunRecord) -> Request:
    """A request that resolves to the record's settings. Raises ConfigError if there is none."""
    c = record.config
    if record.status != "finished" or c["mode"] == "evaluate" or c.get("dataset") != record.dataset["name"]:
        raise ConfigError("It is no finished run on its own dataset. One was expected. Choose other records.")
    if c.get("checkpoint"):
        raise ConfigError("It started from the user's own checkpoint. A run without one was expected.")
    pretrained_here = c.get("pretrain") is not None and c.get("weights") is None
    request = Request(
        c["model"], record.task["name"], c["dataset"], c["preset"], record.labels, c["mode"], c["draw"], c["seed"],
        pretrain=pretrained_here, pretext=c.get("pretext"), split=c.get("split", SPLITS[0]),
    )  # fmt: skip
    request = replace(request, assignments=tuple(_assignments(c, resolve(request).as_dict())))
    mismatched = list(_mismatched_settings(c, resolve(request)))
    if mismatched:
        raise ConfigError(f"Its settings {', '.join(mismatched[:3])} can no longer be set. The same code was expected.")
    return request


def _assignments(recorded: Mapping[str, Any], current: Mapping[str, Any]) -> Iterator[str]:
    for section, name in SECTIONS.items():
        old, new = recorded.get(section), current.get(section)
        if not isinstance(old, dict) or not isinstance(new, dict):
            continue
        for key, value in old.items():
            if key in new and new[key] != value:
                yield f"{name}.{key}={_text(value)}"
    loss, current_loss = (recorded.get("task") or {}).get("loss"), current["task"].get("loss")
    if isinstance(loss, dict) and isinstance(current_loss, dict):
        yield from (f"loss.{k}={_text(v)}" for k, v in loss.items() if k in current_loss and current_loss[k] != v)


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _mismatched_settings(recorded: Mapping[str, Any], config: RunConfig) -> Iterator[str]:
    """Settings of the record that now resolve to another value."""
    current = config.as_dict()
    for section in SECTIONS:
        old, new = recorded.get(section), current.get(section)
        if (old is None) != (new is None):
            yield section
        elif isinstance(old, dict):
            yield from (f"{section}.{k}" for k, v in old.items() if (new or {}).get(k) != v)
    old, new = recorded.get("weights") or {}, current.get("weights") or {}
    if old.get("sha256") != new.get("sha256"):
        yield "weights"


def _compare(name: str, record: RunRecord, repeated: RunRecord, tolerance: float) -> Check:
    has_equal_counts = _equal_counts(record, repeated)
    metric = record.task["primary_metric"]
    values = [dict(_values(r)).get(("", metric)) for r in (record, repeated)]
    worst = _largest_difference(record, repeated)
    difference = (
        f"{metric} {_number(values[1])}, recorded {_number(values[0])}; largest difference of a score {worst:.2g}"
    )
    expected = f"every score within {tolerance:g}" if tolerance > 0 else EQUAL
    if has_equal_counts and worst <= ROUNDING:
        return Check(name, True, f"reproduced: {difference}; equal counts in every event", expected)
    passed = tolerance > 0 and worst <= tolerance
    verdict = "reproduced" if passed else "differs"
    if has_equal_counts:
        return Check(name, passed, f"{verdict}: {difference}; equal counts, so the record is inconsistent", expected)
    changed = ", ".join(_changed_conditions(record, repeated)) or "nothing recorded"
    return Check(name, passed, f"{verdict}: {difference}; changed since: {changed}", expected)


def _equal_counts(first: RunRecord, second: RunRecord) -> bool:
    if first.per_event.get("event_ids_sha256") != second.per_event.get("event_ids_sha256") or not first.per_event:
        return False
    first_counts, second_counts = unpack_counts(first.per_event), unpack_counts(second.per_event)
    return bool(np.array_equal(first_counts, second_counts, equal_nan=first_counts.dtype.kind == "f"))


def _largest_difference(first: RunRecord, second: RunRecord) -> float:
    """Largest difference of a score, over all classes and of each; infinite where one of them is undefined.

    Scores that only one of the two records has are left out.
    """
    first_values, second_values = dict(_values(first)), dict(_values(second))
    gaps = [0.0]
    for name in first_values.keys() & second_values.keys():
        a, b = first_values[name], second_values[name]
        if a is None or b is None:
            gaps.append(0.0 if a is b else float("inf"))
        else:
            gaps.append(abs(a - b))
    return max(gaps)


def _values(record: RunRecord) -> Iterator[tuple[tuple[str, str], float | None]]:
    sections = {"": record.metrics.get(OVERALL) or {}, **(record.metrics.get("per_class") or {})}
    for cls, scores in sections.items():
        yield from (((cls, name), entry["value"]) for name, entry in scores.items() if isinstance(entry, dict))


def _changed_conditions(first: RunRecord, second: RunRecord) -> Iterator[str]:
    if first.dataset["revision"] != second.dataset["revision"]:
        yield f"data revision {first.dataset['revision']} -> {second.dataset['revision']}"
    old, new = first.environment, second.environment
    if first.code != second.code:
        yield f"commit {first.code[:15]} -> {second.code[:15]}"
    if new.get("dirty"):
        yield "uncommitted changes of the code"
    for key in ("device", "device_name", "threads", "precision", "platform"):
        if old.get(key) != new.get(key):
            yield f"{key} {old.get(key)} -> {new.get(key)}"
    for package, version in (old.get("versions") or {}).items():
        new_version = (new.get("versions") or {}).get(package)
        if new_version != version:
            yield f"{package} {version} -> {new_version}"


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"
