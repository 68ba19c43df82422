"""Tables for a terminal of any width: where there is little room, fewer columns rather than broken ones.

A number is never broken over lines; an interval may stand below its value, and its ends below each other. A word is
broken where a new part begins (after `_`, `-`, `/`), and elsewhere only beyond LONGEST_WORD characters. Columns
without room are left out, the least important first, and named below the table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.jupyter import JupyterMixin
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

LONGEST_WORD = 24  # longer ones, such as paths and digests, are broken
LEAST_PROSE = 16  # width of a column of several words, where there is room for no more
TIGHT = 10  # both of these, where few columns fit else
FEW = 3  # columns; rather than show fewer, intervals are broken between their ends
FRAME = 3  # characters that a column takes beside its cells; the table takes one more


@dataclass
class FittedColumn:
    """A column: its title and cells, in order of the rows. Cells of numbers stay whole, at the right."""

    title: str
    number: bool
    cells: list[str] = field(default_factory=list)

    def least(self, tight: bool) -> int:
        """The narrowest width that breaks no number and no word up to LONGEST_WORD; `tight`: nor a part of one."""
        texts = [self.title] if self.number else [self.title, *self.cells]
        words = [word for text in texts for word in (_parts(text) if tight else text.split())]
        least = min(max(map(cell_len, words), default=1), TIGHT if tight and not self.number else LONGEST_WORD)
        if self.number:
            return max(least, *(_width(_lines(cell, tight)) for cell in self.cells), 1)
        is_prose = any(" " in cell for cell in self.cells)
        return max(least, min(self.most, TIGHT if tight else LEAST_PROSE)) if is_prose else least

    @property
    def most(self) -> int:
        """The width at which no line is broken."""
        return max(_width(text) for text in (self.title, *self.cells))


class FittedTable(JupyterMixin):
    """A table of texts that fits the terminal. Texts are shown as they are, never read as markup.

    columns: titles; those in `numbers` hold numbers. first: titles in order of importance; the others follow from left
    to right, and the last is left out first. The first column and the first of `first` always stay. shown_by: what
    shows every column, told where one is left out.
    """

    def __init__(
        self, title: str, columns: Sequence[str], *, numbers: Sequence[str] = (), first: Sequence[str] = (),
        caption: str = "", shown_by: str = "",
    ) -> None:  # fmt: skip
        self.title, self.caption, self.shown_by = title, caption, shown_by
        self.columns = [FittedColumn(name, name in numbers) for name in columns]
        self.has_header = any(name.strip() for name in columns)
        self._bold: list[frozenset[int]] = []  # emphasised cells of each row
        self._lines: set[int] = set()  # rows with a line above
        rank = {name: i for i, name in enumerate(first)}
        by_importance = sorted(range(len(columns)), key=lambda i: (rank.get(columns[i], len(rank)), i))
        chief = [0, by_importance[0]] if columns else []
        self._order = list(dict.fromkeys([*chief, *by_importance]))
        self._n_fixed = len(set(chief))

    def row(self, *cells: str, bold: Sequence[int] = ()) -> None:
        """Add a row. bold: positions of emphasised cells."""
        for column, cell in zip(self.columns, cells, strict=True):
            column.cells.append(cell)
        self._bold.append(frozenset(bold))

    def line(self) -> None:
        """Draw a line between the last row and the next."""
        self._lines.add(len(self._bold))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The columns that fit, each as wide as its words and numbers need."""
        shown, widths = self._shown(options.max_width)
        table = Table(show_header=self.has_header)
        for i, width in zip(shown, widths, strict=True):
            c = self.columns[i]
            table.add_column(_fitted(c.title, width), justify="right" if c.number else "left", width=width,
                             overflow="fold")  # fmt: skip
        for number, bold in enumerate(self._bold):
            cells = (
                _fitted(self.columns[i].cells[number], width, i in bold) for i, width in zip(shown, widths, strict=True)
            )
            table.add_row(*cells, end_section=number + 1 in self._lines)
        if self.title:
            yield Text(self.title, style="table.title")
        yield table
        for note in filter(None, (self.caption, self._left_out(shown, options.max_width))):
            yield Text(note, style="table.caption")

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """From the narrowest form to the one without broken lines."""
        most = 1 + sum(FRAME + column.most for column in self.columns)
        least = min(self._needed(self._order[: self._n_fixed], tight=True), most)
        return Measurement(least, most).with_maximum(options.max_width)

    def _needed(self, shown: Sequence[int], tight: bool) -> int:
        return 1 + sum(FRAME + self.columns[i].least(tight) for i in shown)

    def _shown(self, width: int) -> tuple[list[int], list[int]]:
        """Positions of the columns that fit, and their widths; intervals are broken where few columns fit else."""
        for tight in (False, True):
            n = len(self._order)
            while n > self._n_fixed and self._needed(self._order[:n], tight) > width:
                n -= 1
            if n >= FEW:
                break
        shown = sorted(self._order[:n])
        return shown, self._widths([self.columns[i] for i in shown], width, tight)

    def _widths(self, columns: Sequence[FittedColumn], width: int, tight: bool) -> list[int]:
        """The least that each column needs; spare room goes to whole numbers first, then to texts."""
        widths, most = [c.least(tight) for c in columns], [c.most for c in columns]
        spare = width - 1 - sum(FRAME + w for w in widths)
        while spare < 0 and max(widths) > 1:  # even the columns that always stay need more: break their words
            widths[widths.index(max(widths))] -= 1
            spare += 1
        for i, column in enumerate(columns):
            if column.number and spare >= most[i] - widths[i] > 0:
                spare -= most[i] - widths[i]
                widths[i] = most[i]
        while spare > 0 and (growing := [i for i, c in enumerate(columns) if not c.number and widths[i] < most[i]]):
            widths[min(growing, key=lambda i: widths[i])] += 1
            spare -= 1
        return widths

    def _left_out(self, shown: Sequence[int], width: int) -> str:
        """The names of columns for which there is no room, and what shows them."""
        absent = [column.title for i, column in enumerate(self.columns) if i not in shown]
        if not absent:
            return ""
        remedy = self.shown_by or f"COLUMNS={self._needed(self._order, tight=False)} before the command"
        return f"No room in {width} columns for: {', '.join(absent)}. To see them: {remedy}."


