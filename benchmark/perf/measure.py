"""Timing of a job: warm-up, rounds over several inputs, the median, and the peak memory.

On a GPU each round lies between two CUDA events, so that host and queue do not count; on a CPU wall time counts.
Rounds take the inputs in turn, so that no cache holds the result.
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
    """Timing of one job on one machine."""

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
    held: int = 0, queued: bool = False,
) -> Timing:  # fmt: skip
    """Time `job` on the inputs in turn. `held`: bytes allocated on the GPU before the job, not counted.

    With `queued`, the host does not wait for the GPU between rounds, as in training: a round lasts from the end of the
    previous one to its own.
    """
    for i in range(warm_up):
        job(inputs[i % len(inputs)])
    times = _gpu_times_ms(job, inputs, rounds, queued) if device == "cuda" else _cpu_times_ms(job, inputs, rounds)
    low, middle, high = np.percentile(times, [10, 50, 90])
    peak = (torch.cuda.max_memory_allocated() - held) / 1e6 if device == "cuda" else None
    return Timing(float(middle), float(low), float(high), peak)


def _gpu_times_ms(job: Callable[[Input], Any], inputs: Sequence[Input], rounds: int, queued: bool) -> list[float]:
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    events = []
    for i in range(rounds):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
        begin.record()
        job(inputs[i % len(inputs)])
        end.record()
        if not queued:
            end.synchronize()
        events.append((begin, end))
    torch.cuda.synchronize()
    if queued:
        ends = [events[0][0], *(end for _, end in events)]
        return [float(before.elapsed_time(after)) for before, after in pairwise(ends)]
    return [float(begin.elapsed_time(end)) for begin, end in events]


def _cpu_times_ms(job: Callable[[Input], Any], inputs: Sequence[Input], rounds: int) -> list[float]:
    times = []
    for i in range(rounds):
        started = time.perf_counter()
        job(inputs[i % len(inputs)])
        times.append(1000 * (time.perf_counter() - started))
    return times


def free_memory(device: str) -> int:
    """Free the memory of an earlier job; returns the bytes that stay allocated on the GPU."""
    gc.collect()
    if device != "cuda":
        return 0
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    return int(torch.cuda.memory_allocated())


def graph_of(job: Callable[[], None]) -> torch.cuda.CUDAGraph:
    """The launches of `job` as one CUDA graph; the job must not synchronise."""
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
