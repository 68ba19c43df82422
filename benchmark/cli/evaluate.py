"""`evaluate`: score a checkpoint on a split, without training."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli.app import app, console, known_dataset

CheckpointFile = Annotated[
    str,
    typer.Option(
        "--checkpoint", help="Weights: a .safetensors of ours, a released .ckpt, or hub:owner/name[@revision][:file]."
    ),
]
ModelName = Annotated[
    str | None, typer.Option("--model", help="Model of a released .ckpt, which does not name it: polarmae, pointmae.")
]


@app.command()
def evaluate(
    checkpoint: CheckpointFile,
    model: ModelName = None,
    dataset: Annotated[str, typer.Option(help="Where the events come from.", callback=known_dataset)] = "pilarnet-m",
    data: Annotated[Path | None, typer.Option(help="Folder of the dataset; without it, the cache.")] = None,
    split: Annotated[str, typer.Option(help="Split to score: train, val or test.")] = "test",
    batch_size: Annotated[
        int | None, typer.Option(help="Events at once; default the checkpoint's. Published scores depend on it.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Change the preprocessing, e.g. --set min_points=0. Repeatable.", metavar="KEY=VALUE"
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[int | None, typer.Option(help="CPU threads; without it, every usable core.")] = None,
    records: Annotated[Path | None, typer.Option(help="Where the record goes; default runs/records.")] = None,
    figure: Annotated[
        Path | None, typer.Option(help="PNG to draw: truth, prediction, errors of the first events.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON instead of the table.")] = False,
) -> None:
    """Score a checkpoint, ours or a released one, on a split; its metadata names model and preprocessing."""
    from benchmark.checkpoints.load import named_checkpoint
    from benchmark.records.store import record_path, records_dir
    from benchmark.reports.tables import run_table
    from benchmark.runs.execution import Execution
    from benchmark.runs.transfer import Target, evaluate_checkpoint

    execution = Execution(device=device, threads=threads, data=data, records=records)
    opened = named_checkpoint(checkpoint, model)
    scored = evaluate_checkpoint(opened, Target(dataset, split, figure), execution, batch_size, tuple(set_ or ()))
    if as_json:
        print(json.dumps(dataclasses.asdict(scored), indent=1, sort_keys=True))
        return
    console().print(run_table(scored))
    console().print(f"record: {record_path(records or records_dir(), scored)}", soft_wrap=True)
