"""The suite's models as parameters of tests: one whose package is missing is skipped with its reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from benchmark import registry
from benchmark.contracts import ModelSpec
from benchmark.errors import MissingPackageError


def models(wanted: Callable[[ModelSpec], bool] = lambda spec: True, names: Iterable[str] | None = None) -> list[Any]:
    """Names of the models that are wanted; no other module of tests asks for specs while it is collected."""
    found = []
    for name in registry.model_names() if names is None else names:
        try:
            if wanted(registry.model_spec(name)):
                found.append(pytest.param(name, id=name))
        except MissingPackageError as error:
            found.append(skipped(error, name))
    return found


def skipped(error: MissingPackageError, name: str, *more: Any) -> Any:
    """The parameter of a model that cannot be imported here."""
    return pytest.param(name, *more, id=name, marks=pytest.mark.skip(reason=str(error)))
