"""The Lovász-Softmax loss, which Point Transformer V3 is trained with besides the cross-entropy."""

from __future__ import annotations

import torch
from torch import Tensor


def lovasz_softmax(scores: Tensor, target: Tensor, ignore_index: int) -> Tensor:
    """Mean over the classes in `target` of the Lovász extension of 1 - IoU, over all points of the batch.

    scores (N, C) unnormalised, target (N,) int64. Berman et al. (arXiv:1705.08790), algorithm 1 and equation 11.
    """
    labelled = target != ignore_index
    classes = torch.arange(scores.shape[1], device=scores.device)[:, None]
    is_class = (target == classes) & labelled  # (C, N)
    # A point without an error adds nothing at any rank, so ignored points need not be removed
    errors = (is_class.float() - scores.float().softmax(1).T).abs() * labelled
    errors, order = errors.sort(dim=1, descending=True)
    is_class = is_class.float().gather(1, order)
    n_points = is_class.sum(1, keepdim=True)
    remaining, union = n_points - is_class.cumsum(1), n_points + (1 - is_class).cumsum(1)
    jaccard = 1 - remaining / union
    losses = (errors * torch.diff(jaccard, dim=1, prepend=torch.zeros_like(n_points))).sum(1)
    is_present = n_points[:, 0] > 0
    return (losses * is_present).sum() / is_present.sum().clamp(min=1)
