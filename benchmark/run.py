"""One run, from a resolved configuration to a record: data, budget, pre-training, training, scoring."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark import registry
from benchmark.budget import Subset, subset
from benchmark.checkpoints.manifest import of_run
from benchmark.config import Request, RunConfig, fingerprint, resolve
from benchmark.contracts import Dataset, Inputs, Model, ModelSpec, Task
from benchmark.data.stream import EventSet, event_set
from benchmark.energy import EnergyMeter
from benchmark.environment import choose_device, choose_precision, describe, peak_memory_bytes, usable_cores
from benchmark.errors import BenchmarkError, ConfigError, DataError
from benchmark.evaluate import Evaluation, evaluate
from benchmark.kernels import missing
from benchmark.pretrain import Subject, pretrained
from benchmark.probe import n_probed_parameters, probe
from benchmark.processes import after_first, from_first, join, processes
from benchmark.records import (
    RunRecord,
    describe_dataset,
    describe_task,
    find_record,
    now,
    pack_counts,
    records_dir,
    run_name,
    write_record,
)
from benchmark.seeding import generator, seed_from

if TYPE_CHECKING:
    import numpy as np

    from benchmark.contracts.torch_model import TorchModel
    from benchmark.training.fit import FitReport, Probe

WEIGHTS = "model.safetensors"  # of a run, in its folder


@dataclass(frozen=True)
class Execution:
    """How a run is carried out. The kind of device decides its result, `compiled` its rounding, the rest nothing."""

    device: str = "auto"  # auto | cpu | cuda
    threads: int | None = None  # CPU threads; None takes every usable core
    data: Path | None = None  # folder of the dataset; None takes the cache
    records: Path | None = None  # where records go; None takes `records_dir()`
    runs: Path = Path("runs")  # where logs and weights go
    max_minutes: float | None = None  # stop training after this time, score what there is
    resume: bool = True  # continue an interrupted run
    force: bool = False  # run again although recorded
    compiled: bool = False  # training compiles the blocks of transformers; on GPUs
    command: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """A record, where it lies, and whether this call made it."""

    record: RunRecord
    fresh: bool


@dataclass(frozen=True)
class _Data:
    dataset: Dataset
    train: EventSet
    labelled: EventSet
    test: EventSet
    subset: Subset


Say = Callable[[str], None]


def to_stderr(text: str) -> None:
    """Tell the user."""
    print(text, file=sys.stderr, flush=True)


def _nothing(text: str) -> None:
    """What processes other than the first say."""


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
        data = _data(config, dataset)
    environment = surroundings(execution, device, precision, threads, own.n)
    blank = _blank(config, dataset, data, name, execution, environment)
    tell = say if own.first else _nothing
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


@dataclass(frozen=True)
class Identity:
    """What decides a run's result, but for the data."""

    config: RunConfig
    spec: ModelSpec
    device: str
    precision: str
    code: str  # hash of the model's code

    def fingerprint(self, revision: str) -> str:
        """Names the result on this revision of the data."""
        return fingerprint(self.config, revision, self.code, self.device, self.precision)


def identify(request: Request, device: str) -> Identity:
    """Everything about a run that can be known without its data. Raises BenchmarkError for one that cannot be run."""
    config = resolve(request)
    spec = registry.model_spec(request.model)
    chosen = choose_device(device)
    check_model(spec, config, chosen)
    precision = choose_precision(config.train.precision, chosen)
    return Identity(config, spec, chosen, precision, model_code(request.model))


def run_folder(runs: Path, record: RunRecord) -> Path:
    """Where a run keeps its logs, its training states while it is unfinished, and its weights."""
    return runs / run_name(record)


def _record_failure(root: Path, record: RunRecord, say: Say) -> None:
    try:
        write_record(root, record)
    except BenchmarkError as error:  # the failure itself is what the user must hear of
        say(f"warning: {error}")


def model_code(name: str) -> str:
    """Hash of the code that defines a model: its file and the private pieces beside it that it is made of."""
    from benchmark.io import sha256_file, sha256_text

    return sha256_text("".join(sha256_file(p) for p in registry.model_files(name)))


def _carry_out(
    config: RunConfig, spec: ModelSpec, data: _Data, blank: RunRecord, execution: Execution, started: float, code: str,
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
    model: Model, config: RunConfig, data: _Data, blank: RunRecord, folder: Path, training: dict[str, Any],
    started: float,
) -> RunRecord:  # fmt: skip
    """Keep the weights and score them."""
    trained = time.monotonic()
    if config.probe is None:  # which trains no weights
        model.save(folder / WEIGHTS, of_run(config, data.dataset, "finetune", blank.fingerprint))
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


