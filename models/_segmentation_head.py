"""From token features to scores of points: interpolation, then a perceptron on point and event features.

PoLAr-MAE (arXiv 2502.02558), section 4.2 and appendix; after the part segmentation heads of PointNet++ and Point-MAE.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark.models._point_embedding import RowBatchNorm, joined_linear, max_per_token
from benchmark.models._tokens import Interpolation


def interpolate(features: Tensor, to_points: Interpolation) -> Tensor:
    """(N, D) weighted means of token features (T, D)."""
    weights = to_points.weights
    return functional.embedding_bag(to_points.tokens, features.float(), mode="sum", per_sample_weights=weights)


class SegmentationHead(nn.Module):
    """Scores of points from interpolated token features, the points' own inputs, and the event's maximum and mean."""

    def __init__(
        self, width: int, n_own: int, hidden: tuple[int, int], n_outputs: int, dropout: float,
        batch_norm: type[RowBatchNorm] = RowBatchNorm,
    ) -> None:  # fmt: skip
        super().__init__()
        self.n_own = n_own
        self.enter = nn.Linear(n_own + width, width, bias=False)  # acts on [own inputs, token features]
        self.lift = nn.Sequential(
            batch_norm(width), nn.ReLU(),
            nn.Linear(width, width, bias=False), batch_norm(width), nn.ReLU(),
        )  # fmt: skip
        first, second = hidden
        self.join = nn.Linear(3 * width, first, bias=False)  # acts on [maximum, mean, point]
        self.score = nn.Sequential(
            batch_norm(first), nn.ReLU(), nn.Dropout(dropout),
            nn.Linear(first, second, bias=False), batch_norm(second), nn.ReLU(),
            nn.Linear(second, n_outputs),
        )  # fmt: skip

    def forward(
        self, features: Tensor, lengths: Tensor, to_points: Interpolation, point_inputs: Tensor, event_of_point: Tensor
    ) -> Tensor:
        """Scores (N, n_outputs) of points.

        Token features (T, D) of events with `lengths` (B,) tokens; own inputs (N, n_own).
        """
        # A linear map commutes with the interpolation, and there are ten times fewer tokens than points.
        mapped = functional.linear(features, self.enter.weight[:, self.n_own :])
        from_point = functional.linear(point_inputs, self.enter.weight[:, : self.n_own])
        points = self.lift(interpolate(mapped, to_points) + from_point)
        largest = max_per_token(features, lengths)
        mean = torch.segment_reduce(features.float(), "mean", lengths=lengths, axis=0)
        shared = torch.cat([largest, mean], dim=1)  # (B, 2 D)
        sizes = torch.zeros_like(lengths).index_add_(0, event_of_point, torch.ones_like(event_of_point))
        scores: Tensor = self.score(joined_linear(self.join, shared, event_of_point, points, sizes))
        return scores


class LinearHead(nn.Module):
    """A linear map of interpolated token features, and of the event's features."""

    def __init__(self, width: int, n_outputs: int, n_event_features: int = 0) -> None:
        super().__init__()
        self.score = nn.Linear(width, n_outputs)
        self.shift = nn.Linear(n_event_features, n_outputs, bias=False) if n_event_features else None

    def forward(
        self, features: Tensor, lengths: Tensor, to_points: Interpolation, point_inputs: Tensor, event_of_point: Tensor
    ) -> Tensor:
        """As `SegmentationHead`; of `point_inputs` only the last, the event's, are used."""
        scores = interpolate(self.score(features), to_points)  # linear maps commute with the interpolation
        if self.shift is None:
            return scores
        shifted: Tensor = scores + self.shift(point_inputs[:, -self.shift.in_features :])
        return shifted
