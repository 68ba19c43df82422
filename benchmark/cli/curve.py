"""`curve`: score against labelled events, the labels that a score needs, and how many times more others need."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.cli.app import app, console

if TYPE_CHECKING:
    from benchmark.reports.efficiency import Curve
    from benchmark.reports.leaderboard import Leaderboard


@app.command()
def curve(
    records: Annotated[Path | None, typer.Option(help="Folder of records; default runs/records.")] = None,
    task: Annotated[str, typer.Option(help="Of which task.")] = "lartpc-segmentation",
    dataset: Annotated[str | None, typer.Option(help="Of which dataset, where there are several.")] = None,
    models: Annotated[str | None, typer.Option(help="Comma-separated; all without it.")] = None,
    score: Annotated[
        float | None, typer.Option(help="Score whose labels are told; default: one that most models reach.")
    ] = None,
    ratio: Annotated[
        str | None, typer.Option(help="Two curves, `polarmae:fft,gnn`: how many times the labels the second needs.")
    ] = None,
    one_panel: Annotated[
        bool, typer.Option("--one-panel", help="The primary score alone, without classes and published scores.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Figure: .png, .pdf or .svg; default runs/curve.png.")] = None,
) -> None:
    """Draw data-efficiency curves from records alone, per class and macro, with published ones beside them."""
    from benchmark import tasks
    from benchmark.errors import ConfigError
    from benchmark.plots.efficiency_curves import FORMATS, draw_curve
    from benchmark.records.published import comparable
    from benchmark.records.store import found_records, records_dir
    from benchmark.reports.efficiency import board_of, chosen_curves, curves, reachable, smaller_is_better

    asked = tasks.task(task)
    path = out or Path("runs/curve.png")
    if path.suffix not in FORMATS:
        raise ConfigError(f"--out {path} has an unknown ending. One of {', '.join(FORMATS)} was expected. Correct it.")
    if score is not None and not abs(score) < float("inf"):  # also of NaN
        raise ConfigError(f"--score {score} cannot be reached. A finite number was expected. Type for example 0.7.")
    found, _ = found_records(records or records_dir())
    board = board_of(found, asked.name, dataset)
    chosen = [name.strip() for name in (models or "").split(",") if name.strip()]
    every = curves(board)
    kept = chosen_curves(every, chosen)
    smaller = smaller_is_better(board)
    pair = [] if ratio is None else _pair(every, ratio)
    target = score if score is not None else reachable(pair or kept, smaller)
    if pair and target is None:
        raise ConfigError(
            f"--ratio {ratio} is of curves that reach no score in common. --score was expected. Add for example "
            f"--score 0.7."
        )
    published = comparable(asked.name, board.averages[0].record.task["primary_metric"])
    draw_curve(board, path, published, chosen, one_panel)
    screen = console()
    if target is not None:
        _show_labels(board, kept, target, smaller)
    if pair and target is not None:
        _show_ratio(pair, target, smaller)
    screen.print(f"curve: {path}", soft_wrap=True, highlight=False)


def _show_labels(board: Leaderboard, kept: Sequence[Curve], target: float, smaller: bool) -> None:
    from benchmark.reports.efficiency import labels_to_reach
    from benchmark.reports.fitted_table import FittedTable

    metric = board.averages[0].record.task["primary_metric"]
    title = f"{board.title}\nlabelled events needed for {metric} = {target:g}"
    table = FittedTable(title, ("model", "labels [95%]", "measured at"), first=("labels [95%]",))
    for c in kept:
        budgets = ", ".join(f"{p.labels:,}" for p in c.points)
        table.row(c.name, labels_to_reach(c, target, smaller).text, budgets)
    console().print(table)


def _pair(every: Sequence[Curve], ratio: str) -> list[Curve]:
    """The two curves of --ratio. Raises ConfigError, UnknownNameError."""
    from benchmark.errors import ConfigError
    from benchmark.reports.efficiency import resolve_curve

    names = [name.strip() for name in ratio.split(",")]
    if len(names) != 2:
        raise ConfigError(
            f"--ratio {ratio} names {len(names)} curves. Two were expected. Type for example --ratio polarmae,gnn."
        )
    return [resolve_curve(every, name) for name in names]


def _show_ratio(pair: Sequence[Curve], target: float, smaller: bool) -> None:
    from benchmark.reports.efficiency import label_ratio

    one, other = pair
    text = label_ratio(one, other, target, smaller).text
    console().print(f"{other.name} needs {text} times the labels of {one.name} for {target:g}", highlight=False)
