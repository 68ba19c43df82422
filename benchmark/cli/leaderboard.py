"""`leaderboard`: tables from records alone, in any format, and their check."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.cli.app import app, console

if TYPE_CHECKING:
    from benchmark.records.record import RunRecord
    from benchmark.reports.leaderboard import Leaderboard

STEM = "leaderboard"  # of the files that --out writes

SPLITS = ("test", "val", "train")


@app.command()
def leaderboard(
    records: Annotated[Path | None, typer.Option(help="Folder of records; default runs/records.")] = None,
    task: Annotated[str | None, typer.Option(help="Only this task.")] = None,
    detector: Annotated[str | None, typer.Option(help="Only tasks of this one: lartpc, calorimeter or lif.")] = None,
    split: Annotated[str, typer.Option(help="The runs that were scored on this split: test, val or train.")] = "test",
    runs: Annotated[bool, typer.Option("--runs", help="A row for each run, not one for all draws and seeds.")] = False,
    pretexts: Annotated[
        bool,
        typer.Option("--pretexts", help="Backbones against pretexts: what each adds to training from scratch."),
    ] = False,
    statement: Annotated[
        bool,
        typer.Option(
            "--statement", help="Sentences: how many labels pre-training saves, with intervals; --full: each model."
        ),
    ] = False,
    summary: Annotated[
        bool, typer.Option("--summary", help="Methods over all tasks and budgets: wins, ranks, what can be told apart.")
    ] = False,
    full: Annotated[bool, typer.Option("--full", help="Every column: also energy, device, commit ...")] = False,
    form: Annotated[
        str, typer.Option("--format", help="terminal, markdown, csv, latex, html, or json (the records themselves).")
    ] = "terminal",
    out: Annotated[Path | None, typer.Option(help="Folder in which to write the tables in every form.")] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Check every record, and the tables in --out against the records; change nothing."
        ),
    ] = False,
) -> None:
    """Show recorded runs: one table per task, dataset revision and scored events, by budget, best first. Reads records.

    A row is the mean over draws and seeds, with their standard deviation and a bootstrap interval over events and runs.
    Another column gives the difference to the best row of the budget on the same events, with its paired interval.
    """
    from benchmark import tasks
    from benchmark.errors import unknown_name
    from benchmark.records.store import found_records, records_dir
    from benchmark.reports.formats import FORMATS
    from benchmark.reports.leaderboard import leaderboards

    if form not in (*FORMATS, "terminal", "json"):
        raise unknown_name("format", form, (*FORMATS, "terminal", "json"), "Correct --format.")
    task_name = tasks.task(task).name if task is not None else None
    detector_tasks = [t.name for t in tasks.TASKS.values() if t.detector == detector]
    if detector is not None and not detector_tasks:
        raise unknown_name("detector", detector, {t.detector for t in tasks.TASKS.values()}, "Correct --detector.")
    root = records or records_dir()
    _check_options(
        split, {"--pretexts": pretexts, "--statement": statement, "--summary": summary, "--out": out is not None}, root
    )

    def select(candidates: Sequence[RunRecord]) -> list[RunRecord]:
        shown = [r for r in candidates if r.status != "failed" and task_name in (None, r.task["name"])]
        return shown if detector is None else [r for r in shown if r.task["name"] in detector_tasks]

    if check:
        _check_folder(root, out, lambda candidates: leaderboards(select(candidates), runs, split))
        return
    all_runs, problems = found_records(root)
    shown = select(all_runs)
    if form == "json":
        of_split = [dataclasses.asdict(r) for r in shown if r.is_in_tables_of(split)]
        print(json.dumps(of_split, indent=1, sort_keys=True))
        return
    boards = leaderboards(shown, runs, split)
    if pretexts:
        _show_pretexts(boards, form)
    elif summary:
        _show_summary(boards, form)
    elif statement:
        _show_statement(boards, form, full)
    elif out is not None:
        for path in write_tables(boards, out):
            console().print(f"written: {path}", soft_wrap=True, highlight=False)
        console().print(_counted(all_runs, shown, split, len(problems), root), soft_wrap=True)
    else:
        _show(boards, form, full)
        if form == "terminal":
            console().print(_counted(all_runs, shown, split, len(problems), root), soft_wrap=True)


def _check_options(split: str, forms: Mapping[str, bool], root: Path) -> None:
    """Raises UnknownNameError for a split that no record knows, ConfigError for options that exclude each other."""
    from benchmark.errors import ConfigError, unknown_name
    from benchmark.records.store import found_records

    if split not in SPLITS:  # a dataset of somebody's own may have others
        splits = {*SPLITS, *(r.split for r in found_records(root)[0])}
        if split not in splits:
            raise unknown_name("split", split, splits, "Correct --split.")
    asked = [option for option, given in forms.items() if given]
    if len(asked) > 1:
        raise ConfigError(
            f"{' and '.join(asked)} exclude each other: each shows the records in a form of its own. One of them was "
            f"expected. Leave {asked[-1]} out."
        )


def _show(boards: Sequence[Leaderboard], form: str, full: bool) -> None:
    """Print the tables in one of the formats."""
    from benchmark.reports.formats import FORMATS, markdown, rich

    if form == "terminal":
        for board in boards:
            console().print(rich(board, full))
    elif form == "markdown":
        print("\n".join(markdown(board, full) for board in boards), end="")
    else:
        print(FORMATS[form][1](boards), end="")


def _show_pretexts(boards: Sequence[Leaderboard], form: str) -> None:
    """Print the tables of backbones against pretexts."""
    from benchmark.errors import DataError
    from benchmark.reports.pretexts import markdown, pretext_table, rich

    _check_form("--pretexts", form)
    tables = [table for board in boards if (table := pretext_table(board)) is not None]
    if not tables:
        raise DataError(
            "None of the runs started from a pretext. A run such as `python -m benchmark run --model gnn --pretext "
            "masked` was expected. Leave --pretexts out."
        )
    if form == "markdown":
        print("\n".join(map(markdown, tables)), end="")
        return
    for table in tables:
        console().print(rich(table))


def _show_summary(boards: Sequence[Leaderboard], form: str) -> None:
    """Print how the methods stand over all contests, and the contests."""
    from benchmark.errors import DataError
    from benchmark.reports.summary import markdown, rich, summary

    _check_form("--summary", form)
    found = summary(boards)
    if not found.standings:
        raise DataError(
            "No two methods were scored on the same events after the same budget, enough of them for intervals. Such "
            "runs were expected. Leave --summary out."
        )
    if form == "markdown":
        print(markdown(found), end="")
        return
    for table in rich(found):
        console().print(table)


def _check_form(option: str, form: str) -> None:
    """Raises ConfigError for a format that only whole tables have."""
    from benchmark.errors import ConfigError

    if form not in ("terminal", "markdown"):
        raise ConfigError(f"{option} has no format {form}. terminal or markdown was expected. Correct --format.")


def _show_statement(boards: Sequence[Leaderboard], form: str, full: bool) -> None:
    """Print what pre-training saves on each leaderboard."""
    from benchmark.errors import DataError
    from benchmark.reports.statement import statement

    _check_form("--statement", form)
    told = [(board.title, sentences) for board in boards if (sentences := statement(board, full))]
    if not told:
        raise DataError(
            "No table has both a pre-trained network and one from scratch. Runs such as `python -m benchmark sweep "
            "--models gnn,gnn+masked --labels 10,100,1000` were expected. Leave --statement out."
        )
    for title, sentences in told:
        if form == "markdown":
            print(f"**{title}**\n\n" + "\n".join(f"- {sentence}" for sentence in sentences))
        else:
            console().print("\n\n".join((title, *sentences)), end="\n\n", highlight=False, markup=False)


def _counted(
    all_runs: Sequence[RunRecord], shown: Sequence[RunRecord], split: str, n_unreadable: int, root: Path
) -> str:  # fmt: skip
    """How many runs the tables are of, and how many are left out and why."""
    others = [r.split for r in shown if not r.is_in_tables_of(split)]
    options = " or ".join(f"--split {name}" for name in sorted(set(others)))
    apart = f" ({len(others)} of them scored on another split and left out: type {options})" if others else ""
    failed = sum(r.status == "failed" for r in all_runs)
    left_out = f"{failed} failed runs left out, {n_unreadable} unreadable records"
    return f"{len(shown)} runs{apart}, {left_out}; from {root}"


def write_tables(boards: Sequence[Leaderboard], folder: Path) -> list[Path]:
    """Write the tables in every format, atomically; returns the paths."""
    from benchmark.hardware.locks import locked_folder
    from benchmark.io import atomic_write_text

    written = []
    with locked_folder(folder, f"the tables in {folder}", leftovers=f".{STEM}.*.partial"):
        for path, text in _format_tables(boards, folder).items():
            atomic_write_text(path, text)
            written.append(path)
    return written


def _format_tables(boards: Sequence[Leaderboard], folder: Path) -> dict[Path, str]:
    from benchmark.reports.formats import FORMATS

    return {folder / f"{STEM}.{ending}": write(boards) for ending, write in FORMATS.values()}


def _check_folder(
    root: Path, out: Path | None, tables: Callable[[Sequence[RunRecord]], list[Leaderboard]]
) -> None:  # fmt: skip
    """Print all findings; exits with code 1 if one is an error."""
    from benchmark.errors import DataError
    from benchmark.reports.check import check_records

    if not root.is_dir():
        raise DataError(f"There is no folder of records at {root}. A folder to check was expected. Correct --records.")
    files, findings = check_records(root)
    errors = [f"{f.path}: {f.text}" for f in findings if f.error]
    notes = [f"{f.path}: {f.text}" for f in findings if not f.error]
    if out is not None:
        for path, text in _format_tables(tables([record for _, record in files]), out).items():
            if not path.is_file() or path.read_text(encoding="utf-8") != text:
                again = f"`python -m benchmark leaderboard --records {root} --out {out}`"
                errors.append(f"{path}: does not follow from the records; write it again: {again}")
    for line in (*(f"ERROR {text}" for text in errors), *(f"note  {text}" for text in notes)):
        print(line)
    print(f"{len(files)} records read in {root}: {len(errors)} errors, {len(notes)} notes")
    if errors:
        raise typer.Exit(1)
