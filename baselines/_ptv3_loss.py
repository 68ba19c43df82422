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
    own = (target == classes) & labelled  # (C, N)
    # A point without an error adds nothing wherever it stands, so that points to ignore need not be taken out
    errors = (own.float() - scores.float().softmax(1).T).abs() * labelled
    errors, order = errors.sort(dim=1, descending=True)
    own = own.float().gather(1, order)
    n_own = own.sum(1, keepdim=True)
    remaining, union = n_own - own.cumsum(1), n_own + (1 - own).cumsum(1)
    jaccard = 1 - remaining / union
    losses = (errors * torch.diff(jaccard, dim=1, prepend=torch.zeros_like(n_own))).sum(1)
    given = n_own[:, 0] > 0
    return (losses * given).sum() / given.sum().clamp(min=1)
