"""What a run will cost, told from the records of earlier ones. No torch needed."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.records.record import RunRecord


@dataclass(frozen=True)
class Cost:
    """Expected time and memory of one run, and how they were found."""

    wall_s: float
    memory_bytes: int
    source: str


def expected(config: dict[str, Any], device: str, records: Sequence[RunRecord]) -> Cost | None:
    """Of a run with this resolved configuration; None where no record is like it.

    Runs that differ in draw, seed and labels alone cost the same, because all budgets train for the same number of
    steps. Otherwise the same model and preset on the same task gives the time of a step, and of scoring.
    """
    finished = [r for r in records if r.status == "finished" and r.environment.get("device") == device]
    here = [r for r in finished if _names(r.config) == _names(config) and r.task["name"] == config["task"]["name"]]
    equal = [r for r in here if _settings(r.config) == _settings(config)]
    if equal:
        return Cost(_median(equal, "wall_s"), int(_median(equal, "peak_memory_bytes")), f"{len(equal)} equal runs")
    scaled = [_scaled(r, config) for r in here if r.training.get("steps")]
    if not scaled:
        return None
    memory = int(_median(here, "peak_memory_bytes"))
    return Cost(statistics.median(scaled), memory, f"{len(scaled)} runs with other settings, by their steps")


def _scaled(record: RunRecord, config: dict[str, Any]) -> float:
    """Training time in proportion to the events seen, and the rest as it was; what has no steps costs what it did."""
    if record.training.get("first_loss") is None:
        return float(record.resources.get("wall_s", 0.0))
    total, train_s = record.resources.get("wall_s", 0.0), record.resources.get("train_s", 0.0)
    seen = record.training["steps"] * record.config["train"].get("batch_size", 1)
    wanted = config["train"]["steps"] * config["train"]["batch_size"]
    return float(total - train_s + train_s * wanted / max(seen, 1))


def _median(records: Sequence[RunRecord], name: str) -> float:
    return float(statistics.median(r.resources.get(name, 0) for r in records))


def _names(config: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(config.get(name) for name in ("model", "preset", "mode", "dataset"))


def _settings(config: dict[str, Any]) -> list[Any]:
    train = {k: config["train"].get(k) for k in ("steps", "batch_size")}
    return [config.get("model_config"), train]


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
