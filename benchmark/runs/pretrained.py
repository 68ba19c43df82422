"""Self-supervised pre-training: done once per configuration, cached, reused by every label budget, draw and mode."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.checkpoints.load import load_backbone
from benchmark.checkpoints.shipped import facts, find_shipped, misfits
from benchmark.contracts import Dataset, ModelSpec
from benchmark.data.stream import EventSet
from benchmark.errors import BenchmarkError, CheckpointError
from benchmark.hardware.distributed import from_first
from benchmark.hardware.environment import choose_precision
from benchmark.io import atomic_write_json, sha256_file
from benchmark.paths import cache_dir
from benchmark.records.record import describe_dataset, now
from benchmark.runs.config import RunConfig
from benchmark.runs.fingerprint import pretraining_fingerprint
from benchmark.runs.weights import manifest_of_run
from benchmark.settings import as_dict

if TYPE_CHECKING:
    from benchmark.contracts.torch_model import TorchModel
    from benchmark.training.callbacks import Probe
    from benchmark.training.fit import FitReport

SCHEMA = 1  # of a training record
WEIGHTS, RECORD = "weights.safetensors", "training.json"
Say = Callable[[str], None]


@dataclass(frozen=True)
class Subject:
    """What is pre-trained: on which events, by which code, where."""

    config: RunConfig
    spec: ModelSpec
    train: EventSet
    dataset: Dataset
    environment: Mapping[str, Any]  # of the record; `device` is where training runs
    code: str  # hash of the model's code
    asked: str  # the model as typed: its name, or the path of its file

    @property
    def precision(self) -> str:
        """Of pre-training, which has its own setting."""
        assert self.config.pretrain is not None  # guaranteed by whoever pre-trains
        return choose_precision(self.config.pretrain.precision, self.environment["device"])

    @property
    def fingerprint(self) -> str:
        """Names this pre-training."""
        revision, device = self.dataset.revision, self.environment["device"]
        return pretraining_fingerprint(self.config, revision, self.code, self.spec, device, self.precision)

    @property
    def folder(self) -> Path:
        """Where its states, logs, weights and training record lie."""
        return pretrained_folder(self.config.model, self.fingerprint)

    def events(self) -> EventSet:
        """The unlabelled events."""
        assert self.config.pretrain is not None
        return self.train.first(self.config.pretrain.events, "pretraining", self.config.seed)


@dataclass(frozen=True)
class Probing:
    """Scores asked of the model while it is pre-trained."""

    probe: Probe
    every: int  # steps
    about: Mapping[str, Any]  # settings and numbers of events, for the training record


def pretrained(model: TorchModel, subject: Subject, resume: bool, deadline: float | None, say: Say) -> dict[str, Any]:
    """Load pre-trained weights: the user's checkpoint, those of the package, the cached ones, or newly made ones.

    Returns what the record says of them. Raises CheckpointError, and BenchmarkError when the time limit ends
    pre-training.
    """
    config, spec = subject.config, subject.spec
    if config.checkpoint is not None:
        told = load_backbone(model, Path(config.checkpoint), spec, config.model_config, config.preprocess)
        return {"checkpoint_sha256": config.checkpoint_sha256, **told}
    if config.weights is not None:
        load_backbone(model, config.weights.checked(), spec, config.model_config, config.preprocess)
        found = facts(config.weights.record)
        say(_announce(config.weights.name, found))
        return {"weights": config.weights.name, **found}
    record = finished(subject)
    if record is None:
        say(_why(subject))
        record = make(model, subject, resume, deadline)
        if "weights_sha256" not in record:
            raise BenchmarkError(
                f"--max-minutes ended pre-training at step {record['steps']} of {record['n_steps']}. More time was "
                f"expected. Repeat the command: it continues from there."
            )
        return facts(record)
    say(f"pre-trained weights found: {subject.folder / WEIGHTS}")
    model.load_backbone(subject.folder / WEIGHTS)
    return facts(record)


def finished(subject: Subject) -> dict[str, Any] | None:
    """Training record of a finished pre-training whose weights are as they were written; None: it must be made."""
    return from_first(lambda: made(subject.folder))


def make(
    model: TorchModel, subject: Subject, resume: bool, deadline: float | None, probing: Probing | None = None
) -> dict[str, Any]:
    """Pre-train `model`, write weights and training record into the subject's folder, and return the record.

    Where the deadline ended it, nothing is written but the state to continue from, and the record has no
    `weights_sha256`.
    """
    from benchmark.training.fit import Hardware, fit

    config, events, folder = subject.config, subject.events(), subject.folder
    assert config.pretrain is not None and config.pretrain_optim is not None
    report = fit(
        model, events, config.pretrain, config.pretrain_optim, stage="pretrain", seed=config.seed,
        hardware=Hardware.of(subject.environment, subject.precision), folder=folder,
        title=f"pre-training {config.model}", resume=resume, deadline=deadline,
        probe=None if probing is None else probing.probe, probe_every=0 if probing is None else probing.every,
    )  # fmt: skip
    record = _record(subject, report, len(events), probing)
    return record if report.stopped else from_first(lambda: _keep(model, subject, record))


def pretrained_folder(model: str, fingerprint: str) -> Path:
    """Where a pre-training's states, logs, weights and training record lie."""
    return cache_dir() / "pretrained" / f"{model}-{fingerprint[:16]}"


