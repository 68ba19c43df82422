"""Backbones against pretexts: what each pre-training adds to the same network from scratch, from records alone.

A cell is the primary metric, a mean over draws and seeds, and its difference to the same backbone from scratch with as
many steps on the same labels, with a paired 95% interval.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmark.records.record import RunRecord
from benchmark.reports.averages import Average
from benchmark.reports.fitted_table import FittedTable
from benchmark.reports.leaderboard import Leaderboard
from benchmark.reports.paired_differences import difference
from benchmark.reports.score_text import places_of
from benchmark.reports.tables import cell, markdown_table, shown

SCRATCH = "none"  # column of the runs from scratch
NOTE = "In brackets behind a score: its 95% interval. Second line: the difference to the column none, with its own."
_EMPTY = ""
_SETTINGS = ("labels", "backbone", "mode", "steps")


@dataclass(frozen=True)
class PretextTable:
    """One of a leaderboard's tasks and data; rows are backbones and budgets, columns pretexts and their steps."""

    title: str
    columns: tuple[str, ...]  # labels, backbone, mode, steps, none, then the pretexts with their steps
    rows: tuple[tuple[str, ...], ...]


def pretext_table(board: Leaderboard) -> PretextTable | None:
    """The table of a leaderboard's rows; None where none of them has a pretext."""
    found = [row for row in board.averages if row.record.config.get("pretext")]
    if not found:
        return None
    names = sorted({_pretraining(row.record) for row in found})
    keys = sorted({_key(row.record) for row in found})
    rows = []
    for labels, model, preset, mode, steps in keys:
        scratch = _most_runs([r for r in board.averages if _is_scratch(r.record, (labels, model, preset, steps))])
        with_pretext = {
            name: _most_runs([r for r in found if _key(r.record) == (labels, model, preset, mode, steps)
                              and _pretraining(r.record) == name])
            for name in names
        }  # fmt: skip
        cells = [_cell(scratch, None), *(_cell(row, scratch) for row in with_pretext.values())]
        budget = "all" if labels == _ALL else str(labels)
        backbone = model if preset == "default" else f"{model} ({preset})"
        rows.append((budget, backbone, mode, str(steps), *cells))
    heads = (f"{name}, {n:,} steps" if n else name for name, n in names)
    return PretextTable(board.title, (*_SETTINGS, SCRATCH, *heads), tuple(rows))


_ALL = 1 << 62  # budget of all labels, behind the others
_Key = tuple[int, str, str, str, int]


def _key(record: RunRecord) -> _Key:
    c = record.config
    labels = _ALL if c["labels"] is None else int(c["labels"])
    return labels, record.model, c["preset"], c["mode"], int(c["train"].get("steps", 0))


def _pretraining(record: RunRecord) -> tuple[str, int]:
    """Name of the pretext, and the steps of the pre-training; 0 where the record does not say."""
    return record.config["pretext"], record.pretraining_steps


def _is_scratch(record: RunRecord, wanted: tuple[int, str, str, int]) -> bool:
    labels, model, preset, mode, steps = _key(record)
    return mode == "scratch" and (labels, model, preset, steps) == wanted


def _most_runs(rows: Sequence[Average]) -> Average | None:
    """Of rows with other settings the one with the most runs; of these the newest."""
    return max(rows, key=lambda row: (row.n_runs, row.record.created), default=None)


def _cell(row: Average | None, scratch: Average | None) -> str:
    if row is None:
        return _EMPTY
    column = shown(row.record)[0]
    text = cell(row.record, column)
    gain = None if scratch is None else difference(row, scratch)
    return text if gain is None else f"{text}\n{gain.text(places_of(column))}"


def rich(table: PretextTable) -> FittedTable:
    """For the terminal."""
    fitted = FittedTable(
        table.title, list(table.columns), numbers=list(table.columns[3:]), caption=NOTE,
        first=["backbone", *table.columns[len(_SETTINGS) :]], shown_by="--format markdown",
    )  # fmt: skip
    for row in table.rows:
        fitted.row(*row)
    return fitted


def markdown(table: PretextTable) -> str:
    """For a page."""
    sides = ["left" if i < len(_SETTINGS) else "right" for i in range(len(table.columns))]
    rows = [[text.replace("\n", "; ") for text in row] for row in table.rows]
    note = NOTE.replace("Second line", "Then")
    return f"**{table.title}**\n\n{markdown_table(table.columns, sides, rows)}\n\n{note}\n"
