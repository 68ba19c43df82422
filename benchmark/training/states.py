"""The training states that an interrupted stage continues from."""

from __future__ import annotations

import math
import sys
import zipfile
from pathlib import Path

from benchmark.errors import CheckpointError


def last_state(folder: Path) -> Path | None:
    """The latest readable training state in a folder, or None. Damaged ones are deleted and reported."""
    import torch

    for path in reversed(states_in(folder)):
        try:
            _check_sums(path)
            torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # of many kinds: EOFError, RuntimeError, UnpicklingError, KeyError ...
            print(
                f"{path} is damaged ({type(error).__name__}): training goes on from an earlier state", file=sys.stderr
            )
            _remove(path)
        else:
            return path
    return None


def _check_sums(path: Path) -> None:
    """Raises ValueError where a part of the archive does not have its checksum, which torch does not compare."""
    if not path.is_file():
        raise ValueError(f"{path} is no file")
    with zipfile.ZipFile(path) as archive:
        broken = archive.testzip()
    if broken is not None:
        raise ValueError(f"{broken} does not have its checksum")


def delete_checkpoints(folder: Path, before: float = math.inf) -> None:
    """Delete the training states of a folder that were written before a time (s since 1970)."""
    for path in states_in(folder):
        if path.stat().st_mtime <= before:
            _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir():
        raise CheckpointError(f"{path} is a folder. A training state was expected. Delete it, then repeat the command.")
    path.unlink(missing_ok=True)


def states_in(folder: Path) -> list[Path]:
    """The training states of a folder, by step."""
    return sorted(folder.glob("step=*.ckpt"), key=step_of)


def step_of(state: Path) -> int:
    """Steps done in a state. Raises CheckpointError for a name of another form."""
    try:
        return int(state.stem.removeprefix("step="))
    except ValueError as error:
        raise CheckpointError(
            f"{state} is not one of the suite's training states. `step=<number>.ckpt` was expected. Delete it."
        ) from error
