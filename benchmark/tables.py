"""Tables for the terminal, from records alone. No torch needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rich.table import Table

from benchmark.records import RunRecord

PER_CLASS = ("precision", "recall", "f1")


def run_table(record: RunRecord, beside: RunRecord | None = None) -> Table:
    """Per-class precision, recall and F1 of one run with 95% intervals, and another run's F1 beside it."""
    title = f"{describe(record)}\n{record.task['name']}: {record.events['test']} test events of {record.dataset['name']}"
    table = Table(title=title, caption="95% intervals: bootstrap over test events", title_justify="left")
    table.add_column("class")
    for name in PER_CLASS:
        table.add_column(name if name != "f1" else "F1", justify="right")
    if beside is not None:
        table.add_column(f"F1 of {beside.model}", justify="right")
    for row in (*record.task["classes"], "macro"):
        cells = [with_interval(score(record, name, row), "\n") for name in PER_CLASS]
        if beside is not None:
            cells.append(with_interval(score(beside, "f1", row), "\n"))
        if row == "macro":
            table.add_section()
        table.add_row(row, *cells)
    return table


def leaderboard_table(records: Iterable[RunRecord]) -> list[Table]:
    """One table per task and dataset revision, best primary metric first."""
    groups: dict[tuple[str, ...], list[RunRecord]] = {}
    for record in records:
        key = (record.task["name"], str(record.task["version"]), record.dataset["name"], record.dataset["revision"])
        groups.setdefault(key, []).append(record)
    return [_leaderboard(key, group) for key, group in sorted(groups.items())]


def _leaderboard(key: tuple[str, ...], records: list[RunRecord]) -> Table:
    task, version, dataset, revision = key
    metric = records[0].task["primary_metric"]
    classes = records[0].task["classes"]
    table = Table(title=f"{task} (version {version}) on {dataset}, {revision}", title_justify="left")
    for name in ("model", "preset", "mode", "labels", "draw", "seed"):
        table.add_column(name)
    table.add_column(f"{metric} [95%]", justify="right")
    for name in (*(f"F1 {c}" for c in classes), "parameters", "wall s"):
        table.add_column(name, justify="right")
    for record in sorted(records, key=lambda r: (-_value(primary(r)), r.model, r.fingerprint)):
        c = record.config
        mark = "" if record.status == "finished" else f" ({record.status})"
        dirty = "*" if record.environment.get("dirty") else ""
        scores = [with_interval(primary(record)), *(_plain(score(record, "f1", x)) for x in classes)]
        cost = [f"{record.resources.get('n_parameters', 0):,}", f"{record.resources.get('wall_s', 0):.0f}"]
        labels = "all" if c["labels"] is None else str(c["labels"])
        table.add_row(record.model + mark + dirty, c["preset"], c["mode"], labels, str(c["draw"]), str(c["seed"]), *scores, *cost)
    if any(r.environment.get("dirty") for r in records):
        table.caption = "* made from a working tree with uncommitted changes"
    return table


def describe(record: RunRecord) -> str:
    """Model, preset, mode and budget of a record, for titles."""
    c = record.config
    labels = "all" if c["labels"] is None else c["labels"]
    return f"{record.model} ({c['preset']}, {c['mode']}), {labels} labelled events, draw {c['draw']}, seed {c['seed']}"


def score(record: RunRecord, name: str, row: str) -> Mapping[str, Any] | None:
    """A score of one class, or of `macro`: {value, low, high}."""
    if row == "macro":
        return record.metrics.get("overall", {}).get(f"macro_{name}")
    return record.metrics.get("per_class", {}).get(row, {}).get(name)


def primary(record: RunRecord) -> Mapping[str, Any] | None:
    """The score that the task ranks by."""
    return record.metrics.get("overall", {}).get(record.task["primary_metric"])


def with_interval(entry: Mapping[str, Any] | None, separator: str = " ") -> str:
    """`0.912 [0.900, 0.923]`, or a dash where the score is undefined."""
    if entry is None or entry["value"] is None:
        return "-"
    if entry.get("low") is None:
        return f"{entry['value']:.3f}"
    return f"{entry['value']:.3f}{separator}[{entry['low']:.3f}, {entry['high']:.3f}]"


def _plain(entry: Mapping[str, Any] | None) -> str:
    return "-" if entry is None or entry["value"] is None else f"{entry['value']:.3f}"


def _value(entry: Mapping[str, Any] | None) -> float:
    return -1.0 if entry is None or entry["value"] is None else float(entry["value"])
