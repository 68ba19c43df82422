"""Particle flow as ATLAS does it: where a track went, its expected deposit is taken out of the calorimeter.

ATLAS, EPJC 77 (2017) 466 (arXiv:1703.10485), section 6. A track is matched to the closest cluster; the energy
that it is expected to leave, <E_dep> = p <E/p>, is taken from that cluster, and from those in a cone where the first
one has too little; rings of cells around the track go first where the expected density of energy is highest; what
remains goes too, if it is no more than a fluctuation of the deposit.

Cells to tracks: all tracks of the sample are treated in turn, the highest pT first. What the focus track takes of a
cell is its share; what others take is theirs; all the rest is said to be neutral. Learnt from the labelled samples,
where the publication takes simulated single pions: the mean and spread of E/p as functions of p, with E the energy
that is the focus track's within the sample (dR < 0.2; there 0.4), and the mean density of energy in the rings (there
also a function of the layer of the highest density). Tracks of any pT are treated; there up to 40 GeV.

The energy of a pion with a track: both measurements of it, the track's momentum and the calorimeter's sum, each set
right and given a resolution by the labelled samples, combined by inverse variance. That is the idea of the publication,
a track where its resolution is better, without its hard change at a pT.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.contracts import Inputs, Model, ModelSpec, PointBatch, Preset, Task
from benchmark.contracts.cells import ABSENT_GEV
from benchmark.errors import CheckpointError

from ._classical import log_probabilities, quantity, read_values, write_values
from ._particle_flow import (
    N_RINGS,
    N_SAMPLINGS,
    Cells,
    Constants,
    Table,
    Track,
    cells_of,
    learn_table,
    ring_area,
    rings,
    subtract,
    tracks_of,
)

_N_DENSITY = N_SAMPLINGS * N_RINGS
_LEAST_SPREAD = 0.05  # of E/p: no detector does better, few labelled samples may seem to
_LEAST_LOG_SPREAD = 0.002  # of log10 energies, likewise; half a percent
_LEAST_PROBABILITY = 1e-4  # of a class of a cell


@dataclass(frozen=True)
class ParticleFlowConfig:
    """The publication's numbers, section 6."""

    least_e_over_p: float = 0.1  # clusters with a smaller share of the track's momentum are not matched
    match_distance: float = 1.64  # in widths of the cluster, beyond which a track has left none
    split_significance: float = 1.0  # sigmas below the expected deposit, from which on a shower is split
    cone: float = 0.2  # in eta and phi, of further clusters of a split shower
    remnant_sigmas: float = 1.5  # less than this remaining is taken too
    calorimeter: str = "em"  # of a pion with a track: em (as published) | lc (after local cell weighting)

    def __post_init__(self) -> None:
        for name in ("least_e_over_p", "match_distance", "split_significance", "cone", "remnant_sigmas"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name}={value} is not possible. A finite number from 0 on was expected.")
        if self.calorimeter not in ("em", "lc"):
            raise ValueError(f"calorimeter={self.calorimeter!r} is not known. One of em, lc was expected.")

    @property
    def constants(self) -> Constants:
        """What the subtraction needs."""
        return Constants(
            self.least_e_over_p, self.match_distance, self.split_significance, self.cone, self.remnant_sigmas
        )


