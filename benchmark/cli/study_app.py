"""Shared by all commands `study NAME`: application, options, and output of files and numbers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.cli.app import app, console, typed_command

if TYPE_CHECKING:
    from benchmark.studies.base import Events, Study

study_app = typer.Typer(
    name="study",
    help="Answer one question about events, tokens or models with a table and a figure.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(study_app, name="study")

DatasetName = Annotated[str, typer.Option("--dataset", help="Where the events come from.")]
Folder = Annotated[Path | None, typer.Option("--data", help="Folder of the dataset; without it, the cache.")]
Split = Annotated[str, typer.Option("--split", help="train, val or test.")]
NEvents = Annotated[int, typer.Option("--events", help="Events drawn at random from the split; 0: all of them.")]
Seed = Annotated[int, typer.Option("--seed", help="Of the choice of events and of the resampling.")]
Out = Annotated[Path | None, typer.Option("--out", help="Folder for the results; default runs/studies/<name>.")]


@study_app.callback()
def _studies() -> None:
    """Answer one question about events, tokens or models with a table and a figure."""


def finish(study: Study, out: Path | None, events: Events | None, device: str = "cpu") -> None:
    """Write the study's files, print its main numbers and the paths."""
    from benchmark.reports.fitted_table import FittedTable
    from benchmark.studies.base import save

    paths = save(study, out or Path("runs") / "studies" / study.name, events, typed_command(), device)
    shown = study.highlights or study.rows
    columns = list(shown[0]) if shown else []
    numbers = [name for name in columns if all(isinstance(row[name], int | float | None) for row in shown)]
    table = FittedTable(study.name, columns, numbers=numbers, shown_by="the files written below")
    for row in shown:
        table.row(*("-" if v is None else f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()))
    screen = console()
    screen.print(table)
    for path in paths:
        screen.print(f"written: {path}", soft_wrap=True, highlight=False)
