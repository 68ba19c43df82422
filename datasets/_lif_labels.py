"""Labels of a scan: a stack with the number of the track that each voxel belongs to, 0 for none.

A number that lies in many separate places is no track: masks (0 and 255) and numbers that begin anew in each slice look
like this, and all their voxels would count as one object. A track that others cross, or that fades, lies in few pieces:
of 989 objects simulated at 1, 4 and 17 times the default density, 858 lie in one, 94 in two and 37 in three.
"""

from __future__ import annotations

import numpy as np
from scipy.ndimage import find_objects, label

from benchmark.errors import DataError

from ._lif_stack import Stack

MOST_PIECES = 4  # of a track
LEAST_PIECE = 20  # voxels of a piece that counts; of small tracks, a tenth of the largest piece
MASK_VALUES = (255, 65_535)  # white of 8 and 16 bits
TOUCHING = np.ones((3, 3, 3))  # voxels that share a corner are connected
_REMEDY = (
    "Number the tracks: in Python, `numbers, n = scipy.ndimage.label(labels > 0, numpy.ones((3, 3, 3)))`, and save "
    "`numbers`."
)


def read_labels(labels: Stack, scan: str) -> np.ndarray:
    """(Z, Y, X) uint16 numbers of tracks. Raises DataError for what cannot be numbers of tracks."""
    numbers = labels[0 : labels.shape[0]]
    if numbers.dtype.kind == "f" and not (np.isfinite(numbers).all() and (numbers == np.rint(numbers)).all()):
        raise DataError(
            f"Scan {scan}: its labels are no whole numbers. Numbers of tracks, 0 for none, were expected. Correct the "
            f"file."
        )
    if numbers.min() < 0 or numbers.max() > np.iinfo(np.uint16).max:
        raise DataError(
            f"Scan {scan}: its labels run from {numbers.min()} to {numbers.max()}. Numbers from 0 to 65,535 were "
            f"expected. Correct the file."
        )
    numbers = numbers.astype(np.uint16)
    _check_one_track_each(numbers, scan)
    return numbers


def _check_one_track_each(numbers: np.ndarray, scan: str) -> None:
    """Raises DataError for a number in more places than a track can have."""
    boxes = {number: box for number, box in enumerate(find_objects(numbers), start=1) if box is not None}
    for number, box in boxes.items():
        n_pieces = count_pieces(numbers[box] == number)
        is_mask = list(boxes) == [number] and number in MASK_VALUES and n_pieces > 1
        if n_pieces > MOST_PIECES or is_mask:
            raise DataError(
                f"Scan {scan}: its labels give the number {number} to {n_pieces} separate pieces, as masks do. A "
                f"number of its own for each track was expected. {_REMEDY}"
            )


def count_pieces(track: np.ndarray) -> int:
    """Connected pieces of a track (Z, Y, X) that are not mere specks."""
    pieces, _ = label(track, structure=TOUCHING)
    sizes = np.bincount(pieces.ravel())[1:]
    return int((sizes >= min(LEAST_PIECE, max(1, sizes.max() // 10))).sum())
