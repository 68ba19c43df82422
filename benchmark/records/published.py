"""Published numbers: every row of `leaderboards/published.csv`, each with its source. No torch needed.

They are compared with, checked for consistency and drawn beside measured scores; they never share a column with them.
"""

from __future__ import annotations

import csv
import importlib
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from benchmark.errors import DataError

COLUMNS = (
    "source", "item", "dataset", "task", "model", "setting", "labelled_events", "metric", "cls", "value", "note",
)  # fmt: skip
DISCREPANCY = "discrepancy"  # how the note of a number starts that its own source contradicts
APPROXIMATE = "approximate"  # how the note of a number starts that was given in words
_DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?")  # its digits tell how it was rounded
_SHARES = ("f1", "precision", "recall", "accuracy", "iou")  # what the names of scores from 0 to 1 end in


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
        labels = str(self.labelled_events or "")
        return (self.source, self.item, self.dataset, self.task, self.model, self.setting, labels)

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
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path} is no text in UTF-8 ({error.reason}). A CSV table was expected. Restore it."
        ) from error
    with io.StringIO(text, newline="") as stream:
        reader = csv.DictReader(stream, strict=True)
        try:
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise DataError(
                    f"{path} has the columns {', '.join(reader.fieldnames or ())}. {', '.join(COLUMNS)} were expected. "
                    f"Correct its first line."
                )
            rows = [(reader.line_num, _row(path, reader.line_num, values)) for values in reader]
        except csv.Error as error:
            raise DataError(
                f"{path}, line {reader.line_num + 1}: {error}. A CSV table was expected. Correct this line."
            ) from error
    seen: dict[tuple[str, ...], int] = {}
    for line, row in rows:
        key = (*row.group, row.metric, row.cls)
        if key in seen:
            raise DataError(
                f"{path}, line {line}: {row.metric} {row.cls} of {row.model}, {row.setting} ({row.source}, {row.item}) "
                f"is given twice, first in line {seen[key]}. One row per number was expected. Delete one."
            )
        seen[key] = line
    return tuple(row for _, row in rows)


def comparable(task: str, metric: str) -> tuple[Published, ...]:
    """Numbers of a task's own metric over all classes, at known budgets and not in words: what curves are drawn of."""
    rows = (r for r in published() if (r.task, r.metric, r.cls) == (task, metric, "") and r.labelled_events)
    return tuple(r for r in rows if not r.note.startswith(APPROXIMATE))


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
    if not _DECIMAL.fullmatch(text["value"]):
        raise wrong(f"value is {text['value']!r}", "A number with its decimal places, such as 0.837,")
    value = float(text["value"])
    if text["metric"].endswith(_SHARES) and not 0 <= value <= 1:
        raise wrong(f"{text['metric']} is {text['value']}", "A score from 0 to 1")
    labels = text["labelled_events"]
    if labels and not re.fullmatch("[1-9][0-9]*", labels):
        raise wrong(f"labelled_events is {labels!r}", "A whole number of events, or nothing,")
    return Published(
        text["source"], text["item"], text["dataset"], text["task"], text["model"], text["setting"],
        int(labels) if labels else None, text["metric"], text["cls"], value,
        len(text["value"].partition(".")[2]), text["note"],
    )  # fmt: skip
