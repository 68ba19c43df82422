"""Memory that runs out, of a GPU or of the machine, told with the batch size to try."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from benchmark.errors import BenchmarkError

_OF_TORCH = ("out of memory", "can't allocate memory", "not enough memory")  # RuntimeErrors, on GPUs and CPUs


def ran_out(error: Exception) -> bool:
    """Whether memory ran out, of a GPU or of the machine."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(text in str(error) for text in _OF_TORCH)


@contextmanager
def memory_explained(option: str, batch_size: int) -> Iterator[None]:
    """Raise BenchmarkError where memory runs out in the block.

    option: that sets the number of events at once, as typed before the number: `--set train.batch_size=`.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch's OutOfMemoryError is a RuntimeError
        if not ran_out(error):
            raise
        remedy = f"Try {option}{batch_size // 2}" if batch_size > 1 else "Choose a smaller --preset"
        raise BenchmarkError(
            f"Memory ran out with {batch_size} event{'s' if batch_size > 1 else ''} at once. Room for them was "
            f"expected. {remedy}: the result will be another one."
        ) from error
