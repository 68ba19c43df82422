r"""Grouping and its searches, native against every pair of distances in torch, side by side on one core:

python -m pytest tests/benchmarks/bench_ops.py --benchmark-only --benchmark-group-by=group \
    --benchmark-timer=time.process_time       # processor time: other programs on the machine do not count

Indices are compared before anything is timed. Events: some simulated here, and the
stored public ones where they are at hand.
"""

from dataclasses import replace

import numpy as np
import pytest

from benchmark.ops.grouping import STRATEGIES, GroupingConfig, group_events
from benchmark.ops.native import NATIVE
from benchmark.studies.pairwise import Pairwise

N_EVENTS = 8
ENGINES = {"native": NATIVE, "pairwise torch": Pairwise()}
CONFIG = GroupingConfig()


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """Coordinates of events simulated here, cut as for training."""
    from benchmark.datasets.larsim.production import simulate_dataset
    from benchmark.studies.base import load_events

    folder = tmp_path_factory.mktemp("events")
    simulate_dataset(folder / "sim", events=N_EVENTS + 2, val=1, test=N_EVENTS, workers=1)
    return load_events("lartpc-sim", folder / "sim").coords()


@pytest.fixture(scope="module")
def golden(shared_dir):
    """The stored public events, in voxels."""
    path = shared_dir / "reference" / "polarmae" / "golden" / "public_batch.npz"
    if not path.is_file():
        pytest.skip(f"no golden events at {path}")
    stored = np.load(path)
    return [np.ascontiguousarray(stored["points"][e, :n, :3]) for e, n in enumerate(stored["lengths"])]


@pytest.fixture(params=["simulated", "golden"])
def events(request):
    return request.getfixturevalue(request.param)


def config_of(strategy):
    seeds = {"cnms_ball": None, "fps_cnms_ball": 2048}.get(strategy, 256)
    return replace(CONFIG, strategy=strategy, n_seeds=seeds)


def grouping(strategy):
    return lambda engine, events: [tuple(g) for g in group_events(events, config_of(strategy), engine)]


JOBS = {
    **{f"group {strategy}": grouping(strategy) for strategy in STRATEGIES},
    "C-NMS": lambda engine, e: engine.suppressed(e, 5.0, 0.73, None),
    "ball query, 200 centres": lambda engine, e: engine.balls([p[:: len(p) // 200] for p in e], e, 5.0, None),
    "farthest 256": lambda engine, e: engine.farthest(e, 256),
    "nearest 32 of 256 centres": lambda engine, e: engine.nearest([p[:: len(p) // 256] for p in e], e, 32),
    "nearest 16 of all points": lambda engine, e: engine.nearest(e, e, 16),
}


def arrays(result):
    return [np.asarray(a) for item in result for a in (item if isinstance(item, tuple) else (item,))]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("job", JOBS)
def test_speed(benchmark, events, job, engine, request):
    run = JOBS[job]
    ours, theirs = arrays(run(NATIVE, events)), arrays(run(ENGINES[engine], events))
    assert len(ours) == len(theirs) and all(map(np.array_equal, ours, theirs))
    benchmark.group = f"{job}, {request.node.callspec.params['events']}"
    benchmark.extra_info["points"] = [len(p) for p in events]
    benchmark.pedantic(run, (ENGINES[engine], events), rounds=3, warmup_rounds=1)
