"""`fairness`: cost and choice of settings of each result, from records alone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli.app import app, console


@app.command()
def fairness(
    records: Annotated[Path | None, typer.Option(help="Folder of records; default runs/records.")] = None,
    tuning: Annotated[Path | None, typer.Option(help="Folder of searches by `tune`; default runs/tuning.")] = None,
    task: Annotated[str | None, typer.Option(help="Only this task.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print Markdown tables.")] = False,
) -> None:
    """Show cost and settings of each result: parameters, FLOPs, steps, events, optimiser, choice of the rate.

    One table per task, dataset revision and label budget; a row averages draws and seeds. Reads records only.
    """
    from benchmark import tasks
    from benchmark.errors import DataError
    from benchmark.records.store import found_records, records_dir
    from benchmark.records.tuning import read_tunings
    from benchmark.reports.fairness import fair_tables

    task_name = tasks.task(task).name if task is not None else None
    if tuning is not None and not tuning.is_dir():
        raise DataError(
            f"There is no folder of searches at {tuning}. Results of `tune` were expected. Type for example "
            f"`python -m benchmark tune --model pointnet --labels 100`, or leave --tuning out."
        )
    runs, _ = found_records(records or records_dir())
    tunings, problems = read_tunings(tuning or Path("runs/tuning"))
    for problem in problems:
        print(f"warning: {problem}", file=sys.stderr)
    tables = fair_tables([r for r in runs if task_name in (None, r.task["name"])], tunings)
    if markdown:
        print("\n".join(table.markdown() for table in tables), end="")
        return
    screen = console()
    for table in tables:
        screen.print(table.rich())
    others = sorted({r.split for r in runs if not r.is_in_tables_of("test")})
    apart = f" (those that scored {', '.join(others)} are left out)" if others else ""
    screen.print(f"{len(runs)} records{apart}, {len(tunings)} searches for a learning rate", highlight=False)
