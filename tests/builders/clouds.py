"""Random and lattice clouds of points."""

import numpy as np


def cloud(kind: str, n: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if kind == "lattice":  # many exact ties, and coincident points
        return rng.integers(0, 12, (n, 3)).astype(np.float32)
    if kind == "line":
        along = np.linspace(0, 700, n)[:, None] * np.array([0.6, 0.64, 0.48])
        return (along + rng.normal(0, 0.8, (n, 3))).astype(np.float32)
    far = rng.uniform(-1e4, 1e4, (n, 3))
    far[: n // 2] = rng.normal(0, 3, (n // 2, 3))  # one dense clump and lonely points far away
    return far.astype(np.float32)


KINDS = ["lattice", "line", "clump"]
