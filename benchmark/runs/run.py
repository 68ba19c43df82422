"""One run, from a request to a record: data, label budget, pre-training, training, scoring."""

from __future__ import annotations

import contextlib
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from benchmark.contracts import Model
from benchmark.data.stream import EventSet
from benchmark.errors import BenchmarkError, RecordError
from benchmark.evaluation.score import Scoring, score_model
from benchmark.hardware.distributed import from_first
from benchmark.hardware.memory import memory_explained
from benchmark.progress import to_stderr
from benchmark.records.counts import with_scores
from benchmark.records.record import RunRecord, begin_record
from benchmark.records.store import find_record, record_path, remove_attempts, write_record
from benchmark.runs.commands import run_command
from benchmark.runs.config import Request
from benchmark.runs.events import RunEvents, bootstrap_rng, open_events
from benchmark.runs.execution import Execution, Outcome, Say, alone_in, say_nothing
from benchmark.runs.prepared import Prepared, identify, prepare
from benchmark.runs.pretrained import load_pretrained
from benchmark.runs.supervised import train_on_labels
from benchmark.runs.weights import WEIGHTS, manifest_of_run, run_folder
from benchmark.training.states import delete_checkpoints

if TYPE_CHECKING:
    from pathlib import Path


def run(request: Request, execution: Execution, say: Say = to_stderr) -> Outcome:
    """Carry out a request, unless it is recorded already. A failure is recorded too, then raised."""
    prepared = prepare(identify(request, execution.device), execution)
    recorded = _recorded(prepared)
    if recorded is not None:
        return Outcome(recorded, fresh=False)
    events = open_events(prepared, prepared.config.scored_split)
    unfinished = _unfinished_record(prepared, events)
    folder = run_folder(execution.runs, unfinished)
    with alone_in(folder, f"the run {unfinished.run_name}", say):
        recorded = _recorded(prepared)  # by a process that this one has waited for
        if recorded is not None:
            return Outcome(recorded, fresh=False)
        return Outcome(_carry_out(prepared, events, unfinished, folder, say), fresh=True)


def _recorded(prepared: Prepared) -> RunRecord | None:
    """The record of an earlier run; what attempts before it left is deleted (a forced run may be writing now)."""
    execution = prepared.execution
    if execution.force:
        return None

    def find() -> RunRecord | None:
        record = find_record(execution.records_folder, prepared.fingerprints)
        if record is not None:
            path = record_path(execution.records_folder, record)
            with contextlib.suppress(OSError, RecordError):  # moved since, or a folder that is only read
                ended = path.stat().st_mtime
                remove_attempts(path, before=ended)
                delete_checkpoints(run_folder(execution.runs, record), before=ended)
        return record

    return from_first(find)


def _carry_out(
    prepared: Prepared, events: RunEvents, unfinished: RunRecord, folder: Path, say: Say
) -> RunRecord:  # fmt: skip
    """Train, score and record. A failure is recorded too, then raised."""
    is_first = prepared.machine.processes.first
    report = say if is_first else say_nothing
    report(_start_message(prepared, events))
    prepare_s = time.monotonic() - prepared.started
    try:
        model = prepared.build_model()
        training, seconds = _train(model, prepared, events.labelled, folder, report)
        seconds = {"prepare_s": prepare_s, **seconds}
        record = from_first(lambda: _finish(model, prepared, events, unfinished, training, seconds))
    except Exception as error:
        if is_first:
            failed = replace(unfinished, error=f"{type(error).__name__}: {error}")
            _record_failure(prepared.execution.records_folder, failed, say)
        raise
    if record.status == "finished" and is_first:
        # after the record is written, so that a failed write loses no training
        delete_checkpoints(folder)
    return record


def _record_failure(root: Path, record: RunRecord, say: Say) -> None:
    try:
        write_record(root, record)
    except BenchmarkError as error:  # the first error is raised
        say(f"warning: {error}")


