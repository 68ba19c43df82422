"""Cost of a run, estimated from records of earlier ones. No torch needed."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.records.record import RunRecord


@dataclass(frozen=True)
class Cost:
    """Expected time and memory of one run on prepared events and weights, and their source."""

    wall_s: float
    memory_bytes: int
    source: str


def expected_cost(config: dict[str, Any], device: str, records: Sequence[RunRecord]) -> Cost | None:
    """Cost of a run with this resolved configuration; None without a similar record.

    Runs that differ only in draw, seed and labels cost the same, because all budgets train for the same number of
    steps. Otherwise the time is scaled from runs of the same model and preset on the same task.
    """
    finished = [r for r in records if r.status == "finished" and r.environment.get("device") == device]
    same_model = [
        r for r in finished if _model_key(r.config) == _model_key(config) and r.task["name"] == config["task"]["name"]
    ]
    equal = [r for r in same_model if _cost_settings(r.config) == _cost_settings(config)]
    if equal:
        return Cost(
            statistics.median(r.run_s for r in equal),
            int(_median(equal, "peak_memory_bytes")),
            f"{len(equal)} equal runs",
        )
    scaled = [_scaled_wall_s(r, config) for r in same_model if r.training.get("steps")]
    if not scaled:
        return None
    memory = int(_median(same_model, "peak_memory_bytes"))
    return Cost(statistics.median(scaled), memory, f"{len(scaled)} runs with other settings, by their steps")


def _scaled_wall_s(record: RunRecord, config: dict[str, Any]) -> float:
    """Time of training and scoring, with training scaled to the events seen; unscaled for a model without steps."""
    if record.training.get("first_loss") is None:
        return record.run_s
    train_s = record.resources.get("train_s", 0.0)
    n_seen = (record.training.get("steps") or 0) * record.config["train"].get("batch_size", 1)
    n_events = config["train"]["steps"] * config["train"]["batch_size"]
    return float(record.run_s - train_s + train_s * n_events / max(n_seen, 1))


def _median(records: Sequence[RunRecord], name: str) -> float:
    return float(statistics.median(r.resources.get(name, 0) for r in records))


def _model_key(config: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(config.get(name) for name in ("model", "pretext", "preset", "mode", "dataset"))


def _cost_settings(config: dict[str, Any]) -> list[Any]:
    train = {k: config["train"].get(k) for k in ("steps", "batch_size")}
    return [config.get("model_config"), train]


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
