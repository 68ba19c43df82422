"""`sweep`: many runs in one command, in parallel, ending with the table, the curve and the page."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchmark.cli.app import app, console, known_dataset

if TYPE_CHECKING:
    from rich.console import Console

    from benchmark.reports.leaderboard import Leaderboard
    from benchmark.runs.execution import Execution
    from benchmark.runs.sweep import Job

TOP = 20  # rows of the plan that are shown


@app.command()
def sweep(
    file: Annotated[
        Path | None, typer.Argument(help="TOML file with a sweep; options replace what it says.", show_default=False)
    ] = None,
    models: Annotated[
        str | None, typer.Option(help="Comma-separated names, name:mode, or paths: polarmae,polarmae:scratch,gnn.")
    ] = None,
    labels: Annotated[str | None, typer.Option(help="Label budgets, comma-separated: 100,1000,all.")] = None,
    draws: Annotated[str | None, typer.Option(help="How many draws (3), or which (0,1,2).")] = None,
    seeds: Annotated[str | None, typer.Option(help="How many seeds (2), or which (0,1).")] = None,
    task: Annotated[str | None, typer.Option(help="What is predicted.")] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Where the events come from; default: the task's own.", callback=known_dataset)
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the dataset; without it, the cache.")] = None,
    preset: Annotated[str | None, typer.Option(help="default, tiny, paper.")] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="A setting of every model. Repeatable.", metavar="KEY=VALUE"),
    ] = None,
    workers: Annotated[int | None, typer.Option(help="Runs at a time; default: as cores and memory allow.")] = None,
    threads: Annotated[int, typer.Option(help="CPU threads of each run.")] = 1,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    compiled: Annotated[
        bool, typer.Option("--compile", help="Training compiles the blocks of transformers. GPUs only.")
    ] = False,
    executor: Annotated[str, typer.Option(help="local (processes) or submitit (SLURM).")] = "local",
    cluster: Annotated[
        list[str] | None,
        typer.Option("--cluster", help="Of submitit, e.g. slurm_partition=gpu. Repeatable.", metavar="KEY=VALUE"),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and what it costs; run nothing.")] = False,
    records: Annotated[Path | None, typer.Option(help="Where records go; default runs/records.")] = None,
    site: Annotated[Path | None, typer.Option(help="Folder of the page; default runs/site.")] = None,
) -> None:
    """Run every combination of models, label budgets, draws and seeds that is not recorded yet.

    Each run has its own record at once, so that an interrupted sweep, repeated, does what is left.
    """
    from benchmark.errors import unknown_name
    from benchmark.runs.execution import Execution
    from benchmark.runs.sweep import n_workers, plan, to_run

    if executor not in ("local", "submitit"):
        raise unknown_name("executor", executor, ("local", "submitit"), "Correct --executor.")
    asked = _asked(file, models, labels, draws, seeds, task, dataset, preset, set_)
    command = ("benchmark", *sys.argv[1:])
    execution = Execution(device, threads, data, records, compiled=compiled, command=command)
    jobs = plan(asked, execution)
    left = to_run(jobs)
    n_at_once = n_workers(left, workers, threads)
    _show_plan(jobs, n_at_once if executor == "local" else 0)
    if dry_run:
        return
    errors = _run(left, execution, n_at_once, executor, _parameters(cluster)) if left else {}
    _finish(jobs, execution, site, errors)
    if errors:
        raise typer.Exit(1)


def _asked(
    file: Path | None, models: str | None, labels: str | None, draws: str | None, seeds: str | None, task: str | None,
    dataset: str | None, preset: str | None, set_: list[str] | None,
) -> Any:  # fmt: skip
    from benchmark.runs.sweep_file import as_sweep, read_sweep, repetitions

    given = read_sweep(file) if file is not None else {}
    typed: dict[str, Any] = {"task": task, "dataset": dataset, "preset": preset}
    for name, text in (("models", models), ("labels", labels)):
        typed[name] = None if text is None else tuple(part.strip() for part in text.split(",") if part.strip())
    for name, text in (("draws", draws), ("seeds", seeds)):
        typed[name] = None if text is None else repetitions(name, text)
    given |= {name: value for name, value in typed.items() if value is not None}
    if set_:
        given["settings"] = (*given.get("settings", ()), *set_)
    if models is not None:
        own = given.get("settings_of", {})
        given["settings_of"] = {m: v for m, v in own.items() if m in given["models"]}
    return as_sweep(given)


def _parameters(cluster: list[str] | None) -> dict[str, Any]:
    from benchmark.settings import parse_assignments

    def plain(text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError:
            return text

    return {name: plain(value) for name, value in parse_assignments(cluster or []).items()}


def _show_plan(jobs: Sequence[Job], workers: int) -> None:
    from rich.table import Table

    from benchmark.runs.cost_estimate import duration
    from benchmark.runs.sweep import to_run

    left = to_run(jobs)
    table = Table(title=f"{len(jobs)} runs: {len(jobs) - len(left)} recorded, {len(left)} to do", title_justify="left")
    for name in ("model", "mode", "labels", "runs", "to do", "each", "told by"):
        table.add_column(name, justify="right" if name in ("labels", "runs", "to do", "each") else "left")
    rows: dict[tuple[str, str, str], list[Job]] = {}
    for job in jobs:
        c = job.identity.config
        rows.setdefault((c.model, c.mode, "all" if c.labels is None else str(c.labels)), []).append(job)
    for (model, mode, labels), of_row in list(rows.items())[:TOP]:
        n_left = len(to_run(of_row))
        cost = of_row[0].cost
        each = "-" if cost is None else duration(cost.wall_s)
        table.add_row(model, mode, labels, str(len(of_row)), str(n_left), each, "" if cost is None else cost.source)
    screen = console()
    screen.print(table)
    if len(rows) > TOP:
        screen.print(f"... and {len(rows) - TOP} more rows")
    known = sum(job.cost.wall_s for job in left if job.cost)
    unknown = sum(job.cost is None for job in left)
    made_here = len({job.pretraining for job in left if job.pretraining})
    parts = [f"about {duration(known)} of one worker's time" if known else ""]
    if workers and known:
        parts.append(f"{duration(known / workers)} on {workers} worker{'s' if workers > 1 else ''}")
    parts.append(f"{unknown} runs of unknown cost" if unknown else "")
    parts.append(f"{made_here} pre-trainings to make once" if made_here else "")
    if left:
        screen.print("; ".join(filter(None, parts)))


def _run(
    left: Sequence[Job], execution: Execution, workers: int, executor: str, parameters: dict[str, Any]
) -> dict[str, str]:
    """Carry out what is left; the errors by the run's name."""
    from benchmark.progress import progress
    from benchmark.runs.sweep import carry_out, submit

    logs = execution.runs / "sweep"
    screen = console()
    screen.print(f"what each run says: {logs}/<run>.log; Ctrl-C stops, the same command continues", soft_wrap=True)
    errors: dict[str, str] = {}
    ends = (
        carry_out(left, execution, workers, logs) if executor == "local" else submit(left, execution, parameters, logs)
    )
    with progress("runs", len(left)) as bar:
        bar.update(0)
        for n_done, ended in enumerate(ends, 1):
            if ended.error is not None:
                errors[ended.name] = ended.error
            bar.update(n_done, f"{ended.name}{' FAILED' if ended.error else ''}")
    return errors


