"""Run records: one JSON file per run, schema-versioned, written atomically. No torch needed.

Schema 1. `RunRecord` documents every field; a reader refuses newer schemas, damaged files, and what does not fit
`benchmark.records.schema`.
"""

from __future__ import annotations

import dataclasses
import glob
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, TypeVar

from benchmark.errors import DataError, RecordError
from benchmark.hardware.locks import LOCK, locked
from benchmark.io import atomic_write_json, safe_name
from benchmark.json_files import read_json
from benchmark.records.record import SCHEMA, STATUSES, RunRecord
from benchmark.records.revisions import with_todays_revision
from benchmark.records.schema import Run, fault, joined
from benchmark.records.soundness import inconsistency

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
    with _alone(path):
        _remove(_partial_files(path))
        atomic_write_json(path, dataclasses.asdict(record))
        if record.status == "finished":
            _remove(_attempts(path))
    return path


def remove_attempts(path: Path, before: float) -> None:
    """Delete what stopped, failed and killed attempts left beside a finished record before a time (s since 1970)."""
    files = [file for file in (*_attempts(path), *_partial_files(path)) if file.stat().st_mtime <= before]
    if files:
        with _alone(path):
            _remove(files)


def _alone(path: Path) -> AbstractContextManager[None]:
    """The lock of a record: several processes may write the same one."""
    return locked(path.with_name(f".{path.name}{LOCK}"), f"the record {path.name}")


def _attempts(path: Path) -> list[Path]:
    """Records of a stopped or failed attempt beside a finished one."""
    files = (path.with_name(f"{path.stem}.{status}.json") for status in STATUSES if status != "finished")
    return [file for file in files if file.is_file()]


def _partial_files(path: Path) -> list[Path]:
    """What a process left that was killed while it wrote a record."""
    return sorted(path.parent.glob(f".{glob.escape(path.stem)}.*.partial"))


def _remove(files: Iterable[Path]) -> None:
    for file in files:
        file.unlink(missing_ok=True)


def read_record(path: Path) -> RunRecord:
    """Read one record, with its data's current revision.

    Raises RecordError for a damaged file, missing or unknown fields, a wrong value in one, or a newer schema.
    """
    values = _read_object(path)
    if values["schema"] > SCHEMA:
        raise RecordError(
            f"The record {path} has schema {values['schema']}. At most {SCHEMA} was expected. Update particlebench."
        )
    if set(values) - _KNOWN or _REQUIRED - set(values):
        wrong = sorted((set(values) - _KNOWN) | (_REQUIRED - set(values)))
        raise _misfit(path, f"lacks or adds fields ({joined(wrong)})")
    problem = fault(Run, values)
    if problem is None:
        record = RunRecord(**{**values, "dataset": with_todays_revision(values["dataset"])})
        problem = inconsistency(record)
    if problem is not None:
        raise _misfit(path, f"has an incomplete or wrong {problem}")
    return record


def _read_object(path: Path) -> dict[str, Any]:
    """The JSON object with `schema` in a file. Raises RecordError."""
    try:
        values = read_json(path)
    except FileNotFoundError as error:
        raise RecordError(
            f"There is no record {path}. A JSON record was expected. `run` prints the path of each record."
        ) from error
    except (OSError, ValueError) as error:
        raise RecordError(
            f"The record {path} is damaged ({error}). A JSON record was expected. Delete it and run again."
        ) from error
    if not isinstance(values, dict) or type(values.get("schema")) is not int:
        raise RecordError(f"{path} is not a run record. A JSON object with `schema` was expected. Move it elsewhere.")
    return values


def _misfit(path: Path, problem: str) -> RecordError:
    return RecordError(
        f"The record {path} {problem}. A record of schema {SCHEMA} was expected. Delete it and run again."
    )


_KNOWN = {f.name for f in dataclasses.fields(RunRecord)}

_REQUIRED = {
    f.name
    for f in dataclasses.fields(RunRecord)
    if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
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


def find_record(root: Path, fingerprints: Sequence[str]) -> RunRecord | None:
    """The finished record with one of these fingerprints, the first of them where there are several."""
    for fingerprint in fingerprints:
        for path in sorted(root.rglob(f"*-{fingerprint[:12]}.json")):
            record = read_record(path)
            if record.fingerprint == fingerprint and record.status == "finished":
                return record
    return None
