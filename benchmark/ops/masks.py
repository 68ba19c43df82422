"""Which tokens of a volume are hidden: uniformly at random, or the same number in every block of tokens."""

from __future__ import annotations

from itertools import product

import numpy as np

MASKS = ("random", "stratified")
BLOCK = 5  # tokens along an axis of a block of `stratified`


def hidden_tokens(noise: np.ndarray, ratio: float, kind: str = "random") -> np.ndarray:
    """(B, Tz, Ty, Tx) bool from uniform noise of that shape: in each volume the tokens with the smallest noise.

    random: the share `ratio` of a volume's tokens, rounded; stratified: of each block of 5 x 5 x 5 of them, cut
    at the grid's edge (of 5 x 5 tokens at a ratio of 40%: 10). Each volume has its own. Raises ValueError.
    """
    if kind not in MASKS:
        raise ValueError(f"mask={kind!r} is not known. One of {', '.join(MASKS)} was expected.")
    hidden = np.zeros(noise.shape, bool)
    grid = noise.shape[1:]
    step = max(grid) if kind == "random" else BLOCK
    for corner in product(*(range(0, n, step) for n in grid)):
        block = (slice(None), *(slice(c, c + step) for c in corner))
        part = noise[block]
        flat = part.reshape(len(part), -1)
        rank = flat.argsort(axis=1, kind="stable").argsort(axis=1, kind="stable")
        hidden[block] = (rank < round(ratio * flat.shape[1])).reshape(part.shape)
    return hidden
