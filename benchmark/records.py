"""Run records: one JSON file per run, schema-versioned, written whole or not at all. No torch needed.

Schema 1. Every field is commented where `RunRecord` declares it; a reader refuses newer schemas and damaged files.
"""

from __future__ import annotations

import base64
import dataclasses
import os
import sys
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic_core import from_json

from benchmark.contracts import Dataset, Task
from benchmark.errors import DataError, RecordError
from benchmark.io import atomic_write_json, safe_name
from benchmark.revisions import with_todays_revision

T = TypeVar("T")
SCHEMA = 1
MIN_PREFIX = 6  # characters of a fingerprint by which a record can be named
STATUSES = ("finished", "stopped", "failed")  # stopped: by --max-minutes


@dataclass(frozen=True)
class RunRecord:
    """All that is known of one run."""

    fingerprint: str  # sha256 of what decides the result
    status: str  # one of STATUSES
    created: str  # UTC, ISO 8601
    command: list[str]  # as typed
    config: dict[str, Any]  # RunConfig, fully resolved
    task: dict[str, Any]  # name, version, classes, primary metric
    dataset: dict[str, Any]  # name, revision, simulated?, files with digests
    events: dict[str, Any]  # labelled, unlabelled, selection, test counts; excluded events by reason
    subset_sha256: str  # of the labelled events' ids
    # overall, per_class: score -> {value, low, high}; support, confusion, n_events
    metrics: dict[str, Any] = field(default_factory=dict)
    per_event: dict[str, Any] = field(default_factory=dict)  # packed additive counts, for paired comparisons
    training: dict[str, Any] = field(default_factory=dict)  # steps, last loss, pre-training fingerprint ...
    resources: dict[str, Any] = field(default_factory=dict)  # parameters, wall_s, events per second, peak memory
    environment: dict[str, Any] = field(default_factory=dict)  # device, threads, precision, versions, commit, dirty
    error: str | None = None  # of a failed run
    schema: int = SCHEMA

    @property
    def model(self) -> str:
        """Registry name of the model."""
        return str(self.config["model"])

    @property
    def labels(self) -> str:
        """The label budget as typed: a number of events, or `all`."""
        labels = self.config["labels"]
        return "all" if labels is None else str(labels)


