"""Opens .npy files of strangers: nothing in them is executed, and nothing is allocated for what they only claim."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def open_array(path: Path) -> np.ndarray:
    """The array of a .npy file, memory-mapped, so that a header cannot claim more than the file holds.

    Raises OSError, or ValueError with the cause for a file that is anything else, Python objects included.
    """
    try:
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError):
        raise
    except Exception as error:  # numpy parses headers as Python: TokenError, SyntaxError, KeyError, RecursionError ...
        raise ValueError(f"its header is damaged ({type(error).__name__})") from error
    if not isinstance(array, np.ndarray):
        raise ValueError("it is an archive of arrays")
    if isinstance(array, np.memmap) and array.offset + array.nbytes != path.stat().st_size:
        raise ValueError("it holds more bytes than its header says")
    return array
