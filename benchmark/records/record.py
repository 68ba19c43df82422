"""The schema of a run's record: one dataclass, version 1, with every field commented. No torch needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from benchmark.contracts import Dataset, Task
from benchmark.io import safe_name

SCHEMA = 1
STATUSES = ("finished", "stopped", "failed")  # stopped: by --max-minutes


@dataclass(frozen=True)
class RunRecord:
    """One run."""

    fingerprint: str  # sha256 of what decides the result
    status: str  # one of STATUSES
    created: str  # UTC, ISO 8601
    command: list[str]  # as typed
    config: dict[str, Any]  # RunConfig, fully resolved
    task: dict[str, Any]  # name, version, classes, primary metric
    dataset: dict[str, Any]  # name, revision, simulated?, files with digests
    events: dict[str, Any]  # labelled, unlabelled, selection, test counts; excluded events by reason
    subset_sha256: str  # of the labelled events' ids
    # overall, per_class: score -> {value, low, high}; support, confusion, n_events
    metrics: dict[str, Any] = field(default_factory=dict)
    per_event: dict[str, Any] = field(default_factory=dict)  # packed additive counts, for paired comparisons
    training: dict[str, Any] = field(default_factory=dict)  # steps, last loss, pre-training fingerprint ...
    resources: dict[str, Any] = field(default_factory=dict)  # parameters, wall_s, events per second, peak memory
    environment: dict[str, Any] = field(default_factory=dict)  # device, threads, precision, versions, commit, dirty
    error: str | None = None  # of a failed run
    schema: int = SCHEMA

    @property
    def model(self) -> str:
        """Registry name of the model."""
        return str(self.config["model"])

    @property
    def labels(self) -> str:
        """The label budget as typed: a number of events, or `all`."""
        labels = self.config["labels"]
        return "all" if labels is None else str(labels)

    @property
    def run_name(self) -> str:
        """`<model>-<labels>-d<draw>-s<seed>-<fingerprint>`, unique for a configuration, data and code."""
        c = self.config
        return safe_name(f"{self.model}-{self.labels}-d{c['draw']}-s{c['seed']}-{self.fingerprint[:12]}")

    @property
    def is_probe(self) -> bool:
        """Whether the run is a token probe."""
        return bool(self.config.get("probe"))

    @property
    def protocol(self) -> str:
        """Name of the publication's protocol that the scores follow; empty for the suite's own."""
        protocol = (self.config.get("probe") or {}).get("protocol", "clean")
        return "" if protocol == "clean" else str(protocol)


def now() -> str:
    """The current time: UTC, ISO 8601."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def describe_task(task: Task) -> dict[str, Any]:
    """The task, as records hold it."""
    return {
        "name": task.name,
        "version": task.version,
        "classes": list(task.classes),
        "primary_metric": task.primary_metric,
        "metrics": task.metrics,
        "smaller_is_better": task.smaller_is_better,
    }


def describe_dataset(dataset: Dataset) -> dict[str, Any]:
    """The dataset, as records hold it."""
    return {"name": dataset.info.name, "revision": dataset.revision, "files": dict(sorted(dataset.files.items()))}


def begin_record(
    fingerprint: str, command: Sequence[str], config: Mapping[str, Any], task: Task, dataset: Dataset
) -> RunRecord:
    """The record of a run before it starts, with status `failed`."""
    return RunRecord(
        fingerprint=fingerprint,
        status="failed",
        created=now(),
        command=list(command),
        config=dict(config),
        task=describe_task(task),
        dataset=describe_dataset(dataset),
        events={},
        subset_sha256="",
    )
