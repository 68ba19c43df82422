"""`leaderboard`: tables from the records alone."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli import app, console


@app.command()
def leaderboard(
    records: Annotated[Path | None, typer.Option(help="Folder of records; default runs/records.")] = None,
    task: Annotated[str | None, typer.Option(help="Only this task.")] = None,
    detector: Annotated[str | None, typer.Option(help="Only tasks of this one: lartpc, calorimeter or lif.")] = None,
    runs: Annotated[bool, typer.Option("--runs", help="A row for each run, not one for all draws and seeds.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown tables.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the records as a JSON list.")] = False,
) -> None:
    """Show what has been run: one table per task and dataset revision, by budget, best first. Reads records only.

    A row is the mean over draws and seeds, with their standard deviation and a bootstrap interval over events and runs.
    """
    from benchmark import tasks
    from benchmark.errors import unknown_name
    from benchmark.records import found_records, records_dir
    from benchmark.tables import leaderboards

    wanted = tasks.task(task).name if task is not None else None
    own = [t.name for t in tasks.TASKS.values() if t.detector == detector]
    if detector is not None and not own:
        raise unknown_name("detector", detector, {t.detector for t in tasks.TASKS.values()}, "Correct --detector.")
    root = records or records_dir()
    found, problems = found_records(root)
    shown = [r for r in found if r.status != "failed" and wanted in (None, r.task["name"])]
    if detector is not None:
        shown = [r for r in shown if r.task["name"] in own]
    if as_json:
        print(json.dumps([dataclasses.asdict(r) for r in shown], indent=1, sort_keys=True))
        return
    tables = leaderboards(shown, each_run=runs)
    if markdown:
        print("\n".join(table.markdown() for table in tables), end="")
        return
    screen = console()
    for table in tables:
        screen.print(table.rich())
    failed = sum(r.status == "failed" for r in found)
    screen.print(f"{len(shown)} runs, {failed} failed runs left out, {len(problems)} unreadable records; from {root}")
