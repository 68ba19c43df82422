"""Folders of simulated data: complete, or resumable.

Work happens in `<out>/.work`: the plan, then one file per finished piece; the manifest `simulation.json` is written
last. An output folder with a manifest is complete; one without is resumed by the same command.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmark.errors import ConfigError, DataError
from benchmark.json_files import read_json
from benchmark.paths import stays_inside

from ._identity import Content

MANIFEST = "simulation.json"
WORK = ".work"
PLAN = "plan.json"  # in WORK: the description of the started plan
_REMEDY = "Give a folder that `data prepare` made, or delete this one and prepare it again."


def read_manifest(out: Path) -> dict[str, Any]:
    """The manifest of a finished simulation. Raises DataError when there is none or it is damaged."""
    manifest = _read_object(out / MANIFEST)
    files = manifest.get("files", {})
    if not isinstance(files, dict) or not all(stays_inside(n) and isinstance(d, str) for n, d in files.items()):
        raise DataError(
            f"{out / MANIFEST} lists no files with their checksums. Names inside its folder were expected. {_REMEDY}"
        )
    return manifest


def _read_object(path: Path) -> dict[str, Any]:
    """The JSON object in a file that a simulation wrote. Raises DataError."""
    try:
        content = read_json(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read. What a simulation wrote was expected. {_REMEDY}") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} is no JSON object. What a simulation wrote was expected. {_REMEDY}")
    return content


def finished(description: Mapping[str, Any], content: Content, out: Path) -> dict[str, Any] | None:
    """The manifest of a finished simulation of the same plan in a folder, else None. Pieces that are left are deleted.

    Raises DataError for a damaged manifest.
    """
    if not (out / MANIFEST).is_file():
        return None
    manifest = read_manifest(out)
    if content.renamed({name: manifest.get(name) for name in description}) != description:
        return None
    remove_work(out)
    return manifest


def check_folder(description: Mapping[str, Any], content: Content, out: Path) -> None:
    """Only a new or empty folder, or an interrupted simulation of the same plan, may be written to."""
    if out.exists() and not out.is_dir():
        raise ConfigError(f"{out} is a file. A new folder was expected. Choose another --out.")
    if (out / MANIFEST).exists():
        raise ConfigError(
            f"{out} already holds a finished simulation with other settings. A new folder was expected. Choose another "
            f"--out, or delete it."
        )
    plan_file = out / WORK / PLAN
    if plan_file.is_file():
        differing = _differences(content.renamed(_read_object(plan_file)), description)
        if differing:
            raise ConfigError(
                f"{out} holds an interrupted simulation with other settings ({'; '.join(differing)}). The same were "
                f"expected to continue it. Repeat its command, choose another --out, or delete the folder."
            )
    elif out.is_dir() and any(p.name != WORK for p in out.iterdir()):
        raise ConfigError(
            f"{out} is not empty. A new folder was expected, so that nothing is overwritten. Choose another --out."
        )


def _differences(stored: Mapping[str, Any], requested: Mapping[str, Any]) -> list[str]:
    def show(value: Any) -> str:
        text = json.dumps(value)
        return text if len(text) < 60 else "..."

    keys = sorted(k for k in {*stored, *requested} if stored.get(k) != requested.get(k))
    return [f"{k}: {show(stored.get(k))} there, {show(requested.get(k))} requested" for k in keys]


def remove_partial_files(out: Path) -> None:
    """Remove the temporary files of a killed process. The folder must be locked."""
    for partial_file in sorted(out.rglob(".*.partial")):
        partial_file.unlink(missing_ok=True)


def remove_work(out: Path) -> None:
    """Remove the pieces of a finished simulation, also those that a killed process left. Only its files matter."""
    shutil.rmtree(out / WORK, ignore_errors=True)


def check_disk(n_events: int, n_bytes: float, out: Path) -> None:
    """Raises ConfigError where `n_bytes` do not fit."""
    existing = next(p for p in (out.absolute(), *out.absolute().parents) if p.exists())
    free = shutil.disk_usage(existing).free
    if n_bytes > free:
        raise ConfigError(
            f"{n_events:,} events need about {n_bytes / 1e9:.1f} GB while they are made, and {existing} has "
            f"{free / 1e9:.1f} GB free. Enough free space was expected. Ask for fewer events or choose another folder."
        )
