"""The schema of a run's record: one dataclass, version 1, with every field commented. No torch needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from benchmark.contracts import Dataset, Task
from benchmark.contracts.pretext import method_name
from benchmark.io import safe_name
from benchmark.paths import PROGRAM, shell_text

SCHEMA = 1
EVALUATED = "evaluate"  # mode of records of checkpoints that were scored without training
REPORTED = "reported"  # mode, and preset, of records of predictions that were made elsewhere
UNKNOWN = "unknown"
STATUSES = ("finished", "stopped", "failed")  # stopped: by --max-minutes
LONGEST = 100  # characters of a model's name in the name of a file


@dataclass(frozen=True)
class RunRecord:
    """One run."""

    fingerprint: str  # sha256 of what decides the result
    status: str  # one of STATUSES
    created: str  # UTC, ISO 8601
    command: list[str]  # that repeats it
    config: dict[str, Any]  # RunConfig, fully resolved
    task: dict[str, Any]  # name, version, classes, primary metric
    dataset: dict[str, Any]  # name, revision, simulated?, files with digests
    # labelled, unlabelled, selection: numbers; test: how many were scored, of `split`; excluded, by split and reason
    events: dict[str, Any]
    subset_sha256: str  # of the labelled events' ids
    # overall, per_class: score -> {value, low, high}; support, confusion, n_events
    metrics: dict[str, Any] = field(default_factory=dict)
    per_event: dict[str, Any] = field(default_factory=dict)  # packed: counts, ids, independent event of each sample
    training: dict[str, Any] = field(default_factory=dict)  # steps, last loss, pre-training fingerprint ...
    resources: dict[str, Any] = field(default_factory=dict)  # parameters, wall_s, events per second, peak memory
    environment: dict[str, Any] = field(default_factory=dict)  # device, threads, precision, versions, commit, dirty
    error: str | None = None  # of a failed run
    schema: int = SCHEMA

    @property
    def model(self) -> str:
        """Registry name of the model."""
        return str(self.config["model"])

    def is_in_tables_of(self, split: str) -> bool:
        """Whether tables of a split show it: those of a publication's protocol stand in every one, apart."""
        return self.split == split or bool(self.protocol)

    @property
    def pretraining_steps(self) -> int:
        """Steps of the pre-training that the run started from; 0 without one, or where the record does not say."""
        return int((self.training.get("pretraining") or {}).get("steps") or 0)

    @property
    def method(self) -> str:
        """Model and pretext, as tables show them: `gnn+masked`."""
        return method_name(self.model, self.config.get("pretext"))

    @property
    def labels(self) -> str:
        """The label budget as typed: a number of events, or `all`; `unknown` of a checkpoint that does not say."""
        if not self.says("labels"):
            return UNKNOWN
        labels = self.config["labels"]
        return "all" if labels is None else str(labels)

    def says(self, name: str) -> bool:
        """Whether a setting of the training is known: a checkpoint from elsewhere may not say how it was trained."""
        return self.config["mode"] != EVALUATED or name in self.training.get("trained_on", {})

    def known(self, name: str) -> Any:
        """A setting of the training, or `unknown`."""
        return self.config[name] if self.says(name) else UNKNOWN

    @property
    def split(self) -> str:
        """The split that was scored. Older records say it by the events left out of it."""
        if self.events.get("split") is not None:
            return str(self.events["split"])
        named = [name for name in self.events.get("excluded", {}) if name != "train"]
        return named[0] if named else ("train" if self.events.get("excluded") else "test")

    @property
    def code(self) -> str:
        """The code that made it: a commit, `wheel` and the start of the wheel's SHA-256, or `unknown`."""
        commit, wheel = (self.environment.get(name) for name in ("commit", "wheel_sha256"))
        return str(commit or (f"wheel {str(wheel)[:9]}" if wheel else UNKNOWN))

    @property
    def command_line(self) -> str:
        """The command that repeats the run, for a shell; empty where it is not known."""
        program, *rest = self.command or ("",)
        return shell_text((*PROGRAM, *rest) if program == "benchmark" else self.command)  # so it was written before

    @property
    def run_name(self) -> str:
        """`<model>-<labels>-d<draw>-s<seed>-<fingerprint>`, unique for a configuration, data and code."""
        c = self.config
        return safe_name(f"{self.method[:LONGEST]}-{self.labels}-d{c['draw']}-s{c['seed']}-{self.fingerprint[:12]}")

    @property
    def run_s(self) -> float:
        """Seconds of training and scoring; of the whole command where an older record does not tell them apart."""
        r = self.resources
        return float(r["train_s"] + r["score_s"] if {"train_s", "score_s"} <= r.keys() else r.get("wall_s", 0.0))

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
