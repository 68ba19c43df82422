"""Everything about a run that can be known before its data are opened."""

from __future__ import annotations

from dataclasses import dataclass

from benchmark import registry
from benchmark.contracts import ModelSpec
from benchmark.errors import BenchmarkError
from benchmark.hardware.environment import choose_device, choose_precision
from benchmark.runs.config import Request, RunConfig
from benchmark.runs.fingerprint import fingerprint
from benchmark.runs.resolve import resolve


@dataclass(frozen=True)
class Identity:
    """What decides a run's result, but for the data."""

    config: RunConfig
    spec: ModelSpec
    device: str
    precision: str
    code: str  # hash of the model's code

    def fingerprint(self, revision: str) -> str:
        """Names the result on this revision of the data."""
        return fingerprint(self.config, revision, self.code, self.device, self.precision)


def identify(request: Request, device: str) -> Identity:
    """Everything about a run that can be known without its data. Raises BenchmarkError for one that cannot be run."""
    config = resolve(request)
    spec = registry.model_spec(request.model)
    chosen = choose_device(device)
    check_model(spec, config, chosen)
    precision = choose_precision(config.train.precision, chosen)
    return Identity(config, spec, chosen, precision, model_code(request.model))


def model_code(name: str) -> str:
    """Hash of the code that defines a model: its file and the private pieces beside it that it is made of."""
    from benchmark.io import sha256_file, sha256_text

    return sha256_text("".join(sha256_file(p) for p in registry.model_files(name)))


def check_model(spec: ModelSpec, config: RunConfig, device: str) -> None:
    """Raises BenchmarkError for a model that cannot do the task on the device."""
    reason = spec.skip(config.task, device)
    if reason:
        raise BenchmarkError(
            f"{spec.name} cannot run here: {reason}. Another model or device was expected. "
            f"Type `python -m benchmark list models`."
        )
