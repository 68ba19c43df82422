"""The Lightning module: a model, one of its two losses, its optimiser and learning-rate schedule."""

from __future__ import annotations

import math
from typing import Any

import lightning
import torch
from torch import Tensor, nn

from benchmark.contracts import OptimConfig, PointBatch
from benchmark.contracts.losses import labelled_rows
from benchmark.contracts.torch_model import TorchModel
from benchmark.errors import BenchmarkError, ConfigError
from benchmark.hardware.distributed import processes
from benchmark.ops.batch_norm import norms_over_processes
from benchmark.seeding import seed_from


def lr_factor(step: int, n_steps: int, optim: OptimConfig) -> float:
    """Learning rate at a step over the peak one: linear warm-up, then cosine, constant or triangular cycles.

    Warm-up runs from `final_lr_fraction` to 1; the cosine ends at `final_lr_fraction` (PoLAr-MAE, Table 6).
    """
    floor = optim.final_lr_fraction
    warmup = round(optim.warmup_fraction * n_steps)
    if optim.schedule == "cyclical":
        phase = abs((step / max(1, warmup)) % 2 - 1)  # 1 at the start of a cycle, 0 at its peak
        return floor + (1 - floor) * (1 - phase)
    if step < warmup:
        return floor + (1 - floor) * step / max(1, warmup - 1)
    if optim.schedule == "constant":
        return 1.0
    progress = min(1.0, (step - warmup) / max(1, n_steps - warmup))
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))


def make_optimiser(groups: list[dict[str, Any]], optim: OptimConfig) -> torch.optim.Optimizer:
    """AdamW, Adam, or stochastic gradient descent with Nesterov's momentum; fused on a GPU."""
    fused = all(p.is_cuda for group in groups for p in group["params"]) or None
    if optim.optimiser == "sgd":
        momentum = optim.betas[0]
        return torch.optim.SGD(
            groups,
            lr=optim.lr,
            momentum=momentum,
            weight_decay=optim.weight_decay,
            nesterov=momentum > 0,
            fused=fused,
        )
    optimiser_class = torch.optim.AdamW if optim.optimiser == "adamw" else torch.optim.Adam
    return optimiser_class(groups, lr=optim.lr, betas=optim.betas, weight_decay=optim.weight_decay, fused=fused)