def facts_table(facts: Mapping[str, object], title: str = "") -> FittedTable:
    """Names and values, one below the other; the entries of a mapping stand on a line each."""
    table = FittedTable(title, ("", " "), first=(" ",))
    for name, value in facts.items():
        table.row(name, "\n".join(_fact_lines(value)))
    return table


def _fact_lines(value: object) -> list[str]:
    if not isinstance(value, Mapping):
        return [str(value)]
    return [f"{name}: {entry:,}" if isinstance(entry, int) else f"{name}: {entry}" for name, entry in value.items()]


def _width(text: str) -> int:
    return max((cell_len(line) for line in text.split("\n")), default=0)


def _fitted(text: str, width: int, bold: bool = False) -> Text:
    """A text whose interval stands below its value where both do not fit beside each other."""
    forms = (text, _lines(text, tight=False), _lines(text, tight=True))
    fitting = next((form for form in forms if _width(form) <= width), text)
    whole = re.sub(r"\S+", lambda word: _broken_word(word[0], width), fitting)
    return Text(whole, style="bold" if bold else "")


def _broken_word(word: str, width: int) -> str:
    """A word that is longer than `width`, on lines that end after `_`, `-` or `/`."""
    lines = [""]
    for part in _parts(word) if cell_len(word) > width else [word]:
        if lines[-1] and cell_len(lines[-1] + part) > width:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def _parts(text: str) -> list[str]:
    """The words of a text, and their parts where they are composed."""
    return [part for word in text.split() for part in re.split(r"(?<=[_/-])(?!\d)|(?<=\.)(?=[A-Za-z])", word) if part]


def _lines(text: str, tight: bool) -> str:
    """`0.761 [0.746, 0.776]` on two lines, or on three."""
    below = re.sub(r" (?=\[)", "\n", text)
    return re.sub(r"(\[\S+) ", r"\1\n", below) if tight else below
