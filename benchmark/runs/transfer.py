"""Score weights without training: those of a recorded run, or of a checkpoint.

`transfer` scores a model of one dataset on another; `evaluate_checkpoint` needs no record, because the checkpoint names
its model and preprocessing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmark import registry
from benchmark.checkpoints.load import Checkpoint
from benchmark.contracts import Dataset, Model
from benchmark.data.preparation import Preparation
from benchmark.data.stream import EventSet, event_set
from benchmark.errors import CheckpointError, ConfigError
from benchmark.evaluation.evaluate import Evaluation, evaluate
from benchmark.evaluation.score import costs
from benchmark.hardware.machine import Machine, choose_hardware
from benchmark.io import sha256_file, sha256_text
from benchmark.paths import shown_path
from benchmark.plots.events import MAX_EVENTS, draw_predictions
from benchmark.records.counts import with_scores
from benchmark.records.record import EVALUATED, RunRecord, begin_record, describe_dataset, now
from benchmark.records.store import read_record, write_record
from benchmark.runs.commands import command
from benchmark.runs.events import bootstrap_rng
from benchmark.runs.execution import Execution, machine_for
from benchmark.runs.fingerprint import model_code
from benchmark.runs.resolve import apply_settings
from benchmark.runs.restore import restore
from benchmark.runs.weights import required_weights
from benchmark.settings import as_dict


@dataclass(frozen=True)
class Target:
    """The events to score on."""

    dataset: str
    split: str = "test"
    figure: Path | None = None  # PNG of the first events with truth, prediction and errors

    def options(self) -> dict[str, Any]:
        """As `transfer` and `evaluate` take them; the figure decides no score."""
        return {"dataset": self.dataset, "split": self.split}


def transfer(path: Path, target: Target, execution: Execution, weights: Path | None = None) -> RunRecord:
    """Predict a split of another dataset with the weights of a recorded run; write and return a new record.

    path: of the run's record, whose task, preprocessing and model are used. weights: by default those in the run's
    folder. Raises CheckpointError where the weights are missing or of another model.
    """
    record = read_record(path)
    if record.status == "failed":
        raise ConfigError("The record is of a failed run. A finished run was expected. Run it again first.")
    if record.config.get("probe"):
        raise ConfigError(
            f"The record is of {record.task['name']}, which trains no weights. A run of another task was expected. "
            f"Probe the other events themselves: `python -m benchmark run --model {record.model} --task "
            f"{record.task['name']} --dataset {target.dataset}`."
        )
    started = time.monotonic()
    machine = machine_for(execution, "cpu", "32")
    target_data = _open_dataset(target, execution)
    restored = restore(record, weights or required_weights(record, execution.runs), target_data, target.split)
    scoring = _Scoring(target, execution, target_data, restored.events)
    result = scoring.score(restored.model, record.config["train"]["batch_size"])
    used = replace(execution, threads=machine.threads)  # its device is always the CPU
    options = {**target.options(), "weights": weights}
    name = (record.fingerprint, target_data.info.name, target_data.revision, target.split)
    scored = replace(
        record,
        fingerprint=sha256_text("\x1f".join(name)),
        command=list(command(("transfer", shown_path(str(path))), options, used)),
        training={
            "run": record.fingerprint,
            "trained_on": record.dataset,
            "trained_in": record.environment,
            **record.training,  # a record that was transferred itself says already where its weights were trained
        },
        resources=scoring.resources(restored.model, result, machine, started),
    )
    return scoring.write(scored, result, machine.description)


def evaluate_checkpoint(
    checkpoint: Checkpoint, target: Target, execution: Execution, batch_size: int | None = None,
    assignments: Sequence[str] = (),
) -> RunRecord:  # fmt: skip
    """Predict a split with a checkpoint's own model and preprocessing; write and return a record.

    batch_size: events at once, by default the checkpoint's own; a model in the published behaviour scores an event
    differently in another batch. assignments: changes of the preprocessing, `preprocess.min_points=0` for example.
    Raises CheckpointError for a checkpoint that was only pre-trained, or in another detector's frame.
    """
    started = time.monotonic()
    manifest = checkpoint.manifest
    checkpoint.require_head()
    size = _checked_batch_size(manifest.batch_size if batch_size is None else batch_size)
    preprocess = _changed_preprocessing(manifest.preprocessing(), assignments)
    device, precision = choose_hardware(execution.device, "32")
    machine = machine_for(execution, device, precision)
    target_data = _open_dataset(target, execution)
    if target_data.info.frame != manifest.detector_frame():
        raise CheckpointError(
            f"{checkpoint.path} was trained in the frame {manifest.detector_frame()}. That of {target_data.info.name}, "
            f"{target_data.info.frame}, was expected. Choose another --dataset."
        )
    events = event_set(target_data, target.split, manifest.known_task(), preprocess)
    scoring = _Scoring(target, execution, target_data, events)
    model = checkpoint.build().to(device)
    result = scoring.score(model, size)
    unfinished = _unfinished_record(checkpoint, scoring, _record_config(checkpoint, scoring, preprocess, size), device)
    options = {
        "checkpoint": checkpoint.source, "model": manifest.model if checkpoint.is_released else None,
        **target.options(), "batch-size": batch_size, "set": tuple(assignments),
    }  # fmt: skip
    used = replace(execution, device=device, threads=machine.threads)
    named = replace(
        unfinished,
        command=list(command(("evaluate",), options, used)),
        resources=scoring.resources(model, result, machine, started),
    )
    return scoring.write(named, result, machine.description)


@dataclass(frozen=True)
class _Scoring:
    """The events to score, and the folder of the record."""

    target: Target
    execution: Execution
    dataset: Dataset
    events: EventSet

    def score(self, model: Model, batch_size: int) -> Evaluation:
        """Scores of the whole split; draws the figure of its first events, if requested."""
        events, rng = self.events, bootstrap_rng(self.events.task, self.dataset)
        result = evaluate(model, events, batch_size, rng, self.target.split)
        if self.target.figure is not None:
            first = events.batch(range(min(MAX_EVENTS, len(events))))
            draw_predictions(first, model.predict(first.without_target()), events.task, self.target.figure)
        return result

    def resources(self, model: Model, result: Evaluation, machine: Machine, started: float) -> dict[str, Any]:
        """What the scoring took, as records hold it."""
        return {
            **costs(model, self.events, result),
            "wall_s": round(time.monotonic() - started, 2),
            "peak_memory_bytes": machine.peak_memory_bytes(),
        }

    def write(self, record: RunRecord, result: Evaluation, environment: dict[str, Any]) -> RunRecord:
        """Write and return the record with its scores."""
        excluded = {self.target.split: self.events.excluded}
        scored = replace(
            record,
            created=now(),
            config={k: v for k, v in record.config.items() if k != "split"},  # of the training; `events` has this one
            dataset=describe_dataset(self.dataset),
            events={**record.events, "test": len(self.events), "split": self.target.split, "excluded": excluded},
            environment=environment,
        )
        scored = with_scores(scored, result.metrics, result.counts, self.events.event_ids, self.events.units)
        write_record(self.execution.records_folder, scored)
        return scored


def _open_dataset(target: Target, execution: Execution) -> Dataset:
    spec = registry.dataset_spec(target.dataset)
    return spec.open(spec.config(), execution.data)


def _unfinished_record(
    checkpoint: Checkpoint, scoring: _Scoring, config: dict[str, Any], device: str
) -> RunRecord:  # fmt: skip
    """The record of a checkpoint, without scores."""
    manifest = checkpoint.manifest
    settings = {k: v for k, v in config.items() if k != "checkpoint"}
    parts = [settings, scoring.dataset.revision, scoring.target.split, model_code(manifest.model), device]
    name = sha256_text(json.dumps([EVALUATED, *parts], sort_keys=True))
    return replace(
        begin_record(name, (), config, scoring.events.task, scoring.dataset),
        status="finished",
        events={"labelled": manifest.training.get("labels"), "unlabelled": 0, "selection": 0},
        training={
            "origin": dict(manifest.origin),
            "checkpoint_sha256": config["checkpoint_sha256"],
            "trained_on": dict(manifest.training),
            "trained_in": {"versions": dict(manifest.versions)},
        },
    )


def _record_config(checkpoint: Checkpoint, scoring: _Scoring, preprocess: Preparation, size: int) -> dict[str, Any]:
    """A record's `config`, as far as the checkpoint holds it."""
    manifest = checkpoint.manifest
    known = manifest.training
    return {
        "model": manifest.model,
        **({"pretext": manifest.pretext} if manifest.pretext else {}),
        "preset": known.get("preset", "checkpoint"),
        "mode": EVALUATED,
        "labels": known.get("labels"),
        "draw": known.get("draw", 0),
        "seed": known.get("seed", 0),
        "task": as_dict(scoring.events.task),
        "dataset": scoring.dataset.info.name,
        "preprocess": as_dict(preprocess),
        "model_config": dict(manifest.model_config),
        "train": {"batch_size": size},
        "checkpoint_sha256": sha256_file(checkpoint.path),
        "checkpoint": checkpoint.source,
    }


def _changed_preprocessing(preprocess: Preparation, assignments: Sequence[str]) -> Preparation:
    sections = {"preprocess": preprocess}
    apply_settings(sections, assignments)
    changed = sections["preprocess"]
    if changed.columns != preprocess.columns:
        raise ConfigError(
            f"--set columns={','.join(changed.columns)} is not possible: the checkpoint's model takes "
            f"{','.join(preprocess.columns)}. Its own columns were expected. Leave this out."
        )
    return changed


def _checked_batch_size(size: int) -> int:
    if size < 1:
        raise ConfigError(f"--batch-size {size} is not possible. A number from 1 on was expected. Leave it out.")
    return size
