"""A sweep as a TOML file, to reproduce a leaderboard.

task = "lartpc-segmentation"
models = ["polarmae", "polarmae:scratch", "gnn"]
labels = [100, 1000]
draws = 3                  # or a list: [0, 1, 2]
seeds = 1
preset = "default"
split = "test"             # or "val", to choose settings without opening the test split
set = ["train.steps=100"]  # of every model

[settings."polarmae:scratch"]   # of one entry of `models`
set = ["optim.lr=1e-3"]

[budgets.1000]             # of one entry of `labels`: steps by budget, fewer draws
set = ["train.steps=600"]
draws = 1

[budgets.1000.settings.gnn]     # of one entry of `models` at one of `labels`
set = ["optim.lr=3e-4"]

Such a file may come from someone else, so that it names models and data sets of the registry alone; a path to a file of
code is taken from the command line, by --models and --dataset.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmark.errors import ConfigError, one_line, unknown_name
from benchmark.json_files import read_toml
from benchmark.paths import leaderboards
from benchmark.runs.config import SPLITS
from benchmark.runs.sweep import OfBudget, Sweep

_SHOWN = 80  # letters of a wrong value in a message
_LARGEST = 1 << 63
MAX_BYTES = 1 << 20  # of a file
MAX_REPETITIONS = 10_000  # draws, or seeds
KEYS = ("task", "dataset", "models", "labels", "draws", "seeds", "preset", "split", "set", "settings", "budgets")


def own_sweeps() -> dict[str, Path]:
    """Name -> file of the sweeps that come with the package."""
    return {path.stem: path for path in sorted((leaderboards() / "sweeps").glob("*.toml"))}


def read_sweep(path: Path) -> dict[str, Any]:
    """The fields of `Sweep` in a file, or in the package's own of this name (`small`). Raises ConfigError."""
    own = own_sweeps()
    path = path if path.exists() else own.get(str(path), path)
    if not path.is_file():
        raise ConfigError(
            f"There is no file {path}. A TOML file with a sweep, or the name of one that comes with the package "
            f"({', '.join(own)}), was expected. Correct the path."
        )
    try:
        values = read_toml(path, MAX_BYTES)
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path} is not a TOML file ({one_line(error)}). A sweep was expected. Correct the file."
        ) from error
    for key in values:
        if key not in KEYS:
            raise unknown_name(f"key in {path.name}", key, KEYS, "Correct the file.")
    return _sweep_fields(path, values)


def _sweep_fields(path: Path, values: Mapping[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {name: values[name] for name in ("task", "dataset", "preset", "split") if name in values}
    for name, value in fields.items():
        _check_texts(path, name, [value])
    if fields.get("split", SPLITS[0]) not in SPLITS:
        raise ConfigError(
            f"{path}: split = {_short(fields['split'])} is not possible. {' or '.join(SPLITS)} was expected. Correct "
            f"it."
        )
    for name, options in (("models", (str,)), ("labels", (str, int))):
        if name in values:
            fields[name] = tuple(map(str, _as_list(path, name, values[name], options)))
    for name in ("draws", "seeds"):
        if name in values:
            fields[name] = repetitions(name, values[name])
    if "set" in values:
        fields["settings"] = tuple(_as_list(path, "set", values["set"], (str,)))
    fields["settings_of"] = _of_models(path, "settings", values.get("settings", {}))
    fields["budgets"] = _of_budgets(path, values.get("budgets", {}))
    return fields


def _of_models(path: Path, name: str, values: Any) -> dict[str, tuple[str, ...]]:
    """Settings of single models, which stand below this name. Raises ConfigError."""
    if not isinstance(values, dict) or any(not isinstance(v, dict) or set(v) != {"set"} for v in values.values()):
        raise ConfigError(
            f"{path}: [{name}] is not a table of models. `[{name}.MODEL]` with `set = [...]` was expected. Correct it."
        )
    return {m: tuple(_as_list(path, f"{name}.{m[:60]}", v["set"], (str,))) for m, v in values.items()}


def _of_budgets(path: Path, values: Any) -> dict[str, OfBudget]:
    """What a file says of single label budgets. Raises ConfigError."""
    tables = values.values() if isinstance(values, dict) else [None]
    if any(not isinstance(table, dict) or set(table) - {"set", "draws", "settings"} for table in tables):
        raise ConfigError(
            f"{path}: [budgets] is not a table of label budgets. `[budgets.1000]` with `set = [...]`, `draws = 1`, "
            f"`[budgets.1000.settings.MODEL]` or several of these was expected. Correct it."
        )
    found = {}
    for labels, table in values.items():
        name = f"budgets.{labels[:60]}"
        found[labels] = OfBudget(
            repetitions("draws", table["draws"]) if "draws" in table else None,
            tuple(_as_list(path, name, table["set"], (str,))) if "set" in table else (),
            _of_models(path, f"{name}.settings", table.get("settings", {})),
        )
    return found


def _as_list(path: Path, name: str, value: Any, types: tuple[type, ...]) -> list[Any]:
    """The values of a list, or of a single one. Raises ConfigError for values of other types."""
    values = value if isinstance(value, list) else [value]
    if not values or any(type(v) not in types for v in values):
        expected = "[100, 1000]" if int in types else '["polarmae", "gnn"]' if name == "models" else '["optim.lr=1e-3"]'
        raise ConfigError(
            f"{path}: {name} = {_short(value)} is not possible. A list such as {expected} was expected. Correct it."
        )
    _check_texts(path, name, [v for v in values if isinstance(v, str)])
    return values


def _check_texts(path: Path, name: str, texts: list[Any]) -> None:
    """Raises ConfigError for what is no text, and for a file of code."""
    for text in texts:
        if not isinstance(text, str):
            raise ConfigError(f"{path}: {name} = {_short(text)} is not a text. A name was expected. Put it in quotes.")
        if name in ("models", "dataset") and any(part.endswith(".py") for part in re.split("[+:]", text)):
            raise ConfigError(
                f"{path}: {name} names the file {_short(text)}. A name of the registry was expected, because such a "
                f"file runs no code of its own. Type the path on the command line: --{name} {_short(text)}."
            )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def repetitions(name: str, value: Any) -> tuple[int, ...]:
    """0, 1, 2 for `3` or "3"; the values of a list or of "0,2". Raises ConfigError."""
    parts = value if isinstance(value, list) else [p for p in str(value).split(",") if p.strip()]
    try:
        if any(isinstance(p, bool | float) for p in (value, *parts)):
            raise ValueError("no whole number")
        numbers = [int(p) for p in parts]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) == 1 and not isinstance(value, list) and "," not in str(value):
        numbers = list(range(min(numbers[0], MAX_REPETITIONS + 1)))
    if not numbers or not 0 <= min(numbers) <= max(numbers) < _LARGEST or len(set(numbers)) != len(numbers):
        raise ConfigError(
            f"--{name} {_short(value)} is not possible. How many (3), or which (0,1,2), was expected. Type for example "
            f"--{name} 3."
        )
    if len(numbers) > MAX_REPETITIONS:
        raise ConfigError(
            f"--{name} {_short(value)} is more than a sweep runs. At most {MAX_REPETITIONS:,} were expected. Type for "
            f"example --{name} 3."
        )
    return tuple(numbers)


def as_sweep(fields: Mapping[str, Any]) -> Sweep:
    """The sweep with these fields. Raises ConfigError without models."""
    if not fields.get("models"):
        raise ConfigError(
            "The sweep names no models. A list of them was expected. Type for example --models polarmae,gnn,majority."
        )
    return Sweep(**fields)
