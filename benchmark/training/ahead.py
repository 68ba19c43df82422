"""Batches for a GPU, copied and prepared on a side stream during the previous training step.

Preparation without weights (tokens, for example) has sizes that the host must read. On a side stream the host waits for
this work only, not for the queue of the previous step.
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
    """The batches of `loader`, step by step from `start`. The trainer must fetch each one ahead."""

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
    """A second stream of the GPU."""

    def __init__(self, kind: str) -> None:
        """kind: device type, cuda; cpu for tests, with a single stream."""
        self.streams = torch.get_device_module(kind)
        self.device = torch.device(kind, torch.cuda.current_device()) if kind == "cuda" else torch.device(kind)
        self.stream = self.streams.Stream(priority=-1)  # higher priority than the main stream

    def prepared(self, model: TorchModel, batch: PointBatch, stage: str, seed: int) -> PointBatch:
        """The batch on the device with `prepared`, ready for the stream that is current."""
        with self.streams.stream(self.stream), torch.no_grad():
            batch = batch.to_torch(self.device)
            generator = torch.Generator(self.device).manual_seed(seed)
            batch = dataclasses.replace(batch, prepared=model.prepare(batch, stage, generator))
        user = self.streams.current_stream()
        user.wait_stream(self.stream)
        for tensor in tensors_in(batch):
            if tensor.is_cuda:  # keeps its memory until the main stream is done with it
                tensor.record_stream(user)
        return batch


def tensors_in(value: Any) -> list[Tensor]:
    """All tensors in a value: in objects of the suite, tuples, lists and mappings, at any depth."""
    tensors, seen, stack = [], set(), [value]
    while stack:
        item = stack.pop()
        if id(item) in seen:
            continue
        seen.add(id(item))
        if isinstance(item, Tensor):
            tensors.append(item)
        elif isinstance(item, (tuple, list)):
            stack += item
        elif isinstance(item, Mapping):
            stack += item.values()
        elif dataclasses.is_dataclass(item) or type(item).__module__.partition(".")[0] == "benchmark":
            stack += vars(item).values() if hasattr(item, "__dict__") else []
    return tensors
