"""Dense layers on one row per event."""

from __future__ import annotations

from itertools import pairwise

from torch import nn


def dense(widths: tuple[int, ...]) -> nn.Sequential:
    """Linear maps, each followed by ReLU; widths from the input's on."""
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(widths):
        layers += [nn.Linear(n_in, n_out), nn.ReLU()]
    return nn.Sequential(*layers)