def made(folder: Path) -> dict[str, Any] | None:
    """Training record of the finished pre-training in a folder; None without one whose weights are as written."""
    try:
        found: dict[str, Any] = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        facts(found)  # a record of an earlier form is no record
        return found if sha256_file(folder / WEIGHTS) == found["weights_sha256"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _keep(model: TorchModel, subject: Subject, record: dict[str, Any]) -> dict[str, Any]:
    from benchmark.training.fit import forget_states

    weights = subject.folder / WEIGHTS
    model.save_pretrained(weights, manifest_of_run(subject.config, subject.dataset, "pretrain", subject.fingerprint))
    whole = {**record, "weights_sha256": sha256_file(weights), "weights_bytes": weights.stat().st_size}
    atomic_write_json(subject.folder / RECORD, whole)
    forget_states(subject.folder)
    return whole


def _record(subject: Subject, report: FitReport, n_events: int, probing: Probing | None) -> dict[str, Any]:
    c = subject.config
    names = ("model", "preset", "dataset", "data", "preprocess", "model_config", "pretrain", "pretrain_optim", "seed")
    task = {"name": c.task.name, "version": c.task.version, "drop_classes": list(c.task.drop_classes)}
    return {
        "schema": SCHEMA,
        "created": now(),
        "fingerprint": subject.fingerprint,
        "config": {"task": task, **{name: as_dict(getattr(c, name)) for name in names}},
        "dataset": describe_dataset(subject.dataset),
        "events": n_events,
        "seed": c.seed,
        **report.facts(),
        "wall_s": report.wall_s,
        "history": dict(report.history),
        "probe": {**({} if probing is None else probing.about), "scores": list(report.probe)},
        "environment": {**subject.environment, "precision": subject.precision},
    }


def _announce(name: str, found: Mapping[str, Any]) -> str:
    where = found["hardware"].get("device_name", "unknown hardware")
    return (
        f"pre-trained weights of the package: {name} ({found['weights_sha256'][:12]}; {found.get('steps'):,} steps on "
        f"{found['events']:,} unlabelled events of {found['dataset']['name']} {found['dataset']['revision']}, "
        f"{found.get('wall_s', 0) / 60:.0f} min on {where}); --pretrain makes them anew"
    )


def _why(subject: Subject) -> str:
    """What the user is told before pre-training, also why the package's weights do not serve."""
    c = subject.config
    n_events = len(subject.events())
    text = f"pre-training {c.model} once, on {n_events} unlabelled events; every label budget will reuse it"
    try:
        shipped = find_shipped(subject.asked)
    except CheckpointError:  # damaged: the user has asked for new ones
        return text
    if shipped is None:
        return text
    names = misfits(shipped, subject.spec, c.model_config, c.preprocess, c.task, c.dataset)
    return f"{text} (the package's weights differ in {', '.join(names[:3])})" if names else text