def _flops(model: Model, config: RunConfig, data: _Data) -> dict[str, int]:
    """Forward FLOPs of the scored network, where they can be counted: see `benchmark.flops`."""
    from benchmark.contracts.torch_model import TorchModel

    if not isinstance(model, TorchModel) or config.probe is not None:
        return {}
    from benchmark.flops import flops_per_event

    count = flops_per_event(model, data.test)
    return {} if count is None else {"flops_per_event": count}


def _train(
    model: Model, config: RunConfig, spec: ModelSpec, data: _Data, environment: dict[str, Any], folder: Path,
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


def _score(model: Model, config: RunConfig, data: _Data) -> Evaluation:
    rng = bootstrap_rng(config.task, data.dataset)
    if config.probe is None:
        return evaluate(model, data.test, config.train.batch_size, rng)
    return probe(model, data.labelled, data.test, config.probe, config.train.batch_size, config.draw, rng)


def bootstrap_rng(task: Task, dataset: Dataset) -> np.random.Generator:
    """The resampling of events behind the intervals: the same for every model, so that equal counts have equal ones."""
    return generator("bootstrap", task.name, dataset.revision)


def inputs_of(config: RunConfig, dataset: Dataset) -> Inputs:
    """What the model is told of its data."""
    prepared = config.preprocess
    return Inputs(tuple(prepared.columns), dataset.info.frame, tuple(prepared.event_columns))


def _data(config: RunConfig, dataset: Dataset) -> _Data:
    train = event_set(dataset, "train", config.task, config.preprocess)
    test = event_set(dataset, config.scored_split, config.task, config.preprocess)
    check_disjoint(train, test, config.scored_split, dataset)
    chosen = subset(train.event_ids, config.labels, config.draw)
    return _Data(dataset, train, train.chosen(chosen), test, chosen)


def check_disjoint(train: EventSet, scored: EventSet, split: str, dataset: Dataset) -> None:
    """Raises DataError where an event is in the training split and in the one that is scored."""
    both = set(train.event_ids) & set(scored.event_ids)
    if both:
        raise DataError(
            f"{len(both)} events are in both the training and the {split} split of {dataset.info.name} "
            f"(first: {min(both)}). Disjoint splits were expected. Remove them from one of the two."
        )


def _blank(
    config: RunConfig, dataset: Dataset, data: _Data, name: str, execution: Execution, environment: dict[str, Any]
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


def _announce(config: RunConfig, data: _Data, device: str, threads: int) -> str:
    source = f"{data.dataset.info.name} ({data.dataset.revision})"
    counts = f"{len(data.labelled)} labelled of {len(data.train)} training events, {len(data.test)} test events"
    where = f"{device}, {threads} threads" if device == "cpu" else device
    return f"{config.model} [{config.preset}, {config.mode}] on {config.task.name}, {source}: {counts}; {where}"


def check_model(spec: ModelSpec, config: RunConfig, device: str) -> None:
    """Raises BenchmarkError for a model that cannot do the task on the device."""
    reason = spec.skip(config.task, device)
    if reason:
        raise BenchmarkError(
            f"{spec.name} cannot run here: {reason}. Another model or device was expected. "
            f"Type `python -m benchmark list models`."
        )


def check_time(max_minutes: float | None) -> None:
    """Raises ConfigError for a time limit that is none."""
    if max_minutes is not None and not max_minutes > 0:
        raise ConfigError(
            f"--max-minutes {max_minutes} is not possible. A number above 0 was expected. Type --max-minutes 5."
        )


def check_compiled(compiled: bool, device: str) -> None:
    """Raises ConfigError where blocks cannot be compiled: attention has to be one operator."""
    reason = missing() if compiled else None
    if compiled and (device != "cuda" or reason is not None):
        raise ConfigError(
            f"--compile cannot be done on {device}{'' if reason is None else f': {reason}'}. A GPU was expected. Leave "
            f"it out, or add --device cuda."
        )


def surroundings(execution: Execution, device: str, precision: str, threads: int, processes: int) -> dict[str, Any]:
    """What a record says of where and how it was made."""
    compiled = {"compiled": True} if execution.compiled else {}
    return {**describe(device, precision, threads), "processes": processes, **compiled}


def set_up_torch(asked: int | None) -> int:
    """Fix torch's CPU threads (None: every usable core) and its deterministic algorithms; returns the threads."""
    import torch

    if asked is not None and asked < 1:
        raise ConfigError(f"--threads {asked} is not possible. A number from 1 on was expected. Leave --threads out.")
    threads = asked or usable_cores()
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # else torch also fills every new tensor with NaN first, a tenth to a quarter of a step on a CPU
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    return threads
