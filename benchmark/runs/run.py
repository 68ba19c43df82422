"""One run, from a request to a record: data, label budget, pre-training, training, scoring."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from benchmark.contracts import Model
from benchmark.data.stream import EventSet
from benchmark.errors import BenchmarkError
from benchmark.evaluation.evaluate import Evaluation, evaluate
from benchmark.evaluation.token_probe import n_probed_parameters, probe
from benchmark.hardware.distributed import after_first, from_first, processes
from benchmark.hardware.energy import EnergyMeter
from benchmark.hardware.environment import peak_memory_bytes
from benchmark.records.counts import pack_counts
from benchmark.records.record import RunRecord, describe_dataset, describe_task, now
from benchmark.records.store import find_record, records_dir, write_record
from benchmark.runs.config import Request
from benchmark.runs.events import RunEvents, bootstrap_rng, open_events
from benchmark.runs.execution import Execution, Outcome, Say, say_nothing, to_stderr
from benchmark.runs.prepared import Prepared, identify, prepare
from benchmark.runs.pretrained import load_pretrained
from benchmark.runs.supervised import train_on_labels
from benchmark.runs.weights import WEIGHTS, manifest_of_run, run_folder

if TYPE_CHECKING:
    from pathlib import Path


def run(request: Request, execution: Execution, say: Say = to_stderr) -> Outcome:
    """Carry out what was asked, unless it is recorded already. A failure is recorded too, then raised."""
    from benchmark.training.fit import delete_checkpoints

    identity = identify(request, execution.device)
    meter = EnergyMeter(identity.device)
    prepared = prepare(identity, execution)
    root = execution.records or records_dir()
    with after_first():
        recorded = None if execution.force else find_record(root, prepared.fingerprint)
    if recorded is not None:
        return Outcome(recorded, fresh=False)
    events = open_events(prepared, prepared.config.scored_split)
    blank = _unfinished_record(prepared, events)
    is_first = processes().first
    tell = say if is_first else say_nothing
    tell(_announcement(prepared, events))
    try:
        record = _carry_out(prepared, events, blank, tell)
        energy_j = meter.joules()
        if energy_j is not None:
            record = replace(record, resources={**record.resources, "energy_j": energy_j})
        from_first(lambda: write_record(root, record))
    except Exception as error:
        if is_first:
            _record_failure(root, replace(blank, status="failed", error=f"{type(error).__name__}: {error}"), say)
        raise
    if record.status == "finished" and is_first:
        # not earlier: a record that cannot be written must cost no training
        delete_checkpoints(run_folder(execution.runs, record))
    return Outcome(record, fresh=True)


def _record_failure(root: Path, record: RunRecord, say: Say) -> None:
    try:
        write_record(root, record)
    except BenchmarkError as error:  # the failure itself is what the user must hear of
        say(f"warning: {error}")


def _carry_out(prepared: Prepared, events: RunEvents, blank: RunRecord, say: Say) -> RunRecord:
    model = prepared.build_model()
    training = _train(model, prepared, events.labelled, run_folder(prepared.execution.runs, blank), say)
    return from_first(lambda: _finish(model, prepared, events, blank, training))


def _train(model: Model, prepared: Prepared, labelled: EventSet, folder: Path, say: Say) -> dict[str, Any]:
    """Train in place; what the record says of it."""
    from benchmark.contracts.torch_model import TorchModel

    config = prepared.config
    if not isinstance(model, TorchModel):
        if processes().first:
            model.fit(labelled.in_order(config.train.batch_size), config.task)
        return {"steps": 1, "n_steps": 1}
    pretraining = load_pretrained(model, prepared, say) if config.starts_pretrained else None
    if not config.trains:
        return {"steps": 0, "n_steps": 0, "pretraining": pretraining}
    report = train_on_labels(model, prepared, labelled, folder)
    return {**report.facts(), "history": dict(report.history), "pretraining": pretraining}


def _finish(
    model: Model, prepared: Prepared, events: RunEvents, blank: RunRecord, training: dict[str, Any]
) -> RunRecord:  # fmt: skip
    """Keep the weights and score them."""
    config, trained = prepared.config, time.monotonic()
    if config.probe is None:  # which trains no weights
        metadata = manifest_of_run(prepared, "finetune", blank.fingerprint)
        model.save(run_folder(prepared.execution.runs, blank) / WEIGHTS, metadata)
    result = _score(model, prepared, events)
    resources = {
        "n_parameters": model.n_parameters if config.probe is None else n_probed_parameters(model),
        "wall_s": round(time.monotonic() - prepared.started, 2),
        "train_s": round(trained - prepared.started, 2),
        "predict_events_per_s": round(len(result.counts) / result.wall_s, 2),
        "peak_memory_bytes": peak_memory_bytes(prepared.device),
        **_flops(model, prepared, events.scored),
    }
    stopped = training.get("steps", 0) < training.get("n_steps", 0)
    return replace(
        blank,
        status="stopped" if stopped else "finished",
        metrics=result.metrics,
        events={**blank.events, **result.events},
        per_event=pack_counts(result.counts, events.scored.event_ids[: len(result.counts)]),
        training={**training, **({"probe": result.details} if result.details else {})},
        resources=resources,
        environment={**blank.environment, "backends": dict(model.backends)},
    )


def _score(model: Model, prepared: Prepared, events: RunEvents) -> Evaluation:
    config, rng = prepared.config, bootstrap_rng(prepared.config.task, prepared.dataset)
    if config.probe is None:
        return evaluate(model, events.scored, config.train.batch_size, rng)
    return probe(model, events.labelled, events.scored, config.probe, config.train.batch_size, config.draw, rng)


def _flops(model: Model, prepared: Prepared, scored: EventSet) -> dict[str, int]:
    """Forward FLOPs of the scored network, where they can be counted: see `benchmark.evaluation.flops`."""
    from benchmark.contracts.torch_model import TorchModel

    if not isinstance(model, TorchModel) or prepared.config.probe is not None:
        return {}
    from benchmark.evaluation.flops import flops_per_event

    count = flops_per_event(model, scored)
    return {} if count is None else {"flops_per_event": count}


def _unfinished_record(prepared: Prepared, events: RunEvents) -> RunRecord:
    """The record of a run before it has run."""
    config = prepared.config
    unlabelled = 0
    if config.weights is not None:
        unlabelled = config.weights.record["events"]
    elif config.pretrain is not None and config.checkpoint is None:
        unlabelled = min(config.pretrain.events or len(prepared.train), len(prepared.train))
    return RunRecord(
        fingerprint=prepared.fingerprint,
        status="failed",
        created=now(),
        command=list(prepared.execution.command),
        config=config.as_dict(),
        task=describe_task(config.task),
        dataset=describe_dataset(prepared.dataset),
        events={
            "labelled": len(events.labelled) if config.trains or config.probe is not None else 0,
            "unlabelled": unlabelled,
            "selection": 0,
            "test": len(events.scored),
            "excluded": {"train": prepared.train.excluded, events.split: events.scored.excluded},
        },
        subset_sha256=events.subset.sha256,
        environment=prepared.environment,
    )


def _announcement(prepared: Prepared, events: RunEvents) -> str:
    c = prepared.config
    return (
        f"{c.model} [{c.preset}, {c.mode}] on {c.task.name}, {prepared.source}: {len(events.labelled)} labelled of "
        f"{len(prepared.train)} training events, {len(events.scored)} test events; {prepared.place}"
    )
