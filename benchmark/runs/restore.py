"""Predictions of a recorded run for single events, with its stored weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmark import registry, tasks
from benchmark.checkpoints.load import Checkpoint
from benchmark.contracts import Dataset, Frame, Model, PointBatch, Task
from benchmark.data.preparation import Preparation, model_inputs, preparation
from benchmark.data.stream import EventSet, event_set
from benchmark.errors import BenchmarkError, CheckpointError, ConfigError
from benchmark.records.record import RunRecord
from benchmark.runs.weights import required_weights, run_of
from benchmark.settings import as_dict, override


@dataclass(frozen=True)
class Restored:
    """A run's model with its weights, and a split with the model's preprocessing."""

    model: Model
    task: Task
    events: EventSet

    def predict(self, positions: Sequence[int]) -> tuple[PointBatch, np.ndarray]:
        """The labelled events at these positions of the split, and the model's scores."""
        batch = self.events.batch(positions)
        return batch, np.asarray(self.model.predict(batch.without_target()))


def restore(record: RunRecord, weights: Path, dataset: Dataset, split: str = "test") -> Restored:
    """A run's model with its weights, and a split of a dataset with its preprocessing.

    Raises CheckpointError for weights of another model, ConfigError for a failed run.
    """
    model, task = restore_model(record, weights, dataset.info.frame), tasks.task(record.task["name"])
    return Restored(model, task, event_set(dataset, split, task, preprocessing(record)))


def preprocessing(record: RunRecord) -> Preparation:
    """How a run prepared its events."""
    return override(preparation(tasks.task(record.task["name"])), record.config["preprocess"], "preprocess")


def restore_model(record: RunRecord, weights: Path, frame: Frame, model_file: str | None = None) -> Model:
    """A run's model, with weights, for events in a detector's frame. Raises CheckpointError, ConfigError.

    model_file: the Python file that defines a model which is not the suite's own.
    """
    if record.status == "failed" or record.config.get("mode") == "evaluate":
        raise ConfigError("The record is not of a finished training. A run's record was expected. Choose another.")
    c = record.config
    spec = registry.model_spec(model_file or c["model"])
    if model_file is not None and spec.name != c["model"]:
        raise ConfigError(f"{model_file} defines {spec.name}. The run's {c['model']} was expected. Give its own file.")
    config = override(spec.config(), c["model_config"], "model")
    inputs = model_inputs(preprocessing(record), frame, c.get("pretext"))
    model = spec.build_model(config, inputs, tasks.task(record.task["name"]))
    if not weights.is_file():
        raise CheckpointError(
            f"There are no weights at {weights}. Those of the run were expected. Run it with --force."
        )
    _check_run(record, weights)
    try:
        model.load(weights)
    except BenchmarkError:
        raise
    except Exception as error:  # each model has a format of its own
        raise CheckpointError(
            f"The weights {weights} cannot be read ({type(error).__name__}). A file that {spec.name} wrote was "
            f"expected. Run it with --force."
        ) from error
    return model


def _check_run(record: RunRecord, weights: Path) -> None:
    """Raises CheckpointError for weights that name another run."""
    theirs, own = run_of(weights), record.training.get("run", record.fingerprint)
    if theirs not in ("", own):
        raise CheckpointError(
            f"The weights {weights} are of the run {theirs[:12]}. Those of {own[:12]}, the run of the record, were "
            f"expected. Give the record of that run, or score the weights by themselves: type `python -m benchmark "
            f"evaluate --checkpoint {weights}`."
        )


def restore_for(
    record: RunRecord, events: EventSet, runs: Path, weights: Path | None = None, model_file: str | None = None
) -> Restored:
    """A run's model, with weights (by default those below `runs`), and given events as it takes them.

    Raises what `restore_model` raises, and ConfigError for events of another task or whose cuts keep other points.
    """
    _check_task(record.task["name"], events)
    if record.is_probe:
        raise ConfigError(
            f"The record is of {record.task['name']}, which trains no weights. A run of another task was expected. "
            f"Choose another."
        )
    if record.status == "failed":
        raise ConfigError("The record is of a failed run. A finished run was expected. Run it again first.")
    model = restore_model(record, weights or required_weights(record, runs), events.frame, model_file)
    return Restored(model, events.task, _prepared_as(events, preprocessing(record)))


def open_for(checkpoint: Checkpoint, events: EventSet) -> Restored:
    """A fine-tuned checkpoint's model, and given events as it takes them. Raises CheckpointError, ConfigError."""
    manifest = checkpoint.manifest
    checkpoint.require_head()
    _check_task(manifest.known_task().name, events)
    if manifest.detector_frame() != events.frame:
        raise CheckpointError(
            f"{checkpoint.path} was trained in the frame {manifest.detector_frame()}. That of the events, "
            f"{events.frame}, was expected. Choose other events."
        )
    return Restored(checkpoint.build(), events.task, _prepared_as(events, manifest.preprocessing()))


def _check_task(name: str, events: EventSet) -> None:
    if name != events.task.name:
        raise ConfigError(
            f"The events have the labels and cuts of {events.task.name}. Those of {name}, which the model was trained "
            f"for, were expected. Open the events with task={name!r}."
        )


def _prepared_as(events: EventSet, theirs: Preparation) -> EventSet:
    """The events under another preprocessing that keeps the same points. Raises ConfigError."""
    ours, wanted = as_dict(events.config), as_dict(theirs)
    if ours == wanted:
        return events
    found = replace(events, config=theirs)
    for position, event_id in enumerate(events.event_ids):
        here, there = events.batch([position]), found.batch([position])
        if not (np.array_equal(here.energy, there.energy) and _equal(here.volume, there.volume)):
            different = {f"preprocess.{name}": value for name, value in wanted.items() if ours[name] != value}
            raise ConfigError(
                f"The model was trained with cuts that keep other points of {event_id}. Events prepared like its own "
                f"were expected. Open them with settings={different}."
            )
    return found


def _equal(one: np.ndarray | None, other: np.ndarray | None) -> bool:
    return one is None or other is None or np.array_equal(one, other)


def open_recorded_dataset(record: RunRecord, data: Path | None) -> Dataset:
    """The dataset of a run, with the run's settings."""
    spec = registry.dataset_spec(record.config["dataset"])
    settings = record.config.get("data") or {}
    known = {k: v for k, v in settings.items() if hasattr(spec.config(), k)}
    return spec.open(override(spec.config(), known, "data"), data)
