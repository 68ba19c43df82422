"""Self-supervised pre-training: done once per configuration, cached, reused by every label budget, draw and mode."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark import registry
from benchmark.checkpoints.load import load_backbone
from benchmark.checkpoints.shipped import facts, read_pretraining
from benchmark.data.stream import EventSet
from benchmark.errors import BenchmarkError, ConfigError
from benchmark.hardware.distributed import from_first
from benchmark.hardware.environment import choose_precision
from benchmark.io import atomic_write_json, sha256_file
from benchmark.paths import cache_dir
from benchmark.records.record import describe_dataset, now
from benchmark.runs.commands import pretrain_command
from benchmark.runs.execution import Say, alone_in
from benchmark.runs.prepared import Prepared
from benchmark.runs.pretraining_cost import cost_message, shipped_message
from benchmark.runs.weights import manifest_of_run
from benchmark.seeding import seed_from
from benchmark.settings import as_dict
from benchmark.training.config import PretrainConfig

if TYPE_CHECKING:
    from benchmark.contracts.torch_model import TorchModel
    from benchmark.training.callbacks import Probe
    from benchmark.training.fit import FitReport, ViewMaker

SCHEMA = 1  # of a training record
WEIGHTS, RECORD = "weights.safetensors", "training.json"


@dataclass(frozen=True)
class PretrainingJob:
    """The pre-training that a prepared run starts from: fingerprint, events, and folder."""

    prepared: Prepared

    @property
    def settings(self) -> PretrainConfig:
        """Settings of pre-training; only for runs that pre-train."""
        assert self.prepared.config.pretrain is not None  # guaranteed by the caller
        return self.prepared.config.pretrain

    @property
    def precision(self) -> str:
        """Precision of pre-training."""
        return choose_precision(self.settings.precision, self.prepared.device)

    @cached_property
    def fingerprint(self) -> str:
        """Fingerprint of this pre-training: of a finished one under an earlier name of the data, if there is one."""
        method = self.prepared.config.method
        names = self.prepared.identity.pretraining_fingerprints(self.prepared.dataset.revision)
        return next((name for name in names if finished_record(pretrained_folder(method, name))), names[0])

    @property
    def folder(self) -> Path:
        """Folder of its training states, logs, weights and record."""
        return pretrained_folder(self.prepared.config.method, self.fingerprint)

    def events(self) -> EventSet:
        """The unlabelled events."""
        return self.prepared.train.first(self.settings.events, "pretraining", self.prepared.config.seed)


@dataclass(frozen=True)
class Probing:
    """Probe scores during pre-training."""

    probe: Probe
    every: int  # steps
    description: Mapping[str, Any]  # settings and numbers of events, for the training record


def load_pretrained(model: TorchModel, prepared: Prepared, say: Say) -> dict[str, Any]:
    """Load pre-trained weights: the user's checkpoint, the package's, cached ones, or pre-train now.

    Returns their description in the record. Raises CheckpointError, and BenchmarkError when the time limit ends
    pre-training.
    """
    config, spec, job = prepared.config, prepared.spec, PretrainingJob(prepared)
    if config.checkpoint is not None:
        metadata = load_backbone(
            model, Path(config.checkpoint), spec, config.model_config, config.preprocess, config.pretext
        )
        return {"checkpoint_sha256": config.checkpoint_sha256, **metadata}
    if config.weights is not None:
        load_backbone(model, config.weights.checked(), spec, config.model_config, config.preprocess, config.pretext)
        metadata = facts(config.weights.record)
        say(_weights_message(config.weights.name, metadata))
        return {"weights": config.weights.name, **metadata}

    def announce() -> None:
        say(cost_message(prepared.identity, job.settings, len(job.events())))
        reason = shipped_message(prepared.identity)
        if reason:
            say(reason)

    record, fresh = finished_or_run(model, job, announce, say)
    if "weights_sha256" not in record:
        raise BenchmarkError(
            f"--max-minutes ended pre-training at step {record['steps']} of {record['n_steps']}. More time was "
            f"expected. Repeat the command: it continues from there."
        )
    if not fresh:
        say(f"pre-trained weights found: {job.folder / WEIGHTS}")
        # also the parts that prediction does not use: the files of a run are equal whether it has pre-trained or not
        load = model.load_pretrained if config.pretext is None else model.load_backbone
        load(job.folder / WEIGHTS)
    return facts(record)


def finished_or_run(
    model: TorchModel, job: PretrainingJob, announce: Callable[[], None], say: Say, probing: Probing | None = None,
    force: bool = False,
) -> tuple[dict[str, Any], bool]:  # fmt: skip
    """Training record of the job's pre-training, and whether it was done now, which `announce` says.

    One process at a time: a second one waits, and finds what the first has done.
    """
    record = None if force else finished(job)
    if record is not None:
        return record, False
    with alone_in(job.folder, f"the pre-training {job.folder.name}", say):
        record = None if force else finished(job)
        if record is not None:
            return record, False
        announce()
        return run_pretraining(model, job, probing), True


def finished(job: PretrainingJob) -> dict[str, Any] | None:
    """Training record of a finished pre-training with undamaged weights; None without one."""
    return from_first(lambda: finished_record(job.folder))


def run_pretraining(model: TorchModel, job: PretrainingJob, probing: Probing | None = None) -> dict[str, Any]:
    """Pre-train `model`, by its own loss or on a pretext; write weights and training record, and return the record.

    At the deadline only the training state is written, and the record has no `weights_sha256`.
    """
    from benchmark.training.fit import Hardware, fit

    prepared, config, events = job.prepared, job.prepared.config, job.events()
    assert config.pretrain_optim is not None
    trained, views = with_pretext(model, prepared)
    report = fit(
        trained, events, job.settings, config.pretrain_optim, stage="pretrain", seed=config.seed,
        hardware=Hardware.of(prepared.environment, job.precision), folder=job.folder,
        title=f"pre-training {config.method}", resume=prepared.resume, deadline=prepared.deadline,
        probe=None if probing is None else probing.probe, probe_every=0 if probing is None else probing.every,
        views=views,
    )  # fmt: skip
    record = _training_record(job, report, len(events), probing)
    return record if report.stopped else from_first(lambda: _write_weights(trained, job, record))


def with_pretext(model: TorchModel, prepared: Prepared) -> tuple[TorchModel, ViewMaker | None]:
    """What is trained, and how its views are made: the model itself, or with the pretext of the configuration.

    Raises ConfigError for settings of the model that have no features of points.
    """
    config = prepared.config
    if config.pretext is None:
        return model, None
    import torch

    from benchmark.contracts.pretext_training import PretextTraining

    if not model.feature_width:
        raise ConfigError(
            f"{config.model} has no features of points under these settings, which {config.pretext} could train. Other "
            f"ones were expected. Choose another --preset."
        )
    spec, settings = registry.pretext_spec(prepared.identity.request.pretext or config.pretext), config.pretext_config
    torch.manual_seed(seed_from("weights", config.pretext, config.seed))
    pretext = spec.build(settings, model, prepared.data_inputs)
    rescale = getattr(config.preprocess, "rescaled", None)
    return PretextTraining(model, pretext).to(prepared.device), partial(spec.make_views, settings, rescale=rescale)


def pretrained_folder(method: str, fingerprint: str) -> Path:
    """Folder of a pre-training's states, logs, weights and record."""
    return cache_dir() / "pretrained" / f"{method}-{fingerprint[:16]}"


