"""Finds models, baselines and datasets by name: the file's name is the registry's name. Nothing is imported before asked for."""

from __future__ import annotations

import ast
import importlib
import importlib.util
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from benchmark.contracts import DatasetSpec, ModelSpec
from benchmark.errors import BenchmarkError, ConfigError, unknown_name

MODEL_FOLDERS = ("models", "baselines")


def _folder(name: str) -> Path:
    package = importlib.import_module(f"benchmark.{name}")
    return Path(next(iter(package.__path__)))


@cache
def _files(folder: str) -> dict[str, Path]:
    return {p.stem: p for p in sorted(_folder(folder).glob("*.py")) if not p.name.startswith("_")}


def canonical(name: str) -> str:
    """`pilarnet-m` and `pilarnet_m` are the same name."""
    return name.replace("-", "_")


def model_names(folder: str | None = None) -> list[str]:
    """Sorted names of all models, or of those in one of MODEL_FOLDERS."""
    return sorted(n for f in MODEL_FOLDERS if folder in (None, f) for n in _files(f))


def dataset_names() -> list[str]:
    """Sorted names of all datasets, as the user types them."""
    return sorted(n.replace("_", "-") for n in _files("datasets"))


def model_file(name: str) -> Path:
    """The file that defines a model; `name` may itself be a path to a Python file outside the suite."""
    if name.endswith(".py"):
        path = Path(name)
        if not path.is_file():
            raise ConfigError(f"There is no file {name}. A Python file that binds SPEC was expected. Check --model.")
        return path
    for folder in MODEL_FOLDERS:
        if canonical(name) in _files(folder):
            return _files(folder)[canonical(name)]
    raise unknown_name("model", name, model_names(), "Type `python -m benchmark list models`.")


def model_spec(name: str) -> ModelSpec:
    """The `SPEC` of a model. Raises UnknownNameError, or BenchmarkError where a package it needs is missing."""
    path = model_file(name)
    if name.endswith(".py"):
        return _spec_in(_import_path(path), ModelSpec, path)
    folder = next(f for f in MODEL_FOLDERS if canonical(name) in _files(f))
    return _spec_in(_import(f"benchmark.{folder}.{path.stem}"), ModelSpec, path)


def dataset_spec(name: str) -> DatasetSpec:
    """The `SPEC` of a dataset. Raises UnknownNameError, or BenchmarkError where a package it needs is missing."""
    files = _files("datasets")
    if canonical(name) not in files:
        raise unknown_name("dataset", name, dataset_names(), "Type `python -m benchmark list datasets`.")
    path = files[canonical(name)]
    return _spec_in(_import(f"benchmark.datasets.{path.stem}"), DatasetSpec, path)


def summary(path: Path) -> str:
    """First line of a file's docstring, read without importing it."""
    doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return doc.partition("\n")[0]


def _import(module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("benchmark"):
            raise
        raise BenchmarkError(
            f"{module.rpartition('.')[2]} needs the package {error.name!r}, which is not installed. Its extras were "
            f"expected. Type `pip install {error.name}`, or `python -m benchmark doctor` for all that is missing."
        ) from error


def _import_path(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"particlebench_plugin_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} is not a Python file. A file that binds SPEC was expected. Check --model.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _spec_in(module: ModuleType, kind: type, path: Path) -> Any:
    spec = getattr(module, "SPEC", None)
    if not isinstance(spec, kind):
        raise ConfigError(
            f"{path} does not bind SPEC to a {kind.__name__}. One public name per file was expected. "
            f"See CONTRIBUTING.md, or start the file's name with _ if it is a private piece."
        )
    return spec
