"""`transfer`: score a recorded run on the events of another dataset."""

from __future__ import annotations

import dataclasses
import json
import sys
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
    records: Annotated[Path | None, typer.Option(help="Where the new record goes.")] = None,
    figure: Annotated[
        Path | None, typer.Option(help="PNG to draw: truth, prediction, errors of the first events.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON instead of the table.")] = False,
) -> None:
    """Score a recorded run on another dataset, e.g. a model trained on simulated events on real ones."""
    from benchmark.records.store import read_record
    from benchmark.reports.tables import run_table
    from benchmark.runs.execution import Execution
    from benchmark.runs.transfer import transfer as carry_out

    execution = Execution(data=data, records=records, command=("benchmark", *sys.argv[1:]))
    scored = carry_out(read_record(record), dataset, split, execution, weights, figure)
    if as_json:
        print(json.dumps(dataclasses.asdict(scored), indent=1, sort_keys=True))
        return
    console().print(run_table(scored))