def finished_record(folder: Path) -> dict[str, Any] | None:
    """Training record of the finished pre-training in a folder; None without one, or where its weights are damaged."""
    try:
        record = read_pretraining(folder / RECORD)
        return record if sha256_file(folder / WEIGHTS) == record["weights_sha256"] else None
    except (OSError, ValueError):
        return None  # absent, damaged, or of an earlier format


def _write_weights(model: TorchModel, job: PretrainingJob, record: dict[str, Any]) -> dict[str, Any]:
    from benchmark.training.states import delete_checkpoints

    weights = job.folder / WEIGHTS
    model.save_pretrained(weights, manifest_of_run(job.prepared, "pretrain", job.fingerprint))
    complete = {**record, "weights_sha256": sha256_file(weights), "weights_bytes": weights.stat().st_size}
    atomic_write_json(job.folder / RECORD, complete)
    delete_checkpoints(job.folder)
    return complete


def _training_record(job: PretrainingJob, report: FitReport, n_events: int, probing: Probing | None) -> dict[str, Any]:
    c, every = job.prepared.config, 0 if probing is None else probing.every
    names = ["model", "preset", "dataset", "data", "preprocess", "model_config", "pretrain", "pretrain_optim", "seed"]
    names += ["pretext", "pretext_config"] if c.pretext is not None else []
    task = {"name": c.task.name, "version": c.task.version, "drop_classes": list(c.task.drop_classes)}
    return {
        "schema": SCHEMA,
        "created": now(),
        "fingerprint": job.fingerprint,
        "command": list(pretrain_command(job.prepared.identity.request, job.prepared.execution, every)),
        "config": {"task": task, **{name: as_dict(getattr(c, name)) for name in names}},
        "dataset": describe_dataset(job.prepared.dataset),
        "events": n_events,
        "seed": c.seed,
        **report.facts(),
        "wall_s": report.wall_s,
        "history": dict(report.history),
        "probe": {**({} if probing is None else probing.description), "scores": list(report.probe)},
        "environment": {**job.prepared.environment, "precision": job.precision},
    }


def _weights_message(name: str, metadata: Mapping[str, Any]) -> str:
    data, device = metadata["dataset"], metadata["hardware"].get("device_name", "unknown hardware")
    return (
        f"pre-trained weights of the package: {name} ({metadata['weights_sha256'][:12]}; {metadata.get('steps'):,} "
        f"steps on {metadata['events']:,} unlabelled events of {data['name']} {data['revision']}, "
        f"{metadata.get('wall_s', 0) / 60:.0f} min on {device}); --pretrain trains them again"
    )
