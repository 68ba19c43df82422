"""What all studies share: the choice of events, and how a table and its figure are saved.

A study is one file beside this one. Its public function takes `Events` (and its own settings) and returns a `Study`;
`save` writes it. A study without events builds its `Study` itself.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmark import registry, tasks
from benchmark.contracts import Dataset, PointBatch
from benchmark.data.preparation import Preparation, preparation
from benchmark.data.stream import EventSet, event_set
from benchmark.hardware.environment import describe_machine, usable_cores
from benchmark.io import atomic_path, atomic_write_json, atomic_write_text
from benchmark.plots.style import pyplot
from benchmark.settings import as_dict

DPI = 110
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Events:
    """The events of a study, and how they were chosen."""

    dataset: Dataset
    split: str
    seed: int  # of the choice of events
    chosen: EventSet

    def __len__(self) -> int:
        return len(self.chosen)

    def __iter__(self) -> Iterator[PointBatch]:
        """Each event as a separate numpy batch, in the order of the ids."""
        return (self.chosen.batch([position]) for position in range(len(self.chosen)))

    def coords(self) -> list[np.ndarray]:
        """(n, 3) float32 coordinates of each event in the frame's unit, after the cuts."""
        return [batch.coords for batch in self]

    def describe(self) -> dict[str, Any]:
        """Metadata saved with a table: dataset, revision, split, number of events and the cuts."""
        return {
            "dataset": self.dataset.info.name,
            "revision": self.dataset.revision,
            "split": self.split,
            "n_events": len(self),
            "choice_seed": self.seed,
            "unit": self.dataset.info.frame.unit,
            "task": self.chosen.task.name,
            "preprocess": as_dict(self.chosen.config),
            "excluded": dict(self.chosen.excluded),
        }


def load_events(
    dataset: str = "lartpc-sim",
    data: Path | None = None,
    split: str = "test",
    n_events: int = 0,
    seed: int = 0,
    task: str = "lartpc-segmentation",
    preprocess: Preparation | None = None,
) -> Events:
    """Usable events of a split: all, or `n_events` drawn at random by `seed`. `data`: the dataset's folder, or None."""
    spec = registry.dataset_spec(dataset)
    source = spec.open(spec.config(), data)
    requested = tasks.task(task)
    usable = event_set(source, split, requested, preprocess or preparation(requested))
    return Events(source, split, seed, usable.first(n_events, "study", seed))


@dataclass(frozen=True)
class Study:
    """A finished study. Every row of a table has the same columns; numbers are formatted as in the CSV."""

    name: str  # of the files
    rows: Sequence[Row]  # the table
    settings: Mapping[str, Any]  # everything that determines the numbers, besides the events
    draw: Callable[[Any], Any]  # pyplot -> matplotlib figure
    highlights: Sequence[Row] = ()  # rows that the terminal shows; default: the table
    findings: Mapping[str, Any] = field(default_factory=dict)  # single numbers, kept in the JSON
    further: Mapping[str, Sequence[Row]] = field(default_factory=dict)  # further tables, to <name>_<key>.csv
    html: str | None = None  # self-contained interactive page
    dpi: int = DPI


def save(study: Study, out: Path, events: Events | None, command: Sequence[str], device: str = "cpu") -> list[Path]:
    """Write <name>.csv, .png, .json and .html (where there is one) into `out`, each whole or not at all."""
    plt = pyplot()  # fails before anything is written if matplotlib is missing
    texts = {f"{study.name}.csv": _csv(study.rows)}
    texts.update({f"{study.name}_{key}.csv": _csv(rows) for key, rows in study.further.items()})
    if study.html is not None:
        texts[f"{study.name}.html"] = study.html
    for name, text in texts.items():
        atomic_write_text(out / name, text)
    picture = out / f"{study.name}.png"
    figure = study.draw(plt)
    with atomic_path(picture) as partial:
        figure.savefig(partial, dpi=study.dpi, format="png", metadata={"Software": None})
    plt.close(figure)
    metadata = out / f"{study.name}.json"
    atomic_write_json(metadata, _metadata(study, events, command, device))
    return [*(out / name for name in texts), picture, metadata]


def _metadata(study: Study, events: Events | None, command: Sequence[str], device: str) -> dict[str, Any]:
    return {
        "study": study.name,
        "command": list(command),
        "settings": dict(study.settings),
        "events": None if events is None else events.describe(),
        "findings": dict(study.findings),
        "environment": describe_machine(device, "32", usable_cores()),
    }


def _csv(rows: Sequence[Row]) -> str:
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return stream.getvalue()
