"""The stored weights of a run: their metadata and path."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.checkpoints.manifest import Manifest
from benchmark.contracts.safetensors_io import read_metadata
from benchmark.errors import BenchmarkError, CheckpointError
from benchmark.records.record import RunRecord
from benchmark.settings import as_dict

if TYPE_CHECKING:
    from benchmark.runs.prepared import Prepared

WEIGHTS = "model.safetensors"  # of a run, in its folder


def run_folder(runs: Path, record: RunRecord) -> Path:
    """Folder of a run's logs, training states and weights."""
    return runs / record.run_name


def weights_of(record: RunRecord, runs: Path) -> Path | None:
    """Path of a run's weights; None where they are missing, or the run trained none."""
    path = run_folder(runs, record) / WEIGHTS
    return path if path.is_file() and not record.config.get("probe") else None


def required_weights(record: RunRecord, runs: Path) -> Path:
    """Path of a run's weights. Raises CheckpointError where they are missing."""
    path = weights_of(record, runs)
    if path is None:
        raise CheckpointError(
            f"The weights of {record.run_name} are not at {run_folder(runs, record) / WEIGHTS}. The folder `runs` of "
            f"the run itself was expected. Give the file with --weights, or repeat the run with --force."
        )
    return path


def run_of(weights: Path) -> str:
    """The fingerprint of the run that weights name; empty for a file that names none."""
    try:
        return read_metadata(weights).get("fingerprint", "")
    except BenchmarkError:  # of a format of the model's own, or damaged: loading tells
        return ""


def manifest_of_run(prepared: Prepared, stage: str, fingerprint: str) -> dict[str, str]:
    """Metadata of the weights of a run or its pre-training. stage: pretrain or finetune."""
    config, dataset = prepared.config, prepared.dataset
    training: dict[str, Any] = {
        "preset": config.preset, "seed": config.seed, "dataset": dataset.info.name,
        "dataset_revision": dataset.revision,
    }  # fmt: skip
    if stage == "finetune":
        training |= {"mode": config.mode, "labels": config.labels, "draw": config.draw}
    manifest = Manifest(
        model=config.model,
        stage=stage,
        task=config.task.name,
        task_version=config.task.version,
        model_config=as_dict(config.model_config),
        preprocess=as_dict(config.preprocess),
        frame=as_dict(dataset.info.frame),
        batch_size=config.train.batch_size,
        origin={"fingerprint": fingerprint},
        training=training,
        pretext=config.pretext or "",
    )
    return {"fingerprint": fingerprint, **manifest.metadata()}
