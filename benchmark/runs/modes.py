"""Whether a mode is what it says for a backbone that any pretext can train: what is trained on top of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmark.contracts import Inputs, ModelSpec
from benchmark.errors import ConfigError
from benchmark.runs.config import RunConfig

if TYPE_CHECKING:
    from benchmark.contracts.torch_model import TorchModel


def check_read_out(spec: ModelSpec, config: RunConfig, inputs: Inputs) -> None:
    """Raises ConfigError for `peft` where the head is one linear map, and for `frozen` where it is not.

    Models that change their head by mode do both.
    """
    if config.mode not in ("peft", "frozen") or not spec.has_point_features or "frozen" in spec.mode_overrides:
        return
    import torch

    with torch.random.fork_rng(devices=[]):
        model: Any = spec.build_model(config.model_config, inputs, config.task)
    is_linear = _has_linear_read_out(model)
    if config.mode == "peft" and is_linear:
        raise ConfigError(
            f"--mode peft trains the head of {spec.name}, which for {config.task.name} is one linear map, as --mode "
            f"frozen does. One name for one run was expected. Type --mode frozen."
        )
    if config.mode == "frozen" and not is_linear:
        raise ConfigError(
            f"--mode frozen trains a linear read-out, and the head of {spec.name} for {config.task.name} is a "
            f"perceptron. The mode of such heads was expected. Type --mode peft."
        )


def _has_linear_read_out(model: TorchModel) -> bool:
    """Whether the backbone is followed by a single linear map."""
    from torch import nn

    parts = (*model.backbone(), *model.pretraining_only())
    known = {id(p) for module in parts for p in module.parameters()}
    trained = [
        module for module in model.modules() if any(id(p) not in known for p in module.parameters(recurse=False))
    ]
    return len(trained) == 1 and isinstance(trained[0], nn.Linear)
