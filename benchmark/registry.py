"""Finds models, baselines, pretexts and datasets by name, which is that of their file. Nothing is imported early.

Those outside the suite are loaded from the path of a file, or from an installed package's entry points. Both follow one
rule: SPEC has the file's (the entry point's) name, and not one of the suite's own.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from benchmark.contracts import DatasetSpec, ModelSpec
from benchmark.contracts.pretext import PretextSpec
from benchmark.errors import BenchmarkError, ConfigError, one_line, unknown_name
from benchmark.io import sha256_file
from benchmark.packages import missing_error

Spec = TypeVar("Spec", ModelSpec, DatasetSpec, PretextSpec)
MODEL_FOLDERS = ("models", "baselines")
_CODE_FOLDERS = (*MODEL_FOLDERS, "pretexts")
PLUGINS = "particlebench.models"  # entry points by which an installed package offers models: name = module
DATASET_PLUGINS = "particlebench.datasets"  # and datasets
PRETEXT_PLUGINS = "particlebench.pretexts"  # and pretexts


@dataclass(frozen=True)
class _Kind:
    """How models, pretexts or datasets are looked up."""

    word: str
    folders: tuple[str, ...]  # of the suite's own
    group: str  # of entry points
    listed: str  # argument of `list`


_MODEL = _Kind("model", MODEL_FOLDERS, PLUGINS, "models")
_DATASET = _Kind("dataset", ("datasets",), DATASET_PLUGINS, "datasets")
_PRETEXT = _Kind("pretext", ("pretexts",), PRETEXT_PLUGINS, "pretexts")
_datasets_by_path: dict[str, Path] = {}  # datasets loaded by path, found by their name later


def _folder(name: str) -> Path:
    package = importlib.import_module(f"benchmark.{name}")
    return Path(next(iter(package.__path__)))


@cache
def _files(folder: str) -> dict[str, Path]:
    return {p.stem: p for p in sorted(_folder(folder).glob("*.py")) if not p.name.startswith("_")}


def _suite_files(kind: _Kind) -> dict[str, Path]:
    """Name -> file of the suite's own models or datasets."""
    return {name: path for folder in kind.folders for name, path in _files(folder).items()}


@cache
def _plugins(kind: _Kind = _MODEL) -> dict[str, str]:
    """Name -> module of installed plug-ins; the suite's own names take precedence."""
    return {name: module for name, module in _entry_points(kind) if name not in _suite_files(kind)}


def _entry_points(kind: _Kind) -> list[tuple[str, str]]:
    return sorted((canonical(e.name), e.module) for e in metadata.entry_points(group=kind.group))


def refused_plugins(group: str) -> dict[str, str]:
    """Name -> reason, of plug-ins of one of the three groups that use a name of the suite."""
    kind = next(kind for kind in (_MODEL, _DATASET, _PRETEXT) if kind.group == group)
    return {
        name: f"The installed module {module} is offered as {name!r}, which is a {kind.word} of the suite. A name of "
        f"its own was expected. Rename the entry point and the name in its SPEC."
        for name, module in _entry_points(kind)
        if name in _suite_files(kind)
    }


def _plugin_file(name: str, kind: _Kind) -> Path:
    """The file of a plug-in's module. Raises BenchmarkError where its package is broken."""
    module = _plugins(kind)[name]
    try:
        spec = importlib.util.find_spec(module)  # imports the packages around it
    except ModuleNotFoundError as error:
        raise _missing_package(name, error) from error
    except (Exception, SystemExit) as error:
        raise _import_error(f"The installed {kind.word} {name} ({module})", error) from error
    if spec is None or spec.origin is None:
        raise BenchmarkError(
            f"The installed {kind.word} {name} points at the module {module}, which is not there. A module that binds "
            f"SPEC was expected. Install its package again."
        )
    return Path(spec.origin)


def canonical(name: str) -> str:
    """`pilarnet-m` and `pilarnet_m` are the same name."""
    return name.replace("-", "_")


