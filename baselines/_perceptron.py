"""The shared per-point network of PointNet and its successors."""

from __future__ import annotations

from itertools import pairwise

from torch import nn


def shared(widths: tuple[int, ...]) -> nn.Sequential:
    """Linear, batch norm and ReLU per row; at evaluation rows are independent."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(widths):
        layers += [nn.Linear(n_in, n_out, bias=False), nn.BatchNorm1d(n_out), nn.ReLU()]
    return nn.Sequential(*layers)
