"""A leaderboard written down: for the terminal, Markdown, CSV, LaTeX, HTML. What names say is escaped in each."""

from __future__ import annotations

import csv
import html
import io
from collections.abc import Callable, Iterable, Sequence

from rich.table import Table
from rich.text import Text

from benchmark.reports.leaderboard import ABOUT, Cell, Leaderboard
from benchmark.reports.tables import N_LABEL_COLUMNS, markdown_table

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
}  # fmt: skip
_STYLE = """body{font:15px/1.4 system-ui,sans-serif;margin:2em;color:#1b1b1b;background:#fff}
table{border-collapse:collapse;margin:0 0 1em}th,td{padding:.25em .6em;border-bottom:1px solid #d5d5d5;text-align:left}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}caption{text-align:left;font-weight:600;padding:.6em 0}
@media (prefers-color-scheme:dark){body{color:#e8e8e8;background:#161616}th,td{border-color:#444}}"""


def rich(board: Leaderboard, full: bool = False) -> Table:
    """For the terminal."""
    notes = "\n".join(board.notes)
    table = Table(
        title=Text(board.title), caption=Text(notes) if notes else None, title_justify="left", caption_justify="left"
    )
    wanted = _columns(board, full)
    for i in wanted:
        head = board.heads[i]
        side = "left" if i < N_LABEL_COLUMNS or not head.number else "right"
        table.add_column(Text(head.title), justify=side, overflow="fold")  # type: ignore[arg-type]
    for row in board.rows:
        table.add_row(*(Text(row[i].text, style="bold" if row[i].bold else "") for i in wanted))
    return table


def markdown(board: Leaderboard, full: bool = False) -> str:
    """For a README."""
    wanted = _columns(board, full)
    sides = ["left" if i < N_LABEL_COLUMNS or not board.heads[i].number else "right" for i in wanted]
    rows = [[_bold(row[i]) for i in wanted] for row in board.rows]
    table = markdown_table([board.heads[i].title for i in wanted], sides, rows)
    notes = "".join(f"\n{note}\n" for note in map(_starless, board.notes))
    return f"**{board.title}**\n\n{table}\n{notes}"


def csv_text(boards: Iterable[Leaderboard]) -> str:
    """One table of everything, a score's interval in columns of its own, numbers with six digits."""
    lines = [{key: _digits(value) for key, value in line.items()} for board in boards for line in board.values()]
    keys = dict.fromkeys((*ABOUT, *(key for line in lines for key in line)))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(keys), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return stream.getvalue()


def _digits(value: float | str | None) -> str:
    """Six digits: more differ from machine to machine."""
    return "" if value is None else value if isinstance(value, str) else f"{value:.6g}" if value % 1 else f"{value:.0f}"


def latex(board: Leaderboard, full: bool = False) -> str:
    """A booktabs table to include in a paper."""
    wanted = _columns(board, full)
    sides = "".join("l" if i < N_LABEL_COLUMNS or not board.heads[i].number else "r" for i in wanted)
    lines = [" & ".join(_tex(board.heads[i].title) for i in wanted) + r" \\", r"\midrule"]
    for row in board.rows:
        texts = (rf"\textbf{{{_tex(row[i].text)}}}" if row[i].bold else _tex(row[i].text) for i in wanted)
        lines.append(" & ".join(texts) + r" \\")
    caption = ". ".join(_tex(part) for part in (board.title, *board.notes))
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
}  # name -> (ending of its file, how it is written)


def _html_table(board: Leaderboard) -> str:
    heads = "".join(f'<th scope="col"{_class(h.number)}>{html.escape(h.title)}</th>' for h in board.heads)
    lines = []
    for row in board.rows:
        cells = []
        for head, cell in zip(board.heads, row, strict=True):
            text = html.escape(cell.text)
            cells.append(f"<td{_class(head.number)}>{f'<strong>{text}</strong>' if cell.bold else text}</td>")
        lines.append(f"<tr>{''.join(cells)}</tr>")
    notes = "".join(f"<p>{html.escape(note)}</p>" for note in board.notes)
    rows = "\n".join(lines)
    return (
        f"<table><caption>{html.escape(board.title)}</caption>\n<thead><tr>{heads}</tr></thead>\n"
        f"<tbody>\n{rows}\n</tbody></table>\n{notes}"
    )


def _class(number: bool) -> str:
    return ' class="n"' if number else ""


def _columns(board: Leaderboard, full: bool) -> list[int]:
    """Columns to show: of brief tables those with something in them and room for it."""
    if full:
        return list(range(len(board.heads)))
    empty = [all(row[i].text == "-" for row in board.rows) for i in range(len(board.heads))]
    return [i for i, h in enumerate(board.heads) if h.brief and not (empty[i] and h.key == "behind_best")]


def _bold(cell: Cell) -> str:
    return f"**{cell.text}**" if cell.bold else cell.text


def _starless(note: str) -> str:
    return note.replace("*", "\\*", 1) if note.startswith("*") else note


def _tex(text: str) -> str:
    return "".join(_LATEX.get(character, character) for character in text)
