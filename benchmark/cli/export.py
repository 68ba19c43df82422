"""`export`: the events of a split for other frameworks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli.app import app, console, known_dataset


@app.command()
def export(
    task: Annotated[str, typer.Argument(help="Of which task: its cuts, and its labels.", show_default=False)],
    out: Annotated[Path, typer.Option(help="File to write: .npz, .h5, .csv or .parquet.")],
    split: Annotated[str, typer.Option(help="test and train come without labels, val with them.")] = "test",
    labels: Annotated[
        str | None, typer.Option(help="Of train: this label budget, with its labels.", metavar="N|all")
    ] = None,
    draw: Annotated[int, typer.Option(help="Which subset of labelled events.")] = 0,
    dataset: Annotated[
        str | None, typer.Option(help="Where the events come from; default: the task's own.", callback=known_dataset)
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the dataset; without it, the cache.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting of the data or its cuts. Repeatable.", metavar="KEY=VALUE"),
    ] = None,
) -> None:
    """Write the events of a split as other frameworks read them; `score` reads predictions of them back.

    Labels come with a label budget of the training split, and with the validation split. A row is a point, in tasks of
    whole events too; volumes are arrays.
    """
    from benchmark.runs.reported import Source, export

    done = export(Source(task, split, dataset, data, tuple(set_ or ())), out, labels, draw)
    rows = "" if done.n_rows == done.n_events else f", {done.n_rows:,} points"
    told = "with labels" if done.has_labels else "without labels"
    console().print(f"{done.path}: {done.n_events:,} events{rows}, {told}", soft_wrap=True, highlight=False)
