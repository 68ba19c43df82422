"""`study NAME`: one question about events, tokens or models, answered with a table and a figure.

How a study is added: one file in benchmark/studies/ with a function that returns a `Study` (a table, and how its
figure is drawn), and one short command here that loads the events, calls it, and hands the result to `_finish`:

    @study_app.command()
    def mine(dataset: DatasetName = "lartpc-sim", data: Folder = None, ..., out: Out = None) -> None:
        \"\"\"What it answers, in one line.\"\"\"
        from benchmark.studies.base import load_events
        from benchmark.studies.mine import mine_study

        chosen = load_events(dataset, data, split, events, seed)
        _finish(mine_study(chosen), out, chosen)
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.cli import app, console

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


@study_app.command()
def grouping(
    dataset: DatasetName = "lartpc-sim",
    data: Folder = None,
    split: Split = "test",
    events: NEvents = 0,
    seed: Seed = 0,
    out: Out = None,
) -> None:
    """Missed against duplicated points for four ways to group, Pareto fronts, and the best overlap factor."""
    from benchmark.studies.base import load_events
    from benchmark.studies.grouping import grouping_study

    chosen = load_events(dataset, data, split, events, seed)
    _finish(grouping_study(chosen, seed), out, chosen)


@study_app.command()
def sizes(
    dataset: DatasetName = "lartpc-sim",
    data: Folder = None,
    split: Split = "test",
    events: NEvents = 0,
    seed: Seed = 0,
    radius: Annotated[float, typer.Option(help="Radius of a group, in units of the coordinates.")] = 5.0,
    overlap: Annotated[float, typer.Option(help="Overlap factor f.")] = 0.73,
    out: Out = None,
) -> None:
    """Groups per event and points per group, before and after thinning."""
    from benchmark.ops.grouping import GroupingConfig
    from benchmark.studies.base import load_events
    from benchmark.studies.sizes import sizes_study

    chosen = load_events(dataset, data, split, events, seed)
    _finish(sizes_study(chosen, GroupingConfig(radius=radius, overlap=overlap)), out, chosen)


@study_app.command()
def runtime(
    dataset: DatasetName = "lartpc-sim",
    data: Folder = None,
    split: Split = "test",
    events: NEvents = 128,
    seed: Seed = 0,
    out: Out = None,
) -> None:
    """Events grouped per second against the batch size, for every strategy and every engine at hand."""
    from benchmark.studies.base import load_events
    from benchmark.studies.runtime import runtime_study

    chosen = load_events(dataset, data, split, events, seed)
    _finish(runtime_study(chosen, say=lambda text: print(text, file=sys.stderr, flush=True)), out, chosen)


def _finish(study: Study, out: Path | None, events: Events | None, device: str = "cpu") -> None:
    """Keep the study's files, show its main numbers and where the files are."""
    from rich.table import Table

    from benchmark.studies.base import save

    paths = save(study, out or Path("runs") / "studies" / study.name, events, ("benchmark", *sys.argv[1:]), device)
    shown = study.highlights or study.rows
    table = Table(title=study.name, title_justify="left")
    for column in shown[0] if shown else ():
        table.add_column(column, overflow="fold")
    for row in shown:
        table.add_row(*(f"{v:.4g}" if isinstance(v, float) else str(v) for v in row.values()))
    screen = console()
    screen.print(table)
    for path in paths:
        screen.print(f"written: {path}", soft_wrap=True, highlight=False)


from benchmark.cli import study_models, study_volumes  # noqa: E402, F401  (the commands of further files)
