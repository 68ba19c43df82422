"""Tokenisation: images per second against the batch size, as in PoLAr-MAE's Figure 13 (arXiv 2502.02558, B.1.3).

On a GPU points and groups are in device memory; on a CPU the compiled engine groups one event after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from benchmark.ops.grouping import STRATEGIES, GroupingConfig, Strategy, group_events
from benchmark.ops.native import NATIVE
from benchmark.perf.measure import free_memory, measure

BATCHES = (1, 2, 4, 8, 16, 32, 64, 128)
N_INPUTS = 3
SEEDS: dict[Strategy, int | None] = {"cnms_ball": None, "fps_cnms_ball": 2048, "fps_ball": 256, "fps_knn": 256}
BALL = 256  # members of a ball before thinning


def token_rows(
    events: Sequence[np.ndarray], device: str, batches: Sequence[int] = BATCHES, warm_up: int = 3, rounds: int = 20,
    say: Callable[[str], None] = lambda text: None,
) -> list[dict[str, Any]]:  # fmt: skip
    """One row per job and batch size; `events` are coordinates (n, 3) float32."""
    rows = []
    for size in batches:
        drawn = [[events[(i * size + j) % len(events)] for j in range(size)] for i in range(N_INPUTS)]
        inputs = [_clouds(batch) for batch in drawn] if device == "cuda" else drawn
        jobs = _gpu_jobs() if device == "cuda" else _cpu_jobs()
        for name, job in jobs.items():
            say(f"tokens: {name}, {size} events")
            timing = measure(job, inputs, device, warm_up, rounds, free_memory(device))
            rows.append(
                {
                    "job": name, "engine": "triton" if device == "cuda" else "native", "events": size,
                    "points": int(np.mean([sum(map(len, batch)) for batch in drawn])), **timing.row(),
                    "events_per_s": round(1000 * size / timing.median_ms, 1),
                }
            )  # fmt: skip
    return rows


def _config(strategy: Strategy) -> GroupingConfig:
    return replace(GroupingConfig(), strategy=strategy, n_seeds=SEEDS[strategy])


def _cpu_jobs() -> dict[str, Callable[[Any], Any]]:
    c = GroupingConfig()

    def suppress_and_list(events: Any) -> None:
        centres = NATIVE.suppressed(events, c.radius, c.overlap, None)
        NATIVE.balls([p[k] for p, k in zip(events, centres, strict=True)], events, c.radius, BALL)

    tokens = {f"tokens {s}": (lambda events, s=s: group_events(events, _config(s))) for s in STRATEGIES}
    return {
        "C-NMS": lambda events: NATIVE.suppressed(events, c.radius, c.overlap, None),
        "C-NMS + ball query": suppress_and_list,
        **tokens,
    }


def _gpu_jobs() -> dict[str, Callable[[Any], Any]]:
    from benchmark.ops.triton import centres_of, group, list_balls, suppress

    c = GroupingConfig()
    tokens = {f"tokens {s}": (lambda clouds, s=s: group(clouds, _config(s))) for s in STRATEGIES}
    return {
        "C-NMS": lambda clouds: suppress(clouds, c.radius, c.overlap),
        "C-NMS + ball query": lambda clouds: list_balls(clouds, *centres_of(clouds, c), c.radius, BALL),
        **tokens,
    }


def _clouds(batch: Sequence[np.ndarray]) -> Any:
    from benchmark.ops.triton import clouds_of

    return clouds_of(torch.from_numpy(np.concatenate(batch)).cuda(), [len(p) for p in batch])
