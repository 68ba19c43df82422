"""Tuning of the sparse convolution's tile sizes on this GPU, with the timed networks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from benchmark.contracts import PointBatch
from benchmark.errors import ConfigError
from benchmark.hardware import tiles
from benchmark.perf.measure import graph_of, measure
from benchmark.perf.steps import build_model, training_step
from benchmark.sparse import backend
from benchmark.sparse.public_benchmark import VOXELS, PublicNetwork, one_pass, workload
from benchmark.sparse.triton import hearing, tune

REPEATS = 10  # of a job in one graph, to exclude launches from Python


def tune_tiles(
    events: Sequence[tuple[Tensor, Tensor]], sizes: Sequence[str], batch: PointBatch, models: Sequence[str],
    preset: str, device: torch.device, time: Callable[[Callable[[], Tensor]], float] | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> dict[tiles.Use, tiles.Tile]:  # fmt: skip
    """The fastest tiles on a device for the public networks of these sizes and a training step of the models.

    `events` as in `sparse_rows`, `batch` a numpy batch of a point task with labels; `time` gives a job's milliseconds,
    by default on a GPU.
    """
    device_type, engine = device.type, backend("triton")
    with hearing() as work:
        for size in sizes:
            coords, energies = (array.to(device) for array in workload(events, max(VOXELS)))
            with torch.autocast(device_type, torch.bfloat16, enabled=device_type == "cuda"):
                one_pass(PublicNetwork(size).to(device), engine, coords, energies, False)
        for name in models:
            model = build_model(name, preset, batch).to(device).train()
            training_step(model, "finetune", device_type)(batch.to_torch(device))
    if not work:
        raise ConfigError(
            f"None of the models {', '.join(models)} has a sparse convolution. One that has was expected. Add "
            f"sparse_uresnet to --models, or give --sizes."
        )
    return tune(work.values(), time or _milliseconds, say)


def _milliseconds(job: Callable[[], Tensor]) -> float:
    def repeated() -> None:
        for _ in range(REPEATS):
            job()

    graph = graph_of(repeated)
    return measure(lambda _: graph.replay(), [None], "cuda", 2, 8).median_ms / REPEATS
