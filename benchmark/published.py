"""Published numbers: every row of `leaderboards/published.csv`, each with its source. No torch needed.

They are compared with, checked for consistency and drawn beside measured scores; they never share a column with them.
"""

from __future__ import annotations

import csv
import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from benchmark.errors import DataError

COLUMNS = (
    "source", "item", "dataset", "task", "model", "setting", "labelled_events", "metric", "cls", "value", "note",
)  # fmt: skip
DISCREPANCY = "discrepancy"  # how the note of a number starts that its own source contradicts


@dataclass(frozen=True)
class Published:
    """One number."""

    source: str  # paper, note or repository
    item: str  # table, figure or file in it
    dataset: str
    task: str  # the suite's name where it has this task
    model: str  # the suite's name where it has this model
    setting: str
    labelled_events: int | None
    metric: str
    cls: str  # class, or empty: of all
    value: float
    places: int  # decimal places as published
    note: str

    @property
    def group(self) -> tuple[str, ...]:
        """What the numbers of one line of a published table have in common."""
        return (self.source, self.item, self.task, self.model, self.setting, str(self.labelled_events or ""))

    @property
    def half_digit(self) -> float:
        """Half a unit of the last published place: how far rounding can have moved the number."""
        return 0.5 * 10.0**-self.places


def published_file() -> Path:
    """Where the table lies, in a checkout as in an installed package."""
    folders = importlib.import_module("benchmark.leaderboards").__path__
    return Path(next(iter(folders))) / "published.csv"


@cache
def published(path: Path | None = None) -> tuple[Published, ...]:
    """Every row in the file's order. Raises DataError, naming file and line, for a row that is not as described."""
    path = path or published_file()
    if not path.is_file():
        raise DataError(f"There is no file {path}. The table of published numbers was expected. Reinstall the package.")
    with path.open(encoding="utf-8", newline="") as stream:
        reader = csv.DictReader(stream, strict=True)
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise DataError(
                f"{path} has the columns {', '.join(reader.fieldnames or ())}. {', '.join(COLUMNS)} were expected. "
                f"Correct its first line."
            )
        try:
            rows = [_row(path, reader.line_num, values) for values in reader]
        except csv.Error as error:
            raise DataError(
                f"{path}, line {reader.line_num}: {error}. A CSV table was expected. Correct it."
            ) from error
    seen: dict[tuple[str, ...], int] = {}
    for number, row in enumerate(rows):
        key = (*row.group, row.dataset, row.metric, row.cls)
        if key in seen:
            raise DataError(
                f"{path} gives {row.metric} {row.cls} of {row.model}, {row.setting} ({row.source}, {row.item}) twice. "
                f"One row per number was expected. Delete one."
            )
        seen[key] = number
    return tuple(rows)


def comparable(task: str, metric: str) -> tuple[Published, ...]:
    """Numbers of a task's own metric over all classes, at known budgets and not in words: what curves are drawn of."""
    rows = (r for r in published() if (r.task, r.metric, r.cls) == (task, metric, "") and r.labelled_events)
    return tuple(r for r in rows if "approximate" not in r.note)


def _row(path: Path, line: int, values: Mapping[str, str | None]) -> Published:
    def wrong(what: str, expected: str) -> DataError:
        return DataError(f"{path}, line {line}: {what}. {expected} was expected. Correct this line.")

    texts = {name: values.get(name) for name in COLUMNS}
    if None in texts.values() or None in values:
        raise wrong(f"there are not {len(COLUMNS)} fields", "One field per column")
    text = {name: (value or "").strip() for name, value in texts.items()}
    for name in ("source", "item", "model", "metric"):
        if not text[name]:
            raise wrong(f"{name} is empty", "A text")
    try:
        value = float(text["value"])
    except ValueError:
        raise wrong(f"value is {text['value']!r}", "A number") from None
    if not -1e12 < value < 1e12:  # also of NaN
        raise wrong(f"value is {text['value']!r}", "A finite number")
    labels = text["labelled_events"]
    if labels and (not labels.isdigit() or int(labels) < 1):
        raise wrong(f"labelled_events is {labels!r}", "A whole number of events, or nothing,")
    return Published(
        text["source"], text["item"], text["dataset"], text["task"], text["model"], text["setting"],
        int(labels) if labels else None, text["metric"], text["cls"], value,
        len(text["value"].partition(".")[2]), text["note"],
    )  # fmt: skip
