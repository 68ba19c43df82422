"""The points of several events on a device, one event after the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor

from benchmark.cuda._launch import check_device
from benchmark.errors import DataError
from benchmark.ops.host_tables import to_device

MAX_EVENTS = 1 << 12  # that a key of the grid can tell apart


@dataclass(frozen=True)
class Clouds:
    """Points (N, 3) float32 and the start of each of B events; lengths are on the host: no wait for the device."""

    points: Tensor  # (N, 3) float32
    offsets: Tensor  # (B + 1,) int32, on the same device
    lengths: tuple[int, ...]  # (B,) points of each event

    @staticmethod
    def of(points: Tensor, lengths: Sequence[int]) -> Clouds:
        """Raises DataError for shapes that do not fit and for too many events, BenchmarkError for another device."""
        if points.ndim != 2 or points.shape[1] != 3 or sum(lengths) != len(points):
            raise DataError(
                f"Points have shape {tuple(points.shape)} and the events {sum(lengths)} points in all. (n, 3) and n "
                f"were expected. Concatenate the events' points in order."
            )
        if len(lengths) >= MAX_EVENTS:
            raise DataError(f"{len(lengths)} events are too many. Fewer than {MAX_EVENTS} were expected. Split them.")
        check_device(points)
        starts = to_device([0, *accumulate(lengths)], torch.int32, points.device)
        return Clouds(points.float().contiguous(), starts, tuple(lengths))

    @property
    def event(self) -> Tensor:
        """(N,) int32 event of each point."""
        row = torch.arange(len(self.points), dtype=torch.int32, device=self.points.device)
        return torch.searchsorted(self.offsets, row, right=True, out_int32=True) - 1
