"""`score`: a record of predictions that another framework made."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli.app import app, console, known_dataset


@app.command()
def score(
    file: Annotated[
        Path, typer.Argument(help="Predictions: .npz, .h5, .csv or .parquet.", show_default=False)
    ],
    task: Annotated[str, typer.Option(help="What was predicted.")],
    name: Annotated[str, typer.Option(help="Of the model, as tables show it.")],
    labels: Annotated[str, typer.Option(help="Label budget that it was trained on.", metavar="N|all")],
    draw: Annotated[int, typer.Option(help="Which subset of labelled events.")] = 0,
    seed: Annotated[int, typer.Option(help="Of its training.")] = 0,
    split: Annotated[str, typer.Option(help="That was predicted: test, or val.")] = "test",
    external: Annotated[str, typer.Option(help="Data from elsewhere that it saw, in words.")] = "",
    parameters: Annotated[int, typer.Option(help="Its number of parameters.", min=0)] = 0,
    dataset: Annotated[
        str | None, typer.Option(help="Where the events come from; default: the task's own.", callback=known_dataset)
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the dataset; without it, the cache.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting of the data or its cuts, as in `export`. Repeatable.",
                     metavar="KEY=VALUE"),
    ] = None,
    records: Annotated[Path | None, typer.Option(help="Where the record goes; default runs/records.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON instead of the table.")] = False,
) -> None:  # fmt: skip
    """Score predictions that were made elsewhere, of the events of `export`, and record them as `reported`.

    Every scored event and point is expected once. Points are matched by the columns x, y, z, in any order, or by their
    order where the file has none.
    """
    from benchmark.progress import to_stderr
    from benchmark.records.store import record_path, records_dir
    from benchmark.reports.tables import run_table
    from benchmark.runs.execution import Execution
    from benchmark.runs.reported import Claim, Source, score_reported

    claim = Claim(name, labels, draw, seed, external, parameters)
    source = Source(task, split, dataset, data, tuple(set_ or ()))
    record = score_reported(file, claim, source, Execution(records=records), to_stderr)
    if as_json:
        print(json.dumps(dataclasses.asdict(record), indent=1, sort_keys=True))
        return
    console().print(run_table(record))
    console().print(f"record: {record_path(records or records_dir(), record)}", soft_wrap=True)
