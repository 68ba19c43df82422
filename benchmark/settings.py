"""Settings: frozen dataclasses, and typed `key=value` changes to them that refuse unknown keys."""

from __future__ import annotations

import dataclasses
import math
import typing
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from benchmark.errors import ConfigError, unknown_name

T = TypeVar("T")
_LARGEST = 1 << 63
_SHOWN = 80  # letters of a wrong value in a message


def override(settings: T, changes: Mapping[str, Any], where: str) -> T:
    """A copy of a dataclass with some fields changed; texts are converted to the field's type.

    `where` names the section in messages. Raises UnknownNameError for a field that does not exist, ConfigError for a
    value of another type.
    """
    hints = typing.get_type_hints(type(settings))
    names = [f.name for f in dataclasses.fields(settings)]  # type: ignore[arg-type]
    values: dict[str, Any] = {}
    for name, value in changes.items():
        if name not in names:
            raise unknown_name(f"setting of {where}", name, names, "Correct the --set option.")
        values[name] = _convert(value, hints[name], f"{where}.{name}")
        if not _is_usable(values[name]):
            raise _misfit(f"{where}.{name}", value, "a finite number of at most 64 bits was expected", hints[name])
    try:
        return dataclasses.replace(settings, **values)  # type: ignore[type-var]
    except ValueError as error:  # raised by the dataclass's own range checks
        raise ConfigError(f"{error} Correct the --set option.") from error


def parse_assignments(assignments: list[str]) -> dict[str, str]:
    """`["model.depth=4", ...]` as a dictionary. Raises ConfigError for an item without `=`."""
    result: dict[str, str] = {}
    for item in assignments:
        key, equals, value = item.partition("=")
        if not equals or not key:
            raise ConfigError(
                f"--set {item!r} has no value. `key=value` was expected. Type for example --set train.steps=100."
            )
        result[key.strip()] = value.strip()
    return result


def as_assignments(settings: Mapping[str, Any] | Sequence[str]) -> tuple[str, ...]:
    """`key=value` texts from a dictionary such as `{"train.steps": 100}` or `{"train": {"steps": 100}}`, or from texts.

    Raises ConfigError for a text without `=`.
    """
    if isinstance(settings, Mapping):
        return tuple(f"{key}={_text(value)}" for key, value in flat(settings).items())
    texts = [settings] if isinstance(settings, str) else list(settings)
    parse_assignments(texts)
    return tuple(texts)


def _text(value: Any) -> str:
    """A value as it is typed on the command line."""
    return ",".join(map(_text, value)) if isinstance(value, list | tuple) else str(value)


def as_dict(settings: Any) -> Any:
    """Nested plain values of a dataclass, ready for JSON."""
    if dataclasses.is_dataclass(settings) and not isinstance(settings, type):
        return {f.name: as_dict(getattr(settings, f.name)) for f in dataclasses.fields(settings)}
    if isinstance(settings, Mapping):
        return {str(k): as_dict(v) for k, v in settings.items()}
    if isinstance(settings, list | tuple):
        return [as_dict(v) for v in settings]
    return settings


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested plain values as `section.key` -> value."""
    result: dict[str, Any] = {}
    for key, value in values.items():
        result |= flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return result


def _convert(value: Any, hint: Any, where: str) -> Any:
    adapter = TypeAdapter(hint)
    try:
        if not isinstance(value, str):
            return adapter.validate_python(value)
        if value.lower() == "none" and type(None) in typing.get_args(hint):
            return None
        if any(typing.get_origin(h) in (tuple, list) for h in (hint, *typing.get_args(hint))):
            return adapter.validate_python([v.strip() for v in value.strip("()[]").split(",") if v.strip()])
        return adapter.validate_strings(value)
    except ValidationError as error:
        raise _misfit(where, value, error.errors()[0]["msg"], hint) from error


def _misfit(where: str, value: Any, reason: str, hint: Any) -> ConfigError:
    text = repr(value)
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    return ConfigError(f"{where}={shown} does not fit ({reason}). {_expected_type(hint)} Correct the --set option.")


def _is_usable(value: Any) -> bool:
    """Whether the numbers of a setting are finite and of at most 64 bits."""
    if isinstance(value, list | tuple):
        return all(map(_is_usable, value))
    if isinstance(value, int):
        return -_LARGEST <= value < _LARGEST
    return math.isfinite(value) if isinstance(value, float) else True


def _expected_type(hint: Any) -> str:
    name = hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
    return f"A value of type {name} was expected."
