"""What is read back: valid files, how the suite reads them, and how they can be damaged."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

Change = Callable[[Path, np.random.Generator], None]  # damages the file at a path


@dataclass(frozen=True)
class Reader:
    """One kind of file."""

    name: str
    make: Callable[[Path], object]  # writes valid files into an empty folder
    targets: str  # glob of the files that are damaged
    read: Callable[[Path], Any]  # reads the folder as the suite does; returns plain values, or raises BenchmarkError
    changes: Mapping[str, Change] = field(default_factory=dict)  # by kind: made with the format's own library
    only_own: bool = False  # no other damage: the target is a folder
    is_text: bool = False
    is_sealed: bool = False  # the suite keeps a checksum, so that other values are never accepted

    def __post_init__(self) -> None:
        if not self.name.replace("-", "").isalnum():
            raise ValueError(f"{self.name!r} is no name of a folder")


def digest(value: Any) -> str:
    """SHA-256 over nested plain values, arrays and tensors."""
    found = hashlib.sha256()
    _add(found, value)
    return found.hexdigest()


def _add(found: Any, value: Any) -> None:
    if hasattr(value, "detach"):
        value = value.detach().numpy()
    if dataclasses.is_dataclass(value):
        value = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
    if isinstance(value, np.ndarray) and value.dtype.kind != "O":
        found.update(f"{value.dtype}{value.shape}".encode() + np.ascontiguousarray(value).tobytes())
    elif isinstance(value, Mapping):
        for name in sorted(value, key=str):
            found.update(f"\x1f{name}=".encode())
            _add(found, value[name])
    elif isinstance(value, str | int | float | bool | bytes | None | np.generic):
        found.update(f"{type(value).__name__}{value!r}".encode())
    elif isinstance(value, Sequence | np.ndarray):
        found.update(f"[{len(value)}".encode())
        for item in value:
            _add(found, item)
    else:
        raise TypeError(f"a {type(value).__name__} cannot be compared")
