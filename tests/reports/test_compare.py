"""`compare`: what differs is named, scores are compared on the same events, and the verdict follows the interval."""

import dataclasses
import json

import numpy as np
import pytest

from benchmark.cli import main
from benchmark.errors import ConfigError
from benchmark.reports.compare import compare
from builders.many_records import counts, made_up, write

N = 60


@pytest.fixture
def rng():
    return np.random.default_rng(8)


def test_settings_that_differ_are_named_and_equal_ones_are_not(rng):
    one, other = made_up("m", 100, 0, 0, rng, n_events=N), made_up("m", 100, 1, 0, rng, n_events=N)
    other.config["optim"]["lr"] = 3e-3
    names = {name: (a, b) for name, a, b in compare(one, other).changes}
    assert names["optim.lr"] == ("0.001", "0.003")
    assert names["draw"] == ("0", "1")
    assert "train.steps" not in names and "task.name" not in names


def test_the_verdict_follows_the_paired_interval(rng):
    states = counts(0.8, N, rng)
    same = made_up("a", 100, 0, 0, rng, states=states), made_up("b", 100, 0, 0, rng, states=states)
    found = compare(*same)
    assert found.primary.value == 0 and "do not distinguish the two" in found.verdict
    better = made_up("c", 100, 0, 0, rng, quality=0.95, n_events=N)
    found = compare(same[0], better)
    assert "higher" in found.verdict and found.primary.low > 0
    assert "lower" in compare(better, same[0]).verdict
    macro = next(s for s in found.scores if s.name == "macro_f1")
    assert macro.low < macro.second - macro.first < macro.high
    michel = next(s for s in found.scores if s.name == "f1 michel")
    assert michel.low < michel.second - michel.first < michel.high


def test_the_events_that_differ_most_come_first(rng):
    states = counts(0.9, N, rng)
    worse = states.copy()
    worse[17] = worse[17][:, [1, 0, 3, 2]]  # everything wrong in one event
    found = compare(made_up("a", 100, 0, 0, rng, states=states), made_up("b", 100, 0, 0, rng, states=worse))
    event, before, after = found.events[0]
    assert event == "event 17" and before < 0.2 and after > 0.8


def test_scores_on_other_events_are_not_compared(rng):
    one, other = made_up("a", 100, 0, 0, rng, n_events=N), made_up("b", 100, 0, 0, rng, n_events=N + 1)
    found = compare(one, other)
    assert found.primary is None and not found.events and "different events" in found.verdict
    with pytest.raises(ConfigError, match="Two finished runs of one task"):
        compare(one, dataclasses.replace(other, task={**other.task, "name": "cell-to-track"}))


def test_records_are_named_by_file_or_fingerprint(rng, tmp_path, capsys):
    one, other = (made_up(m, 100, 0, 0, rng, n_events=N) for m in "ab")
    path = write(tmp_path, one)
    write(tmp_path, other)
    main(["compare", str(path), other.fingerprint[:8], "--records", str(tmp_path), "--json"])
    assert json.loads(capsys.readouterr().out)["same_events"] is True
    main(["compare", str(path), other.fingerprint[:8], "--records", str(tmp_path)])
    assert "what differs" in capsys.readouterr().out
    for wrong in ("ab", "f" * 12, "none.json"):
        with pytest.raises(SystemExit) as end:
            main(["compare", str(path), wrong, "--records", str(tmp_path)])
        assert end.value.code == 2
