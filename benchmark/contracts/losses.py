"""Training losses of the tasks: focal, cross-entropy and Dice of classes or fractions, and those of a regression."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from benchmark.contracts.data import PointBatch
from benchmark.contracts.task import Task


def focal_loss(scores: Tensor, target: Tensor, weights: Tensor | None, gamma: float, ignore_index: int) -> Tensor:
    """Mean over labelled points of w_y (1 - p_y)^gamma CE (Lin et al. 2017; weights as in PoLAr-MAE, section 4.2).

    scores (N, C) unnormalised, target (N,) int64. The sum is divided by the number of labelled points, not of weights.
    """
    log_p = functional.log_softmax(scores.float(), dim=1)
    valid = target != ignore_index
    safe = target.clamp(min=0)
    log_p_true = log_p.gather(1, safe[:, None]).squeeze(1)
    per_point = -((1.0 - log_p_true.exp()) ** gamma) * log_p_true
    if weights is not None:
        per_point = per_point * weights[safe]
    return torch.where(valid, per_point, 0.0).sum() / valid.sum().clamp(min=1)


def task_loss(task: Task, scores: Tensor, batch: PointBatch[Tensor], weights: Tensor | None) -> Tensor:
    """The task's loss, for every model without its own.

    weights: (C,) of the classes, or None. Rows are weighted by energy ** `task.loss.energy_power`, scaled to a
    mean of 1 over the labelled rows of the batch.
    """
    loss = task.loss
    if task.kind == "regression":
        output, target = _outputs(scores, batch)
        error: Tensor = _REGRESSION[loss.kind](output, target)
        return error
    scores, target = labelled_rows(scores, batch)
    if loss.kind == "focal" and not (task.soft or loss.energy_power):
        return focal_loss(scores, target, weights, loss.gamma, task.ignore_index)
    truth = target if task.soft else one_hot(target, task)
    share = row_weights(truth, batch, loss.energy_power)
    of_class = class_weights(task, truth, weights)
    if loss.kind == "dice":
        return dice_loss(scores, truth, share)
    gamma = loss.gamma if loss.kind == "focal" else 0.0
    by_row = soft_focal_loss(scores, truth, share, of_class, gamma)
    return by_row + dice_loss(scores, truth, share) if loss.kind == "dice_cross_entropy" else by_row


_REGRESSION: dict[str, Any] = {"mae": functional.l1_loss, "huber": functional.huber_loss, "mse": functional.mse_loss}


def labelled_rows(scores: Tensor, batch: PointBatch[Tensor]) -> tuple[Tensor, Tensor]:
    """Scores (M, C) and labels (M,) of points or events as they are, and of volumes voxel by voxel."""
    target: Any = batch.target
    if scores.ndim == 5:  # (B, C, Z, Y, X)
        target = batch.volumes.target
        return scores.movedim(1, -1).flatten(0, 3), target.flatten()
    return scores, target


def _outputs(scores: Tensor, batch: PointBatch[Tensor]) -> tuple[Tensor, Tensor]:
    """Predicted and true values of events, or of the hidden voxels of volumes."""
    target: Any = batch.target
    if scores.ndim == 5:
        hidden, target = batch.volumes.hidden_voxels, batch.volumes.target
        return scores[:, 0][hidden], target[hidden]
    output = scores.squeeze(-1)
    return output if batch.whole.baseline is None else output + batch.whole.baseline, target


def one_hot(target: Tensor, task: Task) -> Tensor:
    """(N, C) float32 from classes (N,); rows without a label are all zero."""
    rows = functional.one_hot(target.clamp(min=0), task.n_outputs).float()
    return rows * (target != task.ignore_index)[:, None]


def row_weights(truth: Tensor, batch: PointBatch[Tensor], energy_power: float) -> Tensor:
    """(N,) weights that sum to 1: equal for labelled rows, or by energy. Rows of zeros in `truth` have no label."""
    valid = (truth.sum(dim=1) > 0).to(truth.dtype)
    if energy_power and len(batch.energy) == len(truth):
        valid = valid * batch.energy.clamp(min=0) ** energy_power
    return valid / valid.sum().clamp(min=1e-12)


def class_weights(task: Task, truth: Tensor, weights: Tensor | None) -> Tensor:
    """(C,) the task's own, or 1 with the positive class weighted as its loss says."""
    if weights is not None:
        return weights
    ones = torch.ones(task.n_outputs, dtype=truth.dtype, device=truth.device)
    ones[0 if task.soft else -1] = task.loss.positive_weight
    return ones


def soft_focal_loss(scores: Tensor, truth: Tensor, share: Tensor, of_class: Tensor, gamma: float) -> Tensor:
    """Sum over rows of share x sum_c w_c y_c (1 - p_c)^gamma (-ln p_c); gamma 0 is cross-entropy.

    scores (N, C) unnormalised, truth (N, C) fractions, share (N,), of_class (C,). Lin et al. 2017, equation 5, with
    fractions in place of the true class.
    """
    log_p = functional.log_softmax(scores.float(), dim=1)
    per_class = -log_p if not gamma else -((1.0 - log_p.exp()) ** gamma) * log_p
    return (share * (of_class * truth * per_class).sum(dim=1)).sum()


def dice_loss(scores: Tensor, truth: Tensor, share: Tensor, eps: float = 1e-6) -> Tensor:
    """1 - the mean over classes of (2 sum s y p + eps) / (sum s (y + p) + eps).

    Milletari et al. 2016 (arXiv:1606.04797), with sums over all labelled rows of the batch, weighted by their share s.
    """
    p = functional.softmax(scores.float(), dim=1)
    both = (share[:, None] * truth * p).sum(dim=0)
    either = (share[:, None] * (truth + p)).sum(dim=0)
    return 1.0 - ((2 * both + eps) / (either + eps)).mean()
