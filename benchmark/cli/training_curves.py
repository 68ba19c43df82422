"""`training-curves`: a figure of the training curves of recorded runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli.app import app


@app.command()
def training_curves(
    records: Annotated[Path | None, typer.Option(help="Folder of records; default runs/records.")] = None,
    task: Annotated[str, typer.Option(help="The runs of this task.")] = "lartpc-segmentation",
    labels: Annotated[str, typer.Option(help="The runs with this budget: a number of events, or all.")] = "100",
    draw: Annotated[int, typer.Option(help="The runs with this draw of labelled events.")] = 0,
    models: Annotated[str | None, typer.Option(help="The runs of these models, with commas between them.")] = None,
    steps: Annotated[int | None, typer.Option(help="The runs with this number of steps.")] = None,
    out: Annotated[Path, typer.Option(help="The PNG to write.")] = Path("training-curves.png"),
) -> None:
    """Draw loss, gradient norm and F1 on the training events of every recorded run of a budget. Needs matplotlib."""
    from benchmark import tasks
    from benchmark.errors import BenchmarkError
    from benchmark.plots.training_curves import draw_trainings
    from benchmark.records.store import found_records, records_dir

    task_name = tasks.task(task).name
    all_runs, _ = found_records(records or records_dir())
    runs = [r for r in all_runs if r.status == "finished" and r.task["name"] == task_name]
    names = None if models is None else models.split(",")
    chosen = [
        r
        for r in runs
        if (r.labels, r.config["draw"]) == (labels, draw)
        and steps in (None, r.config["train"]["steps"])
        and (names is None or r.method in names)
    ]
    if not chosen:
        there = sorted({f"{r.method} with {r.labels} labels, draw {r.config['draw']}" for r in runs})
        asked = [f"{labels} labels", f"draw {draw}"]
        asked += [] if steps is None else [f"{steps} steps"]
        asked += [] if names is None else [f"one of the models {', '.join(names)}"]
        first = "Type `python -m benchmark run --model pointnet --labels 100` first."
        remedy = f"Ask for one that is there: {'; '.join(there[:8])}{'; and others' if len(there) > 8 else ''}."
        raise BenchmarkError(
            f"None of {len(all_runs)} records is of a finished run of {task_name} with {', '.join(asked)}. At least "
            f"one was expected. {remedy if there else first}"
        )
    draw_trainings(chosen, out)
    print(out)