def model_names(folder: str | None = None) -> list[str]:
    """Sorted names of all models, or of those in one of MODEL_FOLDERS, or of installed PLUGINS."""
    names = [n for f in MODEL_FOLDERS if folder in (None, f) for n in _files(f)]
    return sorted([*names, *(_plugins(_MODEL) if folder in (None, PLUGINS) else ())])


def dataset_names(folder: str | None = None) -> list[str]:
    """Sorted names of all datasets, as the user types them, or of installed DATASET_PLUGINS."""
    names = () if folder == DATASET_PLUGINS else _files("datasets")
    return sorted(n.replace("_", "-") for n in (*names, *_plugins(_DATASET)))


def pretext_names(folder: str | None = None) -> list[str]:
    """Sorted names of all pretexts, or of installed PRETEXT_PLUGINS."""
    names = () if folder == PRETEXT_PLUGINS else _files("pretexts")
    return sorted((*names, *_plugins(_PRETEXT)))


def model_file(name: str) -> Path:
    """The file that defines a model; `name` may itself be a path to a Python file outside the suite."""
    return _find_file(name, _MODEL)


def dataset_file(name: str) -> Path:
    """The file that defines a dataset; `name` may itself be a path to a Python file outside the suite."""
    return _find_file(name, _DATASET)


def pretext_file(name: str) -> Path:
    """The file that defines a pretext; `name` may itself be a path to a Python file outside the suite."""
    return _find_file(name, _PRETEXT)


def _names(kind: _Kind) -> list[str]:
    return dataset_names() if kind is _DATASET else pretext_names() if kind is _PRETEXT else model_names()


def _find_file(name: str, kind: _Kind) -> Path:
    if name.endswith(".py"):
        path = Path(name)
        if not path.is_file():
            raise ConfigError(f"There is no file {name}. A Python file that binds SPEC was expected. Correct its path.")
        return path
    key, suite_files = canonical(name), _suite_files(kind)
    if key in suite_files:
        return suite_files[key]
    if key in _plugins(kind):
        return _plugin_file(key, kind)
    if kind is _DATASET and key in _datasets_by_path:
        return _datasets_by_path[key]
    raise unknown_name(kind.word, name, _names(kind), f"Type `python -m benchmark list {kind.listed}`.")


def model_files(name: str) -> tuple[Path, ...]:
    """The file that defines a model and, in sorted order, the private files beside it that it imports, directly or not.

    A file outside the suite is returned alone; of an installed package, every file beside it too.
    """
    return _code_files(name, _MODEL)


def pretext_files(name: str) -> tuple[Path, ...]:
    """As `model_files`, of a pretext."""
    return _code_files(name, _PRETEXT)


def _code_files(name: str, kind: _Kind) -> tuple[Path, ...]:
    path = _find_file(name, kind)
    if path.resolve() not in _suite_modules(kind):
        neighbours = () if name.endswith(".py") else (p for p in sorted(path.parent.glob("*.py")) if p != path)
        return (path, *neighbours)
    private_files: set[Path] = set()
    queue = [path]
    while queue:
        new_files = _private_imports(queue.pop()) - private_files
        private_files |= new_files
        queue += new_files
    return (path, *sorted(private_files))


def _suite_modules(kind: _Kind) -> dict[Path, str]:
    """File of the suite -> its module."""
    return {p.resolve(): f"benchmark.{f}.{p.stem}" for f in kind.folders for p in _files(f).values()}


def _private_imports(path: Path) -> set[Path]:
    """Files whose names start with _ and that it imports, in functions too: beside it, or in a folder of the suite."""
    paths: set[Path] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            parts = (node.module or "").split(".")
            names = [parts[-1], *(alias.name for alias in node.names)]
            is_suite = node.level == 0 and parts[0] == "benchmark" and parts[1:2] and parts[1] in _CODE_FOLDERS
            folder = _folder(parts[1]) if is_suite else path.parent
            paths |= {folder / f"{n}.py" for n in names if n.startswith("_")}
    return {p for p in paths if p.is_file()}


def model_spec(name: str) -> ModelSpec:
    """The `SPEC` of a model. Raises UnknownNameError, or BenchmarkError where a package it needs is missing."""
    return _load_spec(name, ModelSpec, _MODEL)


