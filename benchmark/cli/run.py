"""`run`: train one model on a label budget, score it, record it, show the table."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.cli.app import app, console, known_dataset

if TYPE_CHECKING:
    from benchmark.records.record import RunRecord
    from benchmark.runs.execution import Outcome

FLOOR = "the task's floor"  # as in `benchmark.runs.beside`


@app.command()
def run(
    model: Annotated[
        str, typer.Option(help="Name of a model or baseline (see `list`), or path to a file that binds SPEC.")
    ],
    pretext: Annotated[
        str | None,
        typer.Option(
            help="What a backbone is pre-trained on (see `list pretexts`), or path to a file that binds SPEC."
        ),
    ] = None,
    labels: Annotated[str, typer.Option(help="Labelled events: a whole number, or `all`.", metavar="N|all")] = "100",
    task: Annotated[str, typer.Option(help="What is predicted.")] = "lartpc-segmentation",
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Name of a dataset (see `list`), or path to a file that binds SPEC; default: the task's own.",
            callback=known_dataset,
        ),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the dataset; without it, the cache.")] = None,
    preset: Annotated[
        str, typer.Option(help="default or small (for CPUs), tiny (to try things), paper (as published).")
    ] = "default",
    mode: Annotated[
        str | None,
        typer.Option(
            help="fft (pre-trained, all weights trained), peft (backbone fixed), frozen (backbone fixed, linear "
            "read-out), scratch (no pre-training). Default: fft for self-supervised models, scratch for others."
        ),
    ] = None,
    draw: Annotated[int, typer.Option(help="Which subset of labelled events.")] = 0,
    seed: Annotated[int, typer.Option(help="Initial weights and order of events.")] = 0,
    pretrain: Annotated[
        bool, typer.Option("--pretrain", help="Pre-train here, although pre-trained weights ship with the package.")
    ] = False,
    split: Annotated[
        str, typer.Option(help="What is scored: test, or val, to choose settings without opening the test split.")
    ] = "test",
    checkpoint: Annotated[
        str | None,
        typer.Option(
            help="Weights to start from: .safetensors, a released .ckpt, hub:owner/name, or `shipped`: those of the "
            "package, whatever data they are of."
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="Change one setting, e.g. --set train.steps=500 or --set depth=6. Repeatable.",
            metavar="KEY=VALUE",
        ),
    ] = None,
    backend: Annotated[
        str | None,
        typer.Option(help="Engine of a model that has a choice, e.g. native or spconv; same as --set backend=NAME."),
    ] = None,
    beside: Annotated[str, typer.Option(help="Baseline shown beside the model, or `none`.")] = FLOOR,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[int | None, typer.Option(help="CPU threads; without it, every usable core.")] = None,
    max_minutes: Annotated[
        float | None, typer.Option(help="Stop training after this time; the same command continues.")
    ] = None,
    resume: Annotated[bool, typer.Option(help="Continue an interrupted run of the same configuration.")] = True,
    force: Annotated[bool, typer.Option("--force", help="Run again although a record exists.")] = False,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Training compiles the blocks of transformers. GPUs only.")
    ] = False,
    records: Annotated[Path | None, typer.Option(help="Where records go; default runs/records.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON instead of the table.")] = False,
) -> None:
    """Train one model on a label budget, score it on the whole test split, record it, and show the table."""
    from benchmark.hardware.distributed import processes
    from benchmark.runs.beside import run_beside
    from benchmark.runs.config import Request
    from benchmark.runs.execution import Execution

    request = Request(
        model, task, dataset, preset, labels, mode, draw, seed, checkpoint, pretrain=pretrain, pretext=pretext,
        split=split,
        assignments=(*(set_ or ()), *((f"model.backend={backend}",) if backend else ())),
    )  # fmt: skip
    execution = Execution(
        device,
        threads,
        data,
        records,
        max_minutes=max_minutes,
        resume=resume,
        force=force,
        compiled=compiled,
    )
    outcome, baseline = run_beside(request, execution, beside)
    if processes().first:
        _show(outcome, baseline, execution.records_folder, as_json)


def _show(outcome: Outcome, baseline: RunRecord | None, root: Path, as_json: bool) -> None:
    record = outcome.record
    if as_json:
        print(json.dumps(dataclasses.asdict(record), indent=1, sort_keys=True))
        return
    from benchmark.records.store import record_path
    from benchmark.reports.tables import run_table

    screen = console()
    if not outcome.fresh:
        screen.print("This run is already recorded; --force repeats it.")
    screen.print(run_table(record, baseline))
    if record.status == "stopped":
        training = record.training
        screen.print(
            f"Stopped at step {training['steps']} of {training['n_steps']}: the same command continues from there."
        )
    screen.print(f"record: {record_path(root, record)}", soft_wrap=True)
