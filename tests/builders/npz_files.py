"""A small folder for the dataset that CONTRIBUTING shows."""

from pathlib import Path

import numpy as np

from builders.pilarnet_files import make_events


def write_folder(root: Path, sizes: dict[str, int]) -> Path:
    """Events with every semantic class, a .npz file each."""
    rng = np.random.default_rng(7)
    for split, n_events in sizes.items():
        (root / split).mkdir(parents=True)
        for k, event in enumerate(make_events(rng, n_events)):
            semantic = np.repeat(event.cluster[:, 4], event.cluster[:, 0])
            np.savez(
                root / split / f"{k:03}.npz", coords=event.point[:, :3], energy=event.point[:, 4], semantic=semantic
            )
    return root
