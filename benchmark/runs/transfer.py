"""Score weights on events that they were not trained beside: those of a recorded run, or a checkpoint's own.

`transfer` asks whether a model trained on one dataset works on another; `evaluate_checkpoint` needs no record, because
the checkpoint says which model it is of and how its events were prepared.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmark import registry, tasks
from benchmark.checkpoints.load import Checkpoint
from benchmark.contracts import Dataset, Inputs, Model, Task
from benchmark.data.preparation import Preparation, preparation
from benchmark.data.stream import EventSet, event_set
from benchmark.errors import CheckpointError, ConfigError
from benchmark.evaluation.evaluate import Evaluation, evaluate
from benchmark.hardware.environment import choose_device, peak_memory_bytes
from benchmark.io import sha256_file, sha256_text
from benchmark.plots.events import MAX_EVENTS, draw_predictions
from benchmark.records.counts import pack_counts
from benchmark.records.record import RunRecord, describe_dataset, describe_task, now
from benchmark.records.store import records_dir, write_record
from benchmark.runs.events import bootstrap_rng
from benchmark.runs.execution import Execution, describe_environment, set_up_torch
from benchmark.runs.prepared import model_code
from benchmark.runs.run import WEIGHTS, run_folder
from benchmark.settings import as_dict, override, parse_assignments

EVALUATED = "evaluate"  # mode of records of checkpoints that were scored without training


@dataclass(frozen=True)
class Target:
    """The events to score on."""

    dataset: str
    split: str = "test"
    figure: Path | None = None  # PNG of the first events with truth, prediction and errors


def transfer(
    record: RunRecord, dataset: str, split: str, execution: Execution, weights: Path | None = None,
    figure: Path | None = None,
) -> RunRecord:  # fmt: skip
    """Predict a split of another dataset with the weights of a recorded run; write and return a record of its own.

    Task, preprocessing and model are those of the run. `weights` defaults to where the run left them. `figure`: PNG of
    the first events with truth, prediction and errors. Raises CheckpointError where the weights are missing or of
    another model.
    """
    if record.status == "failed":
        raise ConfigError("The record is of a failed run. A finished run was expected. Run it again first.")
    if record.config.get("probe"):
        raise ConfigError(
            f"The record is of {record.task['name']}, which trains no weights. A run of another task was expected. "
            f"Probe the other events themselves: run --task {record.task['name']} --dataset {dataset}."
        )
    started = time.monotonic()
    target = Target(dataset, split, figure)
    threads = set_up_torch(execution.threads)
    there = _open(target, execution)
    config = record.config
    task = tasks.task(record.task["name"])
    preprocess = override(preparation(task), config["preprocess"], "preprocess")
    events = event_set(there, target.split, task, preprocess)
    spec = registry.model_spec(config["model"])
    model_config = override(spec.config(), config["model_config"], "model")
    inputs = Inputs(tuple(preprocess.columns), there.info.frame, tuple(preprocess.event_columns))
    model = spec.made(model_config, inputs, task)
    model.load(weights or _weights(execution.runs, record))
    result = _score(model, events, config["train"]["batch_size"], there, target)
    scored = replace(
        record,
        fingerprint=sha256_text("\x1f".join((record.fingerprint, there.info.name, there.revision, target.split))),
        training={
            **record.training,
            "run": record.fingerprint,
            "trained_on": record.dataset,
            "trained_in": record.environment,
        },
        resources={**record.resources, "wall_s": round(time.monotonic() - started, 2)},
    )
    return _recorded(scored, there, target, events, result, execution, describe_environment("cpu", "32", threads))


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
    if manifest.stage != "finetune":
        raise CheckpointError(
            f"{checkpoint.path} is of pre-training and has no trained head. A fine-tuned checkpoint was expected. "
            f"Train one: python -m benchmark run --model {manifest.model} --checkpoint {checkpoint.path}."
        )
    task, size = manifest.the_task(), _batch_size(manifest.batch_size if batch_size is None else batch_size)
    preprocess = _changed(manifest.the_preprocess(), assignments)
    device = choose_device(execution.device)
    threads = set_up_torch(execution.threads)
    there = _open(target, execution)
    if there.info.frame != manifest.the_frame():
        raise CheckpointError(
            f"{checkpoint.path} was trained in the frame {manifest.the_frame()}. That of {there.info.name}, "
            f"{there.info.frame}, was expected. Choose another --dataset."
        )
    events = event_set(there, target.split, task, preprocess)
    model = checkpoint.build().to(device)
    result = _score(model, events, size, there, target)
    config = _config(checkpoint, task, preprocess, there, size)
    decides = [as_dict(config), there.revision, target.split, model_code(manifest.model), device]
    blank = RunRecord(
        fingerprint=sha256_text(json.dumps([EVALUATED, *decides], sort_keys=True)),
        status="finished",
        created=now(),
        command=[],
        config={**config, "checkpoint": str(checkpoint.path)},
        task=describe_task(task),
        dataset={},
        events={"labelled": manifest.training.get("labels"), "unlabelled": 0, "selection": 0, "test": 0},
        subset_sha256="",
        training={
            "origin": dict(manifest.origin),
            "checkpoint_sha256": config["checkpoint_sha256"],
            "trained_on": dict(manifest.training),
            "trained_in": {"versions": dict(manifest.versions)},
        },
        resources={
            "n_parameters": model.n_parameters,
            "wall_s": round(time.monotonic() - started, 2),
            "predict_events_per_s": round(len(events) / result.wall_s, 2),
            "peak_memory_bytes": peak_memory_bytes(device),
        },
    )
    return _recorded(blank, there, target, events, result, execution, describe_environment(device, "32", threads))


def _open(target: Target, execution: Execution) -> Dataset:
    spec = registry.dataset_spec(target.dataset)
    return spec.open(spec.config(), execution.data)


def _score(model: Model, events: EventSet, batch_size: int, there: Dataset, target: Target) -> Evaluation:
    result = evaluate(model, events, batch_size, bootstrap_rng(events.task, there))
    if target.figure is not None:
        first = events.batch(range(min(MAX_EVENTS, len(events))))
        draw_predictions(first, model.predict(first.without_target()), events.task, target.figure)
    return result


def _recorded(
    record: RunRecord, there: Dataset, target: Target, events: EventSet, result: Evaluation, execution: Execution,
    environment: dict[str, Any],
) -> RunRecord:  # fmt: skip
    """The record with what was scored and how it went, written."""
    scored = replace(
        record,
        created=now(),
        command=list(execution.command),
        dataset=describe_dataset(there),
        events={**record.events, "test": len(events), "excluded": {target.split: events.excluded}},
        metrics=result.metrics,
        per_event=pack_counts(result.counts, events.event_ids),
        environment=environment,
    )
    write_record(execution.records or records_dir(), scored)
    return scored


def _config(checkpoint: Checkpoint, task: Task, preprocess: Preparation, there: Dataset, size: int) -> dict[str, Any]:
    """What a record of a run has under `config`, as far as a checkpoint knows it."""
    manifest = checkpoint.manifest
    told = manifest.training
    return {
        "model": manifest.model,
        "preset": told.get("preset", "checkpoint"),
        "mode": EVALUATED,
        "labels": told.get("labels"),
        "draw": told.get("draw", 0),
        "seed": told.get("seed", 0),
        "task": as_dict(task),
        "dataset": there.info.name,
        "preprocess": as_dict(preprocess),
        "model_config": dict(manifest.model_config),
        "train": {"batch_size": size},
        "checkpoint_sha256": sha256_file(checkpoint.path),
    }


def _changed(preprocess: Preparation, assignments: Sequence[str]) -> Preparation:
    changes = {k.removeprefix("preprocess."): v for k, v in parse_assignments(list(assignments)).items()}
    if "columns" in changes:
        raise ConfigError(
            f"--set columns={changes['columns']} is not possible: the checkpoint's model takes "
            f"{','.join(preprocess.columns)}. Its own columns were expected. Leave this out."
        )
    return override(preprocess, changes, "preprocess")


def _batch_size(size: int) -> int:
    if size < 1:
        raise ConfigError(f"--batch-size {size} is not possible. A number from 1 on was expected. Leave it out.")
    return size


def _weights(runs: Path, record: RunRecord) -> Path:
    path = run_folder(runs, record) / WEIGHTS
    if not path.is_file():
        raise CheckpointError(
            f"The run's weights are not at {path}. The folder `runs` of the run itself was expected. Give them with "
            f"--weights, or repeat the run with --force."
        )
    return path
