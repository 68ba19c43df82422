"""PILArNet HDF5 files, inspected and packed by a process of its own (`guarded`), once for each content."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmark.data.digests import file_digest, remember
from benchmark.data.packed import FORMAT, Pack, build_pack, open_or_make, open_pack
from benchmark.hardware.guarded import guarded
from benchmark.io import sha256_text
from benchmark.paths import cache_dir
from benchmark.progress import progress

from ._pilarnet_h5 import Schema, inspect, read_chunks, side_file

HEADERS = 1  # raise it when the checks of a header change: all are then inspected again


def schemas(paths: Sequence[Path], version: str | None) -> dict[Path, Schema]:
    """The schema of each file, from its header and first event, or as remembered for its content.

    version: the one that all must have, None for any. Raises DataError for a file that is missing or damaged.
    """
    memos = {path: _memo(path, version) for path in paths}
    known = {path: _remembered(memo) for path, memo in memos.items()}
    new = [path for path, schema in known.items() if schema is None]
    if new:
        found = guarded(f"{__name__}:inspect_files", [list(map(str, new)), version], new)
        for path, fields in zip(new, found, strict=True):
            known[path] = Schema(**fields)
            remember(memos[path], fields)
    return {path: schema for path, schema in known.items() if schema is not None}


def pack_of(path: Path, name: str, schema: Schema, cache: Path | None) -> Pack:
    """The events of a file, checked and packed on first use. name: of the file, in its pack and in the progress bar."""
    side = side_file(path)
    source = {
        "packed": FORMAT,
        "schema": schema.version,
        "events": file_digest(path),
        "side_file": file_digest(side) if side.is_file() else None,
    }
    key = sha256_text(repr(sorted(source.items())))[:16]
    folder = (cache or cache_dir() / "packed").absolute() / f"{path.stem}-{key}"
    arguments = [str(path.absolute()), dataclasses.asdict(schema), str(folder), {**source, "file": name}]

    def make() -> None:
        with progress(f"packing {name}", schema.n_events) as bar:
            guarded(f"{__name__}:pack_file", arguments, [path], bar.update)

    return open_or_make(folder, open_pack, make)


def inspect_files(report: Callable[[int], object], paths: list[str], version: str | None) -> list[dict[str, Any]]:
    """Task: the schemas of some files, as dictionaries."""
    found = []
    for done, path in enumerate(paths):
        report(done)
        found.append(dataclasses.asdict(inspect(Path(path), version)))
    return found


def pack_file(
    report: Callable[[int], object], path: str, schema: dict[str, Any], folder: str, source: dict[str, Any]
) -> None:
    """Task: build the pack of a file in a folder."""
    known = Schema(**schema)
    build_pack(Path(folder), known.columns, read_chunks(Path(path), known, report), source)


def _memo(path: Path, version: str | None) -> Path:
    content = f"{HEADERS} {file_digest(path)} {version} {path.stem[-3:]}"  # the name's end hints at the schema
    return cache_dir() / "headers" / f"{sha256_text(content)[:24]}.json"


def _remembered(memo: Path) -> Schema | None:
    try:
        fields = json.loads(memo.read_text(encoding="utf-8"))
        return Schema(str(fields["version"]), int(fields["extra_width"]), int(fields["n_events"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None
