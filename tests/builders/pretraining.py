"""Pre-training alone, on tiny events."""

from dataclasses import replace

from benchmark.runs.execution import Execution
from benchmark.runs.pretrain import pretrain
from builders.synthetic import request

PRETRAIN = request("polarmae", "pretrain.steps=4", "pretrain.batch_size=3", "pretrain.checkpoint_every=2")
SCRATCH = request(
    "polarmae", mode="scratch", labels="9",
    assignments=("train.steps=4", "preprocess.min_points=0", "train.batch_size=5", "model.head_dropout=0"),
)  # fmt: skip


def alone(data, asked=None, **values):
    """`pretrain` on one CPU thread; what it says is kept in `said`."""
    execution = Execution(device="cpu", threads=1, data=data)
    options = {k: values.pop(k) for k in ("out", "probe_every", "say") if k in values}
    return pretrain(asked or request("polarmae"), replace(execution, **values), **{"say": lambda t: None, **options})
