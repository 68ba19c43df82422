"""From features of points to scores: the read-outs that all backbones share, so that each serves every task of points.

A backbone derives from `PointModel`, implements `features`, and ends its constructor with `self.add_head(width)`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from benchmark.contracts import PointBatch, Task, TorchModel
from benchmark.ops.segments import segment_max, segment_mean


class PooledHead(nn.Module):
    """Scores of events: mean and maximum of the features over each event, then a perceptron with one hidden layer.

    The norm is over channels, never over events: an event's scores do not depend on its batch mates.
    """

    def __init__(self, width: int, n_outputs: int, hidden: int | None = None) -> None:
        """`hidden` is the width of the layer between; None takes `width`."""
        super().__init__()
        hidden = hidden or width
        self.perceptron = nn.Sequential(
            nn.Linear(2 * width, hidden), nn.LayerNorm(hidden), nn.ReLU(), nn.Linear(hidden, n_outputs)
        )

    def forward(self, features: Tensor, lengths: Tensor | Sequence[int]) -> Tensor:
        """(B, n_outputs) from features (N, width), whose rows belong to B events of the given lengths."""
        lengths = torch.as_tensor(lengths, device=features.device)
        event = torch.repeat_interleave(torch.arange(len(lengths), device=features.device), lengths)
        mean = segment_mean(features, event, len(lengths))
        scores: Tensor = self.perceptron(torch.cat([mean, segment_max(features, lengths)], dim=1))
        return scores


class PointModel(TorchModel):
    """A torch model made of a backbone, which gives features of points, and a shared head."""

    head: nn.Linear | PooledHead

    @abstractmethod
    def features(self, batch: PointBatch) -> Tensor:
        """(N, width) features of points."""

    def add_head(self, width: int) -> None:
        """The read-out of the task: a linear map per point, or a perceptron on what an event's points have in common.

        Called at the end of a constructor.
        """
        self.head = head(self.task, width)

    def forward(self, batch: PointBatch) -> Tensor:
        """(N, n_outputs) scores of a point task, (B, n_outputs) of an event task."""
        features = self.features(batch)
        scores: Tensor = self.head(features) if self.task.level == "point" else self.head(features, batch.lengths)
        return scores


def head(task: Task, width: int) -> nn.Linear | PooledHead:
    """The shared read-out of a task from features of `width` channels."""
    return nn.Linear(width, task.n_outputs) if task.level == "point" else PooledHead(width, task.n_outputs)
