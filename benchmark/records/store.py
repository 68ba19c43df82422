"""Run records: one JSON file per run, schema-versioned, written atomically. No torch needed.

Schema 1. `RunRecord` documents every field; a reader refuses newer schemas and damaged files.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from pydantic_core import from_json

from benchmark.errors import DataError, RecordError
from benchmark.io import atomic_write_json, safe_name
from benchmark.records.record import SCHEMA, STATUSES, RunRecord
from benchmark.records.revisions import with_todays_revision

T = TypeVar("T")

MIN_PREFIX = 6  # characters of a fingerprint by which a record can be named


def records_dir() -> Path:
    """Where records go: $PARTICLEBENCH_RECORDS, else runs/records under the current folder.

    The project's reviewed records lie in leaderboards/records and are read only on request.
    """
    return Path(os.environ.get("PARTICLEBENCH_RECORDS", "runs/records"))


def record_path(root: Path, record: RunRecord) -> Path:
    """`<root>/<task>/<dataset>/<run_name>.json`, with `.stopped` or `.failed` before `.json` for such a run.

    So a failed or stopped run never replaces the record of a finished run.
    """
    status = "" if record.status == "finished" else f".{record.status}"
    folder = root / safe_name(record.task["name"]) / safe_name(record.dataset["name"])
    return folder / f"{record.run_name}{status}.json"


def write_record(root: Path, record: RunRecord) -> Path:
    """Write one record atomically; returns its path. Raises RecordError.

    A finished record replaces those of earlier stopped or failed attempts at the same run.
    """
    path = record_path(root, record)
    atomic_write_json(path, dataclasses.asdict(record))
    if record.status == "finished":
        for status in STATUSES:
            if status != "finished":
                path.with_name(f"{path.stem}.{status}.json").unlink(missing_ok=True)
    return path


def read_record(path: Path) -> RunRecord:
    """Read one record, with its data's current revision.

    Raises RecordError for a damaged file, missing or unknown fields, or a newer schema.
    """
    try:
        values = from_json(path.read_bytes(), allow_inf_nan=False)
    except FileNotFoundError as error:
        raise RecordError(
            f"There is no record {path}. A JSON record was expected. `run` prints the path of each record."
        ) from error
    except (OSError, ValueError) as error:
        raise RecordError(
            f"The record {path} is damaged ({error}). A JSON record was expected. Delete it and run again."
        ) from error
    if not isinstance(values, dict) or not isinstance(values.get("schema"), int):
        raise RecordError(f"{path} is not a run record. A JSON object with `schema` was expected. Move it elsewhere.")
    if values["schema"] > SCHEMA:
        raise RecordError(
            f"The record {path} has schema {values['schema']}. At most {SCHEMA} was expected. Update particlebench."
        )
    if set(values) - _KNOWN or _REQUIRED - set(values):
        wrong = sorted((set(values) - _KNOWN) | (_REQUIRED - set(values)))
        raise RecordError(
            f"The record {path} lacks or adds fields ({', '.join(wrong)}). Schema {SCHEMA} was expected. Delete it and "
            f"run again."
        )
    _check_values(path, values)
    return RunRecord(**{**values, "dataset": with_todays_revision(values["dataset"])})


def _check_values(path: Path, values: Mapping[str, Any]) -> None:
    """Check the fields that tables and searches use. Raises RecordError."""
    wrong = [name for name in _NEEDED if not isinstance(values[name], dict) or _NEEDED[name] - set(values[name])]
    wrong += [
        name
        for name in ("metrics", "per_event", "training", "resources", "environment")
        if not isinstance(values.get(name, {}), dict)
    ]
    wrong += _wrong_types(values) if not wrong else []
    wrong += ["status"] if values["status"] not in STATUSES else []
    wrong += ["fingerprint"] if not isinstance(values["fingerprint"], str) else []
    if wrong:
        raise RecordError(
            f"The record {path} has an incomplete or wrong {wrong[0]}. A record of schema {SCHEMA} was expected. "
            f"Delete it and run again."
        )


def _wrong_types(values: Mapping[str, Any]) -> list[str]:
    """`section.field` of each value with a wrong type."""
    c, task, events = values["config"], values["task"], values["events"]

    def is_count(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and value >= 0

    checks = {
        # names alone: a record never names a file of code to run
        "config.model": isinstance(c["model"], str) and not c["model"].endswith(".py"),
        "config.dataset": not str(c.get("dataset", "")).endswith(".py"), "config.preset": isinstance(c["preset"], str),
        "config.mode": isinstance(c["mode"], str), "config.labels": c["labels"] is None or is_count(c["labels"]),
        "config.draw": is_count(c["draw"]), "config.seed": is_count(c["seed"]),
        "config.train": isinstance(c["train"], dict), "task.name": isinstance(task["name"], str),
        "task.classes": isinstance(task["classes"], list) and all(isinstance(x, str) for x in task["classes"]),
        "task.primary_metric": isinstance(task["primary_metric"], str),
        "dataset.name": isinstance(values["dataset"]["name"], str),
        "dataset.revision": isinstance(values["dataset"]["revision"], str), "events.test": is_count(events["test"]),
        "created": isinstance(values["created"], str), "command": isinstance(values["command"], list),
        "metrics.overall": isinstance(values.get("metrics", {}).get("overall", {}), dict),
    }  # fmt: skip
    return [name for name, is_right in checks.items() if not is_right]


_KNOWN = {f.name for f in dataclasses.fields(RunRecord)}

_REQUIRED = {
    f.name
    for f in dataclasses.fields(RunRecord)
    if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
}

_NEEDED = {
    "config": {"model", "preset", "mode", "labels", "draw", "seed", "preprocess", "model_config", "train"},
    "task": {"name", "version", "classes", "primary_metric"},
    "dataset": {"name", "revision"},
    "events": {"labelled", "test"},
}


def read_records(root: Path) -> tuple[list[RunRecord], list[str]]:
    """All records under `root` in sorted order, and one message for each file that could not be read."""
    return read_each(root, read_record)


def read_each(root: Path, read: Callable[[Path], T]) -> tuple[list[T], list[str]]:
    """`read(path)` of every JSON file under `root`, in sorted order, and the message of each RecordError."""
    values, problems = read_each_file(root, read)
    return [value for _, value in values], [message for _, message in problems]


def read_each_file(
    root: Path, read: Callable[[Path], T]
) -> tuple[list[tuple[Path, T]], list[tuple[Path, str]]]:  # fmt: skip
    """As `read_each`, each with its file."""
    values, problems = [], []
    for path in _json_files(root):
        try:
            values.append((path, read(path)))
        except RecordError as error:
            problems.append((path, str(error)))
    return values, problems


def _json_files(root: Path) -> list[Path]:
    """In sorted order. Strings sort several times faster than paths."""
    names = [os.path.join(folder, name) for folder, _, files in os.walk(root) for name in files]
    return [Path(name) for name in sorted(names) if name.endswith(".json")]


def found_records(root: Path) -> tuple[list[RunRecord], list[str]]:
    """`read_records`, each problem printed to standard error. Raises DataError without such a folder."""
    check_folder(root)
    records, problems = read_records(root)
    for problem in problems:
        print(f"warning: {problem}", file=sys.stderr)
    return records, problems


def check_folder(root: Path) -> None:
    """Raises DataError where there is no folder of records."""
    if not root.is_dir():
        raise DataError(
            f"There is no folder of records at {root}. Records of earlier runs were expected. "
            f"Type `python -m benchmark run --model majority` first."
        )


def resolve_record(name: str, root: Path) -> RunRecord:
    """The record in a file, or the one under `root` whose fingerprint starts with `name`. Raises RecordError."""
    if name.endswith(".json"):
        return read_record(Path(name))
    check_folder(root)
    matches = [r for r in read_records(root)[0] if len(name) >= MIN_PREFIX and r.fingerprint.startswith(name)]
    if len(matches) != 1:
        raise RecordError(
            f"{len(matches)} records under {root} have a fingerprint that starts with {name!r}. One was expected. Give "
            f"its file, or at least {MIN_PREFIX} characters of its fingerprint."
        )
    return matches[0]


def find_record(root: Path, fingerprint: str) -> RunRecord | None:
    """The finished record with this fingerprint, if there is one."""
    for path in sorted(root.rglob(f"*-{fingerprint[:12]}.json")):
        record = read_record(path)
        if record.fingerprint == fingerprint and record.status == "finished":
            return record
    return None
