"""Label budgets: nested, hashed, the same on every machine and for every model."""

import random

import numpy as np
import pytest

from benchmark.data.budget import parse_labels, subset
from benchmark.errors import BenchmarkError, ConfigError, DataError

IDS = tuple(f"train/event{i:05d}" for i in range(12_000))


def chosen_ids(ids, labels, draw):
    return {ids[i] for i in subset(ids, labels, draw).indices}


def test_budgets_are_nested():
    small, middle, large = (chosen_ids(IDS, n, draw=0) for n in (100, 1_000, 10_000))
    assert (len(small), len(middle), len(large)) == (100, 1_000, 10_000)
    assert small < middle < large < set(IDS)


def test_a_known_list_gives_a_known_subset_on_every_machine():
    ids = [f"event{i}" for i in range(10)]
    found = subset(ids, 4, draw=3)
    assert found.indices.tolist() == [2, 5, 6, 7]
    assert found.sha256 == "a030d809fc3b3a2daae35c1585ce6d201323e42fac3f487356a2b194f5d06e92"


def test_another_draw_gives_other_events_and_another_hash():
    first, second = (subset(IDS, 100, draw) for draw in (0, 1))
    assert first.sha256 != second.sha256
    shared = set(first.indices) & set(second.indices)
    assert len(shared) < 10  # 100 * 100 / 12000 is 0.8 by chance


def test_the_order_of_the_list_does_not_change_what_is_chosen():
    shuffled = list(IDS)
    random.Random(0).shuffle(shuffled)
    assert chosen_ids(shuffled, 100, draw=2) == chosen_ids(IDS, 100, draw=2)
    assert subset(shuffled, 100, draw=2).sha256 == subset(IDS, 100, draw=2).sha256


def test_new_events_never_reorder_the_old_ones():
    before, after = chosen_ids(IDS[:6_000], 100, draw=0), chosen_ids(IDS, 100, draw=0)
    assert after & set(IDS[:6_000]) <= before


def test_every_event_is_as_likely_as_any_other():
    counts = [0] * 20
    for draw in range(2_000):
        for i in subset(IDS[:20], 5, draw).indices:
            counts[i] += 1
    assert all(400 < n < 600 for n in counts)  # expectation 500, standard deviation 19


def test_indices_are_sorted_and_distinct():
    indices = subset(IDS, 1_000, draw=5).indices
    assert list(indices) == sorted(set(indices))


def test_all_takes_every_event():
    everything = subset(IDS, None, draw=0)
    assert everything.indices.tolist() == list(range(len(IDS)))
    assert everything.sha256 == subset(IDS, len(IDS), draw=7).sha256


def test_more_labels_than_events_are_refused():
    with pytest.raises(DataError, match=r"--labels 12001 is more than the 12000 usable events.*expected.*Type"):
        subset(IDS, 12_001, draw=0)


@pytest.mark.parametrize("text", ["0", "-5", "1e9", "ten", "1.5", "", "10%", "0.1", 0, -5, 1.5, True, None, [20]])
def test_what_is_no_budget_is_refused(text):
    with pytest.raises(ConfigError, match=r"is not a label budget.*was expected.*Type") as error:
        parse_labels(text)
    assert repr(text) in str(error.value)
    assert isinstance(error.value, BenchmarkError)


@pytest.mark.parametrize(("text", "number"), [("1", 1), ("10_000", 10_000), ("all", None), (20, 20), (np.int64(7), 7)])
def test_budgets_are_whole_numbers_or_all(text, number):
    assert parse_labels(text) == number
