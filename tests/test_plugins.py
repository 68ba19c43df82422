"""Models of other packages: found by entry point, by the path of a file, and never instead of the suite's own."""

import importlib.metadata
import json
import sys

import pytest

from benchmark import registry
from benchmark.cli import main
from benchmark.errors import BenchmarkError, ConfigError, UnknownNameError
from builders.outside import DATASET
from builders.synthetic import SPY, execute, make_data, request


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package `their_models` with a model and a private piece, offered as `spy`, `gnn` and `lost`."""
    package = tmp_path / "packages" / "their_models"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "spy.py").write_text(SPY)
    (package / "_piece.py").write_text("X = 1\n")
    (package / "their_events.py").write_text(DATASET.replace("my-events", "their-events"))
    points = [
        importlib.metadata.EntryPoint(name, module, registry.PLUGINS)
        for name, module in (("spy", "their_models.spy"), ("gnn", "their_models.spy"), ("lost", "their_models.none"))
    ]
    monkeypatch.syspath_prepend(str(package.parent))
    real = importlib.metadata.entry_points
    events = importlib.metadata.EntryPoint("their-events", "their_models.their_events", registry.DATASET_PLUGINS)
    theirs = {registry.PLUGINS: points, registry.DATASET_PLUGINS: [events]}
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


def test_a_plug_in_under_another_name_is_refused(installed):
    for name in ("gnn", "other"):
        (installed / "spy.py").write_text(SPY.replace('name="spy"', f'name="{name}"'))
        sys.modules.pop("their_models.spy", None)
        with pytest.raises(ConfigError, match=f"The installed model spy .* binds SPEC with the name '{name}'"):
            registry.model_spec("spy")


@pytest.mark.parametrize("text", ["1 / 0\n", "def f(:\n", "import surely_not_installed\n", "raise SystemExit(3)\n"])
def test_a_plug_in_that_breaks_leaves_the_others_in_the_list(installed, text, capsys):
    (installed / "spy.py").write_text(text)
    main(["list", "--json"])
    listed = json.loads(capsys.readouterr().out)
    rows = {row["name"]: row["here"] for row in listed["models"]}
    assert {"polarmae", "spy", "lost"} <= set(rows)
    assert "surely_not_installed" in rows["spy"] or "fails when it is imported" in rows["spy"]
    assert "points at the module" in rows["lost"]
    assert "which is a model of the suite" in rows["gnn"]
    assert all(listed.values())
    main(["list"])


def test_a_plug_in_whose_package_breaks_is_listed(installed, capsys):
    (installed / "__init__.py").write_text("1 / 0\n")
    main(["list", "models", "--json"])
    rows = {row["name"]: row["here"] for row in json.loads(capsys.readouterr().out)["models"]}
    assert "ZeroDivisionError" in rows["spy"] and rows["polarmae"] == "ready"


def test_an_installed_dataset_is_one_by_name(installed, capsys):
    assert "their-events" in registry.dataset_names()
    spec = registry.dataset_spec("their-events")
    assert spec.info.name == "their-events" and spec in registry.outside_datasets()
    (installed / "their_events.py").write_text("1 / 0\n")
    del sys.modules["their_models.their_events"]
    main(["list", "datasets", "--json"])
    rows = {row["name"]: row["here"] for row in json.loads(capsys.readouterr().out)["datasets"]}
    assert "ZeroDivisionError" in rows["their-events"] and "lartpc-sim" in rows


def test_a_file_is_a_model_by_its_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spy.py").write_text(SPY)
    outcome = execute(make_data(tmp_path), tmp_path, request(str(tmp_path / "spy.py")))
    assert outcome.record.model == "spy"
