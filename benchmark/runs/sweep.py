"""A sweep: models x label budgets x draws x seeds, planned with its cost, run in parallel, and resumable.

A plan is a list of jobs. Recorded runs are skipped; the first of several jobs with the same pre-training does it, and
the others wait for it. The sweep keeps no state: the same command resumes from the records and training states of its
runs.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from benchmark import registry
from benchmark.contracts import Dataset
from benchmark.contracts.model import model_and_mode
from benchmark.contracts.pretext import model_and_pretext
from benchmark.data.stream import event_set
from benchmark.errors import ConfigError
from benchmark.hardware.cluster import executor as cluster_executor
from benchmark.hardware.environment import usable_cores
from benchmark.hardware.machine import check_compiled
from benchmark.hardware.workers import Task, TaskResult, run_tasks
from benchmark.io import safe_name
from benchmark.paths import leaderboards
from benchmark.records.record import RunRecord
from benchmark.records.store import read_records
from benchmark.runs.config import Request
from benchmark.runs.cost_estimate import Cost, expected_cost
from benchmark.runs.execution import Execution
from benchmark.runs.fingerprint import Identity
from benchmark.runs.prepared import identify
from benchmark.runs.pretrained import finished_record, pretrained_folder
from benchmark.runs.run import run

MEMORY_BYTES = 2 << 30  # of a run without a similar record
_RESERVED = 0.1  # share of the free memory that stays free


@dataclass(frozen=True)
class OfBudget:
    """What is other at one label budget."""

    draws: tuple[int, ...] | None = None  # None: those of the sweep
    settings: tuple[str, ...] = ()  # KEY=VALUE, of every model
    settings_of: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)  # of one entry of `models`


@dataclass(frozen=True)
class Sweep:
    """The runs of a sweep: every combination of the first four fields."""

    # `name`, `name:mode` (polarmae:scratch), `name+pretext` (gnn+masked:frozen), or a path to a file in place of a name
    models: tuple[str, ...]
    labels: tuple[str, ...] = ("100",)
    draws: tuple[int, ...] = (0,)
    seeds: tuple[int, ...] = (0,)
    task: str = "lartpc-segmentation"
    dataset: str | None = None
    preset: str = "default"
    split: str = "test"  # that is scored
    settings: tuple[str, ...] = ()  # KEY=VALUE, of every model
    settings_of: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)  # of one entry of `models`
    budgets: Mapping[str, OfBudget] = dataclasses.field(default_factory=dict)  # of one entry of `labels`

    def requests(self) -> list[Request]:
        """One per run, small budgets first, so that a first table is there early. Raises ConfigError for none."""
        for name, values in (("models", self.models), ("labels", self.labels), ("draws", self.draws),
                             ("seeds", self.seeds)):  # fmt: skip
            if not values:
                raise ConfigError(f"The sweep has no {name}. At least one was expected. Give --{name}.")
        named = {*self.settings_of, *(model for budget in self.budgets.values() for model in budget.settings_of)}
        unknown = sorted(named - set(self.models))
        if unknown:
            raise ConfigError(
                f"The sweep has settings of {unknown[0]!r}, which is not one of its models. One of "
                f"{', '.join(self.models)} was expected. Correct the name."
            )
        unknown = sorted(set(self.budgets) - set(self.labels))
        if unknown:
            raise ConfigError(
                f"The sweep says what is other at {unknown[0]} labels, which is not one of its budgets. One of "
                f"{', '.join(self.labels)} was expected. Correct the number."
            )
        return [
            self._request(model, labels, draw, seed)
            for labels in self.labels
            for draw, seed, model in product(self._draws(labels), self.seeds, self.models)
        ]

    def _draws(self, labels: str) -> tuple[int, ...]:
        own = self._budget(labels).draws
        return self.draws if own is None else own

    def _budget(self, labels: str) -> OfBudget:
        return self.budgets.get(labels, OfBudget())

    def _request(self, entry: str, labels: str, draw: int, seed: int) -> Request:
        method, mode = model_and_mode(entry)
        model, pretext = model_and_pretext(method)
        budget = self._budget(labels)
        return Request(
            model, self.task, self.dataset, self.preset, labels, mode, draw, seed, pretext=pretext, split=self.split,
            assignments=(*self.settings, *budget.settings, *self.settings_of.get(entry, ()),
                         *budget.settings_of.get(entry, ())),
        )  # fmt: skip


@dataclass(frozen=True)
class Job:
    """One run of a sweep."""

    name: str  # model and pretext, mode, labels, draw, seed: in messages and as name of its log
    request: Request
    identity: Identity
    fingerprint: str
    recorded: RunRecord | None  # by an earlier run
    pretraining: str | None  # fingerprint of the pre-training that it needs, unless cached
    cost: Cost | None


def plan(sweep: Sweep, execution: Execution) -> list[Job]:
    """Every run of the sweep, in the order of their start.

    Opens the data, which may simulate or check it. Raises BenchmarkError for a combination that cannot run, before
    anything runs.
    """
    requests = sweep.requests()
    identities = [identify(request, execution.device) for request in requests]
    for identity in identities:
        check_compiled(execution.compiled, identity.device)
    finished = finished_runs(execution)
    known_runs = [*finished.values(), *_committed_records()]
    opened: dict[str, Dataset] = {}
    jobs: dict[str, Job] = {}
    for request, identity in zip(requests, identities, strict=True):
        dataset = _open_dataset(identity, execution, opened)
        fingerprint = identity.fingerprint(dataset.revision)
        record = next((finished[f] for f in identity.fingerprints(dataset.revision) if f in finished), None)
        cost = expected_cost(identity.config.as_dict(), identity.device, known_runs)
        name = _job_name(request, identity)
        pretraining = None if record else _missing_pretraining(identity, dataset)
        jobs.setdefault(fingerprint, Job(name, request, identity, fingerprint, record, pretraining, cost))
    return list(jobs.values())


def finished_runs(execution: Execution) -> dict[str, RunRecord]:
    """Fingerprint -> finished run, in the sweep's folder of records."""
    root = execution.records_folder
    records = read_records(root)[0] if root.is_dir() else []
    return {record.fingerprint: record for record in records if record.status == "finished"}


