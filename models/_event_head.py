"""Scores of events: a linear map of pooled token features."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from benchmark.contracts.heads import with_event_feats
from benchmark.models._point_embedding import max_per_token
from benchmark.ops.host_tables import to_device


class LinearEventHead(nn.Module):
    """A linear head on the inputs of `PooledHead`: mean and maximum over an event, and the event's own features."""

    def __init__(self, width: int, n_outputs: int, n_event_features: int = 0) -> None:
        super().__init__()
        self.n_event_features = n_event_features
        self.score = nn.Linear(2 * width + n_event_features, n_outputs)

    def forward(self, features: Tensor, lengths: Sequence[int], event_feats: Tensor | None = None) -> Tensor:
        """(B, n_outputs) from features (T, width), whose rows belong to B events of the given lengths, none empty.

        event_feats (B, n_event_features), or None where there are none.
        """
        n_tokens = to_device(lengths, torch.int64, features.device)
        mean = torch.segment_reduce(features.float(), "mean", lengths=n_tokens, axis=0)
        pooled = torch.cat([mean, max_per_token(features, n_tokens)], dim=1)
        scores: Tensor = self.score(with_event_feats(pooled, self.n_event_features, event_feats))
        return scores