class Training(lightning.LightningModule):
    """One stage (`pretrain` or `finetune`) of one model."""

    def __init__(
        self, model: TorchModel, optim: OptimConfig, n_steps: int, seed: int, stage: str, frozen: bool
    ) -> None:
        super().__init__()
        self.model, self.optim, self.n_steps, self.seed, self.stage = model, optim, n_steps, seed, stage
        self.frozen = list(model.backbone()) if frozen else []
        self.grad_norm: Tensor  # of the last step, before clipping
        self.processes = processes()
        if self.processes.n > 1:
            _share_norms(model)
        for module in self.frozen:
            module.requires_grad_(False)
        for parameter in _unused_parameters(model, stage):
            parameter.requires_grad_(False)

    def training_step(self, batch: PointBatch, index: int) -> dict[str, Any]:
        """Loss of one batch, its parts, the learning rate, and confusion counts.

        Seeded by the step: a resumed run draws the same numbers.
        """
        rank = (self.processes.rank,) if self.processes.rank else ()
        torch.manual_seed(seed_from("training step", self.stage, self.seed, self.global_step, *rank))
        for module in self.frozen if self.model.keeps_frozen_backbone_in_evaluation else ():
            module.eval()
        parts: dict[str, Tensor] = {}
        counts = None
        self.model.before_step(self.global_step / self.n_steps)
        self._set_weight_decay()
        if self.stage == "pretrain":
            loss, parts = self.model.pretrain_loss(batch)
        else:
            loss, scores = self.model.finetune_loss(batch)
            counts = self._class_counts(batch, scores)
        if self.processes.n > 1:
            weight = self._process_weight(batch)
            loss, parts = loss * weight, {name: part * weight for name, part in parts.items()}
        values = {f"{self.stage}/{name}": value.detach() for name, value in (*parts.items(), ("loss", loss))}
        self.log_dict(values, batch_size=batch.n_events, sync_dist=self.processes.n > 1)
        rate = self.optimizers().param_groups[0]["lr"]  # type: ignore[union-attr]
        self.log(f"{self.stage}/lr", torch.tensor(rate))  # a plain float would be copied to the GPU, with a wait
        parts = {name: part.detach() for name, part in parts.items()}
        return {"loss": loss, "parts": parts, "lr": rate, "counts": counts}

    def _set_weight_decay(self) -> None:
        """The weight decay of this step, where it changes: along a cosine from its first to its last value."""
        final = getattr(self.optim, "final_weight_decay", None)
        if self.stage != "pretrain" or final is None:
            return
        progress = self.global_step / self.n_steps
        decay = final + (self.optim.weight_decay - final) * 0.5 * (1 + math.cos(math.pi * progress))
        for group in self.optimizers().param_groups:  # type: ignore[union-attr]
            group["weight_decay"] = decay if group["weight_decay"] else 0.0

    def _class_counts(self, batch: PointBatch, scores: Tensor) -> Tensor | None:
        """(C, C) confusion counts of labelled rows, [true, predicted]; None in a regression.

        A product of one-hot rows: does not wait for a GPU.
        """
        if self.model.task.kind != "classification" or (batch.target is None and batch.volumes.target is None):
            return None
        classes = torch.arange(scores.shape[1], device=scores.device)
        scores, target = labelled_rows(scores, batch)
        if self.model.task.soft:  # the class with the largest fraction; rows without a label have none
            target = torch.where(target.sum(dim=1) > 0, target.argmax(dim=1), self.model.task.ignore_index)
        truth, predicted = (row[:, None] == classes for row in (target, scores.detach().argmax(1)))
        return truth.float().T @ predicted.float()

    def _process_weight(self, batch: PointBatch) -> Tensor:
        """Number of processes x this one's share of the points, or of the events for event and volume tasks.

        The processes' mean of losses weighted so is the loss of the whole batch, for mean losses.
        """
        by_event = self.stage == "finetune" and self.model.task.level in ("event", "volume")
        rows = torch.tensor(float(batch.n_events if by_event else batch.n_points), device=self.device)
        total = rows.clone()
        torch.distributed.all_reduce(total)
        return rows * self.processes.n / total

    def configure_optimizers(self) -> Any:
        """The optimiser, with the backbone's learning rate scaled, and a schedule per step."""
        o = self.optim
        optimiser = make_optimiser(self._parameter_groups(), o)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: lr_factor(step, self.n_steps, o))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _parameter_groups(self) -> list[dict[str, Any]]:
        is_finetune, scale = self.stage == "finetune", self.optim.backbone_lr_scale
        backbone = (
            {id(p) for m in self.model.backbone() for p in m.parameters()} if is_finetune and scale != 1 else set()
        )
        by_layer = _layer_factors(self.model, self.optim)
        groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
        for parameter in self.model.parameters():
            if parameter.requires_grad:
                decays = self.optim.decay == "everything" or parameter.ndim > 1
                factor = by_layer.get(id(parameter), 1.0) * (scale if id(parameter) in backbone else 1.0)
                groups.setdefault((factor, decays), []).append(parameter)
        return [
            {
                "params": parameters,
                "lr": self.optim.lr * factor,
                "weight_decay": self.optim.weight_decay if decays else 0.0,
            }
            for (factor, decays), parameters in groups.items()
        ]

    def optimizer_step(self, *args: Any, **options: Any) -> None:
        """One step, and what the model does after it, before a training state is saved."""
        super().optimizer_step(*args, **options)
        with torch.no_grad():
            self.model.after_step(self.trainer.global_step / self.n_steps)

    def configure_gradient_clipping(self, optimizer: Any, *_: Any, **__: Any) -> None:
        """Clip by the global norm, and store the norm before. Lightning's own clipping refuses fused optimisers."""
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        limit = self.optim.clip_norm or math.inf
        self.grad_norm = torch.nn.utils.clip_grad_norm_(parameters, limit).detach()

    def transfer_batch_to_device(
        self, batch: PointBatch | BenchmarkError, device: torch.device, index: int
    ) -> PointBatch:
        """Move the batch to the device. Raises the error of its preparation, if any."""
        if isinstance(batch, BenchmarkError):
            raise batch
        return batch.to_torch(device)


def _layer_factors(model: TorchModel, optim: OptimConfig) -> dict[int, float]:
    """By parameter: the layer decay to the power of the layers between it and the output."""
    decay, layers = getattr(optim, "layer_decay", 1.0), model.backbone_layers()
    if decay == 1.0:
        return {}
    return {id(p): decay ** (len(layers) - i) for i, layer in enumerate(layers) for p in layer.parameters()}


def _share_norms(model: TorchModel) -> None:
    """Batch norms over all processes. Raises ConfigError for a class of the model's own, over one process's events."""
    single = norms_over_processes(model)
    if single:
        raise ConfigError(
            f"{type(model).__name__} has a batch norm of its own class ({single[0]}), whose statistics are those of "
            f"one process's events. A norm over all processes was expected. Derive it from "
            f"benchmark.ops.batch_norm.BatchNorm1d, or start one process."
        )


def _unused_parameters(model: TorchModel, stage: str) -> list[nn.Parameter]:
    """Parameters that a stage's loss does not depend on: the decoder in fine-tuning, the head in pre-training.

    Distributed training needs a gradient for every trainable parameter.
    """
    pretraining_only = [p for module in model.pretraining_only() for p in module.parameters()]
    if stage == "finetune":
        return pretraining_only
    used = {id(p) for p in pretraining_only} | {id(p) for module in model.backbone() for p in module.parameters()}
    return [p for p in model.parameters() if used and id(p) not in used]
