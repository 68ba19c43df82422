"""Simulation of events, and loading of training batches."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from benchmark.data.stream import EventSet, training_batch
from benchmark.perf.measure import measure


def loading_rows(
    events: EventSet, batches: tuple[int, ...] = (8, 32, 128), rounds: int = 10,
    say: Callable[[str], None] = lambda text: None,
) -> list[dict[str, Any]]:  # fmt: skip
    """One row per batch size: events read, cut, rotated and collated in one process, as in training."""
    rows = []
    for size in batches:
        say(f"loading: {size} events")
        steps = list(range(rounds + 2))
        draw = partial(_load_batch, events, size)
        timing = measure(draw, steps, "cpu", 2, rounds)
        rows.append({"events": size, **timing.row(), "events_per_s": round(1000 * size / timing.median_ms, 1)})
    return rows


def _load_batch(events: EventSet, size: int, step: int) -> None:
    training_batch(events, step, size, 0, "perf", rotation="event")


def simulation_rows(
    simulate: Callable[[Path, int], Any], sizes: tuple[int, ...] = (10, 40), say: Callable[[str], None] = lambda t: None
) -> list[dict[str, Any]]:
    """One row per number of events: `simulate(folder, events)` writes files; a first call compiles."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        simulate(Path(folder) / "first", 3)
        for n_events in sizes:
            say(f"simulation: {n_events} events")
            started = time.perf_counter()
            simulate(Path(folder) / str(n_events), n_events)
            wall_s = time.perf_counter() - started
            rows.append({"events": n_events, "wall_s": round(wall_s, 2), "events_per_s": round(n_events / wall_s, 1)})
    return rows
