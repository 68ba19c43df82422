"""`plot roc|response|cells`: figures of pion results from records, and of the cells of one sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.cli.app import app, console, known_dataset

if TYPE_CHECKING:
    from benchmark.plots.bands import MethodStates
    from benchmark.records.record import RunRecord
    from benchmark.reports.leaderboard import Leaderboard

plot_app = typer.Typer(
    name="plot", help="Draw results of the calorimeter tasks, or one sample.", no_args_is_help=True,
    rich_markup_mode=None,
)  # fmt: skip
app.add_typer(plot_app, name="plot")

Records = Annotated[Path | None, typer.Option(help="Folder of records; default runs/records.")]
Labels = Annotated[str, typer.Option(help="The runs with this budget: a number of events, or all.", metavar="N|all")]
Draw = Annotated[int, typer.Option(help="The runs with this draw of labelled events.")]
Models = Annotated[
    str | None, typer.Option(help="The runs of these models or curves (as `curve` names them), with commas between.")
]
Dataset = Annotated[str | None, typer.Option(help="Of which dataset, where there are several.")]
Out = Annotated[Path | None, typer.Option(help="The PNG to write.")]


@plot_app.command()
def roc(
    records: Records = None, task: Annotated[str, typer.Option(help="A task of pions.")] = "pion-classification",
    dataset: Dataset = None, labels: Labels = "10000", draw: Draw = 0, models: Models = None, out: Out = None,
) -> None:  # fmt: skip
    """ROC and rejection against efficiency, a line per recorded model. Needs matplotlib."""
    from benchmark.plots.roc import draw_roc

    path = out or Path("roc.png")
    draw_roc(_states(records, task, "pions", dataset, labels, draw, models), path)
    print(path)


@plot_app.command()
def response(
    records: Records = None, task: Annotated[str, typer.Option(help="A regression of energies.")] = "pion-regression",
    dataset: Dataset = None, labels: Labels = "10000", draw: Draw = 0, models: Models = None, out: Out = None,
) -> None:  # fmt: skip
    """Median response and resolution against true energy, a line per recorded model. Needs matplotlib."""
    import numpy as np

    from benchmark.plots.response import draw_response

    path = out or Path("response.png")
    states = _states(records, task, "response", dataset, labels, draw, models)
    both = all(len(np.unique(tested.states[:, 2])) > 1 for tested in states.values())
    draw_response(states, path, by_class=both)
    print(path)


@plot_app.command()
def cells(
    task: Annotated[str, typer.Option(help="What a sample is.")] = "pion-classification",
    dataset: Annotated[
        str | None, typer.Option(help="Where samples come from; default: the task's own.", callback=known_dataset)
    ] = None,
    data: Annotated[Path | None, typer.Option("--data", help="Folder of the dataset; without it, the cache.")] = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    event: Annotated[int, typer.Option(help="Number among the samples that the task uses.")] = 0,
    out: Out = None,
) -> None:
    """The cells of one sample, a panel per layer, by energy or by the particle they belong to. Needs matplotlib."""
    from benchmark.plots.cells import draw_sample

    path = out or Path(f"cells-{event}.png")
    draw_sample(task, dataset, data, split, event, path)
    print(path)


def _states(
    records: Path | None, task: str, metrics: str, dataset: str | None, labels: str, draw: int, models: str | None
) -> dict[str, MethodStates]:
    """Curve -> counts of test events of its newest run with this budget and draw. Says what is left out."""
    from benchmark import tasks
    from benchmark.errors import ConfigError
    from benchmark.plots.bands import states_of
    from benchmark.records.store import found_records, records_dir
    from benchmark.reports.efficiency import board_of, chosen_curves, curves

    task_spec = tasks.task(task)
    if task_spec.metrics != metrics:
        fitting = ", ".join(t.name for t in tasks.TASKS.values() if t.metrics == metrics)
        raise ConfigError(f"--task {task} has other scores. One of {fitting} was expected. Correct --task.")
    found, _ = found_records(records or records_dir())
    board = board_of(found, task_spec.name, dataset)
    runs = {c.name: [r for r in c.runs if r.labels == labels and r.config["draw"] == draw] for c in curves(board)}
    runs = {name: sorted(group, key=lambda r: (r.created, r.fingerprint)) for name, group in runs.items() if group}
    if not runs:
        raise ConfigError(
            f"There is no finished run of {task} with {labels} labels and draw {draw}. Another budget or draw was "
            f"expected. Type `python -m benchmark leaderboard --task {task_spec.name}` for what there is."
        )
    names = [name.strip() for name in (models or "").split(",") if name.strip()]
    kept = [c.name for c in chosen_curves([c for c in curves(board) if c.name in runs], names)]
    _say_left_out(board, kept, runs, sum(r.task["name"] == task_spec.name for r in found))
    return {name: states_of(runs[name][-1]) for name in kept}


def _say_left_out(
    board: Leaderboard, kept: Sequence[str], runs: Mapping[str, Sequence[RunRecord]], n_records: int
) -> None:  # fmt: skip
    """Print which runs of the task a figure does not show."""
    absent = [name for name in runs if name not in kept]
    n_older = sum(len(runs[name]) - 1 for name in kept)
    n_other = n_records - sum(row.n_runs for row in board.averages)
    parts = [
        f"of {board.title}",
        f"curves not among --models: {', '.join(absent)}" if absent else "",
        f"{n_older} older runs, or of other seeds, of curves that are shown" if n_older else "",
        f"{n_other} records of other events, revisions, datasets or protocols, failed or older" if n_other else "",
    ]
    console().print("; ".join(filter(None, parts)), soft_wrap=True, highlight=False)