class CellFlow(Model):
    """Shares of cells that tracks take."""

    def __init__(self, config: ParticleFlowConfig, task: Task) -> None:
        self.config = config
        self.task = task
        self.e_over_p: Table | None = None  # set by `fit` and `load`, as is:
        self.density = np.zeros(_N_DENSITY)  # mean energy over p and area, of every ring of every layer

    def fit(self, batches: Iterator[PointBatch], task: Task) -> None:
        """Learn E/p and where a track's energy stands, from the cells' labels."""
        momenta, ratios = [], []
        self.density = np.zeros(_N_DENSITY)
        for batch in batches:
            for event in events_of(batch):
                cells, _ = cells_of(event)
                track = next(t for t in tracks_of(event) if t.number == 0)
                target = np.asarray(event.target)[cells.rows]
                energy = cells.energy * (target[:, 0] if task.soft else target == 1)  # (n,) GeV, the track's
                momenta.append(track.p)
                ratios.append(energy.sum() / track.p)
                self.density += _densities(cells, track, energy)
        self.density /= max(len(ratios), 1)
        self.e_over_p = learn_table(np.array(momenta), np.array(ratios), _LEAST_SPREAD, robust=False)

    def predict(self, batch: PointBatch) -> np.ndarray:
        """(N, C) log probabilities: the focus track's share of the cell, and of the rest; 0 of points of tracks.

        Raises RuntimeError before `fit`.
        """
        shares = np.concatenate([self.shares(event) for event in events_of(batch)])  # (N, 2) focus, others
        rest = np.maximum(1 - shares.sum(axis=1), 0)
        columns = [shares[:, 0], shares[:, 1], rest] if self.task.soft else [1 - shares[:, 0], shares[:, 0]]
        return log_probabilities(np.stack(columns, axis=1), _LEAST_PROBABILITY)

    def shares(self, event: PointBatch) -> np.ndarray:
        """(N, 2) shares of each point's energy that the focus track, and all others, take. One event."""
        if self.e_over_p is None:
            raise RuntimeError("particle_flow predicts after `fit` or `load` only")
        cells, clusters = cells_of(event)
        taken = np.zeros((event.n_points, 2))
        left = np.ones(len(cells.rows))
        for track in tracks_of(event):
            share = subtract(track, cells, clusters, left, self.e_over_p, self.density, self.config.constants)
            left = np.maximum(left - share, 0)
            taken[cells.rows, 0 if track.number == 0 else 1] += share
        return taken

    def save(self, path: Path, metadata: Mapping[str, str]) -> None:
        """Write the table of E/p and the densities as .npy."""
        if self.e_over_p is None:
            raise RuntimeError("particle_flow is saved after `fit` or `load` only")
        write_values(path, np.concatenate([pack([self.e_over_p]), self.density]))

    def load(self, path: Path) -> Mapping[str, str]:
        """Read what `save` wrote, strictly."""
        (self.e_over_p,), self.density = unpack(path, 1, _N_DENSITY)
        return {}

    @property
    def n_parameters(self) -> int:
        """Points of the table, and rings."""
        return self.density.size + (0 if self.e_over_p is None else np.asarray(self.e_over_p).size)


class PionFlow(Model):
    """A pion's energy from its track and the calorimeter."""

    def __init__(self, config: ParticleFlowConfig, task: Task) -> None:
        self.config = config
        self.task = task
        self.tables: tuple[Table, ...] = ()  # log10 of true over measured energy, of `measured`; set by `fit`, `load`

    def measured(self, batch: PointBatch) -> tuple[np.ndarray, np.ndarray]:
        """(B,) GeV each: the track's momentum, the calorimeter's energy."""
        energy = quantity(batch, "sum_e" if self.config.calorimeter == "em" else "sum_lc_e")
        return np.maximum(quantity(batch, "track_p"), ABSENT_GEV), np.maximum(energy, ABSENT_GEV)

    def fit(self, batches: Iterator[PointBatch], task: Task) -> None:
        """Learn how far off either measurement is, and how much that varies, as functions of its energy."""
        pairs = [(*self.measured(batch), np.asarray(batch.target, np.float64)) for batch in batches]
        *energies, target = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
        self.tables = tuple(
            learn_table(energy, target - np.log10(energy), _LEAST_LOG_SPREAD, robust=True) for energy in energies
        )

    def predict(self, batch: PointBatch) -> np.ndarray:
        """(B, 1) log10 of GeV. Raises RuntimeError before `fit`."""
        if not self.tables:
            raise RuntimeError("particle_flow predicts after `fit` or `load` only")
        total, weights = np.zeros(batch.n_events), np.zeros(batch.n_events)
        for energy, table in zip(self.measured(batch), self.tables, strict=True):
            shift, spread = table(energy)
            total += (np.log10(energy) + shift) / spread**2
            weights += 1 / spread**2
        return (total / weights).astype(np.float32)[:, None]

    def save(self, path: Path, metadata: Mapping[str, str]) -> None:
        """Write both tables as .npy."""
        if not self.tables:
            raise RuntimeError("particle_flow is saved after `fit` or `load` only")
        write_values(path, pack(self.tables))

    def load(self, path: Path) -> Mapping[str, str]:
        """Read what `save` wrote, strictly."""
        self.tables, _ = unpack(path, 2, 0)
        return {}

    @property
    def n_parameters(self) -> int:
        """Points of the tables."""
        return sum(np.asarray(table).size for table in self.tables)


