"""Scores of events from the features of their tokens: what an event's tokens have in common, read linearly."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from benchmark.models._point_embedding import max_per_token


class LinearEventHead(nn.Module):
    """A linear read-out of what `PooledHead` sees, the mean and the maximum over an event: what the features hold."""

    def __init__(self, width: int, n_outputs: int) -> None:
        super().__init__()
        self.score = nn.Linear(2 * width, n_outputs)

    def forward(self, features: Tensor, lengths: Sequence[int]) -> Tensor:
        """(B, n_outputs) from features (T, width), whose rows belong to B events of the given lengths, none empty."""
        n_tokens = torch.tensor(lengths, device=features.device)
        mean = torch.segment_reduce(features.float(), "mean", lengths=n_tokens, axis=0)
        scores: Tensor = self.score(torch.cat([mean, max_per_token(features, n_tokens)], dim=1))
        return scores
