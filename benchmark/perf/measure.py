"""One way to time everything: warm-up, rounds over several inputs, the median, and the peak memory.

On a GPU events on the stream bracket each round, so that the host's clock and the queue do not enter; on a CPU the time
that passes counts. Rounds take the inputs in turn, so that no cache holds the answer.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
import torch

WARM_UP, ROUNDS = 20, 30  # of the public benchmark of sparse convolution
Input = TypeVar("Input")


@dataclass(frozen=True)
class Timing:
    """Of one job on one machine."""

    median_ms: float
    p10_ms: float
    p90_ms: float
    peak_mb: float | None  # 1e6 bytes, allocated on the GPU during the rounds; None on a CPU

    def row(self) -> dict[str, Any]:
        """Rounded, for a table."""
        peak = None if self.peak_mb is None else round(self.peak_mb, 1)
        return {
            "median_ms": round(self.median_ms, 4), "p10_ms": round(self.p10_ms, 4), "p90_ms": round(self.p90_ms, 4),
            "peak_mb": peak,
        }  # fmt: skip


def measure(
    job: Callable[[Input], Any], inputs: Sequence[Input], device: str, warm_up: int = WARM_UP, rounds: int = ROUNDS,
    held: int = 0, in_a_row: bool = False,
) -> Timing:  # fmt: skip
    """Time `job` on the inputs in turn. `held`: bytes that the GPU held before anything of the job, not counted.

    With `in_a_row`, the host does not wait for the GPU between rounds, as in a loop of training: a round lasts from the
    end of the one before to its own.
    """
    for i in range(warm_up):
        job(inputs[i % len(inputs)])
    times = _gpu(job, inputs, rounds, in_a_row) if device == "cuda" else _cpu(job, inputs, rounds)
    low, middle, high = np.percentile(times, [10, 50, 90])
    peak = (torch.cuda.max_memory_allocated() - held) / 1e6 if device == "cuda" else None
    return Timing(float(middle), float(low), float(high), peak)


def _gpu(job: Callable[[Input], Any], inputs: Sequence[Input], rounds: int, in_a_row: bool) -> list[float]:
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    marks = []
    for i in range(rounds):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        begin.record()
        job(inputs[i % len(inputs)])
        end.record()
        if not in_a_row:
            end.synchronize()
        marks.append((begin, end))
    torch.cuda.synchronize()
    if in_a_row:
        ends = [marks[0][0], *(end for _, end in marks)]
        return [float(before.elapsed_time(after)) for before, after in pairwise(ends)]
    return [float(begin.elapsed_time(end)) for begin, end in marks]


def _cpu(job: Callable[[Input], Any], inputs: Sequence[Input], rounds: int) -> list[float]:
    times = []
    for i in range(rounds):
        started = time.perf_counter()
        job(inputs[i % len(inputs)])
        times.append(1000 * (time.perf_counter() - started))
    return times


def fresh(device: str) -> int:
    """Free what an earlier job has left; bytes that the GPU still holds."""
    gc.collect()
    if device != "cuda":
        return 0
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    return int(torch.cuda.memory_allocated())


def graph_of(job: Callable[[], None]) -> torch.cuda.CUDAGraph:
    """What `job` launches, as one graph to replay; it may wait for nothing."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            job()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        job()
    return graph
