"""`site`: the leaderboards, curves, runs and events as pages that open from the disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli.app import app, console


@app.command()
def site(
    records: Annotated[Path | None, typer.Option(help="Folder of records; default runs/records.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the site; an earlier site is replaced.")] = Path("runs/site"),
    runs: Annotated[Path, typer.Option(help="Where runs left their weights, to display events.")] = Path("runs"),
    data: Annotated[Path | None, typer.Option(help="Folder of the dataset; without it, the cache.")] = None,
    events: Annotated[int, typer.Option(help="Events to display per leaderboard; 0 for none.")] = 3,
) -> None:
    """Write a static site of all records: no server, no network, open index.html in a browser."""
    from benchmark.records.store import check_folder, records_dir
    from benchmark.reports.check import readable
    from benchmark.site.pages import write_site

    root = records or records_dir()
    check_folder(root)
    all_runs, problems = readable(root)
    page = write_site(all_runs, out, problems, runs, data, events)
    for text in problems:
        console().print(f"warning: {text}", soft_wrap=True, highlight=False)
    console().print(f"page: {page.resolve().as_uri()}", soft_wrap=True, highlight=False)
