"""`sweep`: many runs in one command, in parallel, then the table, the curve and the page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
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
        Path | None,
        typer.Argument(
            help="A sweep's TOML file, or one of the package: `small`, `pretexts`, `labels`; options override it.",
            show_default=False,
        ),
    ] = None,
    models: Annotated[
        str | None,
        typer.Option(help="Comma-separated names, name:mode, name+pretext, or paths: polarmae:scratch,gnn,gnn+masked."),
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
    split: Annotated[
        str | None,
        typer.Option(help="What is scored: test, or val, to choose settings without opening the test split."),
    ] = None,
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
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan and its cost; run nothing.")] = False,
    records: Annotated[Path | None, typer.Option(help="Where records go; default runs/records.")] = None,
    site: Annotated[Path | None, typer.Option(help="Folder of the page; default runs/site.")] = None,
) -> None:
    """Run every combination of models, label budgets, draws and seeds that is not recorded yet.

    Each run is recorded as it ends; an interrupted sweep, repeated, does the remaining runs.
    """
    from benchmark.errors import unknown_name
    from benchmark.runs.execution import Execution
    from benchmark.runs.sweep import n_workers, plan, to_run

    if executor not in ("local", "submitit"):
        raise unknown_name("executor", executor, ("local", "submitit"), "Correct --executor.")
    request = _sweep_of_options(file, models, labels, draws, seeds, task, dataset, preset, split, set_)
    execution = Execution(device, threads, data, records, compiled=compiled)
    jobs = plan(request, execution)
    remaining = to_run(jobs)
    n_at_once = n_workers(remaining, workers, threads)
    _show_plan(jobs, n_at_once if executor == "local" else 0)
    if dry_run:
        return
    errors = _run_jobs(remaining, execution, n_at_once, executor, _cluster_parameters(cluster)) if remaining else {}
    _show_results(jobs, execution, site, errors)
    if errors:
        raise typer.Exit(1)


def _sweep_of_options(
    file: Path | None, models: str | None, labels: str | None, draws: str | None, seeds: str | None, task: str | None,
    dataset: str | None, preset: str | None, split: str | None, set_: list[str] | None,
) -> Any:  # fmt: skip
    from benchmark.runs.sweep_file import as_sweep, read_sweep, repetitions

    fields = read_sweep(file) if file is not None else {}
    options: dict[str, Any] = {"task": task, "dataset": dataset, "preset": preset, "split": split}
    for name, text in (("models", models), ("labels", labels)):
        options[name] = None if text is None else tuple(part.strip() for part in text.split(",") if part.strip())
    for name, text in (("draws", draws), ("seeds", seeds)):
        options[name] = None if text is None else repetitions(name, text)
    fields |= {name: value for name, value in options.items() if value is not None}
    if set_:
        fields["settings"] = (*fields.get("settings", ()), *set_)
    if models is not None:
        fields["settings_of"] = _of_these(fields["models"], fields.get("settings_of", {}))
    budgets = fields.get("budgets", {})
    kept = {b: v for b, v in budgets.items() if labels is None or b in fields["labels"]}
    if models is not None:
        kept = {b: replace(v, settings_of=_of_these(fields["models"], v.settings_of)) for b, v in kept.items()}
    fields["budgets"] = kept if draws is None else {b: replace(v, draws=None) for b, v in kept.items()}
    return as_sweep(fields)


def _of_these(models: Sequence[str], settings: Mapping[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
    """A file's settings of the models that the command line asks for."""
    return {model: values for model, values in settings.items() if model in models}


