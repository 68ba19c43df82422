"""Finds models, baselines and datasets by name, which is that of their file. Nothing is imported before asked for."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
from functools import cache
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from benchmark.contracts import DatasetSpec, ModelSpec
from benchmark.errors import BenchmarkError, ConfigError, unknown_name
from benchmark.io import sha256_file

Spec = TypeVar("Spec", ModelSpec, DatasetSpec)
MODEL_FOLDERS = ("models", "baselines")
PLUGINS = "particlebench.models"  # entry points by which an installed package offers models: name = module


def _folder(name: str) -> Path:
    package = importlib.import_module(f"benchmark.{name}")
    return Path(next(iter(package.__path__)))


@cache
def _files(folder: str) -> dict[str, Path]:
    return {p.stem: p for p in sorted(_folder(folder).glob("*.py")) if not p.name.startswith("_")}


@cache
def _plugins() -> dict[str, str]:
    """Name -> module of the models that installed packages offer; the suite's own names come first."""
    taken = {n for folder in MODEL_FOLDERS for n in _files(folder)}
    found = {canonical(e.name): e.module for e in metadata.entry_points(group=PLUGINS)}
    return {name: found[name] for name in sorted(found) if name not in taken}


def _plugin_file(name: str) -> Path:
    """Where a plug-in's module lies. Raises BenchmarkError where its package is broken."""
    module = _plugins()[name]
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError as error:
        raise _missing_package(name, error) from error
    if spec is None or spec.origin is None:
        raise BenchmarkError(
            f"The installed model {name} points at the module {module}, which is not there. A module that binds SPEC "
            f"was expected. Install its package anew."
        )
    return Path(spec.origin)


def canonical(name: str) -> str:
    """`pilarnet-m` and `pilarnet_m` are the same name."""
    return name.replace("-", "_")


def model_names(folder: str | None = None) -> list[str]:
    """Sorted names of all models, or of those in one of MODEL_FOLDERS, or of installed PLUGINS."""
    own = [n for f in MODEL_FOLDERS if folder in (None, f) for n in _files(f)]
    return sorted([*own, *(_plugins() if folder in (None, PLUGINS) else ())])


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
    if canonical(name) in _plugins():
        return _plugin_file(canonical(name))
    raise unknown_name("model", name, model_names(), "Type `python -m benchmark list models`.")


def model_files(name: str) -> tuple[Path, ...]:
    """The file that defines a model and, in sorted order, the private files beside it that it imports, directly or not.

    A file outside the suite stands alone; of an installed package every file beside it counts.
    """
    path = model_file(name)
    if name.endswith(".py"):
        return (path,)
    if canonical(name) in _plugins():
        return (path, *(p for p in sorted(path.parent.glob("*.py")) if p != path))
    pieces: set[Path] = set()
    queue = [path]
    while queue:
        new = _private_pieces(queue.pop()) - pieces
        pieces |= new
        queue += new
    return (path, *sorted(pieces))


def _private_pieces(path: Path) -> set[Path]:
    """Files beside `path` whose names start with _ and that it imports, in functions too."""
    found: set[Path] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            names = [(node.module or "").rpartition(".")[2], *(alias.name for alias in node.names)]
            found |= {path.with_name(f"{n}.py") for n in names if n.startswith("_")}
    return {p for p in found if p.is_file()}


def model_spec(name: str) -> ModelSpec:
    """The `SPEC` of a model. Raises UnknownNameError, or BenchmarkError where a package it needs is missing."""
    path = model_file(name)
    if name.endswith(".py"):
        return _spec_in(_import_path(path), ModelSpec, path)
    if canonical(name) in _plugins():
        return _spec_in(_import(_plugins()[canonical(name)]), ModelSpec, path)
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
        raise _missing_package(module.rpartition(".")[2], error) from error


def _missing_package(what: str, error: ModuleNotFoundError) -> BenchmarkError:
    return BenchmarkError(
        f"{what} needs the package {error.name!r}, which is not installed. Its extras were expected. Type "
        f"`pip install {error.name}`, or `python -m benchmark doctor` for all that is missing."
    )


def _import_path(path: Path) -> ModuleType:
    """The module of a file outside the suite, imported once; in `sys.modules`, where dataclasses look types up."""
    name = f"particlebench_plugin_{path.stem}_{sha256_file(path)[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} is not a Python file. A file that binds SPEC was expected. Check --model.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        del sys.modules[name]
        raise ConfigError(
            f"{path} is not valid Python ({error}). A file that binds SPEC was expected. Correct it."
        ) from error
    except ModuleNotFoundError as error:
        del sys.modules[name]
        raise _missing_package(path.name, error) from error
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _spec_in(module: ModuleType, kind: type[Spec], path: Path) -> Spec:
    spec = getattr(module, "SPEC", None)
    if not isinstance(spec, kind):
        raise ConfigError(
            f"{path} does not bind SPEC to a {kind.__name__}. One public name per file was expected. "
            f"See CONTRIBUTING.md, or start the file's name with _ if it is a private piece."
        )
    return spec
