"""A sweep as a TOML file, to reproduce a leaderboard.

task = "lartpc-segmentation"
models = ["polarmae", "polarmae:scratch", "gnn"]
labels = [100, 1000]
draws = 3                  # or a list: [0, 1, 2]
seeds = 1
preset = "default"
set = ["train.steps=100"]  # of every model

[settings."polarmae:scratch"]   # of one entry of `models`
set = ["optim.lr=1e-3"]
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmark.errors import ConfigError, unknown_name
from benchmark.runs.sweep import Sweep

KEYS = ("task", "dataset", "models", "labels", "draws", "seeds", "preset", "set", "settings")


def read_sweep(path: Path) -> dict[str, Any]:
    """The fields of `Sweep` in a file. Raises ConfigError."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    if not path.is_file():
        raise ConfigError(f"There is no file {path}. A TOML file with a sweep was expected. Correct the path.")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is not a TOML file ({error}). A sweep was expected. Correct the file.") from error
    for key in values:
        if key not in KEYS:
            raise unknown_name(f"key in {path.name}", key, KEYS, "Correct the file.")
    return _sweep_fields(path, values)


def _sweep_fields(path: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {name: values[name] for name in ("task", "dataset", "preset") if name in values}
    for name, value in fields.items():
        if not isinstance(value, str):
            raise ConfigError(f"{path}: {name} = {value!r} is not a text. A name was expected. Put it in quotes.")
    for name in ("models", "labels"):
        if name in values:
            fields[name] = tuple(str(v) for v in _as_list(path, name, values[name]))
    for name in ("draws", "seeds"):
        if name in values:
            fields[name] = repetitions(name, values[name])
    if "set" in values:
        fields["settings"] = tuple(map(str, _as_list(path, "set", values["set"])))
    model_settings = values.get("settings", {})
    if not isinstance(model_settings, dict) or any(
        not isinstance(v, dict) or set(v) != {"set"} for v in model_settings.values()
    ):
        raise ConfigError(
            f"{path}: [settings] is not a table of models. `[settings.MODEL]` with `set = [...]` was expected. "
            f"Correct it."
        )
    fields["settings_of"] = {
        m: tuple(map(str, _as_list(path, f"settings.{m}", v["set"]))) for m, v in model_settings.items()
    }
    return fields


def _as_list(path: Path, name: str, value: Any) -> list[Any]:
    values = value if isinstance(value, list) else [value]
    if not values or any(isinstance(v, list | dict | bool) for v in values):
        raise ConfigError(f"{path}: {name} = {value!r} is not possible. A list was expected, such as [100, 1000].")
    return values


def repetitions(name: str, value: Any) -> tuple[int, ...]:
    """0, 1, 2 for `3` or "3"; the values of a list or of "0,2". Raises ConfigError."""
    try:
        if isinstance(value, list):
            numbers = tuple(int(v) for v in value)
        else:
            parts = str(value).split(",")
            numbers = tuple(range(int(parts[0]))) if len(parts) == 1 else tuple(int(p) for p in parts if p.strip())
    except (TypeError, ValueError):
        numbers = ()
    if not numbers or min(numbers) < 0 or len(set(numbers)) != len(numbers):
        raise ConfigError(
            f"--{name} {value} is not possible. How many (3), or which (0,1,2), was expected. Type for example "
            f"--{name} 3."
        )
    return numbers


def as_sweep(fields: Mapping[str, Any]) -> Sweep:
    """The sweep with these fields. Raises ConfigError without models."""
    if not fields.get("models"):
        raise ConfigError(
            "The sweep names no models. A list of them was expected. Type for example --models polarmae,gnn,majority."
        )
    return Sweep(**fields)
