"""Writes the site: one folder that opens from the disk, from any server, or from a repository's pages.

Texts from records reach the pages as data, never as HTML: scripts set them as text. The folder is built beside its
target and then takes its place in one step, so that a failure keeps the old site.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from benchmark import __version__
from benchmark.errors import BenchmarkError, ConfigError
from benchmark.hardware.locks import LOCK, locked
from benchmark.io import safe_name, sha256_text
from benchmark.plots.event_view import as_values
from benchmark.plots.scene_page import plotly_js
from benchmark.progress import progress
from benchmark.records.record import RunRecord, now
from benchmark.reports.leaderboard import leaderboards
from benchmark.site.boards import board_data
from benchmark.site.events import board_events
from benchmark.site.folder import new_folder
from benchmark.site.runs import run_data

PAGES = ("index.html", "run.html", "event.html")
SCRIPTS = ("common.js", "index.js", "run.js", "event.js", "site.css")
MARK = ".particlebench-site"  # file that marks a folder as a site


def write_site(
    records: Sequence[RunRecord], out: Path, problems: Sequence[str] = (), runs: Path = Path("runs"),
    data: Path | None = None, n_events: int = 3,
) -> Path:  # fmt: skip
    """Write the site of these records into a folder; returns its first page.

    problems: messages for the first page. runs: folder of weights; events are displayed with the models that have some
    there. Raises ConfigError where `out` is another folder than a site.
    """
    target = out.resolve()  # behind a link, which stays
    with locked(target.with_name(f".{target.name}{LOCK}"), f"the site {out}"), new_folder(target) as folder:
        _check_target(out)
        _write_pages(folder, records, list(problems), runs, data, n_events)
    return out / PAGES[0]


def _check_target(out: Path) -> None:
    if out.is_dir() and (not any(out.iterdir()) or (out / MARK).is_file()):
        return
    if out.exists():
        raise ConfigError(
            f"{out} exists and is not a site of particlebench. A new folder was expected, so that nothing is lost. "
            f"Choose another one."
        )


def _write_pages(
    folder: Path, records: Sequence[RunRecord], problems: list[str], runs: Path, data: Path | None, n_events: int
) -> None:
    (folder / MARK).write_text("", encoding="ascii")
    assets = folder / "assets"
    assets.mkdir()
    for name in (*PAGES, *SCRIPTS):
        text = resources.files("benchmark.site").joinpath("assets").joinpath(name).read_text(encoding="utf-8")
        (folder / name if name in PAGES else assets / name).write_text(text, encoding="utf-8")
    (assets / "plotly.min.js").write_text(plotly_js(), encoding="utf-8")
    scored = [r for r in records if r.status != "failed"]
    boards = leaderboards(scored)
    board_values = [{**board_data(board), "events": []} for board in boards]
    for board, values in zip(boards, board_values, strict=True):
        values["events"] = _write_events(folder, board, runs, data, n_events, problems)
    _write_runs(folder, records)
    failed = [[r.run_name, r.error or ""] for r in records if r.status == "failed"]
    index = {
        "made": now(), "version": __version__, "records": len(records), "boards": board_values, "problems": problems,
        "failed": failed,
    }  # fmt: skip
    (folder / "data" / "index.js").write_text(script("PB.index", index), encoding="utf-8")


def _write_events(
    folder: Path, board: Any, runs: Path, data: Path | None, n_events: int, problems: list[str]
) -> list[list[str]]:
    """Event files of one leaderboard; returns [key, id] of each."""
    written: list[list[str]] = []
    target = folder / "data" / "events"
    target.mkdir(parents=True, exist_ok=True)
    try:
        for event in board_events(board, runs, n_events, data, problems):
            key = event_key(board.task, board.dataset, event.event_id)
            values = {**as_values(event), "title": board.title}
            (target / f"{key}.js").write_text(script(f"PB.events[{json.dumps(key)}]", values), encoding="utf-8")
            written.append([key, event.event_id])
    except (BenchmarkError, OSError) as error:  # without data: the site has no events
        problems.append(f"no events of {board.title} are displayed: {error}")
    return written


def event_key(task: str, dataset: str, event_id: str) -> str:
    """Name of an event's file."""
    return f"{safe_name(task)}-{sha256_text(f'{dataset} {event_id}')[:12]}"


def _write_runs(folder: Path, records: Sequence[RunRecord]) -> None:
    target = folder / "data" / "runs"
    target.mkdir(parents=True)
    with progress("pages of runs", len(records), silent=len(records) < 500) as bar:
        for n_done, record in enumerate(records, 1):
            name = record.run_name
            text = script(f"PB.runs[{json.dumps(name)}]", run_data(record))
            (target / f"{name}.js").write_text(text, encoding="utf-8")
            bar.update(n_done)


def script(target: str, values: Any) -> str:
    """JavaScript that assigns plain values, escaped so that no text can end the script or its string."""
    text = json.dumps(values, separators=(",", ":"), allow_nan=False)
    return f"{target}={text.replace('<', chr(92) + 'u003c')};\n"
