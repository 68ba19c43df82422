"""Resampling in blocks: the same numbers to the bit as in one piece, with bounded memory."""

import tracemalloc

import numpy as np
import pytest

from benchmark.metrics import bootstrap
from benchmark.metrics.bootstrap import N_RESAMPLES
from benchmark.records.counts import pack_counts
from benchmark.reports import resampling
from benchmark.reports.resampling import resampled
from builders.records import make_record

N_EVENTS = 300


def row(seed):
    counts = np.random.default_rng(seed).integers(0, 50, (N_EVENTS, 2, 2))
    ids = tuple(f"event {i}" for i in range(N_EVENTS))
    task = {**make_record().task, "classes": ["a", "b"]}
    return (make_record(fingerprint=f"{seed}" * 64, task=task, per_event=pack_counts(counts, ids)),)


@pytest.mark.parametrize("rows", [[row(1)], [row(1), row(2), row(3)], [row(1) + row(2)]])
def test_blocks_change_no_bit(monkeypatch, rows):
    whole = resampled(rows)
    monkeypatch.setattr(bootstrap, "_BLOCK_ELEMENTS", 7 * N_EVENTS)  # several blocks, the last one short
    monkeypatch.setattr(resampling, "_BLOCK_EVENTS", 2 * N_EVENTS)
    monkeypatch.setattr(resampling, "_KEPT", 1)
    for before, after in zip(whole, resampled(rows), strict=True):
        assert before is not None and before.keys() == after.keys()
        assert all(np.array_equal(before[name], after[name], equal_nan=True) for name in before)


def test_the_draws_are_those_of_one_multinomial_and_the_seed_follows_them(monkeypatch):
    units = np.repeat(np.arange(50), 2)
    monkeypatch.setattr(bootstrap, "_BLOCK_ELEMENTS", 700)
    draws = resampling._Draws("task", "revision", units)
    rng = resampling.generator("bootstrap over runs", "task", "revision")
    expected = rng.multinomial(50, np.full(50, 1 / 50), size=N_RESAMPLES)[:, units]
    for _ in range(2):
        assert np.array_equal(np.concatenate(list(draws.blocks())), expected)
    assert draws.seed == int(rng.integers(1 << 62))


def test_memory_does_not_grow_with_the_resamples():
    n_events = 20_000
    draws = resampling._Draws("task", "revision", np.arange(n_events))
    tracemalloc.start()
    for _ in draws.blocks():
        pass
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64e6 < N_RESAMPLES * n_events * 8
