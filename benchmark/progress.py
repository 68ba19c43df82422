"""Progress bars, the same everywhere, on standard error; short where the output is not a terminal.

Only the outermost one shows: a probe in mid-training has no bar of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Bar(Protocol):
    """What the loops report to."""

    def update(self, done: int, note: str = "") -> None:
        """Show that `done` units are complete."""


class _Lines:
    """For logs: one line at the start of each tenth."""

    def __init__(self, title: str, total: int) -> None:
        self.title, self.total, self.shown = title, total, -1

    def update(self, done: int, note: str = "") -> None:
        tenth = 10 * done // max(self.total, 1)
        if tenth > self.shown:
            import sys

            self.shown = tenth
            print(f"{self.title}: {done}/{self.total} {note}".rstrip(), file=sys.stderr, flush=True)


class _Silent:
    def update(self, done: int, note: str = "") -> None:
        """Somebody else shows progress."""


_shown: list[str] = []  # titles of the bars on the screen: one, or none


@contextmanager
def progress(title: str, total: int, silent: bool = False) -> Iterator[Bar]:
    """A bar with counts, rate and time left in a terminal; a line per tenth elsewhere; nothing below another bar."""
    if silent or _shown:
        yield _Silent()
        return
    _shown.append(title)
    try:
        with _visible(title, total) as bar:
            yield bar
    finally:
        _shown.clear()


@contextmanager
def no_progress() -> Iterator[None]:
    """No bar is shown inside."""
    _shown.append("nothing")
    try:
        yield
    finally:
        _shown.pop()


@contextmanager
def _visible(title: str, total: int) -> Iterator[Bar]:
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines(title, total)
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

        class _Rich:
            def update(self, done: int, note: str = "") -> None:
                rich_bar.update(task, completed=done, note=note)

        yield _Rich()
