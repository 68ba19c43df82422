"""A run, and the baseline that its table shows beside it."""

from __future__ import annotations

import dataclasses

from benchmark import registry, tasks
from benchmark.records.record import RunRecord
from benchmark.runs.config import Request
from benchmark.runs.execution import Execution, Outcome
from benchmark.runs.resolve import can_do, data_assignments, resolve
from benchmark.runs.run import run

FLOOR = "the task's floor"  # the trivial baseline that the task names
NONE = "none"


def run_beside(request: Request, execution: Execution, baseline: str = FLOOR) -> tuple[Outcome, RunRecord | None]:
    """Run a model, then a baseline on the same events. baseline: a model's name, FLOOR, or NONE.

    A baseline that cannot be run is refused before the run, not after it. Raises what `run` raises.
    """
    other = _baseline_request(request, baseline)
    outcome = run(request, execution)
    return outcome, None if other is None else run(other, dataclasses.replace(execution, force=False)).record


def _baseline_request(request: Request, baseline: str) -> Request | None:
    if baseline == FLOOR:
        task = tasks.task(request.task)
        baseline = task.floor if can_do(registry.model_spec(task.floor), task) else NONE  # a token probe has none
    if baseline in (NONE, request.model):
        return None
    other = Request(
        baseline, request.task, request.dataset, labels=request.labels, draw=request.draw,
        assignments=data_assignments(request),
    )  # fmt: skip
    resolve(other)
    return other
