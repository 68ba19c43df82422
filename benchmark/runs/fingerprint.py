"""What decides a run's result, and the names that follow: of one result, and of one pre-training."""

from __future__ import annotations

import json
from dataclasses import dataclass

from benchmark import registry
from benchmark.checkpoints.shipped import seen_in_pretraining
from benchmark.contracts import ModelSpec
from benchmark.hardware.environment import choose_precision
from benchmark.io import sha256_file, sha256_text
from benchmark.runs.config import RunConfig
from benchmark.settings import as_dict


@dataclass(frozen=True)
class Identity:
    """What decides a run's result, but for the data."""

    requested_model: str  # as typed: its name, or the path of its file
    config: RunConfig
    spec: ModelSpec
    device: str  # cpu | cuda
    precision: str  # 32 | bf16
    code: str  # hash of the model's code

    def fingerprint(self, revision: str) -> str:
        """Names the result on this revision of the data."""
        return fingerprint(self.config, revision, self.code, self.device, self.precision)

    def pretraining_fingerprint(self, revision: str) -> str:
        """Names the pre-training: its own settings, data, code, kind of device; labels, draw and mode do not matter."""
        config = self.config
        precision = "auto" if config.pretrain is None else config.pretrain.precision
        parts = {
            "data": [config.dataset, revision, as_dict(config.preprocess), config.task.drop_classes],
            "model": [config.model, seen_in_pretraining(self.spec, config.model_config), self.code],
            "pretrain": [as_dict(config.pretrain), as_dict(config.pretrain_optim), config.seed],
            "hardware": [self.device, choose_precision(precision, self.device)],
        }
        return sha256_text(json.dumps(parts, sort_keys=True))


def model_code(name: str) -> str:
    """Hash of the code that defines a model: its file and the private pieces beside it that it is made of."""
    return sha256_text("".join(sha256_file(p) for p in registry.model_files(name)))


def fingerprint(config: RunConfig, data_revision: str, code: str, device: str, precision: str) -> str:
    """Names one result: configuration, data revision, task version, the model's code, kind of device, precision."""
    settings = {k: v for k, v in config.as_dict().items() if k != "checkpoint"}  # its hash counts, not where it lies
    parts = {"config": settings, "data": data_revision, "code": code, "device": device, "precision": precision}
    return sha256_text(json.dumps(parts, sort_keys=True))