def _train(
    model: Model, prepared: Prepared, labelled: EventSet, folder: Path, say: Say
) -> tuple[dict[str, Any], dict[str, float]]:  # fmt: skip
    """Train in place; returns the record's `training`, and the seconds of training and of pre-training."""
    from benchmark.contracts.torch_model import TorchModel

    config = prepared.config
    if not isinstance(model, TorchModel):
        begin = time.monotonic()
        if prepared.machine.processes.first:
            model.fit(labelled.in_order(config.train.batch_size), config.task)
        return {"steps": 1, "n_steps": 1}, {"train_s": time.monotonic() - begin}
    pretraining = load_pretrained(model, prepared, say) if config.starts_pretrained else None
    known = {} if pretraining is None or "wall_s" not in pretraining else {"pretrain_s": pretraining["wall_s"]}
    if not config.trains:
        return {"steps": 0, "n_steps": 0, "pretraining": pretraining}, {**known, "train_s": 0.0}
    report = train_on_labels(model, prepared, labelled, folder)
    training = {**report.facts(), "history": dict(report.history), "pretraining": pretraining}
    return training, {**known, "train_s": report.wall_s}


def _finish(
    model: Model, prepared: Prepared, events: RunEvents, unfinished: RunRecord, training: dict[str, Any],
    seconds: dict[str, float],
) -> RunRecord:  # fmt: skip
    """Save the weights, score them, and write the record. seconds: of what came before, by their names in it."""
    config, score_begin = prepared.config, time.monotonic()
    if config.probe is None:  # a probe trains no weights
        metadata = manifest_of_run(prepared, "finetune", unfinished.fingerprint)
        folder = run_folder(prepared.execution.runs, unfinished)
        folder.mkdir(parents=True, exist_ok=True)
        model.save(folder / WEIGHTS, metadata)
    scoring = Scoring(config.train.batch_size, config.draw, config.probe, events.split)
    rng = bootstrap_rng(config.task, prepared.dataset)
    with memory_explained("--set train.batch_size=", config.train.batch_size):
        result = score_model(model, events.labelled, events.scored, scoring, rng)
    energy_j = prepared.machine.energy.joules()
    resources = {
        **{name: round(value, 2) for name, value in seconds.items()},
        "score_s": round(time.monotonic() - score_begin, 2),
        "wall_s": round(time.monotonic() - prepared.started, 2),
        "peak_memory_bytes": prepared.machine.peak_memory_bytes(),
        **result.costs,
        **({} if energy_j is None else {"energy_j": energy_j}),
    }
    stopped = training.get("steps", 0) < training.get("n_steps", 0)
    finished = replace(
        unfinished,
        status="stopped" if stopped else "finished",
        events={**unfinished.events, **result.events},
        training={**training, **({"probe": result.details} if result.details else {})},
        resources=resources,
        environment={**unfinished.environment, "backends": dict(model.backends)},
    )
    record = with_scores(finished, result.metrics, result.counts, events.scored.event_ids, events.scored.units)
    write_record(prepared.execution.records_folder, record)
    return record


def _unfinished_record(prepared: Prepared, events: RunEvents) -> RunRecord:
    """The record of a run before it starts."""
    config = prepared.config
    unlabelled = 0
    if config.weights is not None:
        unlabelled = config.weights.record["events"]
    elif config.pretrain is not None and config.checkpoint is None:
        unlabelled = min(config.pretrain.events or len(prepared.train), len(prepared.train))
    command = run_command(prepared.identity.request, prepared.execution)
    return replace(
        begin_record(prepared.fingerprint, command, config.as_dict(), config.task, prepared.dataset),
        events={
            "labelled": len(events.labelled) if config.trains or config.probe is not None else 0,
            "unlabelled": unlabelled,
            "selection": 0,
            "test": len(events.scored),
            "split": events.split,
            "excluded": {"train": prepared.train.excluded, events.split: events.scored.excluded},
        },
        subset_sha256=events.subset.sha256,
        environment=prepared.environment,
    )


def _start_message(prepared: Prepared, events: RunEvents) -> str:
    c = prepared.config
    return (
        f"{c.method} [{c.preset}, {c.mode}] on {c.task.name}, {prepared.source}: {len(events.labelled)} labelled of "
        f"{len(prepared.train)} training events, {len(events.scored)} {events.split} events; {prepared.machine.place}"
    )
