"""A sweep as a TOML file, the way a leaderboard is kept reproducible beside its records.

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
    """The fields of `Sweep` that a file gives. Raises ConfigError."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    if not path.is_file():
        raise ConfigError(f"There is no file {path}. A TOML file with a sweep was expected. Correct the path.")
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} is no TOML file ({error}). A sweep was expected. Correct the file.") from error
    for key in values:
        if key not in KEYS:
            raise unknown_name(f"key in {path.name}", key, KEYS, "Correct the file.")
    return _fields(path, values)


def _fields(path: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {name: values[name] for name in ("task", "dataset", "preset") if name in values}
    for name, value in found.items():
        if not isinstance(value, str):
            raise ConfigError(f"{path}: {name} = {value!r} is no text. A name was expected. Put it in quotes.")
    for name in ("models", "labels"):
        if name in values:
            found[name] = tuple(str(v) for v in _listed(path, name, values[name]))
    for name in ("draws", "seeds"):
        if name in values:
            found[name] = repetitions(name, values[name])
    if "set" in values:
        found["settings"] = tuple(map(str, _listed(path, "set", values["set"])))
    own = values.get("settings", {})
    if not isinstance(own, dict) or any(not isinstance(v, dict) or set(v) != {"set"} for v in own.values()):
        raise ConfigError(
            f"{path}: [settings] is no table of models. `[settings.MODEL]` with `set = [...]` was expected. Correct it."
        )
    found["settings_of"] = {m: tuple(map(str, _listed(path, f"settings.{m}", v["set"]))) for m, v in own.items()}
    return found


def _listed(path: Path, name: str, value: Any) -> list[Any]:
    values = value if isinstance(value, list) else [value]
    if not values or any(isinstance(v, list | dict | bool) for v in values):
        raise ConfigError(f"{path}: {name} = {value!r} is not possible. A list was expected, such as [100, 1000].")
    return values


def repetitions(name: str, value: Any) -> tuple[int, ...]:
    """`3` or "3" means 0, 1, 2; a list, or "0,2", means those. Raises ConfigError."""
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


def as_sweep(given: Mapping[str, Any]) -> Sweep:
    """A sweep of these fields. Raises ConfigError without models."""
    if not given.get("models"):
        raise ConfigError(
            "The sweep names no models. A list of them was expected. Type for example --models polarmae,gnn,majority."
        )
    return Sweep(**given)
