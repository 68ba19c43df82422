"""Folders and paths: the checkout, the cache of what can be made again, and how paths and commands are written."""

from __future__ import annotations

import importlib
import os
import shlex
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from benchmark.errors import ConfigError

PROGRAM = ("python", "-m", "benchmark")  # what a user types, in a checkout and beside a wheel
CACHE_VARIABLE = "PARTICLEBENCH_CACHE"


def checkout() -> Path:
    """The root of the checkout that this code runs from; for an installed wheel, site-packages."""
    return Path(__file__).resolve().parent.parent


def leaderboards() -> Path:
    """The folder of published numbers and sweeps, of a checkout or of a wheel; a checkout has records there too."""
    return Path(next(iter(importlib.import_module("benchmark.leaderboards").__path__)))


def cache_dir() -> Path:
    """The cache folder: $PARTICLEBENCH_CACHE, else `particlebench` in $XDG_CACHE_HOME or ~/.cache. Not created here.

    Raises ConfigError where none of them is known, as for a user of a container without an entry and without $HOME.
    """
    chosen = os.environ.get(CACHE_VARIABLE, "").strip()
    if chosen:
        return _without_tilde(chosen)
    caches = os.environ.get("XDG_CACHE_HOME", "").strip()
    # a relative path is to be ignored (XDG Base Directory Specification)
    parent = Path(caches) if os.path.isabs(caches) else _without_tilde("~/.cache")
    return parent / "particlebench"


def _without_tilde(path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise ConfigError(
            f"There is no home folder for {path}: this user (id {os.getuid()}) has no entry and $HOME is not set. A "
            f"folder for the cache was expected. Type `export {CACHE_VARIABLE}=/path/of/a/folder` first."
        ) from error


def stays_inside(name: str) -> bool:
    """Whether a relative path that a file gives, with slashes, leads to a place in its own folder, by plain letters."""
    relative = PurePosixPath(name)
    return not relative.is_absolute() and ".." not in relative.parts and name.isprintable() and bool(name)


def shown_path(text: str) -> str:
    """How records and commands write a path: below the current folder from there, below the home folder with `~`.

    So a record tells no user's name and no folder that it does not need. Other words, and paths elsewhere, stay.
    """
    if not os.path.isabs(text):
        return text
    home = Path(os.path.expanduser("~"))  # stays ~ where there is none
    for root, start in ((Path.cwd(), ""), (home, "~")):
        if root != Path(root.anchor) and Path(text).is_relative_to(root):
            return str(Path(start, Path(text).relative_to(root)))
    return text


def shell_text(command: Sequence[str]) -> str:
    """A command as one line for a shell, which expands a leading `~/`."""
    return " ".join(f"~/{shlex.quote(w[2:])}" if w.startswith("~/") else shlex.quote(w) for w in command)
