"""Records run again: from the settings that a record holds, not from the command that was typed.

So changed defaults do not matter, and what differs is told: the code, the data, the versions or the machine. A run is
reproduced where every event gives the same counts and every score is equal, or where every score lies within a
tolerance.
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
from benchmark.runs.config import Request, RunConfig
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
    "probe": "probe",
}  # a record's name -> that of --set
EQUAL = "equal counts and scores"
ROUNDING = 1e-12  # of scores: the same counts give the same scores


def rerun(record: RunRecord, execution: Execution, tolerance: float = 0.0) -> Check:
    """Run a record again in a temporary folder, and compare."""
    name = f"{record.task['name']}: {record.model} {record.config['mode']}, {record.labels} labels, " + (
        f"draw {record.config['draw']}, seed {record.config['seed']} ({record.fingerprint[:12]})"
    )
    try:
        request = request_of(record)
        with TemporaryDirectory() as folder:
            own = replace(
                execution, records=Path(folder) / "records", runs=Path(folder) / "runs", force=True, resume=False,
                threads=execution.threads or record.environment.get("threads"),
                device=record.environment.get("device", "auto") if execution.device == "auto" else execution.device,
            )  # fmt: skip
            again = run(request, own).record
    except BenchmarkError as error:
        return Check(name, True, f"cannot be run again: {error}", EQUAL, noted=True)
    return _compare(name, record, again, tolerance)


def request_of(record: RunRecord) -> Request:
    """A request that resolves to the record's settings. Raises ConfigError where none does."""
    c = record.config
    if record.status != "finished" or c["mode"] == "evaluate" or c.get("dataset") != record.dataset["name"]:
        raise ConfigError("It is no finished run of its own dataset. One was expected. Choose other records.")
    if c.get("checkpoint"):
        raise ConfigError("It started from the user's own checkpoint. A run without one was expected.")
    pretrained_here = c.get("pretrain") is not None and c.get("weights") is None
    request = Request(
        c["model"], c["task"]["name"], c["dataset"], c["preset"], record.labels, c["mode"], c["draw"], c["seed"],
        pretrain=pretrained_here,
    )  # fmt: skip
    request = replace(request, assignments=tuple(_assignments(c, resolve(request).as_dict())))
    left = list(_different(c, resolve(request)))
    if left:
        raise ConfigError(f"Its settings {', '.join(left[:3])} cannot be given any more. The same code was expected.")
    return request


def _assignments(told: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for section, name in SECTIONS.items():
        before, after = told.get(section), now.get(section)
        if not isinstance(before, dict) or not isinstance(after, dict):
            continue
        for key, value in before.items():
            if key in after and after[key] != value:
                yield f"{name}.{key}={_text(value)}"
    loss, now_loss = told["task"].get("loss"), now["task"].get("loss")
    if isinstance(loss, dict) and isinstance(now_loss, dict):
        yield from (f"loss.{k}={_text(v)}" for k, v in loss.items() if k in now_loss and now_loss[k] != v)


def _text(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _different(told: Mapping[str, Any], config: RunConfig) -> Iterator[str]:
    """Settings that the record has and that resolve to something else now."""
    now = config.as_dict()
    for section in SECTIONS:
        before, after = told.get(section), now.get(section)
        if (before is None) != (after is None):
            yield section
        elif isinstance(before, dict):
            yield from (f"{section}.{k}" for k, v in before.items() if (after or {}).get(k) != v)
    before, after = told.get("weights") or {}, now.get("weights") or {}
    if before.get("sha256") != after.get("sha256"):
        yield "weights"


def _compare(name: str, record: RunRecord, again: RunRecord, tolerance: float) -> Check:
    equal = _equal_counts(record, again)
    metric = record.task["primary_metric"]
    values = [dict(_values(r)).get(("", metric)) for r in (record, again)]
    worst = _worst(record, again)
    found = f"{metric} {_number(values[1])}, recorded {_number(values[0])}; largest difference of a score {worst:.2g}"
    expected = f"every score within {tolerance:g}" if tolerance > 0 else EQUAL
    if equal and worst <= ROUNDING:
        return Check(name, True, f"reproduced: {found}; equal counts in every event", expected)
    passed = tolerance > 0 and worst <= tolerance
    said = "reproduced" if passed else "differs"
    if equal:
        return Check(name, passed, f"{said}: {found}; equal counts, so that the record contradicts itself", expected)
    changed = ", ".join(_changed(record, again)) or "nothing that is recorded"
    return Check(name, passed, f"{said}: {found}; changed since: {changed}", expected)


def _equal_counts(one: RunRecord, other: RunRecord) -> bool:
    if one.per_event.get("event_ids_sha256") != other.per_event.get("event_ids_sha256") or not one.per_event:
        return False
    here, there = unpack_counts(one.per_event), unpack_counts(other.per_event)
    return bool(np.array_equal(here, there, equal_nan=here.dtype.kind == "f"))


def _worst(one: RunRecord, other: RunRecord) -> float:
    """Largest difference of a score, over all classes and of each; infinite where one of them is undefined.

    A score that the suite did not know then, or does not know now, is left out.
    """
    here, there = dict(_values(one)), dict(_values(other))
    gaps = [0.0]
    for name in here.keys() & there.keys():
        a, b = here[name], there[name]
        if a is None or b is None:
            gaps.append(0.0 if a is b else float("inf"))
        else:
            gaps.append(abs(a - b))
    return max(gaps)


def _values(record: RunRecord) -> Iterator[tuple[tuple[str, str], float | None]]:
    sections = {"": record.metrics.get(OVERALL) or {}, **(record.metrics.get("per_class") or {})}
    for cls, scores in sections.items():
        yield from (((cls, name), entry["value"]) for name, entry in scores.items() if isinstance(entry, dict))


def _changed(one: RunRecord, other: RunRecord) -> Iterator[str]:
    if one.dataset["revision"] != other.dataset["revision"]:
        yield f"data revision {one.dataset['revision']} -> {other.dataset['revision']}"
    a, b = one.environment, other.environment
    if a.get("commit") != b.get("commit"):
        yield f"commit {str(a.get('commit'))[:9]} -> {str(b.get('commit'))[:9]}"
    if b.get("dirty"):
        yield "uncommitted changes of the code"
    for key in ("device", "device_name", "threads", "precision", "platform"):
        if a.get(key) != b.get(key):
            yield f"{key} {a.get(key)} -> {b.get(key)}"
    for package, version in (a.get("versions") or {}).items():
        now = (b.get("versions") or {}).get(package)
        if now != version:
            yield f"{package} {version} -> {now}"


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"
