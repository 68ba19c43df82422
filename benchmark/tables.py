"""Tables for the terminal, from records alone. No torch needed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.table import Table

from benchmark.metrics.families import OVERALL, Column
from benchmark.records import RunRecord
from benchmark.resampling import family_of

N_LABEL_COLUMNS = 6  # of a leaderboard: what was run; the rest are numbers
PER_CLASS = ("precision", "recall", "f1")
PUBLISHED_PRESETS = ("paper", "reference")  # shown with the publication's way of counting, too


def run_table(record: RunRecord, beside: RunRecord | None = None) -> Table:
    """Scores of one run with 95% intervals, and another run's beside them.

    Of classes: precision, recall and F1 of each, and the other run's F1. Of other families of scores: a row for each.
    """
    split = "validation" if protocol(record) else "test"
    scored = f"{record.events['test']} {split} events of {record.dataset['name']}"
    title = f"{describe(record)}\n{record.task['name']}: {scored}"
    caption = "\n".join([f"95% intervals: bootstrap over {split} events", *_notes(record)])
    table = Table(title=title, caption=caption, title_justify="left", caption_justify="left")
    if record.task.get("metrics", "segmentation") != "segmentation":
        return _score_rows(table, record, beside)
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


def _score_rows(table: Table, record: RunRecord, beside: RunRecord | None) -> Table:
    """The primary metric and the leaderboard's further columns, one below the other."""
    columns = shown(record)
    table.add_column("score")
    for run in (record, *([] if beside is None else [beside])):
        table.add_column(run.model, justify="right")
    for column in columns:
        cells = [cell(run, column) for run in (record, beside) if run]
        table.add_row(column.title, *cells)
        if column is columns[0]:
            table.add_section()
    return table


def shown(record: RunRecord) -> tuple[Column, ...]:
    """The columns of a record's task: the primary metric, then those of its family of scores."""
    metric = record.task["primary_metric"]
    return (Column(metric, OVERALL, None, metric), *family_of(record).columns(record.task["classes"]))


def found(record: RunRecord, column: Column) -> Mapping[str, Any] | None:
    """A score: {value, low, high}."""
    section: Mapping[str, Any] = record.metrics.get(column.section, {})
    row: Mapping[str, Mapping[str, Any]] = section if column.row is None else section.get(column.row, {})
    return row.get(column.name)


def cell(record: RunRecord, column: Column) -> str:
    """A score as a table shows it."""
    entry = found(record, column)
    least = limit(record, column.name) if column.section == OVERALL else None
    if (entry is None or entry["value"] is None) and least is not None:
        return f"> {least:.{places_of(column)}f}"
    return with_interval(entry, places=places_of(column))


def places_of(column: Column) -> int:
    """Decimal places: a rejection is a number of tens, all other scores lie about 1."""
    return 1 if column.name.startswith("rejection") else 3


def markdown_table(columns: Sequence[str], sides: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table. `sides` tells of each column whether it stands `left` or `right`."""
    rule = ["---" if side == "left" else "---:" for side in sides]
    columns, *escaped = ([_plain(text) for text in row] for row in (columns, *rows))
    lines = [columns, rule, *escaped]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _plain(text: str) -> str:
    """Text that stays text in Markdown: it ends no cell and opens no tag."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def dirty_note(records: Iterable[RunRecord]) -> str:
    """What stands below a table with runs from a working tree that was not committed; empty without such runs."""
    dirty = any(record.environment.get("dirty") for record in records)
    return "* made from a working tree with uncommitted changes" if dirty else ""


def place(record: RunRecord) -> tuple[float, float, str, str]:
    """Order of rows: small budgets first, and in each the best first."""
    budget = float("inf") if record.labels == "all" else float(record.labels)
    return (budget, _rank(record), record.model, record.fingerprint)


def protocol(record: RunRecord) -> str:
    """The name of a publication's protocol where the record's scores follow it; empty for the suite's own."""
    own = (record.config.get("probe") or {}).get("protocol", "clean")
    return "" if own == "clean" else str(own)


def is_probe(record: RunRecord) -> bool:
    """Whether a record is of a probe of tokens."""
    return bool(record.config.get("probe"))


def _notes(record: RunRecord) -> list[str]:
    """Scores beside those of the table, each under its own name."""
    notes = []
    if is_probe(record) and record.status == "finished":
        fitted, scored = record.training["probe"]["n_tokens"], record.metrics["n_tokens"]
        subset = with_interval(record.metrics["overall"]["subset_accuracy"])
        notes.append(f"linear SVM on {fitted:,} tokens, {scored:,} tokens scored; right in every class: {subset}")
    counted = record.metrics.get("paper_protocol")
    if counted and record.config["preset"] in PUBLISHED_PRESETS:
        scores = ", ".join(f"{name} {value:.3f}" for name, value in counted.items())
        notes.append(f"by the publication's way of counting: {scores}")
    return notes


def describe(record: RunRecord) -> str:
    """Model, preset, mode and budget of a record, for titles."""
    c = record.config
    budget = f"{record.labels} labelled events, draw {c['draw']}, seed {c['seed']}"
    return f"{record.model} ({c['preset']}, {c['mode']}), {budget}"


def score(record: RunRecord, name: str, row: str) -> Mapping[str, Any] | None:
    """A score of one class, or of `macro`: {value, low, high}."""
    if row == "macro":
        overall: Mapping[str, Mapping[str, Any]] = record.metrics.get("overall", {})
        return overall.get(f"macro_{name}")
    per_class: Mapping[str, Mapping[str, Mapping[str, Any]]] = record.metrics.get("per_class", {})
    return per_class.get(row, {}).get(name)


def primary(record: RunRecord) -> Mapping[str, Any] | None:
    """The score that the task ranks by."""
    overall: Mapping[str, Mapping[str, Any]] = record.metrics.get("overall", {})
    return overall.get(record.task["primary_metric"])


def with_interval(entry: Mapping[str, Any] | None, separator: str = " ", places: int = 3) -> str:
    """`0.912 [0.900, 0.923]`, or a dash where the score is undefined."""
    if entry is None or entry["value"] is None:
        return "-"
    value = f"{entry['value']:.{places}f}"
    if entry.get("low") is None:
        return value
    high = "" if entry["high"] is None else f" {entry['high']:.{places}f}"  # an interval without an upper end
    return f"{value}{separator}[{entry['low']:.{places}f},{high or ' ...'}]"


def limit(record: RunRecord, name: str) -> float | None:
    """The 95% lower limit on an infinite rejection; None for all other scores."""
    of_all: Mapping[str, Any] = record.metrics.get("details", {}).get("overall", {})
    point = of_all.get(name.replace("rejection_", "at_").removesuffix("_interpolated"))
    return point["rejection_at_least"] if isinstance(point, Mapping) else None


def _rank(record: RunRecord) -> float:
    """The primary metric as a number that is smaller for a better record."""
    entry, better = primary(record), 1 if record.task.get("smaller_is_better") else -1
    if entry is None or entry["value"] is None:
        return float("inf") if limit(record, record.task["primary_metric"]) is None else better * float("inf")
    return float(entry["value"]) * better
