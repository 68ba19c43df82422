"""`display`: one event as PNG or HTML."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli.app import app, console


@app.command()
def display(
    out: Annotated[Path, typer.Option(help="What to write: .html (interactive) or .png.")] = Path("runs/event.html"),
    event: Annotated[str, typer.Option(help="Number of the event in the sorted split, or its id.")] = "0",
    dataset: Annotated[str | None, typer.Option(help="An event of this dataset; with --file: its format.")] = None,
    file: Annotated[Path | None, typer.Option(help="An event of one file, in the dataset's format.")] = None,
    run: Annotated[
        list[Path] | None, typer.Option(help="Record of a run, for its prediction. Repeatable, to compare.")
    ] = None,
    task: Annotated[str | None, typer.Option(help="Whose labels are shown; default: its first that has some.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the dataset; without it, the cache.")] = None,
    split: Annotated[
        str | None,
        typer.Option(help="Split of the event: train, val or test; default: the one that the run scored."),
    ] = None,
    runs: Annotated[Path, typer.Option(help="Where runs left their weights.")] = Path("runs"),
    weights: Annotated[Path | None, typer.Option(help="Weights of the run, if not under --runs.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Preprocessing, or data.KEY of the dataset. Repeatable.", metavar="KEY=VALUE"),
    ] = None,
) -> None:
    """Show one event of a dataset, of recorded runs with their predictions, or of a file."""
    from benchmark.errors import ConfigError
    from benchmark.records.store import read_record
    from benchmark.site.single_event import event_of_dataset, event_of_file, event_of_runs, write

    if run and (file is not None or dataset is not None):
        raise ConfigError("--run and --dataset or --file exclude each other. One of them was expected. Leave one out.")
    assignments = tuple(set_ or ())
    if run:
        records = [read_record(path) for path in run]
        chosen = event_of_runs(records, split or records[0].split, event, runs, data, weights)
    elif file is not None:
        chosen = event_of_file(file, dataset or "pilarnet-m", event, task, assignments)
    else:
        chosen = event_of_dataset(dataset or "lartpc-sim", split or "test", event, data, task, assignments)
    write(chosen, out)
    console().print(f"{chosen.event_id}: {out}", soft_wrap=True, highlight=False)
