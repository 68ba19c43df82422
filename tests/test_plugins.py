"""Models of other packages: found by entry point, by the path of a file, and never instead of the suite's own."""

import importlib.metadata
import sys

import pytest

from benchmark import registry
from benchmark.errors import BenchmarkError, UnknownNameError
from builders.synthetic import SPY, execute, make_data, request


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package `their_models` with a model and a private piece, offered as `spy`, `gnn` and `lost`."""
    package = tmp_path / "packages" / "their_models"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "spy.py").write_text(SPY)
    (package / "_piece.py").write_text("X = 1\n")
    points = [
        importlib.metadata.EntryPoint(name, module, registry.PLUGINS)
        for name, module in (("spy", "their_models.spy"), ("gnn", "their_models.spy"), ("lost", "their_models.none"))
    ]
    monkeypatch.syspath_prepend(str(package.parent))
    real = importlib.metadata.entry_points
    theirs = {registry.PLUGINS: points}
    monkeypatch.setattr(registry.metadata, "entry_points", lambda **k: theirs.get(k.get("group")) or real(**k))
    registry._plugins.cache_clear()
    yield package
    registry._plugins.cache_clear()
    for name in [n for n in sys.modules if n.startswith("their_models")]:
        del sys.modules[name]


def test_an_installed_model_runs_like_any_other(installed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "spy" in registry.model_names()
    assert registry.model_names(registry.PLUGINS) == ["lost", "spy"]
    outcome = execute(make_data(tmp_path), tmp_path, request("spy"))
    assert outcome.record.status == "finished" and outcome.record.model == "spy"


def test_a_change_in_any_file_of_the_package_is_another_result(installed):
    from benchmark.runs.fingerprint import model_code

    before = model_code("spy")
    (installed / "_piece.py").write_text("X = 2\n")
    assert model_code("spy") != before


def test_the_suites_own_names_cannot_be_taken(installed):
    assert registry.model_file("gnn").parent.name == "baselines"


def test_a_broken_plug_in_is_told_by_name(installed):
    with pytest.raises(BenchmarkError, match="lost points at the module"):
        registry.model_spec("lost")
    with pytest.raises(UnknownNameError, match="Did you mean 'spy'"):
        registry.model_file("spyy")


def test_a_file_is_a_model_by_its_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spy.py").write_text(SPY)
    outcome = execute(make_data(tmp_path), tmp_path, request(str(tmp_path / "spy.py")))
    assert outcome.record.model == "spy"
