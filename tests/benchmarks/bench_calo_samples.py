"""Calorimeter samples per second, and what packing and opening cost. Not part of the test suite.

    python -m pytest tests/benchmarks/bench_calo_samples.py --benchmark-columns=min,median,ops

The geometry has ATLAS's number of cells (187 thousand), a cluster 60 of them, an event of several particles up to a
thousand. Packs are in the page cache; one thread.
"""

import time

import numpy as np
import pytest

from benchmark.datasets import _mltree_npy
from benchmark.datasets._calo_samples import SAMPLES
from benchmark.datasets._mltree import HIT_BRANCHES, MLTree
from benchmark.datasets.atlas_pions import INFO, open_calorimeter
from builders.calo_files import make_geometry, make_tree

LIMIT_US = {"cluster": 150.0, "track": 500.0, "association": 1500.0}  # of one sample, links included


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    rng = np.random.default_rng(0)
    root = tmp_path_factory.mktemp("calo")
    geo = make_geometry(rng, n_eta=146, n_phi=256, step=0.025)
    pions = make_tree(rng, geo, [[211] if k % 2 else [111] for k in range(300)], sizes=(60, 61))
    mixtures = make_tree(
        rng, geo, [[211, -211, 111, 211] for _ in range(200)], n_clusters=4, channel=900148, sizes=(100, 300)
    )
    _mltree_npy.write_geometry(root / "cell_geo.npy", geo)
    _mltree_npy.write_tree(root / "train" / "pions.npy", pions)
    _mltree_npy.write_tree(root / "train" / "mixtures.npy", mixtures)
    return open_calorimeter(root, INFO, cache=root / "packs")


@pytest.mark.parametrize("sample", SAMPLES)
def test_samples_are_made_fast_enough(benchmark, dataset, sample):
    samples = dataset.events("train", sample)
    order = np.random.default_rng(1).permutation(len(samples))[:100].tolist()
    benchmark(lambda: [samples[i] for i in order])
    microseconds = benchmark.stats.stats.min / len(order) * 1e6
    benchmark.extra_info["us_per_sample"] = microseconds
    print(f"\n{sample}: {samples.n_points.mean():.0f} points, {microseconds:.0f} us per sample")
    assert microseconds < LIMIT_US[sample]


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_packed_split_opens_in_milliseconds(benchmark, dataset, sample):
    dataset.events("train", sample)
    benchmark(lambda: dataset.events("train", sample))
    assert benchmark.stats.stats.min < 0.05


def test_a_large_file_is_written_and_read_in_seconds(tmp_path, capsys):
    """20,000 events, 50,000 clusters, 3 million cells with all their columns."""
    rng = np.random.default_rng(0)
    like = make_tree(rng, make_geometry(rng), [[211]])
    n_clusters = rng.multinomial(50_000, np.full(20_000, 1 / 20_000))
    n_cells = rng.multinomial(3_000_000, np.full(50_000, 1 / 50_000))

    def filled(table, n):
        return {k: rng.integers(0, 9, (n, *v.shape[1:])).astype(v.dtype) for k, v in getattr(like, table).items()}

    one = np.ones(20_000, np.int64)
    tree = MLTree(
        filled("events", 20_000), one, one, n_clusters, filled("truth", 20_000), filled("tracks", 20_000),
        filled("clusters", 50_000), n_cells, filled("cells", 3_000_000), filled("hits", 3_000_000),
    )  # fmt: skip
    begin = time.perf_counter()
    _mltree_npy.write_tree(tmp_path / "events.npy", tree)
    written = time.perf_counter()
    again = _mltree_npy.read_tree(tmp_path / "events.npy")
    read = time.perf_counter()
    with capsys.disabled():
        print(f"\nwritten in {written - begin:.1f} s, read in {read - written:.1f} s")
    for name in HIT_BRANCHES:
        np.testing.assert_array_equal(again.hits[name], tree.hits[name])
    assert written - begin < 20 and read - written < 10
