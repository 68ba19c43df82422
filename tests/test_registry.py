"""The registry: names are files, nothing is imported early, and a file of one's own works like any other."""

import json
import subprocess
import sys

import pytest

from benchmark import registry
from benchmark.contracts import DatasetSpec, ModelSpec
from benchmark.errors import BenchmarkError, ConfigError, UnknownNameError
from builders.models import models
from builders.outside import DATASET
from builders.paths import ROOT

PLUGIN = '''
"""A model outside the suite."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from benchmark.contracts import ModelSpec, Preset


@dataclass(frozen=True)
class Config:
    """Settings."""

    width: int | None = 3
    extra: Any = None


PRESETS = {"default": Preset(), "tiny": Preset()}
SPEC = ModelSpec(name="mine", summary="", config=Config, build=lambda *a: None, presets=PRESETS)
'''


def public(folder):
    return sorted(p.stem for p in (ROOT / folder).glob("*.py") if not p.name.startswith("_"))


def test_names_are_files():
    for folder in registry.MODEL_FOLDERS:
        assert registry.model_names(folder) == public(folder)
    assert registry.model_names() == sorted(public("models") + public("baselines"))
    assert [registry.canonical(n) for n in registry.dataset_names()] == public("datasets")


def test_no_name_stands_for_two_models():
    assert len(set(registry.model_names())) == len(registry.model_names())


@pytest.mark.parametrize("name", models())
def test_every_model_names_itself_like_its_file(name):
    spec = registry.model_spec(name)
    assert isinstance(spec, ModelSpec)
    assert spec.name == name
    assert spec.summary
    assert {"default", "tiny"} <= set(spec.presets)


@pytest.mark.parametrize("name", registry.dataset_names())
def test_every_dataset_names_itself_like_its_file(name):
    spec = registry.dataset_spec(name)
    assert isinstance(spec, DatasetSpec)
    assert spec.info.name == name
    assert spec.info.tasks
    assert spec.info.licence


@pytest.mark.parametrize("name", registry.model_names())
def test_the_summary_of_a_file_is_read_without_importing_it(name):
    assert registry.summary(registry.model_file(name))


def test_private_pieces_are_no_models():
    with pytest.raises(UnknownNameError):
        registry.model_spec("_vit")


def test_misspelt_names_get_the_close_one():
    with pytest.raises(UnknownNameError, match="Did you mean 'polarmae'"):
        registry.model_spec("polar-mae")
    with pytest.raises(UnknownNameError, match="Did you mean 'pilarnet-m'"):
        registry.dataset_spec("pilarnetm")


def loaded_after(code):
    """Names of the modules that a fresh interpreter has loaded after running `code`."""
    script = f"import json, sys\nsys.path.insert(0, {str(ROOT)!r})\n{code}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_the_light_parts_import_neither_torch_nor_compilers():
    light = ", ".join(
        f"benchmark.{name}" for name in ("registry", "cli", "records.store", "reports.tables", "runs.resolve", "tasks")
    )
    loaded = loaded_after(f"import {light}\nfrom benchmark import registry\nregistry.model_names()")
    assert not loaded & {"torch", "lightning", "numba", "scipy", "h5py", "huggingface_hub", "submitit"}


def test_asking_for_one_model_imports_no_other():
    loaded = loaded_after("from benchmark import registry\nregistry.model_spec('majority')")
    assert "benchmark.baselines.majority" in loaded
    assert "benchmark.models.polarmae" not in loaded
    assert "torch" not in loaded


def test_a_file_outside_the_suite_is_a_model(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(PLUGIN)
    spec = registry.model_spec(str(path))
    assert spec.name == "mine"
    assert spec.config().width == 3
    assert registry.model_spec(str(path)) is spec
    path.write_text(PLUGIN.replace("= 3", "= 4"))
    assert registry.model_spec(str(path)).config().width == 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "There is no file"),
        ("x = 1\n", "does not bind SPEC to a ModelSpec"),
        ("SPEC = 'pointnet'\n", "does not bind SPEC to a ModelSpec"),
        ("def f(:\n", "is not valid Python"),
        ("import surely_not_installed\n", "needs the package 'surely_not_installed'"),
    ],
)
def test_a_file_that_is_no_model_is_told_in_one_sentence(tmp_path, text, message):
    path = tmp_path / "mine.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(BenchmarkError) as error:
        registry.model_spec(str(path))
    assert message in str(error.value)
    assert "expected" in str(error.value)


