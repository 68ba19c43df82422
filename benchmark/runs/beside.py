"""A run, and the baseline beside it in its table."""

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

    A baseline that cannot run is refused before the model runs. Raises the errors of `run`.
    """
    baseline_request = _baseline_request(request, baseline)
    outcome = run(request, execution)
    if baseline_request is None:
        return outcome, None
    return outcome, run(baseline_request, dataclasses.replace(execution, force=False)).record


def _baseline_request(request: Request, baseline: str) -> Request | None:
    if baseline == FLOOR:
        task = tasks.task(request.task)
        baseline = task.floor if can_do(registry.model_spec(task.floor), task) else NONE  # a token probe has none
    if baseline in (NONE, request.model):
        return None
    baseline_request = Request(
        baseline, request.task, request.dataset, labels=request.labels, draw=request.draw,
        assignments=data_assignments(request), split=request.split,
    )  # fmt: skip
    resolve(baseline_request)
    return baseline_request