def now() -> str:
    """The time as records give it: UTC, ISO 8601."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def describe_task(task: Task) -> dict[str, Any]:
    """What a record says of the task."""
    return {
        "name": task.name,
        "version": task.version,
        "classes": list(task.classes),
        "primary_metric": task.primary_metric,
        "metrics": task.metrics,
        "smaller_is_better": task.smaller_is_better,
    }


def describe_dataset(dataset: Dataset) -> dict[str, Any]:
    """What a record says of the events that were used."""
    return {"name": dataset.info.name, "revision": dataset.revision, "files": dict(sorted(dataset.files.items()))}


def records_dir() -> Path:
    """Where records go: $PARTICLEBENCH_RECORDS, else runs/records under the current folder.

    The project's own, reviewed records lie in leaderboards/records and are read only where they are asked for.
    """
    return Path(os.environ.get("PARTICLEBENCH_RECORDS", "runs/records"))


def run_name(record: RunRecord) -> str:
    """`<model>-<labels>-d<draw>-s<seed>-<fingerprint>`, unique for a configuration, data and code."""
    c = record.config
    return safe_name(f"{record.model}-{record.labels}-d{c['draw']}-s{c['seed']}-{record.fingerprint[:12]}")


def record_path(root: Path, record: RunRecord) -> Path:
    """`<root>/<task>/<dataset>/<run_name>.json`, with `.stopped` or `.failed` before `.json` for such a run.

    So neither a failure nor a stop ever replaces the record of a finished run.
    """
    status = "" if record.status == "finished" else f".{record.status}"
    folder = root / safe_name(record.task["name"]) / safe_name(record.dataset["name"])
    return folder / f"{run_name(record)}{status}.json"


def write_record(root: Path, record: RunRecord) -> Path:
    """Write one record atomically; returns its path. Raises RecordError.

    A finished record takes the place of those of earlier, stopped or failed attempts at the same run.
    """
    path = record_path(root, record)
    atomic_write_json(path, dataclasses.asdict(record))
    if record.status == "finished":
        for status in STATUSES:
            if status != "finished":
                path.with_name(f"{path.stem}.{status}.json").unlink(missing_ok=True)
    return path


def read_record(path: Path) -> RunRecord:
    """Read one record, its data by today's name. Raises RecordError for a damaged file, missing or unknown fields, or a
    newer schema."""
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
    """What tables and searches rely on is there. Raises RecordError."""
    wrong = [name for name in _NEEDED if not isinstance(values[name], dict) or _NEEDED[name] - set(values[name])]
    wrong += [
        name
        for name in ("metrics", "per_event", "training", "resources", "environment")
        if not isinstance(values.get(name, {}), dict)
    ]
    wrong += _wrong_kinds(values) if not wrong else []
    wrong += ["status"] if values["status"] not in STATUSES else []
    wrong += ["fingerprint"] if not isinstance(values["fingerprint"], str) else []
    if wrong:
        raise RecordError(
            f"The record {path} has an incomplete or wrong {wrong[0]}. A record of schema {SCHEMA} was expected. "
            f"Delete it and run again."
        )


def _wrong_kinds(values: Mapping[str, Any]) -> list[str]:
    """Values that others count or sort by, of another kind: `section.field` of each."""
    c, task, events = values["config"], values["task"], values["events"]

    def whole(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and value >= 0

    right = {
        "config.model": isinstance(c["model"], str), "config.preset": isinstance(c["preset"], str),
        "config.mode": isinstance(c["mode"], str), "config.labels": c["labels"] is None or whole(c["labels"]),
        "config.draw": whole(c["draw"]), "config.seed": whole(c["seed"]),
        "config.train": isinstance(c["train"], dict), "task.name": isinstance(task["name"], str),
        "task.classes": isinstance(task["classes"], list) and all(isinstance(x, str) for x in task["classes"]),
        "task.primary_metric": isinstance(task["primary_metric"], str),
        "dataset.name": isinstance(values["dataset"]["name"], str),
        "dataset.revision": isinstance(values["dataset"]["revision"], str), "events.test": whole(events["test"]),
        "created": isinstance(values["created"], str), "command": isinstance(values["command"], list),
        "metrics.overall": isinstance(values.get("metrics", {}).get("overall", {}), dict),
    }  # fmt: skip
    return [name for name, holds in right.items() if not holds]


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
    """What `read` makes of every JSON file under `root`, in sorted order, and the message of each RecordError."""
    found, problems = read_each_file(root, read)
    return [value for _, value in found], [text for _, text in problems]


def read_each_file(
    root: Path, read: Callable[[Path], T]
) -> tuple[list[tuple[Path, T]], list[tuple[Path, str]]]:  # fmt: skip
    """As `read_each`, each with its file."""
    found, problems = [], []
    for path in _json_files(root):
        try:
            found.append((path, read(path)))
        except RecordError as error:
            problems.append((path, str(error)))
    return found, problems


def _json_files(root: Path) -> list[Path]:
    """In sorted order; texts sort several times faster than paths, which matters with thousands."""
    names = [os.path.join(folder, name) for folder, _, files in os.walk(root) for name in files]
    return [Path(name) for name in sorted(names) if name.endswith(".json")]


def found_records(root: Path) -> tuple[list[RunRecord], list[str]]:
    """What `read_records` gives, with each problem named on standard error. Raises DataError without such a folder."""
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


def record_called(name: str, root: Path) -> RunRecord:
    """The record in a file, or the one under `root` whose fingerprint starts so. Raises RecordError."""
    if name.endswith(".json"):
        return read_record(Path(name))
    check_folder(root)
    found = [r for r in read_records(root)[0] if len(name) >= MIN_PREFIX and r.fingerprint.startswith(name)]
    if len(found) != 1:
        raise RecordError(
            f"{len(found)} records under {root} have a fingerprint that starts with {name!r}. One was expected. Give "
            f"its file, or at least {MIN_PREFIX} characters of its fingerprint."
        )
    return found[0]


def find_record(root: Path, fingerprint: str) -> RunRecord | None:
    """The finished record with this fingerprint, if there is one."""
    for path in sorted(root.rglob(f"*-{fingerprint[:12]}.json")):
        record = read_record(path)
        if record.fingerprint == fingerprint and record.status == "finished":
            return record
    return None


_ENCODINGS = {"base64 zlib int32 little-endian": "<i4", "base64 zlib float32 little-endian": "<f4"}


def pack_counts(counts: np.ndarray, event_ids: tuple[str, ...]) -> dict[str, Any]:
    """What each event gave, compactly: zlib and base64 of little-endian int32 counts, or of float32 numbers."""
    whole = np.issubdtype(counts.dtype, np.integer)
    encoding, dtype = list(_ENCODINGS.items())[0 if whole else 1]
    raw = np.ascontiguousarray(counts, dtype=dtype).tobytes()
    return {
        "encoding": encoding,
        "shape": list(counts.shape),
        "data": _packed(raw),
        "event_ids_sha256": _ids_sha256(event_ids),
        "event_ids": _packed("\n".join(event_ids).encode()),  # zlib and base64 as well, one per line
    }


def _packed(raw: bytes) -> str:
    return base64.b64encode(zlib.compress(raw, 9)).decode()


def unpack_event_ids(packed: Mapping[str, Any]) -> list[str] | None:
    """The ids of the events that were scored, in the order of their counts; None in records that do not keep them.

    Raises RecordError where they are damaged.
    """
    if "event_ids" not in packed:
        return None
    try:
        ids = zlib.decompress(base64.b64decode(packed["event_ids"])).decode().split("\n")
    except (TypeError, ValueError, zlib.error) as error:
        raise RecordError(
            f"A record's event ids are damaged ({type(error).__name__}: {error}). What `pack_counts` gives was "
            f"expected. Delete the record and run again."
        ) from error
    return ids


def unpack_counts(packed: Mapping[str, Any]) -> np.ndarray:
    """Inverse of `pack_counts`: the (n_events, ...) array. Raises RecordError where the counts are damaged."""
    try:
        raw = zlib.decompress(base64.b64decode(packed["data"]))
        counts: np.ndarray = np.frombuffer(raw, dtype=_ENCODINGS[packed["encoding"]]).reshape(packed["shape"])
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise RecordError(
            f"A record's counts per event are damaged ({type(error).__name__}: {error}). What `pack_counts` gives was "
            f"expected. Delete the record and run again."
        ) from error
    return counts


def _ids_sha256(event_ids: tuple[str, ...]) -> str:
    from benchmark.io import sha256_text

    return sha256_text("\n".join(event_ids))
