"""Simulated liquid-argon events per second, whole and by step. Not part of the test suite.

    python -m pytest tests/benchmarks/bench_simulation.py --benchmark-columns=min,median

One round of the steps is N_EVENTS default events on one thread. `test_production` makes a data set of N_PRODUCED
events on all cores, start of the workers, files and checksums included, and asserts 50 events per second and core, on
at most two cores.
"""

import itertools
import time

import pytest

from benchmark.datasets._pieces import available_cores
from benchmark.datasets.larsim.generator import GeneratorSettings, generate
from benchmark.datasets.larsim.images import make_image
from benchmark.datasets.larsim.plan import Plan, SimulationSettings
from benchmark.datasets.larsim.production import simulate_plan
from benchmark.datasets.larsim.shards import simulate_image
from benchmark.datasets.larsim.transport import simulate_event
from benchmark.seeding import generator

N_EVENTS = 100
N_PRODUCED = 2000


@pytest.fixture(scope="module")
def primaries():
    settings = SimulationSettings()
    simulate_image(settings, 1, "train", 0)  # compiles
    return [generate(GeneratorSettings(), generator("bench", k)) for k in range(N_EVENTS)]


def test_generator(benchmark, primaries):
    benchmark(lambda: [generate(GeneratorSettings(), generator("bench", k)) for k in range(N_EVENTS)])


def test_transport(benchmark, primaries):
    benchmark(lambda: [simulate_event(p, k) for k, p in enumerate(primaries)])


def test_voxels_and_labels(benchmark, primaries):
    truths = [simulate_event(p, k) for k, p in enumerate(primaries)]
    benchmark(lambda: [make_image(truth) for truth in truths])


def test_production(benchmark, tmp_path, primaries):
    folder = itertools.count()
    start = time.perf_counter()
    benchmark.pedantic(lambda: simulate_plan(Plan({"train": N_PRODUCED}), tmp_path / str(next(folder))), rounds=1)
    rate = N_PRODUCED / (time.perf_counter() - start)
    benchmark.extra_info["events_per_second"] = round(rate, 1)
    print(f"\n{rate:.0f} events/s on {available_cores()} cores")
    assert rate >= 50 * min(available_cores(), 2)
