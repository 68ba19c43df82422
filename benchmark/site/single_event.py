"""One event of a dataset, a recorded run or a file, as a picture or an interactive page.

PNG: truth, prediction, errors and energy side by side, in the view in which the event is widest. HTML: one
self-contained file.
"""

from __future__ import annotations

import html
import tempfile
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import numpy as np

from benchmark import registry, tasks
from benchmark.contracts import Task
from benchmark.contracts.colours import COLOURS
from benchmark.data.stream import EventSet
from benchmark.errors import ConfigError
from benchmark.io import atomic_path, atomic_write_text
from benchmark.plots.event_view import Prediction, Shown, as_values, compared, displayable, shown
from benchmark.plots.scene import Panel, Scale, class_colours, draw_panels, rgb
from benchmark.plots.scene_page import plotly_js
from benchmark.plots.style import pyplot, short_name
from benchmark.records.record import RunRecord
from benchmark.runs.chosen_events import chosen_events
from benchmark.runs.restore import open_recorded_dataset, restore
from benchmark.runs.weights import required_weights
from benchmark.site.pages import script

WRONG, RIGHT = "#d55e00", "#c9c9c9"
ENDINGS = (".html", ".png")
DPI = 130
READABLE = (".h5", ".hdf5")  # files that `--file` opens, in the dataset's format


def event_of_dataset(
    name: str, split: str, which: str, data: Path | None, task: str | None = None, assignments: Sequence[str] = ()
) -> Shown:
    """An event of a dataset, events of any size among them by default. Raises ConfigError.

    task: by default the first of the dataset's that has something to show.
    """
    tasks_of = registry.dataset_spec(name).info.tasks
    asked = task or next((t for t in tasks_of if _can_be_shown(tasks.task(t))), tasks_of[0])
    _check_task(tasks.task(asked))
    dataset, events = chosen_events(name, split, asked, data, assignments, any_size=True)
    return shown(events.batch([event_position(events, which)]), events.task, dataset.info.energy_unit)


def event_of_file(path: Path, name: str, which: str, task: str | None = None, assignments: Sequence[str] = ()) -> Shown:
    """An event of one file in a dataset's format. Raises ConfigError."""
    if not path.is_file() or path.suffix not in READABLE:
        raise ConfigError(
            f"--file {path} is not an event file. An existing file that ends in {' or '.join(READABLE)} was expected. "
            f"Correct --file."
        )
    with tempfile.TemporaryDirectory() as folder:
        split = Path(folder) / "test"
        split.mkdir()
        for part in (path, path.with_name(f"{path.stem}_points.npy")):
            if part.is_file():
                (split / part.name).symlink_to(part.resolve())
        return event_of_dataset(name, "test", which, Path(folder), task, assignments)


def event_of_runs(
    records: Sequence[RunRecord], split: str, which: str, runs: Path, data: Path | None, weights: Path | None = None
) -> Shown:
    """An event with the predictions of recorded runs of one task. Raises CheckpointError where weights are missing."""
    task = tasks.task(records[0].task["name"])
    _check_task(task)
    other_tasks = {r.task["name"] for r in records} - {task.name}
    if other_tasks:
        raise ConfigError(
            f"The records are of several tasks ({task.name}, {min(other_tasks)}). Runs of one task were expected. Show "
            f"them separately."
        )
    predictions, energy_unit = [], ""
    for record in records:
        path = weights or required_weights(record, runs)
        dataset = open_recorded_dataset(record, data)
        energy_unit = dataset.info.energy_unit
        restored = restore(record, path, dataset, split)
        batch, scores = restored.predict([event_position(restored.events, which)])
        name = f"{record.method}:{record.config['mode']}, {record.labels} labels"
        predictions.append((name, "", batch, scores))
    return compared(predictions, task, energy_unit)


