"""Ids that are made on demand are those of a tuple, and take no memory."""

import hashlib
import pickle
import tracemalloc

import numpy as np
import pytest

from benchmark.data.budget import subset
from benchmark.data.ids import EventIds, ids_sha256, shared_ids
from benchmark.data.packed import PackedSource

NAMES = ("a:0", "a:1", "b:0", "b:1", "b:2")


class _Pack:
    """The part of a pack that ids are made from."""

    def __init__(self, n_events):
        self.n_events = n_events


def test_ids_are_those_of_a_tuple():
    ids = EventIds(5, NAMES.__getitem__)
    assert ids == NAMES and ids == EventIds(5, NAMES.__getitem__) and ids != NAMES[:4] and ids != NAMES[::-1]
    assert tuple(ids) == NAMES and len(ids) == 5 and repr(ids) == repr(NAMES)
    assert (ids[0], ids[-1], ids[1:3], ids[::-2]) == ("a:0", "b:2", ("a:1", "b:0"), ("b:2", "b:0", "a:0"))
    assert ids.index("b:1") == 3 and "b:3" not in ids
    with pytest.raises(IndexError):
        ids[5]


def test_a_source_names_the_events_of_all_packs_and_travels():
    source = PackedSource([("b", _Pack(2)), ("none", _Pack(0)), ("a", _Pack(3))])
    assert source.event_ids == tuple(f"{p}:{i:07d}" for p, n in (("a", 3), ("b", 2)) for i in range(n))
    assert pickle.loads(pickle.dumps(source)).event_ids == source.event_ids


def test_ids_in_two_sets_are_found():
    assert shared_ids(NAMES, ("b:3", "b:1", "a:1")) == ["a:1", "b:1"]
    assert shared_ids(NAMES, ("c:0",)) == shared_ids((), NAMES) == []


def test_a_hash_in_common_is_not_an_id_in_common():
    class Text(str):
        __slots__ = ()

        def __hash__(self):
            return 1

    assert shared_ids((Text("a"), Text("b")), (Text("c"), Text("b"))) == ["b"]


def test_the_sum_is_that_of_the_sorted_ids():
    expected = hashlib.sha256("\n".join(NAMES).encode()).hexdigest()
    assert ids_sha256(NAMES) == ids_sha256(NAMES[::-1]) == expected
    assert ids_sha256(()) == hashlib.sha256(b"").hexdigest()


def test_choosing_and_comparing_events_keeps_no_text_for_each():
    n = 50_000
    ids = PackedSource([("train/events", _Pack(n))]).event_ids
    others = PackedSource([("test/events", _Pack(n))]).event_ids
    tracemalloc.start()
    everything, half = subset(ids, None, 0), subset(ids, n // 2, 0)
    assert not shared_ids(ids, others)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(everything) == n and np.all(np.diff(half.indices) > 0)
    assert peak < 64 * n  # bytes; a text of 20 letters alone takes 69
