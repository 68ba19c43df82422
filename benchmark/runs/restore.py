"""Predictions of a recorded run for single events, with its stored weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmark import registry, tasks
from benchmark.contracts import Dataset, Model, PointBatch, Task
from benchmark.data.preparation import model_inputs, preparation
from benchmark.data.stream import EventSet, event_set
from benchmark.errors import CheckpointError, ConfigError
from benchmark.records.record import RunRecord
from benchmark.settings import override


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
    if record.status == "failed" or record.config.get("mode") == "evaluate":
        raise ConfigError("The record is not of a finished training. A run's record was expected. Choose another.")
    c = record.config
    task = tasks.task(record.task["name"])
    preprocess = override(preparation(task), c["preprocess"], "preprocess")
    spec = registry.model_spec(c["model"])
    config = override(spec.config(), c["model_config"], "model")
    model = spec.build_model(config, model_inputs(preprocess, dataset.info.frame), task)
    if not weights.is_file():
        raise CheckpointError(
            f"There are no weights at {weights}. Those of the run were expected. Run it with --force."
        )
    model.load(weights)
    return Restored(model, task, event_set(dataset, split, task, preprocess))


def open_recorded_dataset(record: RunRecord, data: Path | None) -> Dataset:
    """The dataset of a run, with the run's settings."""
    spec = registry.dataset_spec(record.config["dataset"])
    settings = record.config.get("data") or {}
    known = {k: v for k, v in settings.items() if hasattr(spec.config(), k)}
    return spec.open(override(spec.config(), known, "data"), data)