def event_position(events: EventSet, which: str) -> int:
    """Position of an event from its number or id. Raises ConfigError."""
    if which in events.event_ids:
        return events.event_ids.index(which)
    if which.isdigit() and int(which) < len(events):
        return int(which)
    raise ConfigError(
        f"--event {which} does not exist. A number from 0 to {len(events) - 1}, or an id such as "
        f"{events.event_ids[0] if len(events) else 'none'}, was expected. Correct --event."
    )


def write(event: Shown, path: Path) -> None:
    """Write a page or a picture, by the path's ending. Raises ConfigError for another ending."""
    if path.suffix not in ENDINGS:
        raise ConfigError(f"--out {path} has an unknown ending. {' or '.join(ENDINGS)} was expected. Correct --out.")
    if path.suffix == ".html":
        atomic_write_text(path, page(event))
    else:
        draw(event, path)


def page(event: Shown) -> str:
    """A self-contained page."""
    assets = resources.files("benchmark.site").joinpath("assets")

    def text(name: str) -> str:
        return assets.joinpath(name).read_text(encoding="utf-8")

    scripts = (plotly_js(), text("common.js"), script("PB.single", as_values(event)), text("event.js"))
    body = "\n".join(f"<script>{part.replace('</script', '<' + chr(92) + '/script')}</script>" for part in scripts)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(event.event_id)}</title>\n<style>{text('site.css')}</style></head>\n<body>\n"
        '<header><h1 id="title"></h1><p id="about"></p><button id="theme" type="button"></button></header>\n'
        f'<main id="main"></main>\n{body}\n</body></html>\n'
    )


def draw(event: Shown, path: Path) -> None:
    """A PNG: a row per model; without models, one row of truth and energy."""
    plt = pyplot()
    event = event.thinned()
    scale = _energy_scale(event)
    rows = [_panels(plt, event, prediction, scale) for prediction in event.predictions] or [
        _panels(plt, event, None, scale)
    ]
    legend = {name: rgb(COLOURS[i % len(COLOURS)]) for i, name in enumerate(event.classes)}
    if any(p.labels is not None for p in event.predictions):
        legend["wrong"] = rgb(WRONG)
    labels = [event.event_id, *[""] * (len(rows) - 1)]
    figure = draw_panels(plt, rows, event.unit, legend=legend or None, scale=scale, row_labels=labels)
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=DPI, format="png")
    plt.close(figure)


def _panels(plt: object, event: Shown, prediction: Prediction | None, scale: Scale) -> list[Panel]:
    n = len(event.classes)
    panels = [] if event.truth is None else [Panel("truth", event.coords, class_colours(event.truth, n))]
    if prediction is not None and prediction.labels is not None and event.truth is not None:
        wrong = (prediction.labels != event.truth) & (event.truth >= 0)
        errors = np.where(wrong[:, None], rgb(WRONG), rgb(RIGHT))
        panels.append(Panel(prediction.name, event.coords, class_colours(prediction.labels, n)))
        panels.append(Panel(prediction.text, event.coords, errors, size=np.where(wrong, 1.6, 1.0)))
    energy = "energy"
    if prediction is not None and prediction.labels is None:
        energy = f"energy; {short_name(prediction.name, 16)}: {prediction.text}"
    return [*panels, Panel(energy, event.coords, scale.colours(plt, event.energy), values=event.energy)]


def _energy_scale(event: Shown) -> Scale:
    positive = event.energy[event.energy > 0]
    label = f"energy ({event.energy_unit})" if event.energy_unit else "energy"
    if not len(positive):
        return Scale(label, 1e-3, 1.0, logarithmic=True)
    low, high = (float(v) for v in np.quantile(positive, (0.02, 0.98)))
    return Scale(label, low, max(high, 1.01 * low), logarithmic=True)


def _can_be_shown(task: Task) -> bool:
    return displayable(task) or task.level == "token"


def _check_task(task: Task) -> None:
    if not _can_be_shown(task):
        raise ConfigError(
            f"{task.name} has no classes or values to show on an event. Another task was expected. Type `python -m "
            f"benchmark list tasks`."
        )
