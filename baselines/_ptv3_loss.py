"""The Lovász-Softmax loss, which Point Transformer V3 is trained with besides the cross-entropy."""

from __future__ import annotations

import torch
from torch import Tensor


def lovasz_softmax(scores: Tensor, target: Tensor, ignore_index: int) -> Tensor:
    """Mean over the classes in `target` of the Lovász extension of 1 - IoU, over all points of the batch.

    scores (N, C) unnormalised, target (N,) int64. Berman et al. (arXiv:1705.08790), algorithm 1 and equation 11.
    """
    labelled = target != ignore_index
    probability, target = scores[labelled].float().softmax(1), target[labelled]
    losses = []
    for c in target.unique().tolist():
        own = (target == c).float()
        errors, order = (own - probability[:, c]).abs().sort(descending=True)
        own = own[order]
        remaining = own.sum() - own.cumsum(0)
        union = own.sum() + (1 - own).cumsum(0)
        jaccard = 1 - remaining / union
        losses.append(errors @ torch.diff(jaccard, prepend=jaccard.new_zeros(1)))
    return torch.stack(losses).mean() if losses else scores.sum() * 0
