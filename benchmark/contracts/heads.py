"""From features of points to scores: heads that all backbones share, so that each serves every task of points.

A backbone derives from `PointModel`, implements `features`, and ends its constructor with `self.add_head(width)`. Where
a detector measures quantities of a whole event (`PointBatch.whole`), point tasks append them to every point's columns,
and event tasks to the pooled features. A backbone calls `self.expand_inputs(inputs)` once for the columns that it gets;
the rest is done here.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from benchmark.contracts import Inputs, PointBatch, Task, TorchModel
from benchmark.contracts.pretext import HIDDEN
from benchmark.ops.host_tables import like
from benchmark.ops.segments import segment_max, segment_mean

PLACES = ("place_x", "place_y", "place_z")  # columns of `append_event_columns`


class PooledHead(nn.Module):
    """Scores of events: mean and maximum of the features over each event, then a perceptron with one hidden layer.

    The norm is over channels, never over events: an event's scores do not depend on the rest of its batch.
    """

    def __init__(self, width: int, n_outputs: int, hidden: int | None = None, n_event_features: int = 0) -> None:
        """`hidden` is the width of the layer between; None takes `width`. Event features join the pooled row."""
        super().__init__()
        hidden = hidden or width
        self.n_event_features = n_event_features
        self.perceptron = nn.Sequential(
            nn.Linear(2 * width + n_event_features, hidden), nn.LayerNorm(hidden), nn.ReLU(),
            nn.Linear(hidden, n_outputs),
        )  # fmt: skip

    def forward(self, features: Tensor, lengths: Tensor | Sequence[int], event_feats: Tensor | None = None) -> Tensor:
        """(B, n_outputs) from features (N, width), whose rows belong to B events of the given lengths.

        event_feats (B, n_event_features), or None where there are none.
        """
        lengths = torch.as_tensor(lengths, device=features.device)
        event = torch.repeat_interleave(torch.arange(len(lengths), device=features.device), lengths)
        mean = segment_mean(features, event, len(lengths))
        pooled = torch.cat([mean, segment_max(features, lengths)], dim=1)
        scores: Tensor = self.perceptron(with_event_feats(pooled, self.n_event_features, event_feats))
        return scores


class PointModel(TorchModel):
    """A torch model made of a backbone, which gives features of points, and a shared head."""

    head: nn.Linear | PooledHead
    n_event_features: int = 0
    unit: float = 0.0  # length unit of coordinates added as columns; 0: none
    columns: tuple[str, ...] = ()  # that the model was built for, before `expand_inputs`

    @abstractmethod
    def features(self, batch: PointBatch[Tensor]) -> Tensor:
        """(N, width) features of points. The batch has the columns of `expand_inputs`."""

    def expand_inputs(self, inputs: Inputs, unit: float = 0.0) -> Inputs:
        """The inputs that `features` will get. Called once, at the start of a constructor.

        `unit` above 0 adds the coordinates about the frame's centre, over this length, to each point's columns, for
        backbones that see relative positions only.
        """
        self.n_event_features = inputs.n_event_features
        self.unit = unit
        self.columns = inputs.columns
        shared = inputs.event_columns if self.task.level == "point" else ()
        columns = (*inputs.columns, *shared_names(shared), *(PLACES if unit else ()))
        return replace(inputs, columns=columns)

    def add_head(self, width: int) -> None:
        """The head of the task: a linear map per point, or a perceptron on pooled features of an event.

        Called at the end of a constructor, after `expand_inputs`.
        """
        self.head = head(self.task, width, self.n_event_features)
        self.feature_width = width

    def backbone(self) -> Iterable[nn.Module]:
        """All modules but the head."""
        return [module for name, module in self.named_children() if name != "head"]

    def point_features(self, batch: PointBatch[Tensor]) -> Tensor:
        """(N, width) features of points, of a batch with the columns of the data."""
        return self.features(self.expand(batch))

    def expand(self, batch: PointBatch[Tensor]) -> PointBatch[Tensor]:
        """The batch with the columns of `expand_inputs`."""
        with_events = self.task.level == "point" and self.n_event_features > 0
        return append_event_columns(with_hidden(batch, self.columns), with_events, self.unit)

    def forward(self, batch: PointBatch[Tensor]) -> Tensor:
        """(N, n_outputs) scores of a point task, (B, n_outputs) of an event task."""
        return self.read_out(self.point_features(batch), batch)

    def read_out(self, features: Tensor, batch: PointBatch[Tensor]) -> Tensor:
        """Scores from features of points (N, width), as `forward` gives them."""
        if self.task.level == "point":
            scores: Tensor = self.head(features)
            return scores
        pooled: Tensor = self.head(features, batch.lengths, batch.whole.feats)
        return pooled


def head(task: Task, width: int, n_event_features: int = 0) -> nn.Linear | PooledHead:
    """The shared head of a task for features of `width` channels."""
    if task.level == "point":
        return nn.Linear(width, task.n_outputs)
    return PooledHead(width, task.n_outputs, n_event_features=n_event_features)


def with_hidden(batch: PointBatch[Tensor], columns: Sequence[str]) -> PointBatch[Tensor]:
    """The batch with the column HIDDEN, 0 for every point, where a model was built for it and the batch lacks it."""
    if HIDDEN not in columns or HIDDEN in batch.columns:
        return batch
    zeros = torch.zeros_like(batch.feats[:, :1])
    return replace(batch, feats=torch.cat([batch.feats, zeros], dim=1), columns=(*batch.columns, HIDDEN))


def append_event_columns(batch: PointBatch[Tensor], with_events: bool, unit: float = 0.0) -> PointBatch[Tensor]:
    """The batch with its events' columns on each of their points, and coordinates over `unit` where that is above 0."""
    feats, columns = [batch.feats], batch.columns
    if with_events and batch.whole.feats is not None:
        feats.append(batch.whole.feats.index_select(0, batch.event_index))
        columns = (*columns, *shared_names(batch.whole.columns))
    if unit:
        feats.append((batch.coords - like(batch.frame.centre, batch.coords)) / unit)
        columns = (*columns, *PLACES)
    return batch if len(feats) == 1 else replace(batch, feats=torch.cat(feats, dim=1), columns=columns)


def shared_names(columns: Sequence[str]) -> tuple[str, ...]:
    """Names of an event's columns among those of points, prefixed against clashes."""
    return tuple(f"event_{name}" for name in columns)


def with_event_feats(rows: Tensor, n_event_features: int, event_feats: Tensor | None) -> Tensor:
    """Rows of events (B, C) with their features (B, n_event_features) appended, where the head expects any."""
    if not n_event_features:
        return rows
    if event_feats is None:
        raise ValueError("A batch has no features of its events. Those that the model was built for were expected.")
    return torch.cat([rows, event_feats.to(rows.dtype)], dim=1)
