"""Supervised training of every run, trial of a search, and recipe; the same for all models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.data.stream import EventSet
from benchmark.runs.prepared import Prepared

if TYPE_CHECKING:
    from benchmark.contracts.torch_model import TorchModel
    from benchmark.training.callbacks import Probe
    from benchmark.training.fit import FitReport


def train_on_labels(
    model: TorchModel, prepared: Prepared, labelled: EventSet, folder: Path, probe: Probe | None = None,
    probe_every: int = 0,
) -> FitReport:  # fmt: skip
    """Train `model` in place for the configured steps; states and logs go to `folder`.

    `probe(model)` is called every `probe_every` steps (0: never), see `benchmark.training.fit.fit`.
    """
    from benchmark.training.fit import Hardware, fit

    config = prepared.config
    return fit(
        model, labelled, config.train, config.optim, stage="finetune", seed=config.seed,
        hardware=Hardware.of(prepared.environment, prepared.identity.precision), folder=folder,
        title=f"training {config.method}", frozen=config.mode in ("peft", "frozen"), resume=prepared.resume,
        deadline=prepared.deadline, probe=probe, probe_every=probe_every,
    )  # fmt: skip
