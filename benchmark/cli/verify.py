"""`verify`: compare with published or stored results. Exit code 1 where a check fails."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.cli.app import app, console
from benchmark.cli.evaluate import CheckpointFile, ModelName
from benchmark.errors import ConfigError, DataError

if TYPE_CHECKING:
    from benchmark.verification.report import Check, Report

verify_app = typer.Typer(
    name="verify",
    help="Compare with published, recorded or stored answers.",
    invoke_without_command=True,
    rich_markup_mode=None,
)
app.add_typer(verify_app, name="verify")


@verify_app.callback()
def verify(
    context: typer.Context,
    records: Annotated[
        Path | None, typer.Option(help="A record, or a folder of them: run each again and compare.")
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the records' dataset; without it, the cache.")] = None,
    device: Annotated[str, typer.Option(help="auto (as recorded), cpu or cuda.")] = "auto",
    threads: Annotated[int | None, typer.Option(help="CPU threads; default: as recorded.")] = None,
    tolerance: Annotated[float, typer.Option(help="Largest difference of a score; 0: equal counts everywhere.")] = 0,
    limit: Annotated[int | None, typer.Option(help="At most this many records, in sorted order.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare with published, recorded or stored answers. Alone: the published tables, and what follows from them.

    Needs neither data nor weights then. Exit code 1 where a check fails.
    """
    options = (data, None if device == "auto" else device, threads, tolerance or None, limit)
    if records is None and any(value is not None for value in options):
        raise ConfigError(
            "--data, --device, --threads, --tolerance and --limit before a command belong to --records. A folder of "
            "records was expected. Type `python -m benchmark verify --records FOLDER`, or give them after the command."
        )
    if context.invoked_subcommand is not None:
        return
    from benchmark.verification.report import Report

    if records is not None:
        checks = _rerun_records(records, data, device, threads, tolerance, limit)
        show(Report(f"records of {records}, run again", tuple(checks), {}), as_json)
        return
    from benchmark.records.published import published as all_published
    from benchmark.verification.consistency import consistency
    from benchmark.verification.derived import derived
    from benchmark.verification.joinable import committed_records, joinable
    from benchmark.verification.tokens import tokens

    rows = all_published()
    checks = [*consistency(rows), *derived(rows), *tokens(rows), *joinable(committed_records())]
    show(Report(f"{len(rows)} published numbers, and what follows from them", tuple(checks), {}), as_json)


def _rerun_records(
    path: Path, data: Path | None, device: str, threads: int | None, tolerance: float, limit: int | None
) -> list[Check]:
    from benchmark.progress import progress
    from benchmark.records.store import found_records, read_record
    from benchmark.runs.execution import Execution
    from benchmark.verification.report import Check
    from benchmark.verification.rerun import rerun

    if limit is not None and limit < 1:
        raise ConfigError(f"--limit {limit} is not possible. A number from 1 on was expected. Leave --limit out.")
    if not 0 <= tolerance < float("inf"):
        raise ConfigError(f"--tolerance {tolerance} is not possible. A number from 0 on was expected. Leave it out.")
    runs, problems = ([read_record(path)], []) if path.is_file() else found_records(path)
    if not runs and not problems:
        raise DataError(f"There is no record in {path}. Records of runs were expected. Give another folder.")
    selected = runs[:limit]
    execution = Execution(device, threads, data)
    checks = [Check("unreadable record", False, text, "a record of a run") for text in problems]
    with progress("records run again", len(selected)) as bar:
        for n_done, record in enumerate(selected, 1):
            checks.append(rerun(record, execution, tolerance))
            bar.update(n_done)
    return checks


@verify_app.command()
def published(
    checkpoint: CheckpointFile,
    data: Annotated[Path, typer.Option(help="Folder of the events, in PILArNet-M's files.")],
    model: ModelName = None,
    setting: Annotated[
        str | None, typer.Option(help="Which published line: fft or peft; default: as the checkpoint says.")
    ] = None,
    dataset: Annotated[str, typer.Option(help="Dataset of the folder.")] = "pilarnet-m",
    split: Annotated[str, typer.Option(help="Split to score; the publication scored val.")] = "val",
    tolerance: Annotated[float, typer.Option(help="Largest difference of a score that agrees.")] = 0.01,
    batch_size: Annotated[int | None, typer.Option(help="Events at once; default the checkpoint's.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Change the preprocessing. Repeatable.", metavar="KEY=VALUE")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[int | None, typer.Option(help="CPU threads; without it, every usable core.")] = None,
    records: Annotated[Path | None, typer.Option(help="Where the record goes; default runs/records.")] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Judge few events and other data too, by the tolerance alone.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score a released checkpoint on a split, in the publication's way of counting and in ours, against its numbers."""
    from benchmark.checkpoints.load import named_checkpoint
    from benchmark.runs.execution import Execution
    from benchmark.runs.transfer import Target
    from benchmark.verification.released import verify_released

    execution = Execution(device=device, threads=threads, data=data, records=records)
    opened = named_checkpoint(checkpoint, model)
    target = Target(dataset, split)
    report, _ = verify_released(opened, target, execution, setting, tolerance, batch_size, tuple(set_ or ()), strict)
    show(report, as_json)


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
    from benchmark.checkpoints.load import named_checkpoint
    from benchmark.verification.stored_predictions import read_stored_event, verify_predictions

    stored = read_stored_event(event, key)
    opened = named_checkpoint(checkpoint, model)
    show(verify_predictions(opened, stored, min_agreement, device), as_json)


def show(report: Report, as_json: bool) -> None:
    """Print a report; ends the program with code 1 where a check failed."""
    if as_json:
        checks = [{**dataclasses.asdict(check), "status": check.status} for check in report.checks]
        values = {**dataclasses.asdict(report), "checks": checks, "passed": report.passed}
        print(json.dumps(values, indent=1, sort_keys=True))
    else:
        _print_report(report)
    if not report.passed:
        raise typer.Exit(1)


def _print_report(report: Report) -> None:
    from benchmark.reports.fitted_table import FittedTable

    screen = console()
    columns = ("check", "found", "expected, and how closely", "result")
    table = FittedTable(report.title, columns, first=("result", "found"), shown_by="--json")
    for group, checks in itertools.groupby(report.checks, lambda check: check.group):
        if group:
            table.row(group, "", "", "", bold=(0,))
        for check in checks:
            table.row(check.name, check.found, check.expected, check.status)
        table.line()
    screen.print(table)
    counts_by_status = {s: sum(c.status == s for c in report.checks) for s in ("passed", "FAILED", "noted")}
    screen.print(", ".join(f"{n} {status}" for status, n in counts_by_status.items()))
    details = report.details
    if "confusion" not in details:
        return
    classes = details["classes"]
    title = "points, by stored (rows) and new prediction (columns)"
    counts = FittedTable(title, ("stored", *classes), numbers=classes, shown_by="--json")
    for name, row in zip(classes, details["confusion"], strict=True):
        counts.row(name, *(f"{n:,}" for n in row))
    screen.print(counts)
    if "f1_new" in details:
        numbers = (*classes, "macro")
        scores = FittedTable("F1 against the truth", ("prediction", *numbers), numbers=numbers, first=("macro",),
                             shown_by="--json")  # fmt: skip
        for name in ("stored", "new"):
            values = details[f"f1_{name}"]
            scores.row(name, *("-" if values[c] is None else f"{values[c]:.4f}" for c in numbers))
        screen.print(scores)
