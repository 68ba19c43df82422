"""`doctor`: software, hardware, folders and data of this machine, and what to type for missing parts."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmark.cli.app import app, console


@app.command()
def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Show Python, torch, devices, threads, backends, caches and data found, with a remedy for whatever is missing."""
    report = _report()
    if as_json:
        print(json.dumps(report, indent=1))
        return
    from benchmark.reports.fitted_table import facts_table

    screen = console()
    for title, entries in report.items():
        screen.print(facts_table(entries, title))


def _report() -> dict[str, dict[str, Any]]:
    from benchmark.hardware.available import backends
    from benchmark.hardware.environment import choose_precision, processor, usable_cores, versions
    from benchmark.paths import cache_dir
    from benchmark.records.store import records_dir

    import torch  # isort: skip

    cache = cache_dir()
    devices = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "software": {**versions(), "code": _code()},
        "machine": {
            "processor": processor(),
            "usable cores": usable_cores(),
            "load (1 min)": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else "unknown",
            "GPUs": ", ".join(devices) or "none that torch sees",
            "precision on the CPU": choose_precision("auto", "cpu"),
        },
        "backends": {b.name: b.available() or f"ready ({b.purpose})" for b in backends()},
        "folders": {
            "cache": f"{cache} ({_folder_state(cache)}; change with PARTICLEBENCH_CACHE)",
            "records": f"{records_dir().resolve()} ({_folder_state(records_dir())}; change with PARTICLEBENCH_RECORDS)",
            "runs": f"{Path('runs').resolve()} ({_folder_state(Path('runs'))})",
        },
        "data found": _dataset_folders(),
    }


def _code() -> str:
    """The commit, or the wheel."""
    from benchmark.hardware.environment import commit

    found = commit()
    name = found["commit"] or (f"wheel {found['wheel_sha256'][:9]}" if "wheel_sha256" in found else "a copy of files")
    return f"{name}{', changed since' if found['dirty'] else ''}"


def _folder_state(folder: Path) -> str:
    parent = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    if not os.access(parent, os.W_OK):
        return f"not writable: choose another folder, or `chmod u+w {parent}`"
    free = shutil.disk_usage(parent).free / 1e9
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 1e6 if folder.exists() else 0.0
    return f"{size:.0f} MB used, {free:.0f} GB free"


def _dataset_folders() -> dict[str, str]:
    """Datasets on this machine; simulates and downloads nothing."""
    from benchmark import registry
    from benchmark.paths import cache_dir

    paths = {}
    for name in registry.dataset_names():
        folders = sorted(p for p in (cache_dir() / "datasets" / name).glob("*") if p.is_dir())
        paths[name] = ", ".join(str(f) for f in folders) or f"not here yet: python -m benchmark data prepare {name}"
    return paths
