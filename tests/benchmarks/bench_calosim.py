"""Simulated calorimeter events per second, whole and by step. Not part of the test suite.

    python -m pytest tests/benchmarks/bench_calosim.py --benchmark-columns=min,median

One round of the steps is N_EVENTS single pions on one thread. `test_production` makes a data set of N_PRODUCED pions on
all cores, start of the workers, files and checksums included, and asserts 150 pions per second and core, on at most two
cores.
"""

import itertools
import time

import numpy as np
import pytest

from benchmark.datasets._pieces import available_cores
from benchmark.datasets.calosim.clusters import cluster_cells, make_labels
from benchmark.datasets.calosim.generate import GeneratorSettings, generate
from benchmark.datasets.calosim.geometry import grid
from benchmark.datasets.calosim.plan import Plan
from benchmark.datasets.calosim.production import compile_all, simulate_plan
from benchmark.datasets.calosim.readout import make_readout, read_out
from benchmark.datasets.calosim.showers import run_showers
from benchmark.datasets.calosim.simulate import _particles, simulate_chunk
from benchmark.datasets.calosim.state import make_state
from benchmark.seeding import generator

N_EVENTS = 200
N_PRODUCED = 12_000


@pytest.fixture(scope="module")
def particles():
    compile_all()
    shots = [generate("pions", GeneratorSettings(), generator("bench", k)) for k in range(N_EVENTS)]
    return [p for p in map(_particles, shots) if len(p[0])]


def test_generator(benchmark):
    benchmark(lambda: [generate("pions", GeneratorSettings(), generator("bench", k)) for k in range(N_EVENTS)])


def test_showers(benchmark, particles):
    state = make_state()
    benchmark(lambda: [run_showers(state, rows, k) for k, (rows, _, _) in enumerate(particles)])


def test_showers_readout_and_clusters(benchmark, particles):
    state, readout, labels = make_state(), make_readout(), make_labels()

    def events():
        for k, (rows, etas, phis) in enumerate(particles):
            run_showers(state, rows, k)
            read_out(state, grid(), readout, etas, phis)
            cluster_cells(state, readout, labels)

    benchmark(events)


@pytest.mark.parametrize("production", ["pions", "mixtures"])
def test_events(benchmark, particles, production):
    result = benchmark(lambda: simulate_chunk(production, 1, "train", 0, N_EVENTS))
    assert np.isfinite(result.clusters["cluster_E"]).all()


def test_production(benchmark, tmp_path, particles):
    folder = itertools.count()
    plan = Plan({"train": N_PRODUCED}, {})
    start = time.perf_counter()
    benchmark.pedantic(lambda: simulate_plan(plan, tmp_path / str(next(folder))), rounds=1)
    rate = N_PRODUCED / (time.perf_counter() - start)
    benchmark.extra_info["pions_per_second"] = round(rate, 1)
    print(f"\n{rate:.0f} pions/s on {available_cores()} cores")
    assert rate >= 150 * min(available_cores(), 2)
