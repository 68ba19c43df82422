"""Pieces of a simulation: a few dozen consecutive events of one split, the unit of work and of resuming."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from benchmark.data.archives import check_sizes
from benchmark.errors import ConfigError
from benchmark.io import atomic_path
from benchmark.seeding import generator, seed_from

from .generator import generate
from .images import Image, make_image
from .plan import Plan, SimulationSettings
from .truth import DEPOSIT_DTYPE, PARTICLE_DTYPE, PRIMARY_DTYPE, EventTruth

SHARD_EVENTS = 25
_MAX_ATTEMPTS = 1000
# type and width of the columns of an Image
_KINDS = [(np.dtype(np.float32), (8,)), (np.dtype(np.int64), (6,)), (np.dtype(np.float32), (5,))]


class Shard(NamedTuple):
    """Events first..first + n_events - 1 of a split."""

    split: str
    first: int
    n_events: int

    def path(self, work: Path) -> Path:
        """Path of its events until the file of the split is written."""
        return work / f"{self.split}-{self.first:08d}.npz"


def compile_transport() -> None:
    """Compile the transport, or load it from numba's cache."""
    from .transport import simulate_event

    simulate_event(_one_proton(), 1)


def compile_images() -> None:
    """Compile voxels and labels, or load them from numba's cache."""
    proton = _one_proton()
    particles = np.zeros(1, PARTICLE_DTYPE)
    for name in proton.dtype.names or ():
        particles[name] = proton[name]
    particles["parent"] = -1
    make_image(EventTruth(particles, np.zeros(1, DEPOSIT_DTYPE)))


def _one_proton() -> npt.NDArray[np.void]:
    primary = np.zeros(1, PRIMARY_DTYPE)
    primary["pdg"], primary["px"] = 2212, 100.0
    return primary


def shards_of(plan: Plan) -> list[Shard]:
    """All pieces of a plan, in order."""
    return [
        Shard(split, first, min(SHARD_EVENTS, n_events - first))
        for split, n_events in plan.events.items()
        for first in range(0, n_events, SHARD_EVENTS)
    ]


def simulate_image(settings: SimulationSettings, seed: int, split: str, event: int) -> Image:
    """Event number `event` of a split: a function of its arguments alone.

    An event without voxels in the box is drawn again: PILArNet-M has no empty events.
    """
    from .transport import simulate_event  # compiles on first use

    for attempt in range(_MAX_ATTEMPTS):
        names = ("lartpc-sim", seed, split, event, attempt)
        primaries = generate(settings.generator, generator(*names, "primaries"))
        if len(primaries):
            image = make_image(simulate_event(primaries, seed_from(*names, "transport")), settings.images)
            if len(image.point):
                return image
    raise ConfigError(
        f"{_MAX_ATTEMPTS} simulated events in a row left no voxel in the detector. Settings with visible particles "
        f"were expected. Raise the generator's energies or multiplicities."
    )


def make_shard(plan: Plan, shard: Shard, work: Path) -> int:
    """Simulate a shard and store it atomically. Returns the number of its events."""
    images = [
        simulate_image(plan.settings, plan.seed, shard.split, k)
        for k in range(shard.first, shard.first + shard.n_events)
    ]
    columns = {name: np.concatenate([getattr(i, name) for i in images]) for name in Image._fields}
    counts = np.array([[len(i.point), len(i.cluster)] for i in images])
    with atomic_path(shard.path(work)) as partial, partial.open("wb") as stream:
        np.savez(stream, counts=counts, **columns)
    return shard.n_events


def read_shard(shard: Shard, work: Path) -> Iterator[Image]:
    """The stored events of a shard."""
    with np.load(shard.path(work), allow_pickle=False) as data:
        counts = np.concatenate([np.zeros((1, 2), dtype=np.int64), np.cumsum(data["counts"], axis=0)])
        point, cluster, extra = data["point"], data["cluster"], data["cluster_extra"]
    for (p0, c0), (p1, c1) in pairwise(counts):
        yield Image(point[p0:p1], cluster[c0:c1], extra[c0:c1])


def is_finished(shard: Shard, work: Path) -> bool:
    """Is the complete shard stored?"""
    path = shard.path(work)
    try:
        if not path.is_file():
            return False
        check_sizes(path)
        with np.load(path, allow_pickle=False) as data:
            counts, *columns = (data[name] for name in ("counts", *Image._fields))
        if counts.shape != (shard.n_events, 2) or counts.dtype.kind != "i" or counts.min() < 0:
            return False
        lengths, kinds = [len(column) for column in columns], [(c.dtype, c.shape[1:]) for c in columns]
        return kinds == _KINDS and lengths == [*counts.sum(axis=0), counts[:, 1].sum()]
    except Exception:  # damaged archives raise any type of error
        return False
