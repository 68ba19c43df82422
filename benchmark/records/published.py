"""Published numbers: every row of `leaderboards/published.csv`, each with its source. No torch needed.

They are compared with measured scores and drawn beside them, but never share a column with them.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from benchmark.errors import DataError
from benchmark.paths import leaderboards

COLUMNS = (
    "source", "item", "dataset", "task", "model", "setting", "labelled_events", "metric", "cls", "value", "note",
)  # fmt: skip
DISCREPANCY = "discrepancy"  # starts the note of a number that its own source contradicts
APPROXIMATE = "approximate"  # starts the note of a number that its source states in words
_MAX_BYTES = 1 << 24
_DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?")  # its digits show how it was rounded
_SHARES = ("f1", "precision", "recall", "accuracy", "iou")  # endings of the names of scores from 0 to 1


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
        """The key shared by the numbers of one line of a published table."""
        labels = str(self.labelled_events or "")
        return (self.source, self.item, self.dataset, self.task, self.model, self.setting, labels)

    @property
    def half_digit(self) -> float:
        """Half a unit of the last published decimal: the largest rounding error."""
        return 0.5 * 10.0**-self.places


def published_file() -> Path:
    """Path of the table, in a checkout or an installed package."""
    return leaderboards() / "published.csv"


@cache
def published(path: Path | None = None) -> tuple[Published, ...]:
    """Every row in the file's order. Raises DataError with file and line for an invalid row."""
    path = path or published_file()
    if not path.is_file():
        raise DataError(f"There is no file {path}. The table of published numbers was expected. Reinstall the package.")
    if path.stat().st_size > _MAX_BYTES:
        raise DataError(f"{path} is larger than {_MAX_BYTES >> 20} MB. A table of numbers was expected. Restore it.")
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 text ({error.reason}). A CSV table was expected. Restore it.") from error
    with io.StringIO(text, newline="") as stream:
        reader = csv.DictReader(stream, strict=True)
        try:
            if tuple(reader.fieldnames or ()) != COLUMNS:
                columns = ", ".join(reader.fieldnames or ())[:300].encode("ascii", "backslashreplace").decode()
                raise DataError(
                    f"{path} has the columns {columns if columns.isprintable() else repr(columns)}. "
                    f"{', '.join(COLUMNS)} were expected. Correct its first line."
                )
            rows = [(reader.line_num, _parse_row(path, reader.line_num, values)) for values in reader]
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
                f"stands twice, first in line {seen[key]}. One row per number was expected. Delete one."
            )
        seen[key] = line
    return tuple(row for _, row in rows)


def comparable(task: str, metric: str) -> tuple[Published, ...]:
    """Numbers of a task's metric over all classes, at known budgets, without approximate ones: points of curves."""
    rows = (r for r in published() if (r.task, r.metric, r.cls) == (task, metric, "") and r.labelled_events)
    return tuple(r for r in rows if not r.note.startswith(APPROXIMATE))


def _parse_row(path: Path, line: int, values: Mapping[str, str | None]) -> Published:
    def invalid(problem: str, expected: str) -> DataError:
        return DataError(f"{path}, line {line}: {problem}. {expected} was expected. Correct this line.")

    texts = {name: values.get(name) for name in COLUMNS}
    if None in texts.values() or None in values:
        raise invalid(f"there are not {len(COLUMNS)} fields", "One field per column")
    text = {name: (value or "").strip() for name, value in texts.items()}
    for name in ("source", "item", "model", "metric"):
        if not text[name]:
            raise invalid(f"{name} is empty", "A text")
    if not _DECIMAL.fullmatch(text["value"]):
        raise invalid(f"value is {text['value']!r}", "A number with its decimal places, such as 0.837,")
    value = float(text["value"])
    if text["metric"].endswith(_SHARES) and not 0 <= value <= 1:
        raise invalid(f"{text['metric']} is {text['value']}", "A score from 0 to 1")
    labels = text["labelled_events"]
    if labels and not re.fullmatch("[1-9][0-9]*", labels):
        raise invalid(f"labelled_events is {labels!r}", "A whole number of events, or nothing,")
    return Published(
        text["source"], text["item"], text["dataset"], text["task"], text["model"], text["setting"],
        int(labels) if labels else None, text["metric"], text["cls"], value,
        len(text["value"].partition(".")[2]), text["note"],
    )  # fmt: skip
