"""Sizes of the sparse convolution's tiles, tried out on this card with the networks that are timed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from benchmark.contracts import PointBatch
from benchmark.errors import BenchmarkError
from benchmark.perf.measure import graph_of, measure
from benchmark.perf.steps import build_model, training_step
from benchmark.sparse import backend, tiles
from benchmark.sparse.public_benchmark import VOXELS, PublicNetwork, one_pass, workload
from benchmark.sparse.triton import hearing, tune

REPEATS = 10  # of a job in one graph, so that launches from Python do not count


def tune_tiles(
    events: Sequence[tuple[Tensor, Tensor]], sizes: Sequence[str], batch: PointBatch, models: Sequence[str],
    preset: str, say: Callable[[str], None] = lambda text: None,
) -> Path:  # fmt: skip
    """Find and keep the fastest tiles for the public networks of these sizes and for a training step of the models.

    `events` as in `sparse_rows`, `batch` a numpy batch of a point task with labels. Returns the file. Needs a GPU.
    """
    device = torch.device("cuda", torch.cuda.current_device())
    engine = backend("triton")
    coords, energies = (array.to(device) for array in workload(events, max(VOXELS)))
    with hearing() as work:
        for size in sizes:
            with torch.autocast("cuda", torch.bfloat16):
                one_pass(PublicNetwork(size).to(device), engine, coords, energies, False)
        for name in models:
            model = build_model(name, preset, batch).to(device).train()
            training_step(model, "finetune", "cuda")(batch.to_torch("cuda"))
    chosen = tune(work.values(), _milliseconds, say)
    file = tiles.file_of(device)
    if file is None:
        raise BenchmarkError("Tiles are chosen on a GPU. A CUDA device was expected. Leave --tune out.")
    tiles.write(file, chosen)
    return file


def _milliseconds(job: Callable[[], Tensor]) -> float:
    def repeated() -> None:
        for _ in range(REPEATS):
            job()

    graph = graph_of(repeated)
    return measure(lambda _: graph.replay(), [None], "cuda", 2, 8).median_ms / REPEATS