def to_run(jobs: Sequence[Job]) -> list[Job]:
    """Jobs without a record."""
    return [job for job in jobs if job.recorded is None]


def n_workers(jobs: Sequence[Job], requested: int | None, threads: int) -> int:
    """Runs at a time: as requested, or as many as cores and free memory allow by the cost of earlier runs."""
    if requested is not None:
        if requested < 1:
            raise ConfigError(f"--workers {requested} is not possible. A number from 1 on was expected. Leave it out.")
        return requested
    if jobs and jobs[0].identity.device == "cuda":
        import torch

        return max(1, torch.cuda.device_count())
    largest = max((job.cost.memory_bytes if job.cost else MEMORY_BYTES for job in jobs), default=MEMORY_BYTES)
    by_memory = int(_free_memory() * (1 - _RESERVED) // max(largest, 1))
    return max(1, min(usable_cores() // max(threads, 1), by_memory, max(len(jobs), 1)))


def carry_out(jobs: Sequence[Job], execution: Execution, workers: int, logs: Path) -> Iterator[TaskResult]:
    """Run the jobs in local processes; yields each as it ends, with its error if it failed."""
    leaders: dict[str, str] = {}
    tasks = []
    for job in jobs:
        after = leaders.get(job.pretraining) if job.pretraining else None
        if job.pretraining:
            leaders.setdefault(job.pretraining, job.name)
        tasks.append(Task(job.name, (job.request, execution), logs / f"{safe_name(job.name)}.log", after))
    threads = str(execution.threads or 1)
    base = {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads, "OMP_WAIT_POLICY": "PASSIVE"}
    on_gpu = bool(jobs) and jobs[0].identity.device == "cuda"
    environments = [{**base, "CUDA_VISIBLE_DEVICES": device} for device in _gpus()] if on_gpu else [base]
    return run_tasks(tasks, _run_one, workers, environments)


def submit(
    jobs: Sequence[Job], execution: Execution, parameters: Mapping[str, Any], logs: Path
) -> Iterator[TaskResult]:  # fmt: skip
    """Run the jobs on a cluster through submitit, shared pre-training first; yields each as it ends.

    parameters: see `benchmark.hardware.cluster`. Every node needs access to the folders of records, runs and data.
    """
    leaders = {job.pretraining: job for job in reversed(jobs) if job.pretraining}
    first = [job for job in jobs if job in leaders.values()]
    rest = [job for job in jobs if job not in first]
    executor = cluster_executor(logs / "jobs", parameters)
    failed: set[str] = set()
    for wave in (first, rest):
        ready = []
        for job in wave:
            if job.pretraining in failed:
                yield TaskResult(job.name, f"{leaders[job.pretraining].name} failed, which it needs")
            else:
                ready.append(job)
        running = executor.map_array(_run_one, [(job.request, execution) for job in ready]) if ready else []
        for job, handle in zip(ready, running, strict=True):
            error = handle.exception()  # waits
            if error is not None and job.pretraining:
                failed.add(job.pretraining)
            yield TaskResult(job.name, None if error is None else " ".join(str(error).split()[-60:]))


def _run_one(job: tuple[Request, Execution]) -> None:
    """Run one job in a worker."""
    from benchmark.hardware.environment import limit_thread_spinning

    limit_thread_spinning()
    request, execution = job
    run(request, execution)


def _job_name(request: Request, identity: Identity) -> str:
    c = identity.config
    labels = "all" if c.labels is None else c.labels
    return f"{c.method} {c.mode}, {labels} labels, draw {request.draw}, seed {request.seed}"


def _committed_records() -> list[RunRecord]:
    """Records of a checkout, for the cost of runs."""
    folder = leaderboards() / "records"
    return read_records(folder)[0] if folder.is_dir() else []


def _open_dataset(identity: Identity, execution: Execution, opened: dict[str, Dataset]) -> Dataset:
    """The dataset of a run, opened once, with the events of the run preprocessed."""
    c = identity.config
    key = repr((c.dataset, c.data))
    if key not in opened:
        opened[key] = registry.dataset_spec(c.dataset).open(c.data, execution.data)
    prepared = repr((key, c.task.name, c.preprocess))
    if prepared not in opened:
        for split in ("train", c.scored_split):
            event_set(opened[key], split, c.task, c.preprocess)
        opened[prepared] = opened[key]
    return opened[key]


def _missing_pretraining(identity: Identity, dataset: Dataset) -> str | None:
    """Fingerprint of the pre-training that a run has to do first; None without one."""
    c = identity.config
    if c.pretrain is None or c.checkpoint is not None or c.weights is not None:
        return None
    names = identity.pretraining_fingerprints(dataset.revision)
    return None if any(finished_record(pretrained_folder(c.method, name)) for name in names) else names[0]


def _gpus() -> list[str]:
    import torch

    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return visible.split(",") if visible else [str(i) for i in range(torch.cuda.device_count())]


def _free_memory() -> int:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return 1 << 62  # unknown: only cores limit
