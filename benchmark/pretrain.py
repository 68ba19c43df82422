"""Self-supervised pre-training: done once per configuration, cached, reused by every label budget, draw and mode."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.checkpoints.load import load_backbone
from benchmark.checkpoints.manifest import of_run
from benchmark.config import RunConfig, pretraining_fingerprint
from benchmark.contracts import Dataset, ModelSpec
from benchmark.data.stream import EventSet
from benchmark.errors import BenchmarkError
from benchmark.io import atomic_write_json, sha256_file
from benchmark.paths import cache_dir

if TYPE_CHECKING:
    from benchmark.contracts.torch_model import TorchModel
    from benchmark.training.fit import Hardware


def pretrained(
    model: TorchModel, config: RunConfig, spec: ModelSpec, train: EventSet, dataset: Dataset, hardware: Hardware,
    code: str, resume: bool, deadline: float | None, say: Callable[[str], None],
) -> dict[str, Any]:  # fmt: skip
    """Load pre-trained weights into the backbone: the user's checkpoint, the cached ones, or newly made ones.

    Returns what the record says of them. Raises CheckpointError, and BenchmarkError when the time limit ends
    pre-training.
    """
    if config.checkpoint is not None:
        told = load_backbone(model, Path(config.checkpoint), spec, config.model_config, config.preprocess)
        return {"checkpoint_sha256": config.checkpoint_sha256, **told}
    name = pretraining_fingerprint(config, dataset.revision, code, spec, hardware.device, hardware.precision)
    folder = cache_dir() / "pretrained" / f"{config.model}-{name[:16]}"
    weights, report = folder / "weights.safetensors", folder / "training.json"
    found = _finished(weights, report)
    if found is None:
        found = _make(model, config, train, dataset, hardware, folder, name, resume, deadline, say)
    else:
        say(f"pre-trained weights found: {weights}")
        model.load_backbone(weights)
    return found


def _finished(weights: Path, report: Path) -> dict[str, Any] | None:
    """Report of a finished pre-training whose weights are as they were written; None where it must be made again."""
    try:
        found: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
        return found if sha256_file(weights) == found["weights_sha256"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _make(
    model: TorchModel, config: RunConfig, train: EventSet, dataset: Dataset, hardware: Hardware, folder: Path,
    name: str, resume: bool, deadline: float | None, say: Callable[[str], None],
) -> dict[str, Any]:  # fmt: skip
    from benchmark.training.fit import fit, forget_states

    assert config.pretrain is not None and config.pretrain_optim is not None  # guaranteed by the caller's mode
    events = train.first(config.pretrain.events, "pretraining", config.seed)
    say(f"pre-training {config.model} once, on {len(events)} unlabelled events; every label budget will reuse it")
    started = time.monotonic()
    report = fit(
        model, events, config.pretrain, config.pretrain_optim, stage="pretrain", seed=config.seed, hardware=hardware,
        folder=folder, title=f"pre-training {config.model}", resume=resume,
        deadline=deadline,
    )  # fmt: skip
    if report.stopped:
        raise BenchmarkError(
            f"--max-minutes ended pre-training at step {report.steps} of {report.n_steps}. More time was expected. "
            f"Repeat the command: it continues from there."
        )
    weights = folder / "weights.safetensors"
    model.save(weights, of_run(config, dataset, "pretrain", name))
    wall = round(time.monotonic() - started, 2)
    record = {"fingerprint": name, "wall_s": wall, **report.facts(), "weights_sha256": sha256_file(weights)}
    atomic_write_json(folder / "training.json", record)
    forget_states(folder)
    return record
