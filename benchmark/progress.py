"""Progress bars on standard error; short where the output is not a terminal.

Only the outermost bar is shown: a probe during training has none.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


def to_stderr(text: str) -> None:
    """Print a message to standard error."""
    print(text, file=sys.stderr, flush=True)


class Bar(Protocol):
    """The interface that loops report progress to."""

    def update(self, done: int, note: str = "") -> None:
        """Show that `done` units are complete."""


class _LogBar:
    """For logs: one line at the start of each tenth."""

    def __init__(self, title: str, total: int) -> None:
        self.title, self.total, self.shown = title, total, -1

    def update(self, done: int, note: str = "") -> None:
        tenth = 10 * done // max(self.total, 1)
        if tenth > self.shown:
            self.shown = tenth
            print(f"{self.title}: {done}/{self.total} {note}".rstrip(), file=sys.stderr, flush=True)


class _SilentBar:
    def update(self, done: int, note: str = "") -> None:
        """Does nothing: an outer bar shows progress."""


_visible_titles: list[str] = []  # title of the visible bar, if any


@contextmanager
def progress(title: str, total: int, silent: bool = False) -> Iterator[Bar]:
    """A bar with counts, rate and time left in a terminal; a line per tenth elsewhere; nothing inside another bar."""
    if silent or _visible_titles:
        yield _SilentBar()
        return
    _visible_titles.append(title)
    try:
        with _open_bar(title, total) as bar:
            yield bar
    finally:
        _visible_titles.clear()


@contextmanager
def no_progress() -> Iterator[None]:
    """No bar is shown inside."""
    _visible_titles.append("nothing")
    try:
        yield
    finally:
        _visible_titles.pop()


@contextmanager
def _open_bar(title: str, total: int) -> Iterator[Bar]:
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _LogBar(title, total)
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    more = (TextColumn("left"), TimeRemainingColumn(), TextColumn("{task.fields[note]}"))
    with Progress(*columns, *more, console=console) as rich_bar:
        task = rich_bar.add_task(title, total=total, note="")

        class _RichBar:
            def update(self, done: int, note: str = "") -> None:
                rich_bar.update(task, completed=done, note=note)

        yield _RichBar()
