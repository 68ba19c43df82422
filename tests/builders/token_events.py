"""Events and inputs that small token models take."""

import numpy as np

from benchmark.contracts import Frame, Inputs, PointBatch

FRAME = Frame((384.0,) * 3, 1 / (384 * 3**0.5), (768.0,) * 3, "voxel of 3 mm")

INPUTS = Inputs(("log_energy",), FRAME)


def event(seed: int, n_points: int = 250) -> PointBatch:
    """Two straight tracks and a cloud on the voxel grid; the class is which of them."""
    rng = np.random.default_rng(seed)
    start, along = rng.uniform(200, 500, (2, 1, 3)), rng.normal(size=(2, 1, 3))
    along /= np.linalg.norm(along, axis=-1, keepdims=True)
    lines = start + along * np.linspace(0, 120, n_points // 3)[None, :, None]
    cloud = rng.normal(rng.uniform(250, 450, 3), 8, (n_points - 2 * (n_points // 3), 3))
    coords = np.rint(np.concatenate([*lines, cloud])).astype(np.float32)
    target = np.repeat([1, 1, 0], [n_points // 3, n_points // 3, len(cloud)])
    energy = rng.exponential(0.5 + target, len(coords)).astype(np.float32)
    return PointBatch(
        coords=coords,
        energy=energy,
        feats=np.log10(energy + 0.13)[:, None].astype(np.float32),
        offsets=np.array([0, len(coords)]),
        event_ids=(f"event:{seed}",),
        columns=INPUTS.columns,
        frame=FRAME,
        target=target,
    )
