"""Seconds that reports take with 10,000 records of 400 events each. Not part of the test suite.

    python -m pytest tests/benchmarks/bench_records.py --benchmark-columns=min,median

`first`: nothing is kept yet of the resampled scores; `again`: they are. 20 models, 5 label budgets, 10 draws, 10 seeds.
"""

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from benchmark.paths import cache_dir
from benchmark.records.store import read_records
from benchmark.reports.formats import markdown
from benchmark.reports.leaderboard import leaderboards
from benchmark.site.pages import write_site
from builders.many_records import write_many


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("many")
    write_many(root)
    return root


@pytest.fixture(scope="module")
def records(folder):
    return read_records(folder)[0]


def forget():
    shutil.rmtree(cache_dir() / "resamples", ignore_errors=True)


def test_read(benchmark, folder):
    assert len(benchmark.pedantic(read_records, (folder,), rounds=3)[0]) == 10_000


@pytest.mark.parametrize("when", ["first", "again"])
def test_tables(benchmark, records, when):
    if when == "again":
        leaderboards(records)
    setup = forget if when == "first" else None
    (board,) = benchmark.pedantic(leaderboards, (records,), setup=setup, rounds=3)
    assert len(board.rows) == 100 and markdown(board)


def test_site(benchmark, records, tmp_path):
    page = benchmark.pedantic(write_site, (records, tmp_path / "site"), {"n_events": 0}, rounds=1)
    assert page.is_file()
