"""Batches for a GPU, moved there and prepared while the step before still computes.

What models make of a batch without any weight (tokens, for example) has sizes that the host must read before it can go
on. On a stream of its own that wait is for this work alone, not for all that the step before has queued.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from benchmark.contracts import PointBatch
from benchmark.contracts.torch_model import TorchModel
from benchmark.errors import BenchmarkError
from benchmark.seeding import seed_from


class Ahead:
    """The batches of `loader`, step by step from `start`. The trainer must ask for one before it needs it."""

    def __init__(
        self, loader: Iterable[PointBatch | BenchmarkError], model: TorchModel, stage: str, seed: int, start: int,
        rank: int = 0, kind: str = "cuda",
    ) -> None:  # fmt: skip
        self.loader, self.model, self.stage, self.seed, self.start = loader, model, stage, seed, start
        self.rank, self.kind = rank, kind

    def __iter__(self) -> Iterator[PointBatch | BenchmarkError]:
        side = SideStream(self.kind)
        for step, batch in enumerate(self.loader, self.start):
            if isinstance(batch, BenchmarkError):
                yield batch
                continue
            seed = seed_from("preparation", self.stage, self.seed, step, *((self.rank,) if self.rank else ()))
            yield side.prepared(self.model, batch, self.stage, seed)


class SideStream:
    """A second queue of work on the GPU."""

    def __init__(self, kind: str) -> None:
        """kind: cuda; cpu for tests, where there is but one queue."""
        self.streams = torch.get_device_module(kind)
        self.device = torch.device(kind, torch.cuda.current_device()) if kind == "cuda" else torch.device(kind)
        self.own = self.streams.Stream(priority=-1)  # before what is queued on the main one

    def prepared(self, model: TorchModel, batch: PointBatch, stage: str, seed: int) -> PointBatch:
        """The batch on the device with `prepared`, ready for the stream that is current."""
        with self.streams.stream(self.own), torch.no_grad():
            batch = batch.to_torch(self.device)
            generator = torch.Generator(self.device).manual_seed(seed)
            batch = dataclasses.replace(batch, prepared=model.prepare(batch, stage, generator))
        user = self.streams.current_stream()
        user.wait_stream(self.own)
        for tensor in tensors_in(batch):
            if tensor.is_cuda:  # its memory is not given away before the other stream is done with it
                tensor.record_stream(user)
        return batch


def tensors_in(value: Any) -> list[Tensor]:
    """All tensors in a value: in objects of the suite, tuples, lists and mappings, at any depth."""
    found, seen, left = [], set(), [value]
    while left:
        item = left.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, Tensor):
            found.append(item)
        elif isinstance(item, (tuple, list)):
            left += item
        elif isinstance(item, Mapping):
            left += item.values()
        elif dataclasses.is_dataclass(item) or type(item).__module__.partition(".")[0] == "benchmark":
            left += vars(item).values() if hasattr(item, "__dict__") else []
    return found
