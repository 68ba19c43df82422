"""One run, from a resolved configuration to a record: data, budget, pre-training, training, scoring."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark import registry
from benchmark.contracts import Dataset, Model, ModelSpec
from benchmark.data.stream import EventSet
from benchmark.errors import BenchmarkError
from benchmark.evaluation.evaluate import Evaluation, evaluate
from benchmark.evaluation.token_probe import n_probed_parameters, probe
from benchmark.hardware.distributed import after_first, from_first, join, processes
from benchmark.hardware.energy import EnergyMeter
from benchmark.hardware.environment import peak_memory_bytes
from benchmark.records.counts import pack_counts
from benchmark.records.record import RunRecord, describe_dataset, describe_task, now, run_name
from benchmark.records.store import find_record, records_dir, write_record
from benchmark.runs.config import Request, RunConfig
from benchmark.runs.pretrained import Subject, pretrained
from benchmark.runs.weights import manifest_of_run
from benchmark.seeding import seed_from

if TYPE_CHECKING:
    from benchmark.contracts.torch_model import TorchModel
    from benchmark.training.fit import FitReport, Probe

from benchmark.runs.events import RunEvents, bootstrap_rng, inputs_of, open_events
from benchmark.runs.execution import (
    Execution,
    Outcome,
    Say,
    check_compiled,
    check_time,
    record_environment,
    say_nothing,
    set_up_torch,
    to_stderr,
)
from benchmark.runs.prepared import identify

WEIGHTS = "model.safetensors"  # of a run, in its folder


def run(request: Request, execution: Execution, say: Say = to_stderr) -> Outcome:
    """Carry out what was asked, unless it is recorded already. A failure is recorded too, then raised."""
    from benchmark.training.fit import forget_states

    started = time.monotonic()
    what = identify(request, execution.device)
    config, spec, device, precision, code = what.config, what.spec, what.device, what.precision, what.code
    check_time(execution.max_minutes)
    check_compiled(execution.compiled, device)
    threads = set_up_torch(execution.threads)
    own = join(device)
    meter = EnergyMeter(device)
    with after_first():  # which makes, packs and checks what the others then find
        dataset = registry.dataset_spec(config.dataset).open(config.data, execution.data)
        name = what.fingerprint(dataset.revision)
        root = execution.records or records_dir()
        recorded = find_record(root, name) if not execution.force else None
        if recorded is not None:
            return Outcome(recorded, fresh=False)
        data = open_events(config, dataset)
    environment = record_environment(execution, device, precision, threads, own.n)
    blank = _blank(config, dataset, data, name, execution, environment)
    tell = say if own.first else say_nothing
    tell(_announce(config, data, device, threads))
    try:
        record = _carry_out(config, spec, data, blank, execution, started, code, request.model, tell)
        energy_j = meter.joules()
        if energy_j is not None:
            record = replace(record, resources={**record.resources, "energy_j": energy_j})
        from_first(lambda: write_record(root, record))
    except Exception as error:
        if own.first:
            _record_failure(root, replace(blank, status="failed", error=f"{type(error).__name__}: {error}"), say)
        raise
    if record.status == "finished" and own.first:
        # not earlier: a record that cannot be written must cost no training
        forget_states(run_folder(execution.runs, record))
    return Outcome(record, fresh=True)


def run_folder(runs: Path, record: RunRecord) -> Path:
    """Where a run keeps its logs, its training states while it is unfinished, and its weights."""
    return runs / run_name(record)


def _record_failure(root: Path, record: RunRecord, say: Say) -> None:
    try:
        write_record(root, record)
    except BenchmarkError as error:  # the failure itself is what the user must hear of
        say(f"warning: {error}")


def _carry_out(
    config: RunConfig, spec: ModelSpec, data: RunEvents, blank: RunRecord, execution: Execution, started: float, code: str,
    asked: str, say: Say,
) -> RunRecord:  # fmt: skip
    import torch

    torch.manual_seed(seed_from("weights", config.model, config.seed))
    model = spec.made(config.model_config, inputs_of(config, data.dataset), config.task)
    folder = run_folder(execution.runs, blank)
    resume = execution.resume and not execution.force
    deadline = None if execution.max_minutes is None else started + 60 * execution.max_minutes
    training = _train(model, config, spec, data, blank.environment, folder, resume, deadline, code, asked, say)
    return from_first(lambda: _finish(model, config, data, blank, folder, training, started))


def _finish(
    model: Model, config: RunConfig, data: RunEvents, blank: RunRecord, folder: Path, training: dict[str, Any],
    started: float,
) -> RunRecord:  # fmt: skip
    """Keep the weights and score them."""
    trained = time.monotonic()
    if config.probe is None:  # which trains no weights
        model.save(folder / WEIGHTS, manifest_of_run(config, data.dataset, "finetune", blank.fingerprint))
    result = _score(model, config, data)
    resources = {
        "n_parameters": model.n_parameters if config.probe is None else n_probed_parameters(model),
        "wall_s": round(time.monotonic() - started, 2),
        "train_s": round(trained - started, 2),
        "predict_events_per_s": round(len(result.counts) / result.wall_s, 2),
        "peak_memory_bytes": peak_memory_bytes(blank.environment["device"]),
        **_flops(model, config, data),
    }
    stopped = training.get("steps", 0) < training.get("n_steps", 0)
    return replace(
        blank,
        status="stopped" if stopped else "finished",
        metrics=result.metrics,
        events={**blank.events, **result.events},
        per_event=pack_counts(result.counts, data.test.event_ids[: len(result.counts)]),
        training={**training, **({"probe": result.details} if result.details else {})},
        resources=resources,
        environment={**blank.environment, "backends": dict(model.backends)},
    )


def _flops(model: Model, config: RunConfig, data: RunEvents) -> dict[str, int]:
    """Forward FLOPs of the scored network, where they can be counted: see `benchmark.evaluation.flops`."""
    from benchmark.contracts.torch_model import TorchModel

    if not isinstance(model, TorchModel) or config.probe is not None:
        return {}
    from benchmark.evaluation.flops import flops_per_event

    count = flops_per_event(model, data.test)
    return {} if count is None else {"flops_per_event": count}


def _train(
    model: Model, config: RunConfig, spec: ModelSpec, data: RunEvents, environment: dict[str, Any], folder: Path,
    resume: bool, deadline: float | None, code: str, asked: str, say: Say,
) -> dict[str, Any]:  # fmt: skip
    from benchmark.contracts.torch_model import TorchModel

    if not isinstance(model, TorchModel):
        if processes().first:
            model.fit(data.labelled.in_order(config.train.batch_size), config.task)
        return {"steps": 1, "n_steps": 1}
    model.to(environment["device"])
    pretraining = None
    if config.starts_pretrained:
        subject = Subject(config, spec, data.train, data.dataset, environment, code, asked)
        pretraining = pretrained(model, subject, resume, deadline, say)
    if not config.trains:
        return {"steps": 0, "n_steps": 0, "pretraining": pretraining}
    report = train_on_labels(model, config, data.labelled, environment, folder, resume, deadline)
    return {**report.facts(), "history": dict(report.history), "pretraining": pretraining}


def train_on_labels(
    model: TorchModel, config: RunConfig, labelled: EventSet, environment: Mapping[str, Any], folder: Path,
    resume: bool, deadline: float | None = None, probe: Probe | None = None, probe_every: int = 0,
) -> FitReport:  # fmt: skip
    """The supervised stage of every run, of every trial of a search and of every recipe: one rule for all models."""
    from benchmark.training.fit import Hardware, fit

    return fit(
        model, labelled, config.train, config.optim, stage="finetune", seed=config.seed,
        hardware=Hardware.of(environment, environment["precision"]), folder=folder,
        title=f"training {config.model}", frozen=config.mode in ("peft", "frozen"), resume=resume, deadline=deadline,
        probe=probe, probe_every=probe_every,
    )  # fmt: skip


def _score(model: Model, config: RunConfig, data: RunEvents) -> Evaluation:
    rng = bootstrap_rng(config.task, data.dataset)
    if config.probe is None:
        return evaluate(model, data.test, config.train.batch_size, rng)
    return probe(model, data.labelled, data.test, config.probe, config.train.batch_size, config.draw, rng)


def _blank(
    config: RunConfig, dataset: Dataset, data: RunEvents, name: str, execution: Execution, environment: dict[str, Any]
) -> RunRecord:
    """The record of a run before it has run."""
    unlabelled = 0
    if config.weights is not None:
        unlabelled = config.weights.record["events"]
    elif config.pretrain is not None and config.checkpoint is None:
        unlabelled = min(config.pretrain.events or len(data.train), len(data.train))
    task = config.task
    return RunRecord(
        fingerprint=name,
        status="failed",
        created=now(),
        command=list(execution.command),
        config=config.as_dict(),
        task=describe_task(task),
        dataset=describe_dataset(dataset),
        events={
            "labelled": len(data.labelled) if config.trains or config.probe is not None else 0,
            "unlabelled": unlabelled,
            "selection": 0,
            "test": len(data.test),
            "excluded": {"train": data.train.excluded, config.scored_split: data.test.excluded},
        },
        subset_sha256=data.subset.sha256,
        environment=environment,
    )


def _announce(config: RunConfig, data: RunEvents, device: str, threads: int) -> str:
    source = f"{data.dataset.info.name} ({data.dataset.revision})"
    counts = f"{len(data.labelled)} labelled of {len(data.train)} training events, {len(data.test)} test events"
    where = f"{device}, {threads} threads" if device == "cpu" else device
    return f"{config.model} [{config.preset}, {config.mode}] on {config.task.name}, {source}: {counts}; {where}"
