"""Tables for the terminal, from records alone. No torch needed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from benchmark.metrics.families import OVERALL, Column
from benchmark.metrics.few_events import RULE
from benchmark.records.record import UNKNOWN, RunRecord
from benchmark.records.scored import founded, n_independent
from benchmark.records.scores import family_of, score, score_in_column
from benchmark.reports.fitted_table import FittedTable
from benchmark.reports.score_text import places_of, with_interval

N_LABEL_COLUMNS = 6  # first columns of a leaderboard: settings; the others are numbers

PER_CLASS = ("precision", "recall", "f1")

PUBLISHED_PRESETS = ("paper", "reference")  # also shown with the publication's metrics


def run_table(record: RunRecord, beside: RunRecord | None = None) -> FittedTable:
    """Scores of one run with 95% intervals, and another run's beside them.

    Segmentation: precision, recall and F1 of each class, and the other run's F1. Other families: a row per score.
    """
    record, beside = founded(record), None if beside is None else founded(beside)
    title = f"{describe(record)}\n{record.task['name']}: {scored_text(record)}"
    caption = "\n".join([f"95% intervals: bootstrap over independent events. {RULE}", *_score_notes(record)])
    if record.task.get("metrics", "segmentation") != "segmentation":
        return _score_rows(title, caption, record, beside)
    scores = ("precision", "recall", "F1", *([] if beside is None else [f"F1 of {beside.method}"]))
    table = FittedTable(title, ("class", *scores), numbers=scores, first=("F1", *scores[3:]), caption=caption)
    for row in (*record.task["classes"], "macro"):
        cells = [with_interval(score(record, name, row), "\n") for name in PER_CLASS]
        if beside is not None:
            cells.append(with_interval(score(beside, "f1", row), "\n"))
        if row == "macro":
            table.line()
        table.row(row, *cells)
    return table


def _score_rows(title: str, caption: str, record: RunRecord, beside: RunRecord | None) -> FittedTable:
    """The primary metric and the leaderboard's further columns, one below the other."""
    runs = [record, *([] if beside is None else [beside])]
    names = [run.method for run in runs]
    table = FittedTable(title, ("score", *names), numbers=names, first=names, caption=caption)
    for column in shown(record):
        table.row(column.title, *(cell(run, column) for run in runs))
        if column.name == record.task["primary_metric"]:
            table.line()
    return table


def shown(record: RunRecord) -> tuple[Column, ...]:
    """The columns of a record's task: the primary metric, then those of its family of scores."""
    metric = record.task["primary_metric"]
    return (Column(metric, OVERALL, None, metric), *family_of(record).columns(record.task["classes"]))


def cell(record: RunRecord, column: Column) -> str:
    """A score as a table shows it."""
    return with_interval(score_in_column(record, column), places=places_of(column))


def markdown_table(columns: Sequence[str], sides: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table. `sides`: alignment of each column, `left` or `right`."""
    rule = ["---" if side == "left" else "---:" for side in sides]
    columns, *escaped = ([escape_markdown(text) for text in row] for row in (columns, *rows))
    lines = [columns, rule, *escaped]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def escape_markdown(text: str) -> str:
    """Text escaped for a title or a cell: no columns, tags or links of its own."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("](", "]\\(").replace("\n", " ")


def dirty_note(records: Iterable[RunRecord]) -> str:
    """Note below a table with runs from a dirty working tree; else empty."""
    dirty = any(record.environment.get("dirty") for record in records)
    return "* made from a working tree with uncommitted changes" if dirty else ""


def _score_notes(record: RunRecord) -> list[str]:
    """Further scores, below the table."""
    notes = []
    if record.is_probe and record.status == "finished":
        fitted, scored = (record.training.get("probe") or {}).get("n_tokens", 0), record.metrics.get("n_tokens", 0)
        subset = with_interval(record.metrics["overall"].get("subset_accuracy"))
        notes.append(f"linear SVM on {fitted:,} tokens, {scored:,} tokens scored; right in every class: {subset}")
    published_scores = record.metrics.get("paper_protocol")
    if published_scores and record.config["preset"] in PUBLISHED_PRESETS:
        scores = ", ".join(f"{name} {with_interval({'value': value})}" for name, value in published_scores.items())
        notes.append(f"by the publication's way of counting: {scores}")
    return notes


def describe(record: RunRecord) -> str:
    """Model, preset, mode and budget of a record, for titles."""
    c, labels = record.config, record.labels
    budget = "number of labelled events unknown" if labels == UNKNOWN else f"{labels} labelled events"
    repetition = f"draw {record.known('draw')}, seed {record.known('seed')}"
    return f"{record.method} ({c['preset']}, {c['mode']}), {budget}, {repetition}"


def scored_text(record: RunRecord) -> str:
    """`392 test events of lartpc-sim`, with the number of independent ones where this is smaller."""
    n, n_units = record.events["test"], n_independent(record)
    apart = "" if n_units == n else f" ({n_units:,} independent)"
    return f"{n:,} {record.split} events{apart} of {record.dataset['name']}"
