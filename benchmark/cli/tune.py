"""`tune`: a small, recorded search for the learning rate on the validation split, the same for every model."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.cli.app import app, console, known_dataset

if TYPE_CHECKING:
    from benchmark.records.tuning import Tuning
    from benchmark.reports.fitted_table import FittedTable


@app.command()
def tune(
    model: Annotated[str, typer.Option(help="Name of a model or baseline, or path to a file that binds SPEC.")],
    pretext: Annotated[
        str | None,
        typer.Option(
            help="What a backbone is pre-trained on (see `list pretexts`), or path to a file that binds SPEC."
        ),
    ] = None,
    labels: Annotated[str, typer.Option(help="Labelled events: a whole number, or `all`.", metavar="N|all")] = "100",
    rates: Annotated[
        str, typer.Option(help="Learning rates to try, with commas between them.")
    ] = "3e-4,1e-3,3e-3,1e-2",
    steps: Annotated[int | None, typer.Option(help="Steps of each trial; without it, those of a run.")] = None,
    task: Annotated[str, typer.Option(help="What is predicted.")] = "lartpc-segmentation",
    dataset: Annotated[
        str | None, typer.Option(help="Where the events come from; default: the task's own.", callback=known_dataset)
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the dataset; without it, the cache.")] = None,
    preset: Annotated[
        str, typer.Option(help="default or small (for CPUs), tiny (to try things), paper (as published).")
    ] = "default",
    mode: Annotated[str | None, typer.Option(help="fft, peft, frozen or scratch, as in `run`.")] = None,
    draw: Annotated[int, typer.Option(help="Which subset of labelled events.")] = 0,
    seed: Annotated[int, typer.Option(help="Initial weights and order of events.")] = 0,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change one setting, e.g. --set depth=6. Repeatable.", metavar="KEY=VALUE"),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[int | None, typer.Option(help="CPU threads; without it, every usable core.")] = None,
    resume: Annotated[bool, typer.Option(help="Continue an interrupted search of the same configuration.")] = True,
    force: Annotated[bool, typer.Option("--force", help="Search again although it is done.")] = False,
    tuning: Annotated[Path | None, typer.Option(help="Where the result goes; default runs/tuning.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON instead of the table.")] = False,
) -> None:
    """Try a few learning rates on a label budget; score each on the validation split. The test split stays closed."""
    from benchmark.records.tuning import tuning_path
    from benchmark.runs.config import Request
    from benchmark.runs.execution import Execution
    from benchmark.runs.tune import Search, advice, best_command, parse_rates
    from benchmark.runs.tune import tune as carry_out

    request = Request(
        model, task, dataset, preset, labels, mode, draw, seed, assignments=tuple(set_ or ()), pretext=pretext
    )
    execution = Execution(device, threads, data, resume=resume, force=force)
    search = Search(parse_rates(rates), steps, tuning)
    outcome = carry_out(request, execution, search)
    if as_json:
        print(json.dumps(dataclasses.asdict(outcome.tuning), indent=1, sort_keys=True))
        return
    screen = console()
    if not outcome.fresh:
        screen.print("This search is already recorded; --force repeats it.")
    screen.print(table(outcome.tuning))
    command = best_command(outcome.tuning, request, execution)
    lines = [advice(outcome.tuning), None if command is None else f"run it: {command}"]
    lines.append(f"result: {tuning_path(tuning or execution.runs / 'tuning', outcome.tuning)}")
    for line in lines:
        if line is not None:
            screen.print(line, soft_wrap=True, markup=False, highlight=False)


def table(tuning: Tuning) -> FittedTable:
    """A row per rate, the best one marked."""
    from benchmark.reports.fitted_table import FittedTable
    from benchmark.reports.score_text import with_interval

    c, metric = tuning.config, tuning.task["primary_metric"]
    classes = [name for name in tuning.task["classes"] if any(name in t["f1"] for t in tuning.trials)]
    title = (
        f"{tuning.method} ({c['preset']}, {c['mode']}), {tuning.labels} labelled events, draw {c['draw']}, seed "
        f"{c['seed']}, {tuning.steps} steps\n{tuning.task['name']}: {tuning.events['selection']} validation events of "
        f"{tuning.dataset['name']}"
    )
    columns = (
        "learning rate", f"{metric} [95%]", *(f"F1 {name}" for name in classes), "first loss", "last loss",
        "gradient norm", "wall s",
    )  # fmt: skip
    result = FittedTable(
        title, columns, numbers=columns, first=(f"{metric} [95%]", "last loss"), shown_by="--json",
        caption="95% intervals: bootstrap over validation events",
    )  # fmt: skip
    for t in tuning.trials:
        mark = " (best)" if t["rate"] == tuning.best_rate else ""
        score = with_interval(t["score"]) if t["status"] == "finished" else "failed"
        numbers = (*(t["f1"].get(name) for name in classes), t["first_loss"], t["last_loss"], t["grad_norm"])
        cells = ["-" if n is None else f"{n:.3f}" for n in numbers]
        result.row(f"{t['rate']:g}{mark}", score, *cells, "-" if t["wall_s"] is None else f"{t['wall_s']:.0f}")
    return result
