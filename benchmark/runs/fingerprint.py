"""Fingerprints: names of one result and of one pre-training."""

from __future__ import annotations

import json

from benchmark.checkpoints.shipped import seen_in_pretraining
from benchmark.contracts import ModelSpec
from benchmark.io import sha256_text
from benchmark.runs.config import RunConfig
from benchmark.settings import as_dict


def pretraining_fingerprint(
    config: RunConfig, data_revision: str, code: str, spec: ModelSpec, device: str, precision: str
) -> str:
    """Names one pre-training: its own settings, data, code, kind of device; labels, draw and mode do not matter."""
    model = seen_in_pretraining(spec, config.model_config)
    parts = {
        "data": [config.dataset, data_revision, as_dict(config.preprocess), config.task.drop_classes],
        "model": [config.model, model, code],
        "pretrain": [as_dict(config.pretrain), as_dict(config.pretrain_optim), config.seed],
        "hardware": [device, precision],
    }
    return sha256_text(json.dumps(parts, sort_keys=True))


def fingerprint(config: RunConfig, data_revision: str, code: str, device: str, precision: str) -> str:
    """Names one result: configuration, data revision, task version, the model's code, kind of device, precision."""
    settings = {k: v for k, v in config.as_dict().items() if k != "checkpoint"}  # its hash counts, not where it lies
    parts = {"config": settings, "data": data_revision, "code": code, "device": device, "precision": precision}
    return sha256_text(json.dumps(parts, sort_keys=True))
