"""Speed of grouping against the batch size, for the four strategies and every available engine (Figure 13).

PoLAr-MAE, arXiv 2502.02558, section B.1.3, quotes 1,000 (FPS + kNN) to 4,000 (FPS + ball query) images per second on a
GPU at batch 128. Here: one CPU thread for the native engine and for all pairs in torch; pytorch3d and triton on the
torch device. An engine's groups are checked against the native ones before it is timed. On a CPU the thread's processor
time is measured, which excludes other programs; on a GPU, wall time.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from benchmark.errors import BenchmarkError
from benchmark.ops.engine import Engine
from benchmark.ops.engines import ENGINES, engine
from benchmark.ops.grouping import STRATEGIES, GroupingConfig, Groups, group_events
from benchmark.ops.native import NATIVE
from benchmark.plots.style import shown_name
from benchmark.studies.base import Events, Row, Study
from benchmark.studies.grouping import COLOURS, LABELS, MARKERS, published_like
from benchmark.studies.pairwise import Pairwise

BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
SLOW_BATCH = 8  # largest batch for all pairs in torch: its time per event hardly depends on the batch
N_REPEATS = 5
STYLES = {"native": "-", "pairwise torch": ":", "pytorch3d": "--", "triton": "-."}
ON_GPU = ("pytorch3d", "triton")


def engines_at_hand() -> list[Engine]:
    """Native, all pairs in torch, and the available optional engines."""
    engines: list[Engine] = [NATIVE, Pairwise()]
    for name in ENGINES:
        if name != NATIVE.name:
            try:
                engines.append(engine(name))
            except BenchmarkError:  # the table says which engines were timed
                continue
    return engines


def runtime_study(
    events: Events, batch_sizes: Sequence[int] = BATCH_SIZES, n_repeats: int = N_REPEATS, say: Any = lambda text: None
) -> Study:
    """Median seconds of grouping a batch, and events per second. `say` gets the name of each engine and strategy."""
    import torch

    clouds = events.coords()
    sizes = [size for size in batch_sizes if size <= len(clouds)]
    if not sizes:
        raise BenchmarkError(
            f"{len(clouds)} events are fewer than the smallest batch of {min(batch_sizes)}. At least as many were "
            f"expected. Take more with --events."
        )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rows = [
            row
            for strategy, config in published_like().items()
            for row in _time_strategy(clouds, strategy, replace(config, max_groups=512), sizes, n_repeats, say)
        ]
    finally:
        torch.set_num_threads(threads)
    return Study(
        name="runtime",
        rows=rows,
        settings={"n_repeats": n_repeats, "threads": 1, "points_per_event": float(np.mean([len(p) for p in clouds]))},
        draw=partial(_draw, rows, events),
        highlights=_speed_ups(rows),
        findings={"speed_up": {r["strategy"]: r["speed-up"] for r in _speed_ups(rows)}},
    )


def _time_strategy(
    clouds: Sequence[np.ndarray], strategy: str, config: GroupingConfig, sizes: Sequence[int], n_repeats: int, say: Any
) -> list[dict[str, Any]]:
    rows = []
    expected = group_events(clouds[:2], config)
    for timed in engines_at_hand():
        say(f"{LABELS[strategy]}: {timed.name}")
        _check_equal(expected, group_events(clouds[:2], config, timed), timed.name)  # compiles, too
        for size in sizes:
            if size > SLOW_BATCH and timed.name == "pairwise torch":
                continue
            times = _times(clouds, config, timed, size, n_repeats)
            rows.append(
                {
                    "strategy": strategy,
                    "engine": timed.name,
                    "batch": size,
                    "median_ms": round(1000 * float(np.median(times)), 3),
                    "min_ms": round(1000 * min(times), 3),
                    "events_per_s": round(size / float(np.median(times)), 1),
                }
            )
    return rows


def _times(clouds: Sequence[np.ndarray], config: GroupingConfig, timed: Engine, size: int, n: int) -> list[float]:
    """Seconds for each of `n` batches, with different events in each if there are enough."""
    import torch

    clock = time.perf_counter if timed.name in ON_GPU and torch.cuda.is_available() else time.process_time
    times = []
    for repeat in range(n):
        batch = [clouds[(repeat * size + i) % len(clouds)] for i in range(size)]
        started = clock()
        group_events(batch, config, timed)
        times.append(clock() - started)
    return times


def _check_equal(expected: Sequence[Groups], groups: Sequence[Groups], name: str) -> None:
    for expected_group, group in zip(expected, groups, strict=True):
        if not all(map(np.array_equal, expected_group, group)):
            raise BenchmarkError(
                f"The engine {name} groups events differently from the native one. Equal indices were expected. Check "
                f"its installation with `python -m pytest tests/ops/test_engines.py`."
            )


def _speed_ups(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Native against all pairs at the largest batch size timed for both."""
    speed_ups = []
    for strategy in STRATEGIES:
        strategy_rows = [r for r in rows if r["strategy"] == strategy]
        common_sizes = {r["batch"] for r in strategy_rows if r["engine"] == "native"} & {
            r["batch"] for r in strategy_rows if r["engine"] == "pairwise torch"
        }
        at_largest = {r["engine"]: r for r in strategy_rows if r["batch"] == max(common_sizes)}
        native, baseline = at_largest["native"]["events_per_s"], at_largest["pairwise torch"]["events_per_s"]
        speed_ups.append(
            {
                "strategy": strategy,
                "batch": max(common_sizes),
                "native: events/s": native,
                "pairwise torch: events/s": baseline,
                "speed-up": round(native / baseline, 1),
            }
        )
    return speed_ups


def _draw(rows: Sequence[Row], events: Events, plt: Any) -> Any:
    figure, axis = plt.subplots(figsize=(7, 4.6), layout="constrained")
    for strategy in STRATEGIES:
        for name in dict.fromkeys(r["engine"] for r in rows):
            curve = [r for r in rows if r["strategy"] == strategy and r["engine"] == name]
            axis.plot(
                [r["batch"] for r in curve], [r["events_per_s"] for r in curve], STYLES[name], marker=MARKERS[strategy],
                ms=4, lw=1.4, color=COLOURS[strategy], label=f"{LABELS[strategy]}, {shown_name(name)}",
            )  # fmt: skip
    batches = sorted({r["batch"] for r in rows})
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.set_xticks(batches, [str(b) for b in batches])
    axis.set(xlabel="events per batch", ylabel="events per second, one CPU thread")
    axis.set_title(f"Grouping of events of {shown_name(events.dataset.info.name)} ({events.split})", fontsize=10)
    figure.legend(frameon=False, fontsize=8, loc="outside lower center", ncols=2)
    return figure
