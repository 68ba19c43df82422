"""`compare`: differences of two records in settings and scores."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import typer

from benchmark.cli.app import app, console


@app.command()
def compare(
    first: Annotated[str, typer.Argument(help="A record: its file, or the start of its fingerprint.")],
    second: Annotated[str, typer.Argument(help="Another record of the same task.")],
    records: Annotated[Path | None, typer.Option(help="Folder of records; default runs/records.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Explain the difference of two runs: settings, data, code, machine, and scores on the same events."""
    from benchmark.records.store import records_dir, resolve_record
    from benchmark.reports.compare import compare as compare_records
    from benchmark.reports.tables import describe

    root = records or records_dir()
    one, other = (resolve_record(name, root) for name in (first, second))
    comparison = compare_records(one, other)
    if as_json:
        print(json.dumps({**dataclasses.asdict(comparison), "verdict": comparison.verdict}, indent=1))
        return
    from benchmark.reports.fitted_table import FittedTable

    screen = console()
    screen.print(f"first:  {describe(one)} ({one.fingerprint[:12]})", highlight=False)
    screen.print(f"second: {describe(other)} ({other.fingerprint[:12]})", highlight=False)
    table = FittedTable("what differs", ("setting", "first", "second"), first=("first", "second"), shown_by="--json")
    for change in comparison.changes:
        table.row(*change)
    screen.print(table)
    if comparison.same_events:
        scores = FittedTable(
            "scores on the same events; second minus first with its paired 95%",
            ("score", "first", "second", "difference"), numbers=("first", "second", "difference"),
            first=("difference",), shown_by="--json",
        )  # fmt: skip
        for s in comparison.scores:
            difference = _difference_text(s.first, s.second, s.low, s.high)
            scores.row(s.name, _number_text(s.first), _number_text(s.second), difference)
        screen.print(scores)
    if comparison.events:
        title, numbers = "events in which they differ most: share of wrong points", ("first", "second")
        events = FittedTable(title, ("event", *numbers), numbers=numbers, shown_by="--json")
        for event_id, a, b in comparison.events:
            events.row(event_id, f"{a:.1%}", f"{b:.1%}")
        screen.print(events)
    screen.print(comparison.verdict, highlight=False)


def _number_text(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _difference_text(one: float | None, other: float | None, low: float | None, high: float | None) -> str:
    if one is None or other is None:
        return "-"
    interval = " [-]" if low is None or high is None else f" [{low:+.4f}, {high:+.4f}]"
    return f"{other - one:+.4f}{interval}"
