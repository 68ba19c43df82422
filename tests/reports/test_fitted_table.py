"""Tables in terminals of any width: whole numbers, whole words, and every column that is left out is named."""

import io
import re

import numpy as np
import pytest
from rich.console import Console

from benchmark.reports.fitted_table import FittedTable, facts_table
from benchmark.reports.formats import rich
from benchmark.reports.leaderboard import leaderboards
from benchmark.reports.tables import run_table
from builders.many_records import made_up
from builders.paths import ROOT

WIDTHS = (200, 120, 80, 60, 40)


def printed(table, width):
    console = Console(width=width, file=io.StringIO())
    console.print(table)
    return console.file.getvalue()


def cells(text):
    """The texts of each line of the table's body and header, by column."""
    lines = [line for line in text.splitlines() if line.startswith(("│", "┃"))]
    return [[cell.strip() for cell in re.split("[│┃]", line)[1:-1]] for line in lines]


@pytest.fixture(scope="module")
def boards():
    rng = np.random.default_rng(0)
    names = ("gnn", "energy_threshold", "polarmae")
    return leaderboards([made_up(m, n, d, 0, rng, n_events=40) for m in names for n in (10, 1000) for d in range(2)])


@pytest.mark.parametrize("width", WIDTHS)
def test_a_leaderboard_has_whole_numbers_and_no_empty_column_at_any_width(boards, width):
    text = printed(rich(boards[0]), width)
    assert max(map(len, text.splitlines())) <= width
    numbers = re.findall(r"[-+]?\d+\.\d+", " ".join(cell.text for row in boards[0].rows for cell in row))
    for column in zip(*cells(text), strict=True):
        assert any(column) and max(map(len, column)) > 2
        for number in re.findall(r"[-+]?\d*\.\d*", " ".join(column)):
            assert number in numbers  # nothing that was broken over two lines
    shown = ["".join(column) for column in zip(*cells(text), strict=True)]
    assert any("labels" in column for column in shown) and any(column.startswith("macro_f1") for column in shown)


@pytest.mark.parametrize("width", (80, 40))
def test_columns_without_room_are_named_with_the_option_that_shows_them(boards, width):
    table = rich(boards[0])
    text = printed(table, width)
    header = " ".join(word for line in cells(text)[:3] for word in line)
    note = " ".join(text.partition(f"No room in {width} columns for:")[2].split())
    assert note.endswith("To see them: --format csv.")
    for column in table.columns:
        assert column.title in note or column.title.split()[0].split("_")[0] in header
    assert "No room" not in printed(table, 250)


@pytest.mark.parametrize("width", WIDTHS)
def test_the_table_of_a_run_keeps_f1_longest(width):
    record = made_up("gnn", 10, 0, 0, np.random.default_rng(1), n_events=40)
    text = printed(run_table(record), width)
    assert max(map(len, text.splitlines())) <= width
    assert any("F1" in line for line in cells(text)[0])
    for name in record.task["classes"]:
        assert any(line[0] == name for line in cells(text))


def test_texts_are_no_markup_and_long_words_are_broken_at_their_parts():
    table = FittedTable("[bold]a title[/bold]", ("name", "value"), numbers=("value",), caption="[red]")
    table.row("m" * 300, "1.5")
    table.row("pion-track-regression[x]", "1,234,567")
    text = printed(table, 30)
    assert "[bold]a title[/bold]" in text and "[red]" in text
    assert "1,234,567" in text and sum(line[0].count("m") for line in cells(text)) == 300 + len("name") - 3
    assert ["regression[x]", ""] in cells(text)


def test_facts_keep_their_values_in_a_narrow_terminal():
    text = printed(facts_table({"a rather long name of a fact": "value", "labels": {"semantic": 12345}}, "facts"), 40)
    assert "value" in text and "semantic: 12,345" in text and "No room" not in text
    assert not any(line.count("│") not in (0, 3) for line in text.splitlines())


def test_a_line_stands_where_it_was_asked_for():
    table = FittedTable("", ("a",))
    table.row("1")
    table.line()
    table.row("2")
    assert sum("─" in line for line in printed(table, 20).splitlines()) == 2  # that line and the lower edge


def test_every_table_that_is_printed_fits_the_terminal():
    using = [p.name for p in sorted((ROOT / "benchmark").rglob("*.py")) if "rich.table" in p.read_text("utf-8")]
    assert using == ["fitted_table.py"]
