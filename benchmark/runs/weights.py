"""The weights that a run leaves: what they say of themselves, and where they lie."""

from __future__ import annotations

from typing import Any

from benchmark.checkpoints.manifest import Manifest
from benchmark.contracts import Dataset
from benchmark.runs.config import RunConfig
from benchmark.settings import as_dict


def manifest_of_run(config: RunConfig, dataset: Dataset, stage: str, fingerprint: str) -> dict[str, str]:
    """Metadata of weights that a run, or its pre-training, leaves."""
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
    )
    return {"fingerprint": fingerprint, **manifest.metadata()}