def _finish(jobs: Sequence[Job], execution: Execution, site: Path | None, errors: dict[str, str]) -> None:
    """The table of the sweep's runs, and where its curve and page lie."""
    from benchmark.reports.check import readable
    from benchmark.reports.formats import rich
    from benchmark.reports.leaderboard import leaderboards
    from benchmark.site.pages import write_site

    every, told = readable(execution.records_folder)
    finished = {record.fingerprint: record for record in every if record.status == "finished"}
    found = [finished[job.fingerprint] for job in jobs if job.fingerprint in finished]
    screen = console()
    boards = leaderboards(found)
    for board in boards:
        screen.print(rich(board))
    _draw(boards, execution, screen)
    # of every record in the folder: this sweep's and those of earlier runs
    page = write_site(every, site or execution.runs / "site", told, execution.runs, execution.data)
    screen.print(f"page: {page.resolve().as_uri()}", soft_wrap=True, highlight=False)
    for name, error in errors.items():
        screen.print(f"FAILED {name}: {error}", soft_wrap=True, highlight=False)


def _draw(boards: Sequence[Leaderboard], execution: Execution, screen: Console) -> None:
    """A figure for each leaderboard with several budgets."""
    from benchmark.io import safe_name
    from benchmark.plots.efficiency_curves import draw_curve
    from benchmark.records.published import comparable
    from benchmark.reports.efficiency import curves

    for board in boards:
        if max((len(c.points) for c in curves(board)), default=0) > 1:
            path = execution.runs / f"curve-{safe_name(board.task)}.png"
            draw_curve(board, path, comparable(board.task, board.averages[0].record.task["primary_metric"]))
            screen.print(f"curve: {path}", soft_wrap=True, highlight=False)
