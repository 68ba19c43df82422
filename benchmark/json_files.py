"""Reads JSON and TOML files that others may have written: of bounded size and depth, without NaN in JSON."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pydantic_core import from_json

MAX_BYTES = 1 << 26  # of a file: the largest record known is below 1 MB
MOST_COMMAS = 4_000_000  # an empty list between two takes 64 bytes of memory; packed counts of events have none


def read_json(path: Path) -> Any:
    """The value in a file. Raises OSError, and ValueError for what is not plain JSON of at most 200 levels."""
    if path.exists() and not path.is_file():
        raise ValueError("it is no regular file")
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES >> 20} MB")
    content = path.read_bytes()
    if content.count(b",") > MOST_COMMAS:
        raise ValueError(f"it holds more than {MOST_COMMAS:,} values")
    return from_json(content, allow_inf_nan=False)


def read_toml(path: Path, max_bytes: int) -> dict[str, Any]:
    """The values of a TOML file. Raises OSError, or ValueError for one that is too large, too deep, or no TOML."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    if path.stat().st_size > max_bytes:
        size = f"{max_bytes >> 20} MB" if max_bytes >= 1 << 20 else f"{max_bytes >> 10} kB"
        raise ValueError(f"more than {size}")
    try:
        values: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except RecursionError as error:
        raise ValueError(str(error)) from error
    return values
