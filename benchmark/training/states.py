"""The training states that an interrupted stage continues from."""

from __future__ import annotations

import math
import sys
from pathlib import Path

from benchmark.data.archives import check_archive
from benchmark.errors import CheckpointError
from benchmark.hardware.memory import ran_out


def last_state(folder: Path) -> Path | None:
    """The latest readable training state in a folder, or None. Damaged ones are deleted and reported."""
    for path in reversed(states_in(folder)):
        problem = _damage(path)
        if problem is None:
            return path
        print(f"{path} is damaged ({problem}): training goes on from an earlier state", file=sys.stderr)
        _remove(path)
    return None


def _damage(path: Path) -> str | None:
    """What is wrong with a training state, or None. Raises CheckpointError where the system cannot read it."""
    import torch

    try:
        check_archive(path)
    except ValueError as error:
        return str(error)
    except OSError as error:
        raise CheckpointError(
            f"The training state {path} cannot be read: {error.strerror or 'the system refuses it'}. A readable file "
            f"was expected. Correct its permissions, or type --no-resume to train from the beginning."
        ) from error
    try:
        torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        if ran_out(error):
            raise CheckpointError(
                f"Memory ran out while the training state {path} was read. Room for its {path.stat().st_size:,} bytes "
                f"was expected. Repeat the command when memory is free; the state is kept."
            ) from error
        return f"its content cannot be decoded: {type(error).__name__}"
    return None


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
