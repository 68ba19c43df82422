"""Training losses of the tasks."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

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


def task_loss(task: Task, scores: Tensor, target: Tensor, weights: Tensor | None) -> Tensor:
    """The loss that a task prescribes for every model without one of its own."""
    if task.kind == "regression":
        return functional.huber_loss(scores.squeeze(-1), target)
    return focal_loss(scores, target, weights, gamma=2.0, ignore_index=task.ignore_index)