@pytest.mark.parametrize(
    ("stem", "name", "message"),
    [
        ("mine", "gnn", "'gnn', which is a model of the suite"),
        ("gnn", "gnn", "'gnn', which is a model of the suite"),
        ("mine", "yours", "The name 'mine' was expected"),
    ],
)
def test_a_file_under_another_name_is_refused(tmp_path, stem, name, message):
    path = tmp_path / f"{stem}.py"
    path.write_text(PLUGIN.replace('name="mine"', f'name="{name}"'))
    with pytest.raises(ConfigError, match=message) as error:
        registry.model_spec(str(path))
    assert "\n" not in str(error.value)


def test_a_file_that_fails_is_told_with_its_reason(tmp_path):
    for text in ("1 / 0\n", "import sys\nsys.exit('gone')\n", "from benchmark.contracts import Nonsense\n"):
        (tmp_path / "mine.py").write_text(text)
        with pytest.raises(BenchmarkError, match=r"fails when it is imported \(\w+: .*Correct it"):
            registry.model_spec(str(tmp_path / "mine.py"))


def test_the_path_of_a_file_of_the_suite_is_its_name():
    path = str(ROOT / "baselines" / "majority.py")
    assert registry.model_spec(path) is registry.model_spec("majority")
    assert [p.name for p in registry.model_files(path)] == ["majority.py", "_classical.py"]
    spec = registry.dataset_spec(str(ROOT / "datasets" / "pilarnet_m.py"))
    assert spec is registry.dataset_spec("pilarnet-m")


def test_a_dataset_by_path_is_known_by_name_afterwards(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_datasets_by_path", {})
    path = tmp_path / "my_events.py"
    path.write_text(DATASET)
    with pytest.raises(UnknownNameError):
        registry.dataset_spec("my-events")
    spec = registry.dataset_spec(str(path))
    assert spec.info.name == "my-events"
    assert registry.dataset_spec("my-events") is spec
    assert registry.outside_datasets() == [spec]
    for name, message in (("pilarnet-m", "a dataset of the suite"), ("other", "The name 'my_events' was expected")):
        path.write_text(DATASET.replace('name="my-events"', f'name="{name}"'))
        with pytest.raises(ConfigError, match=message):
            registry.dataset_spec(str(path))


def test_a_dataset_brings_its_own_task_and_its_cuts(tmp_path, monkeypatch):
    from benchmark import tasks
    from benchmark.data.preparation import preparation

    monkeypatch.setattr(registry, "_datasets_by_path", {})
    (tmp_path / "my_events.py").write_text(DATASET)
    assert "my-task" not in tasks.every()
    registry.dataset_spec(str(tmp_path / "my_events.py"))
    assert preparation(tasks.task("my-task")).min_points == 3
    assert tasks.task("lartpc-segmentation") is tasks.LARTPC_SEGMENTATION
    assert preparation(tasks.LARTPC_SEGMENTATION).min_points == 1024


def test_a_public_file_without_spec_says_how_files_are_made(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_import", lambda name: sys)
    with pytest.raises(ConfigError, match=r"does not bind SPEC to a DatasetSpec.*Write `SPEC = DatasetSpec\(\.\.\.\)`"):
        registry.dataset_spec("pilarnet-m")


def test_a_missing_package_is_named_with_what_to_type(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError("No module named 'spconv'", name="spconv")

    monkeypatch.setattr(registry.importlib, "import_module", missing)
    with pytest.raises(BenchmarkError, match=r"needs the package 'spconv'.*pip install spconv-cu126"):
        registry._import("benchmark.models.polarmae")


def test_a_fault_of_the_suites_own_is_not_called_a_missing_package(monkeypatch):
    def broken(name):
        raise ModuleNotFoundError("No module named 'benchmark.nonsense'", name="benchmark.nonsense")

    monkeypatch.setattr(registry.importlib, "import_module", broken)
    with pytest.raises(ModuleNotFoundError):
        registry._import("benchmark.models.polarmae")


def test_a_models_files_are_its_own_and_the_private_ones_that_it_is_made_of():
    names = [p.name for p in registry.model_files("polarmae")]
    assert names[0] == "polarmae.py"
    assert names[1:] == sorted(names[1:])
    assert {"_masked_autoencoder.py", "_vit.py", "_released.py"} <= set(names)  # the last is imported by a piece
    assert [p.name for p in registry.model_files("sparse_uresnet")] == ["sparse_uresnet.py", "_uresnet.py"]
    assert [p.name for p in registry.model_files("majority")] == ["majority.py", "_classical.py"]
