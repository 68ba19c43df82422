"""Fingerprints of a run's result and of a pre-training, from everything that decides them."""

from __future__ import annotations

import json
from dataclasses import dataclass

from benchmark import registry
from benchmark.checkpoints.shipped import seen_in_pretraining
from benchmark.contracts import ModelSpec
from benchmark.hardware.environment import choose_precision
from benchmark.io import sha256_file, sha256_text
from benchmark.records.revisions import equal_revisions
from benchmark.runs.config import Request, RunConfig
from benchmark.settings import as_dict


@dataclass(frozen=True)
class Identity:
    """Everything that decides a run's result, except the data."""

    request: Request  # as typed
    config: RunConfig
    spec: ModelSpec
    device: str  # cpu | cuda
    precision: str  # 32 | bf16
    code: str  # hash of the model's code, and of the pretext's

    def fingerprint(self, revision: str) -> str:
        """Fingerprint of the result on this revision of the data."""
        return fingerprint(self.config, revision, self.code, self.device, self.precision)

    def fingerprints(self, revision: str) -> tuple[str, ...]:
        """The fingerprint, and those that the same result has under earlier names of the same events."""
        return tuple(self.fingerprint(r) for r in equal_revisions(self.config.dataset, revision))

    def pretraining_fingerprints(self, revision: str) -> tuple[str, ...]:
        """As `fingerprints`, of the pre-training."""
        return tuple(self.pretraining_fingerprint(r) for r in equal_revisions(self.config.dataset, revision))

    def pretraining_fingerprint(self, revision: str) -> str:
        """Fingerprint of the pre-training: its settings, data, code, type of device; not labels, draw or mode."""
        config = self.config
        precision = "auto" if config.pretrain is None else config.pretrain.precision
        parts = {
            "data": [config.dataset, revision, as_dict(config.preprocess), config.task.drop_classes],
            "model": [config.model, seen_in_pretraining(self.spec, config.model_config), self.code],
            "pretrain": [as_dict(config.pretrain), as_dict(config.pretrain_optim), config.seed],
            "hardware": [self.device, choose_precision(precision, self.device)],
        }
        if config.pretext is not None:
            parts["pretext"] = [config.pretext, as_dict(config.pretext_config)]
        return sha256_text(json.dumps(parts, sort_keys=True))


def model_code(name: str, pretext: str | None = None) -> str:
    """Hash of a model's code, and of its pretext's: their files and the private files that they import."""
    files = (*registry.model_files(name), *(() if pretext is None else registry.pretext_files(pretext)))
    return sha256_text("".join(sha256_file(p) for p in files))


def fingerprint(config: RunConfig, data_revision: str, code: str, device: str, precision: str) -> str:
    """Hash of configuration, data revision, task version, the model's code, type of device, and precision."""
    settings = {k: v for k, v in config.as_dict().items() if k != "checkpoint"}  # its hash counts, not its path
    parts = {"config": settings, "data": data_revision, "code": code, "device": device, "precision": precision}
    return sha256_text(json.dumps(parts, sort_keys=True))
