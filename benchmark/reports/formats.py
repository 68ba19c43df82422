"""A leaderboard as terminal table, Markdown, CSV, LaTeX or HTML; texts are escaped."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Callable, Iterable, Sequence

from benchmark.reports.fitted_table import FittedTable
from benchmark.reports.leaderboard import ABOUT, Cell, Leaderboard
from benchmark.reports.tables import N_LABEL_COLUMNS, escape_markdown, markdown_table

IMPORTANT = (  # keys of columns beside the first score, the last is left out first in a narrow terminal
    "model", "labels", "settings", "mode", "preset", "difference_to_best", "n_events", "runs", "spread",
)  # fmt: skip
_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
}  # fmt: skip
_FORMULA = ("=", "+", "-", "@", "\t")  # a spreadsheet would compute a text that starts so
_LONG = 1e18
_STYLE = """body{font:15px/1.4 system-ui,sans-serif;margin:2em;color:#1b1b1b;background:#fff}
table{border-collapse:collapse;margin:0 0 1em}th,td{padding:.25em .6em;border-bottom:1px solid #d5d5d5;text-align:left}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}caption{text-align:left;font-weight:600;padding:.6em 0}
@media (prefers-color-scheme:dark){body{color:#e8e8e8;background:#161616}th,td{border-color:#444}}"""


def rich(board: Leaderboard, full: bool = False) -> FittedTable:
    """For the terminal, with as many columns as there is room for."""
    indices = _column_indices(board, full)
    heads = [board.heads[i] for i in indices]
    numbers = [head.title for head in heads if head.number]
    important = {head.key: head.title for head in heads if head.key in IMPORTANT}
    table = FittedTable(
        board.title, [head.title for head in heads], numbers=numbers, caption="\n".join(board.notes),
        first=[*numbers[:1], *(important[key] for key in IMPORTANT if key in important)], shown_by="--format csv",
    )  # fmt: skip
    for row in board.rows:
        table.row(*(row[i].text for i in indices), bold=[at for at, i in enumerate(indices) if row[i].bold])
    return table


def markdown(board: Leaderboard, full: bool = False) -> str:
    """For a README."""
    indices = _column_indices(board, full)
    sides = ["left" if i < N_LABEL_COLUMNS or not board.heads[i].number else "right" for i in indices]
    rows = [[_bold_text(row[i]) for i in indices] for row in board.rows]
    table = markdown_table([board.heads[i].title for i in indices], sides, rows)
    notes = "".join(f"\n{note}\n" for note in map(_escape_star, board.notes))
    return f"**{escape_markdown(board.title)}**\n\n{table}\n{notes}"


def csv_text(boards: Iterable[Leaderboard]) -> str:
    """One table of all boards; interval ends have their own columns, numbers six digits."""
    lines = [{key: _number_text(value) for key, value in line.items()} for board in boards for line in board.values()]
    keys = dict.fromkeys((*ABOUT, *(key for line in lines for key in line)))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(keys), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return stream.getvalue()


def _number_text(value: float | str | None) -> str:
    """Six digits: further ones depend on the machine."""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    return "" if value is None else f"{value:.6g}" if value % 1 or abs(value) >= _LONG else f"{value:.0f}"


def latex(board: Leaderboard, full: bool = False) -> str:
    """A booktabs table to include in a paper."""
    indices = _column_indices(board, full)
    sides = "".join("l" if i < N_LABEL_COLUMNS or not board.heads[i].number else "r" for i in indices)
    lines = [" & ".join(_escape_latex(board.heads[i].title) for i in indices) + r" \\", r"\midrule"]
    for row in board.rows:
        texts = (
            rf"\textbf{{{_escape_latex(row[i].text)}}}" if row[i].bold else _escape_latex(row[i].text) for i in indices
        )
        lines.append(" & ".join(texts) + r" \\")
    caption = ". ".join(_escape_latex(part) for part in (board.title, *board.notes))
    body = "\n".join(lines)
    return (
        "\\begin{table}\n\\centering\n\\small\n"
        f"\\caption{{{caption}.}}\n\\begin{{tabular}}{{{sides}}}\n\\toprule\n{body}\n\\bottomrule\n\\end{{tabular}}\n"
        "\\end{table}\n"
    )


def html_page(boards: Sequence[Leaderboard]) -> str:
    """A page without scripts: every column of every table."""
    tables = "\n".join(_html_table(board) for board in boards)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Leaderboards</title>\n'
        f"<style>{_STYLE}</style></head><body>\n{tables}\n</body></html>\n"
    )


FORMATS: dict[str, tuple[str, Callable[[Sequence[Leaderboard]], str]]] = {
    "markdown": ("md", lambda boards: "\n".join(markdown(board) for board in boards)),
    "csv": ("csv", csv_text),
    "latex": ("tex", lambda boards: "\n".join(latex(board) for board in boards)),
    "html": ("html", html_page),
}  # name -> (file ending, writer)


def _html_table(board: Leaderboard) -> str:
    heads = "".join(f'<th scope="col"{_class_attribute(h.number)}>{html.escape(h.title)}</th>' for h in board.heads)
    lines = []
    for row in board.rows:
        cells = []
        for head, cell in zip(board.heads, row, strict=True):
            text = html.escape(cell.text)
            cells.append(f"<td{_class_attribute(head.number)}>{f'<strong>{text}</strong>' if cell.bold else text}</td>")
        lines.append(f"<tr>{''.join(cells)}</tr>")
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in board.notes)
    rows = "\n".join(lines)
    return (
        f"<table><caption>{html.escape(board.title)}</caption>\n<thead><tr>{heads}</tr></thead>\n"
        f"<tbody>\n{rows}\n</tbody></table>\n{notes}"
    )


def _class_attribute(number: bool) -> str:
    return ' class="n"' if number else ""


def _column_indices(board: Leaderboard, full: bool) -> list[int]:
    """Columns to show; without `full` the brief ones that are not empty."""
    if full:
        return list(range(len(board.heads)))
    empty = [all(row[i].text == "-" for row in board.rows) for i in range(len(board.heads))]
    return [i for i, h in enumerate(board.heads) if h.brief and not (empty[i] and h.key == "difference_to_best")]


def _bold_text(cell: Cell) -> str:
    return f"**{cell.text}**" if cell.bold else cell.text


def _escape_star(note: str) -> str:
    note = escape_markdown(note)
    return note.replace("*", "\\*", 1) if note.startswith("*") else note


def _escape_latex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)
