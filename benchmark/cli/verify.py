"""`verify`: compare with published or stored answers. Exit code 1 where a check fails."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.cli import app, console
from benchmark.cli.evaluate import CheckpointFile, ModelName

if TYPE_CHECKING:
    from benchmark.verify import Report

verify_app = typer.Typer(
    name="verify", help="Compare with published or stored answers.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(verify_app, name="verify")


@verify_app.command()
def predictions(
    checkpoint: CheckpointFile,
    event: Annotated[Path, typer.Option(help="An .npz: coords, energy_MeV, stored predictions, and the truth if any.")],
    model: ModelName = None,
    key: Annotated[
        str | None, typer.Option(help="Name of the stored predictions; default: the one that ends in _pred.")
    ] = None,
    min_agreement: Annotated[float, typer.Option(help="Share of points whose class must be equal.")] = 0.99,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Predict an event with a checkpoint and compare with predictions that were stored beside the event."""
    from benchmark.checkpoints.load import open_checkpoint, resolve_checkpoint
    from benchmark.verify import read_stored_event, verify_predictions

    stored = read_stored_event(event, key)
    opened = open_checkpoint(resolve_checkpoint(checkpoint), model)
    show(verify_predictions(opened, stored, min_agreement, device), as_json)


def show(report: Report, as_json: bool) -> None:
    """Print a report; ends the program with code 1 where a check failed."""
    if as_json:
        print(json.dumps({**dataclasses.asdict(report), "passed": report.passed}, indent=1, sort_keys=True))
    else:
        _print(report)
    if not report.passed:
        raise typer.Exit(1)


def _print(report: Report) -> None:
    from rich.table import Table

    screen = console()
    table = Table(title=report.title, title_justify="left")
    for name in ("check", "found", "expected", ""):
        table.add_column(name, overflow="fold")
    for check in report.checks:
        table.add_row(check.name, check.found, check.expected, "passed" if check.passed else "FAILED")
    screen.print(table)
    details = report.details
    if "confusion" not in details:
        return
    classes = details["classes"]
    counts = Table(title="points, by stored (rows) and new prediction (columns)", title_justify="left")
    for name in ("", *classes):
        counts.add_column(name, justify="right" if name else "left")
    for name, row in zip(classes, details["confusion"], strict=True):
        counts.add_row(name, *(f"{n:,}" for n in row))
    screen.print(counts)
    if "f1_new" in details:
        scores = Table(title="F1 against the truth", title_justify="left")
        for name in ("", *classes, "macro"):
            scores.add_column(name, justify="right" if name else "left")
        for name in ("stored", "new"):
            values = details[f"f1_{name}"]
            cells = [values[c] for c in (*classes, "macro")]
            scores.add_row(name, *("-" if v is None else f"{v:.4f}" for v in cells))
        screen.print(scores)
