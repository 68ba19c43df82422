"""Small tiles of light-sheet volumes built by hand: noise and a beaded line, for the two tasks on volumes.

Not a simulation. Each tile is drawn from a stream of its own, so that `sample(task, 1)` is the second of `make_batch`.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.ndimage import gaussian_filter

from benchmark.contracts import Event, Frame, Inputs, PointBatch, Task, concatenate
from benchmark.data.volumes import VolumePreprocess
from benchmark.seeding import generator
from benchmark.tasks import TASKS

LIF_TASKS = tuple(t for t in TASKS.values() if t.detector == "lif")
SHAPE = (5, 40, 40)


def frame_of(shape: tuple[int, int, int] = SHAPE) -> Frame:
    """Of tiles of this shape."""
    z, y, x = shape
    half = np.linalg.norm([x - 1, y - 1, z - 1]) / 2
    return Frame(((x - 1) / 2, (y - 1) / 2, (z - 1) / 2), 1 / half, (x, y, z), "voxel of 0.425 x 0.425 x 7 um")


def inputs_of(task: Task) -> Inputs:
    """What a model of the task is told of such tiles."""
    return Inputs(VolumePreprocess().columns, frame_of())


def make_event(name: str, shape: tuple[int, int, int] = SHAPE) -> Event:
    """A tile with one track."""
    rng = generator("lif_batches", name)
    noise = gaussian_filter(rng.normal(size=shape), (1, 1.5, 1.5))
    signal = np.zeros(shape)
    start, angle = rng.uniform(0.25, 0.75, 3) * shape, rng.uniform(0, 2 * np.pi)
    for step in np.arange(-8, 8, 0.5):
        place = start + np.array([0.1, np.sin(angle), np.cos(angle)]) * step
        z, y, x = np.clip(np.rint(place), 0, np.array(shape) - 1).astype(int)
        signal[z, y, x] += rng.lognormal(0, 0.5)
    signal = gaussian_filter(signal, (1, 1.5, 1.5))
    volume = noise / noise.std() + 12 * signal / signal.max()
    track = (signal > 0.2 * signal.max()).astype(np.int64)
    none = np.zeros((0, 3), np.float32), np.zeros(0, np.float32)
    return Event(name, *none, {"track": track, "instance": track}, volume=volume.astype(np.float32))


def sample(task: Task, number: int = 0, stream: str = "a", shape=SHAPE, **settings) -> PointBatch:
    """One tile, a batch of its own. settings: of the preprocessing."""
    event = make_event(f"{stream}{number}", shape)
    return VolumePreprocess(**settings).apply(event, task, frame_of(shape))


def make_batch(task: Task, n: int = 3, stream: str = "a", **settings) -> PointBatch:
    """Tiles of the same shape."""
    return concatenate([sample(task, i, stream, **settings) for i in range(n)])


def permuted(batch: PointBatch, order: np.ndarray) -> PointBatch:
    """The same points in another order, which must keep the points of a tile together; volumes stay."""
    names = ("coords", "energy", "feats", "target", "instance")
    arrays = {n: getattr(batch, n)[order] for n in names if getattr(batch, n) is not None}
    volumes = dataclasses.replace(batch.volumes, voxel=batch.volumes.voxel[order])
    return dataclasses.replace(batch, **arrays, volumes=volumes)