def dataset_spec(name: str) -> DatasetSpec:
    """The `SPEC` of a dataset. Raises UnknownNameError, or BenchmarkError where a package it needs is missing.

    `name` may be a path to a Python file outside the suite; the dataset is then also found by its name.
    """
    spec = _load_spec(name, DatasetSpec, _DATASET)
    if name.endswith(".py"):
        _datasets_by_path[canonical(spec.info.name)] = Path(name).resolve()
    return spec


def pretext_spec(name: str) -> PretextSpec:
    """The `SPEC` of a pretext. Raises UnknownNameError, or BenchmarkError where a package it needs is missing."""
    return _load_spec(name, PretextSpec, _PRETEXT)


def outside_datasets() -> list[DatasetSpec]:
    """Datasets outside the suite: loaded by path so far, and installed. Broken ones are left out."""
    specs = []
    for name in (*_datasets_by_path, *(n for n in _plugins(_DATASET) if n not in _datasets_by_path)):
        try:
            specs.append(dataset_spec(name))
        except BenchmarkError:
            continue  # `list datasets` names it with its reason
    return specs


def _load_spec(name: str, type_: type[Spec], kind: _Kind) -> Spec:
    path = _find_file(name, kind)
    module = _suite_modules(kind).get(path.resolve())
    if module is not None:
        return _read_spec(_import(module), type_, path)
    if not name.endswith(".py") and canonical(name) in _plugins(kind):
        where = f"The installed {kind.word} {canonical(name)} ({_plugins(kind)[canonical(name)]})"
        spec = _read_spec(_import_plugin(canonical(name), kind, where), type_, path)
        return _check_name(spec, name, where, kind)
    return _check_name(_read_spec(_import_path(path), type_, path), path.stem, str(path), kind)


def _check_name(spec: Spec, expected: str, where: str, kind: _Kind) -> Spec:
    """The SPEC of a file or plug-in outside the suite, if its name fits. Raises ConfigError."""
    name = spec.info.name if isinstance(spec, DatasetSpec) else spec.name
    if canonical(name) in _suite_files(kind):
        raise ConfigError(
            f"{where} binds SPEC with the name {name!r}, which is a {kind.word} of the suite. A name of its own was "
            f"expected, so that records tell the two apart. Rename it in SPEC and outside alike."
        )
    if canonical(name) != canonical(expected):
        raise ConfigError(
            f"{where} binds SPEC with the name {name!r}. The name {expected!r} was expected, by which it is called and "
            f"recorded. Correct the name in SPEC, or call the {'file' if where.endswith('.py') else 'entry point'} so."
        )
    return spec


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


def _import_plugin(name: str, kind: _Kind, where: str) -> ModuleType:
    """A plug-in's module. Raises BenchmarkError for any error while importing it."""
    try:
        return _import(_plugins(kind)[name])
    except BenchmarkError:
        raise
    except (Exception, SystemExit) as error:
        raise _import_error(where, error) from error


def _import_error(where: str, error: BaseException) -> BenchmarkError:
    reason = f"{type(error).__name__}: {one_line(error)}"
    return BenchmarkError(
        f"{where} fails when it is imported ({reason}). A module that binds SPEC was expected. Correct it; "
        f"`--debug` shows where it fails."
    )


def _missing_package(name: str, error: ModuleNotFoundError) -> BenchmarkError:
    return missing_error((error.name or "").partition(".")[0], name)


def _import_path(path: Path) -> ModuleType:
    """The module of a file outside the suite, imported once; kept in `sys.modules`, where dataclasses look up types."""
    name = f"particlebench_plugin_{path.stem}_{sha256_file(path)[:12]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} is not a Python file. A file that binds SPEC was expected. Correct its path.")
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
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise _import_error(str(path), error) from error
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _read_spec(module: ModuleType, type_: type[Spec], path: Path) -> Spec:
    spec = getattr(module, "SPEC", None)
    if not isinstance(spec, type_):
        raise ConfigError(
            f"{path} does not bind SPEC to a {type_.__name__}. One public name per file was expected. "
            f"Write `SPEC = {type_.__name__}(...)` in it, or start the file's name with _ if it is a private piece."
        )
    return spec
