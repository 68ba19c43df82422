"""Scores of a trained model as a run records them: its predictions, or a probe of its tokens; and costs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from benchmark.contracts import Model
from benchmark.data.stream import EventSet
from benchmark.evaluation.evaluate import Evaluation, evaluate
from benchmark.evaluation.token_probe import n_probed_parameters, probe
from benchmark.training.config import ProbeConfig


@dataclass(frozen=True)
class Scoring:
    """How a run is scored."""

    batch_size: int  # events
    draw: int  # selects a probe's training tokens, where there are too many
    probe: ProbeConfig | None = None  # None: the model's own predictions
    split: str = "test"  # name of the scored events


def score_model(
    model: Model, labelled: EventSet, scored: EventSet, scoring: Scoring, rng: np.random.Generator
) -> Evaluation:  # fmt: skip
    """Score the whole of `scored`; a probe is fitted to `labelled` first. `rng` resamples events for the intervals."""
    if scoring.probe is None:
        result = evaluate(model, scored, scoring.batch_size, rng, scoring.split)
    else:
        result = probe(model, labelled, scored, scoring.probe, scoring.batch_size, scoring.draw, rng)
    return replace(result, costs=costs(model, scored, result, scoring.probe is not None))


def costs(model: Model, scored: EventSet, result: Evaluation, is_probed: bool = False) -> dict[str, Any]:
    """Parameters, events predicted per second and, where countable, forward FLOPs per event."""
    from benchmark.contracts.torch_model import TorchModel

    counted = {
        "n_parameters": n_probed_parameters(model) if is_probed else model.n_parameters,
        "predict_events_per_s": round(len(result.counts) / result.wall_s, 2),
    }
    if isinstance(model, TorchModel) and not is_probed:
        from benchmark.evaluation.flops import flops_per_event

        count = flops_per_event(model, scored)
        counted |= {} if count is None else {"flops_per_event": count}
    return counted