def events_of(batch: PointBatch) -> Iterator[PointBatch]:
    """Each event of a batch as a batch of what the subtraction reads."""
    for i, name in enumerate(batch.event_ids):
        rows = slice(int(batch.offsets[i]), int(batch.offsets[i + 1]))
        yield PointBatch(
            coords=batch.coords[rows], energy=batch.energy[rows], feats=batch.feats[rows],
            offsets=np.array([0, rows.stop - rows.start]), event_ids=(name,), columns=batch.columns, frame=batch.frame,
            target=None if batch.target is None else batch.target[rows],
            point_info={key: values[rows] for key, values in batch.point_info.items()},
            event_info={key: values[i : i + 1] for key, values in batch.event_info.items()},
        )  # fmt: skip


def _densities(cells: Cells, track: Track, energy: np.ndarray) -> np.ndarray:
    """(_N_DENSITY,) energy (n,) per ring, over the track's momentum and the ring's area."""
    ring, _ = rings(cells, track)
    return np.bincount(ring, energy / (track.p * ring_area(cells, ring)), minlength=_N_DENSITY)


def pack(tables: Any) -> np.ndarray:
    """One row of numbers: for each table its number of points, then the points."""
    return np.concatenate([part for table in tables for part in ([len(table.at)], *table)]).astype(np.float64)


def unpack(path: Path, n_tables: int, n_further: int) -> tuple[tuple[Table, ...], np.ndarray]:
    """Tables, and as many numbers from 0 on after them, of a file. Raises CheckpointError."""
    rest = read_values(path, "particle_flow").astype(np.float64).ravel()
    tables = []
    for _ in range(n_tables):
        n = int(rest[0]) if len(rest) else 0
        if not 1 <= n <= (len(rest) - 1) // 3:
            break
        tables.append(Table(*rest[1 : 1 + 3 * n].reshape(3, n)))
        rest = rest[1 + 3 * n :]
    sound = all((np.diff(t.at) > 0).all() and (t.spread > 0).all() for t in tables)
    if len(tables) < n_tables or not sound or len(rest) != n_further or (rest < 0).any():
        raise CheckpointError(
            f"The checkpoint {path} does not hold {n_tables} rising tables and {n_further} densities. A file of "
            f"`particle_flow` for the same task was expected. Check --task."
        )
    return tuple(tables), rest


def build(config: ParticleFlowConfig, inputs: Inputs, task: Task) -> CellFlow | PionFlow:
    """The baseline for a task."""
    return CellFlow(config, task) if task.level == "point" else PionFlow(config, task)


SPEC = ModelSpec(
    name="particle_flow",
    summary="Cell-by-cell subtraction of a track's expected deposit; track and calorimeter combined (ATLAS 2017)",
    config=ParticleFlowConfig,
    build=build,
    presets={"default": Preset(), "tiny": Preset()},
    levels=("point", "event"),
    kinds=("classification", "regression"),
    detectors=("calorimeter",),
    tasks=("cell-to-track", "cell-to-track-binary", "pion-track-regression"),
    reference="EPJC 77 (2017) 466, arXiv:1703.10485, section 6",
)
