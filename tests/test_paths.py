"""Where the cache lies, and what is said where no folder is known."""

from pathlib import Path

import pytest

from benchmark.errors import ConfigError
from benchmark.paths import cache_dir


@pytest.fixture
def nothing_set(monkeypatch):
    for name in ("PARTICLEBENCH_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)


def test_the_cache_is_where_the_variables_say(nothing_set, monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    assert cache_dir() == Path("/home/someone/.cache/particlebench")
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # to be ignored, by the specification
    assert cache_dir() == Path("/home/someone/.cache/particlebench")
    monkeypatch.setenv("XDG_CACHE_HOME", "/fast/caches")
    assert cache_dir() == Path("/fast/caches/particlebench")
    monkeypatch.setenv("PARTICLEBENCH_CACHE", "~/mine")
    assert cache_dir() == Path("/home/someone/mine")


def test_a_user_without_entry_and_home_is_told_the_variable(nothing_set, monkeypatch):
    monkeypatch.delenv("HOME", raising=False)

    def unknown(number):
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr("pwd.getpwuid", unknown)
    with pytest.raises(ConfigError, match=r"has no entry and \$HOME is not set.*export PARTICLEBENCH_CACHE="):
        cache_dir()
