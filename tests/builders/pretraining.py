"""Pre-training alone, on tiny events."""

from dataclasses import replace

from benchmark.runs.execution import Execution
from benchmark.runs.pretrain import pretrain
from builders.synthetic import request


def alone(data, asked=None, **values):
    """`pretrain` on one CPU thread; what it says is kept in `said`."""
    execution = Execution(device="cpu", threads=1, data=data)
    options = {k: values.pop(k) for k in ("out", "probe_every", "say") if k in values}
    return pretrain(asked or request("polarmae"), replace(execution, **values), **{"say": lambda t: None, **options})
