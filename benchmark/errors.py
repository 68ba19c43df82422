"""Errors that a user sees: one sentence each for what was wrong, what was expected, and what to type next.

The command line prints the message on one line and ends with exit code 2; `--debug` adds the traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BenchmarkError(Exception):
    """Base of all errors that the input causes, not the program. Characters that steer a terminal are written out."""

    def __init__(self, message: object = "") -> None:
        super().__init__(written_out(str(message)))


class UnknownNameError(BenchmarkError):
    """A name that is not registered."""


class MissingPackageError(BenchmarkError):
    """An optional package that is not installed."""


class ConfigError(BenchmarkError):
    """A setting outside its range, of the wrong type, or unknown."""


class DataError(BenchmarkError):
    """A file or folder that is missing, damaged, or of another format."""


class CheckpointError(BenchmarkError):
    """A checkpoint that does not belong to the model, or is damaged."""


class RecordError(BenchmarkError):
    """A record that cannot be read or written."""


def unknown_name(kind: str, name: str, valid: Iterable[str], remedy: str) -> UnknownNameError:
    """Error for a misspelt name, with the closest valid one where there is one."""
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return UnknownNameError(f"There is no {kind} {name!r}.{hint} Expected one of: {', '.join(names)}. {remedy}")


def written_out(text: str) -> str:
    """The text with control characters, line ends and the like as `\\x00`, `\\n`."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def one_line(message: object, longest: int = 200) -> str:
    """A message, or what an error of a library says, on one line; a longer one without its middle.

    Names of a damaged file can be long, and can hold characters that steer a terminal: those are written out.
    """
    shown = written_out(" ".join(str(message).split()))
    return shown if len(shown) <= longest else f"{shown[: longest // 2]} ... {shown[-longest // 2 :]}"
