"""Statistics of a file of events beside those of PILArNet-M.

`python -m benchmark.datasets.larsim.statistics FILE.h5` prints the comparison; any file of the schema works, so real
events can be measured by the same code. The published numbers carry their source.
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from benchmark.compiled import njit
from benchmark.datasets._pilarnet_pack import pack_of, schemas
from benchmark.errors import DataError
from benchmark.ops.cnms import suppress
from benchmark.ops.neighbours import ball_query

CLASSES = ("shower", "track", "Michel", "delta", "low-energy")
ENERGY_CUT_MEV = 0.13  # PoLAr-MAE and Panda keep voxels above this
GROUP_RADIUS = 5.0  # voxels, PoLAr-MAE
OVERLAP = 0.73  # PoLAr-MAE's overlap factor
OVERLAPS = (0.5, 0.6, 0.65, 0.7, 0.73, 0.76, 0.8, 0.85, 0.9, 1.0)
_STRIDE = 770


@dataclass(frozen=True)
class Published:
    """A number of PILArNet-M and the allowed factor of a simulation."""

    value: float
    factor: float  # measured / published must lie within 1/factor .. factor
    source: str


_SUMS = "voxel counts per class over 1,210,080 events, PoLAr-MAE's datasets/PILArNet.py"
_REAL = "two published test events, voxels above 0.13 MeV"
PUBLISHED = {
    "voxels per event": Published(4327.3, 1.25, _SUMS),
    "shower fraction": Published(0.36794, 1.3, _SUMS),
    "track fraction": Published(0.38925, 1.3, _SUMS),
    "Michel fraction": Published(0.00651, 1.3, _SUMS),
    "delta fraction": Published(0.01757, 1.3, _SUMS),
    "low-energy fraction": Published(0.21873, 1.3, _SUMS),
    "particles per event": Published(23.35, 1.3, "28,251,859 particles in 1,210,080 events, PoLAr-MAE paper"),
    "voxels per event above 0.13 MeV": Published(3374.0, 1.25, "samples of 1,000 v2 test events: 3,425 and 3,323"),
    "low-energy fraction above 0.13 MeV": Published(0.0573, 2.0, _REAL + ": 0.029 and 0.081"),
    "median MeV per voxel, track": Published(0.525, 1.15, _REAL),
    "median MeV per voxel, shower": Published(0.51, 1.15, _REAL),
    "median MeV per voxel, low-energy": Published(0.29, 1.3, _REAL),
    "muon voxels per cm": Published(4.01, 1.1, _REAL + ": 4.15 and 3.88; depends on the direction"),
    "neighbours of a muon voxel": Published(2.90, 1.35, _REAL + ": 3.22 and 2.59; depends on the direction"),
    "neighbours of a shower voxel": Published(6.8, 1.6, _REAL + ", nearly all of one dense 334 MeV shower"),
    "neighbours of a low-energy voxel": Published(1.2, 1.6, _REAL),
    "C-NMS groups per event": Published(200.0, 1.5, "masked tokens per batch of 32 in PoLAr-MAE's logs"),
    "balanced overlap factor": Published(0.73, 1.05, "PoLAr-MAE's choice; see `balanced_overlap`"),
}


@dataclass
class Statistics:
    """Measured quantities; lists hold one entry per event unless the comment says otherwise."""

    voxels: list[npt.NDArray[np.int64]] = field(default_factory=list)  # (5,) per class, all voxels
    above: list[npt.NDArray[np.int64]] = field(default_factory=list)  # (5,) per class, above ENERGY_CUT_MEV
    clusters: list[int] = field(default_factory=list)  # rows but the low-energy one
    groups: list[int] = field(default_factory=list)  # distinct group ids
    interactions: list[int] = field(default_factory=list)
    energy: list[list[npt.NDArray[np.float32]]] = field(default_factory=lambda: [[] for _ in CLASSES])  # per class
    neighbours: list[npt.NDArray[np.float64]] = field(default_factory=list)  # (5, 2) per class: sum, voxels
    muons: list[tuple[float, float, float]] = field(default_factory=list)  # per muon: voxels/cm, MeV/cm, neighbours
    cnms_groups: list[int] = field(default_factory=list)
    points_per_group: list[npt.NDArray[np.int64]] = field(default_factory=list)
    overlap: list[npt.NDArray[np.float64]] = field(default_factory=list)  # (len(OVERLAPS), 2): missed, repeated
    michel_voxels: list[int] = field(default_factory=list)  # per Michel cluster

    def numbers(self) -> dict[str, float]:
        """The numbers in `PUBLISHED`."""
        voxels, above = np.sum(self.voxels, axis=0), np.sum(self.above, axis=0)
        n, total = len(self.voxels), max(int(voxels.sum()), 1)
        near = np.sum(self.neighbours, axis=0)
        median = [float(np.median(np.concatenate(e))) if e else np.nan for e in self.energy]
        muons = np.array(self.muons).reshape(-1, 3)
        result = {
            "voxels per event": total / n,
            **{f"{name} fraction": voxels[i] / total for i, name in enumerate(CLASSES)},
            "particles per event": float(np.mean(self.clusters)),
            "voxels per event above 0.13 MeV": above.sum() / n,
            "low-energy fraction above 0.13 MeV": above[4] / max(above.sum(), 1),
            "median MeV per voxel, track": median[1],
            "median MeV per voxel, shower": median[0],
            "median MeV per voxel, low-energy": median[4],
            "muon voxels per cm": float(np.median(muons[:, 0])) if len(muons) else np.nan,
            "neighbours of a muon voxel": float(np.median(muons[:, 2])) if len(muons) else np.nan,
            "neighbours of a shower voxel": near[0, 0] / max(near[0, 1], 1),
            "neighbours of a low-energy voxel": near[4, 0] / max(near[4, 1], 1),
            "C-NMS groups per event": float(np.mean(self.cnms_groups)) if self.cnms_groups else np.nan,
            "balanced overlap factor": self.balanced_overlap(),
        }
        return {name: float(value) for name, value in result.items()}

    def balanced_overlap(self) -> float:
        """The overlap factor at which as many points are in no group as in several, between those of `OVERLAPS`."""
        if not self.overlap:
            return float("nan")
        missed, repeated = np.mean(self.overlap, axis=0).T
        return float(np.interp(0.0, missed - repeated, OVERLAPS))


def measure(path: Path, max_events: int | None = None, grouping: bool = True) -> Statistics:
    """Statistics of the first `max_events` events of an HDF5 file of the schema v2. grouping: also C-NMS (slower).

    Raises DataError for a file that is missing, damaged or of another schema.
    """
    if not path.is_file():
        raise DataError(f"There is no file {path}. A PILArNet v2 file was expected. Check the path.")
    result = Statistics()
    with tempfile.TemporaryDirectory() as folder:  # read by a process with limits, as every file of a stranger
        pack = pack_of(path, path.name, schemas([path], "v2")[path], Path(folder))
        for k in range(min(pack.n_events, max_events or pack.n_events)):
            begin, end = pack.offsets[k : k + 2]
            point = np.column_stack([pack.coords[begin:end], pack.energy[begin:end]])  # (n, 4): x, y, z, MeV
            _add_event(result, point, pack.clusters[pack.rows[k] : pack.rows[k + 1]], grouping)
    return result


def _add_event(s: Statistics, point: npt.NDArray[np.float32], cluster: npt.NDArray[np.int64], grouping: bool) -> None:
    semantic = np.repeat(cluster[:, 4], cluster[:, 0])
    above = point[:, 3] > ENERGY_CUT_MEV
    s.voxels.append(np.bincount(semantic, minlength=5))
    s.above.append(np.bincount(semantic[above], minlength=5))
    particles = cluster[cluster[:, 4] != 4]
    s.clusters.append(len(particles))
    s.groups.append(len(np.unique(particles[:, 2])))
    s.interactions.append(len(np.unique(particles[:, 3])))
    s.michel_voxels += particles[particles[:, 4] == 2, 0].tolist()
    for c in range(5):
        s.energy[c].append(point[above & (semantic == c), 3])
    near = np.zeros(len(point), dtype=np.int64)
    near[above] = count_neighbours(point[above, :3].astype(np.int64))
    s.neighbours.append(
        np.array(
            [[near[above & (semantic == c)].sum(), (above & (semantic == c)).sum()] for c in range(5)], dtype=float
        )
    )
    _add_muons(s, point, cluster, near)
    if grouping:
        _add_grouping(s, point[above & (semantic != 4), :3])


def _add_muons(
    s: Statistics, point: npt.NDArray[np.float32], cluster: npt.NDArray[np.int64], near: npt.NDArray[np.int64]
) -> None:
    """Long straight muons: their length is that along the principal axis."""
    edges = np.concatenate([[0], np.cumsum(cluster[:, 0])])
    for row in np.flatnonzero((cluster[:, 4] == 1) & (cluster[:, 5] == 2) & (cluster[:, 0] > 200)):
        part = slice(edges[row], edges[row + 1])
        above = point[part, 3] > ENERGY_CUT_MEV
        xyz = point[part, :3][above].astype(np.float64)
        centred = xyz - xyz.mean(axis=0)
        _, _, axes = np.linalg.svd(centred, full_matrices=False)
        along, across = centred @ axes[0], centred @ axes[1]
        length_cm = float(np.ptp(along)) * 0.3
        if length_cm > 50 and float(across.std()) < 3:
            energy = float(point[part, 3].sum())
            s.muons.append((len(xyz) / length_cm, energy / length_cm, float(near[part][above].mean())))


def _add_grouping(s: Statistics, coords: npt.NDArray[np.float32]) -> None:
    """C-NMS with every point a candidate, as PoLAr-MAE tokenises."""
    if not len(coords):
        return
    costs = []
    for factor in OVERLAPS:
        centres, _ = suppress(coords, GROUP_RADIUS, factor)
        balls = ball_query(coords[centres], coords, GROUP_RADIUS)
        times = np.bincount(balls.indices, minlength=len(coords))
        costs.append((np.mean(times == 0), np.mean(times > 1)))
        if factor == OVERLAP:
            s.cnms_groups.append(len(centres))
            s.points_per_group.append(np.diff(balls.offsets))
    s.overlap.append(np.array(costs))


@njit(cache=True)
def _neighbour_counts(keys, steps):
    near = np.zeros(len(keys), np.int64)
    for step in steps:
        b = 0
        for a in range(len(keys)):
            while b < len(keys) and keys[b] < keys[a] + step:
                b += 1
            if b < len(keys) and keys[b] == keys[a] + step:
                near[a] += 1
                near[b] += 1
    return near


def count_neighbours(voxels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(N,) occupied ones among the 26 neighbours of each of (N, 3) distinct voxels."""
    keys = ((voxels[:, 0] + 1) * _STRIDE + voxels[:, 1] + 1) * _STRIDE + voxels[:, 2] + 1
    order = np.argsort(keys)
    offsets = [(x, y, z) for x in (-1, 0, 1) for y in (-1, 0, 1) for z in (-1, 0, 1) if (x, y, z) > (0, 0, 0)]
    steps = np.array([(x * _STRIDE + y) * _STRIDE + z for x, y, z in offsets])
    near = np.empty(len(keys), dtype=np.int64)
    near[order] = _neighbour_counts(keys[order], steps)
    return near


def compare(numbers: dict[str, float]) -> list[tuple[str, float, Published, bool]]:
    """(name, measured, published, within the factor) of every published number."""
    rows = []
    for name, published in PUBLISHED.items():
        ratio = numbers[name] / published.value
        rows.append((name, numbers[name], published, bool(1 / published.factor <= ratio <= published.factor)))
    return rows


def table(statistics: Statistics) -> str:
    """The comparison as a Markdown table."""
    lines = ["| | simulated | PILArNet-M | ratio | allowed | |", "|---|---|---|---|---|---|"]
    for name, value, published, good in compare(statistics.numbers()):
        ratio = f"{value / published.value:.2f}"
        verdict = "yes" if good else "**no**"
        lines.append(f"| {name} | {value:.4g} | {published.value:.4g} | {ratio} | x{published.factor:g} | {verdict} |")
    lines.append(f"\n{len(statistics.voxels)} simulated events.")
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Print the comparison of one file."""
    if len(arguments) != 1:
        print("Type `python -m benchmark.datasets.larsim.statistics FILE.h5`.", file=sys.stderr)
        return 2
    print(table(measure(Path(arguments[0]))))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
