r"""Graph building for one event of about 4,000 voxels on one core; the aim is under 20 ms.

python -m pytest tests/benchmarks/bench_graphs.py --benchmark-only --benchmark-timer=time.process_time
"""

import pytest
import torch

from benchmark.ops.graphs import knn_graph, radius_graph

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
