"""Events per second: variable-length HDF5 read event by event, beside the packed cache. Not part of the test suite.

    python -m pytest tests/benchmarks/bench_packed.py --benchmark-columns=min,median,ops

Events have the size of PILArNet-M's: 4,300 points in 23 clusters on average. Both files are in the page cache; both
sides read the same random events on one thread and make the same arrays; `ops` are passes over N_READ events a second.
"""

import time

import h5py
import numpy as np
import pytest

from benchmark.datasets._pilarnet import open_pilarnet
from benchmark.datasets.pilarnet_m import INFO
from builders.pilarnet_files import make_event, write_file

N_EVENTS = 400
N_READ = 200
LABELS = {"semantic": 4, "fragment": 1, "group": 2, "interaction": 3, "pid": 5}
NEEDED = {"one label": ("semantic",), "all labels": tuple(LABELS)}


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    rng = np.random.default_rng(0)
    root = tmp_path_factory.mktemp("bench")
    events = []
    for _ in range(N_EVENTS):
        total = rng.lognormal(np.log(3600), 0.6)
        shares = rng.dirichlet(np.full(23, 0.4))
        events.append(make_event(rng, tuple(int(s) + 1 for s in shares * total)))
    path = write_file(root / "train" / f"generic_v2_{N_EVENTS}_v2.h5", events)
    source = open_pilarnet(root, INFO, cache=root / "packs").events("train")
    print(f"\nmean points per event {source.n_points.mean():.0f}")
    order = rng.permutation(N_EVENTS)[:N_READ]
    with h5py.File(path, "r", libver="latest", swmr=True) as h5:
        yield h5, source, order


def read_h5(h5, order, names):
    """What a per-event loader does: two variable-length reads, a reshape, and labels repeated per point."""
    for i in order:
        point = h5["point"][i].reshape(-1, 8)
        cluster = h5["cluster"][i].reshape(-1, 6)
        yield point[:, :3], point[:, 3], {n: np.repeat(cluster[:, LABELS[n]], cluster[:, 0]) for n in names}


def read_packed(source, order, names):
    for i in order:
        event = source[int(i)]
        yield event.coords, event.energy, {n: event.labels[n] for n in names}


def drain(events):
    return sum(len(energy) for _, energy, _ in events)


@pytest.mark.parametrize("needed", NEEDED)
@pytest.mark.parametrize("kind", ["hdf5", "packed"])
def test_reading_speed(benchmark, sources, kind, needed):
    h5, source, order = sources
    benchmark.group = f"{N_READ} events, {needed}"
    args = (read_h5, h5) if kind == "hdf5" else (read_packed, source)
    benchmark(lambda: drain(args[0](args[1], order, NEEDED[needed])))
    benchmark.extra_info["events_per_s"] = N_READ / benchmark.stats.stats.min


@pytest.mark.parametrize("needed", NEEDED)
def test_same_events_ten_times_faster(sources, needed, capsys):
    h5, source, order = sources
    names = NEEDED[needed]
    for ours, theirs in zip(read_packed(source, order, names), read_h5(h5, order, names), strict=True):
        np.testing.assert_array_equal(ours[0], theirs[0])
        np.testing.assert_array_equal(ours[1], theirs[1])
        for name in names:
            np.testing.assert_array_equal(ours[2][name], theirs[2][name])
    rates = {}
    calls = {"hdf5": lambda: read_h5(h5, order, names), "packed": lambda: read_packed(source, order, names)}
    for kind, call in calls.items():
        times = []
        for _ in range(7):
            start = time.perf_counter()
            drain(call())
            times.append(time.perf_counter() - start)
        rates[kind] = N_READ / min(times)
    with capsys.disabled():
        ratio = rates["packed"] / rates["hdf5"]
        print(f"\n{needed}: hdf5 {rates['hdf5']:,.0f} events/s, packed {rates['packed']:,.0f} events/s, {ratio:.1f} x")
    assert ratio > 10
