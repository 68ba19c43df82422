r"""Graph building for one event of about 4,000 voxels on one core; the aim is under 20 ms. And messages over its edges.

python -m pytest tests/benchmarks/bench_graphs.py --benchmark-only --benchmark-timer=time.process_time
"""

import pytest
import torch

from benchmark.baselines._graph import Level, edge_features
from benchmark.baselines._graph_networks import PyramidBlock
from benchmark.ops.graphs import edge_starts, knn_graph, radius_graph

N_VOXELS = 4000
AIM_S = 0.020
JOBS = {
    "8 nearest": lambda c, o: knn_graph(c, o, 8),
    "16 nearest": lambda c, o: knn_graph(c, o, 16),
    "within 1.8 voxels": lambda c, o: radius_graph(c, o, 1.8, 26),
    "within 5 voxels, at most 32": lambda c, o: radius_graph(c, o, 5.0, 32),
}


@pytest.fixture(scope="module")
def event(tmp_path_factory):
    """(coords, offsets) of the simulated event whose number of voxels is nearest to 4,000."""
    from benchmark.datasets.larsim.production import simulate_dataset
    from benchmark.studies.base import load_events

    folder = tmp_path_factory.mktemp("events")
    simulate_dataset(folder / "sim", events=26, val=1, test=24, workers=1)
    coords = min(load_events("lartpc-sim", folder / "sim").coords(), key=lambda c: abs(len(c) - N_VOXELS))
    return torch.as_tensor(coords), torch.tensor([0, len(coords)])


@pytest.mark.parametrize("job", JOBS)
def test_speed(benchmark, event, job):
    torch.set_num_threads(1)
    benchmark.extra_info["points"] = len(event[0])
    edges = benchmark.pedantic(JOBS[job], event, rounds=10, warmup_rounds=2)
    assert edges.shape[1] > len(event[0])
    assert benchmark.stats.stats.median < AIM_S


@pytest.mark.parametrize("way", ["received", "propagate_messages"])
@pytest.mark.parametrize("width", [32, 64])
def test_speed_of_messages(benchmark, event, width, way):
    """Forward and backward, in one pass over the edges and with one row per edge."""
    torch.set_num_threads(1)
    coords, offsets = event
    edges = knn_graph(coords, offsets, 8)
    n = len(coords)
    starts, features = edge_starts(edges, n), edge_features(coords, edges, 1.0)
    level = Level(coords, offsets, torch.zeros(n, dtype=torch.int64), edges, starts, features, None)
    block = PyramidBlock(width, 8)
    own, source = (torch.randn(n, width, generator=torch.Generator().manual_seed(s)) for s in (0, 1))
    parts = (own.requires_grad_(), source.requires_grad_(), block.weight)

    def step():
        out = getattr(block, way)(own, source, level)
        return out, *torch.autograd.grad(out.square().sum(), parts)

    other = block.propagate_messages(own, source, level)
    torch.testing.assert_close(step()[0], other, atol=1e-4, rtol=1e-4)
    benchmark.group = f"messages of {width} channels"
    benchmark.pedantic(step, rounds=10, warmup_rounds=2)