def _cluster_parameters(cluster: list[str] | None) -> dict[str, Any]:
    from benchmark.settings import parse_assignments

    def parse_value(text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError:
            return text

    return {name: parse_value(value) for name, value in parse_assignments(cluster or []).items()}


def _show_plan(jobs: Sequence[Job], workers: int) -> None:
    from benchmark.contracts.pretext import method_name
    from benchmark.reports.fitted_table import FittedTable
    from benchmark.runs.cost_estimate import duration
    from benchmark.runs.sweep import to_run

    remaining = to_run(jobs)
    table = FittedTable(
        f"{len(jobs)} runs: {len(jobs) - len(remaining)} recorded, {len(remaining)} to do",
        ("model", "mode", "labels", "runs", "to do", "each", "told by"), numbers=("labels", "runs", "to do", "each"),
        first=("to do", "each", "labels", "mode"),
    )  # fmt: skip
    rows: dict[tuple[str, str, str], list[Job]] = {}
    for job in jobs:
        c = job.identity.config
        labels = "all" if c.labels is None else str(c.labels)
        rows.setdefault((method_name(c.model, c.pretext), c.mode, labels), []).append(job)
    for (model, mode, labels), row_jobs in list(rows.items())[:TOP]:
        n_remaining = len(to_run(row_jobs))
        cost = row_jobs[0].cost
        each = "-" if cost is None else duration(cost.wall_s)
        table.row(model, mode, labels, str(len(row_jobs)), str(n_remaining), each, "" if cost is None else cost.source)
    screen = console()
    screen.print(table)
    if len(rows) > TOP:
        screen.print(f"... and {len(rows) - TOP} more rows")
    known_s = sum(job.cost.wall_s for job in remaining if job.cost)
    n_unknown = sum(job.cost is None for job in remaining)
    n_pretrainings = len({job.pretraining for job in remaining if job.pretraining})
    parts = [f"about {duration(known_s)} of one worker's time" if known_s else ""]
    if workers and known_s:
        parts.append(f"{duration(known_s / workers)} on {workers} worker{'s' if workers > 1 else ''}")
    parts.append(f"{n_unknown} runs of unknown cost" if n_unknown else "")
    parts.append(f"{n_pretrainings} pre-trainings to do once" if n_pretrainings else "")
    if remaining:
        screen.print("; ".join(filter(None, parts)))


def _run_jobs(
    remaining: Sequence[Job], execution: Execution, workers: int, executor: str, parameters: dict[str, Any]
) -> dict[str, str]:
    """Carry out the remaining jobs; returns run name -> error."""
    from benchmark.progress import progress
    from benchmark.runs.sweep import carry_out, submit

    logs = execution.runs / "sweep"
    screen = console()
    screen.print(f"logs of the runs: {logs}/<run>.log; Ctrl-C stops, the same command continues", soft_wrap=True)
    errors: dict[str, str] = {}
    results = (
        carry_out(remaining, execution, workers, logs)
        if executor == "local"
        else submit(remaining, execution, parameters, logs)
    )
    with progress("runs", len(remaining)) as bar:
        bar.update(0)
        for n_done, result in enumerate(results, 1):
            if result.error is not None:
                errors[result.name] = result.error
            bar.update(n_done, f"{result.name}{' FAILED' if result.error else ''}")
    return errors


def _show_results(jobs: Sequence[Job], execution: Execution, site: Path | None, errors: dict[str, str]) -> None:
    """Print the table of the sweep's runs; write its curve and page."""
    from benchmark.reports.check import readable
    from benchmark.reports.formats import rich
    from benchmark.reports.leaderboard import leaderboards
    from benchmark.site.pages import write_site

    all_runs, problems = readable(execution.records_folder)
    finished = {record.fingerprint: record for record in all_runs if record.status == "finished"}
    sweep_runs = [finished[job.fingerprint] for job in jobs if job.fingerprint in finished]
    screen = console()
    boards = leaderboards(sweep_runs, split=jobs[0].identity.config.split)
    for board in boards:
        screen.print(rich(board))
    _draw_curves(boards, execution, screen)
    # of all records in the folder, also of earlier runs
    page = write_site(all_runs, site or execution.runs / "site", problems, execution.runs, execution.data)
    screen.print(f"page: {page.resolve().as_uri()}", soft_wrap=True, highlight=False)
    for name, error in errors.items():
        screen.print(f"FAILED {name}: {error}", soft_wrap=True, highlight=False)


def _draw_curves(boards: Sequence[Leaderboard], execution: Execution, screen: Console) -> None:
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
