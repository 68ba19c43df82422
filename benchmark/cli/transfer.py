"""`transfer`: score a recorded run on the events of another dataset."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli.app import app, console, known_dataset


@app.command()
def transfer(
    record: Annotated[Path, typer.Argument(help="Record of a run (`run` prints its path).")],
    dataset: Annotated[
        str, typer.Option(help="Where the other events come from.", callback=known_dataset)
    ] = "pilarnet-m",
    data: Annotated[Path | None, typer.Option(help="Folder of that dataset; without it, the cache.")] = None,
    split: Annotated[str, typer.Option(help="Split to score: train, val or test.")] = "test",
    weights: Annotated[Path | None, typer.Option(help="Weights of the run; default where it left them.")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads; without it, every usable core.")] = None,
    records: Annotated[Path | None, typer.Option(help="Where the new record goes; default runs/records.")] = None,
    figure: Annotated[
        Path | None, typer.Option(help="PNG to draw: truth, prediction, errors of the first events.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON instead of the table.")] = False,
) -> None:
    """Score a recorded run on another dataset, e.g. a model trained on simulated events on real ones."""
    from benchmark.reports.tables import run_table
    from benchmark.runs.execution import Execution
    from benchmark.runs.transfer import Target
    from benchmark.runs.transfer import transfer as carry_out

    execution = Execution(threads=threads, data=data, records=records)
    scored = carry_out(record, Target(dataset, split, figure), execution, weights)
    if as_json:
        print(json.dumps(dataclasses.asdict(scored), indent=1, sort_keys=True))
        return
    console().print(run_table(scored))
