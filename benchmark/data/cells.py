"""Preprocessing of calorimeter samples: cuts, energy matching, features, targets.

The counterpart of `benchmark.data.preprocess` for cells, applied to samples of `datasets/_calo_samples.py`. Networks
see `feats` and `whole.feats`; the file's own quantities are in `point_info` and `event_info`.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmark.contracts import DatasetInfo, Event, EventSource, Frame, Links, PointBatch, Task, WholeEvents
from benchmark.contracts.cells import ABSENT_GEV, CELL, FOCUS_HIT, N_LEADING, OTHER_HIT
from benchmark.data.preprocess import Eligible
from benchmark.errors import DataError

TOO_FEW_CELLS = "too_few_cells"
BELOW_TRUE_ENERGY = "below_true_energy"
UNMATCHED_ENERGY = "unmatched_energy"

# name -> feature of points, from named columns of the sample; scales from the published z-scores (gn4pions)
_COLUMNS: dict[str, Callable[[Mapping[str, np.ndarray], np.ndarray], np.ndarray]] = {
    "log_energy": lambda f, e: np.where(f["category"] == CELL, _scaled_energy(e), 0.0),
    "log_significance": lambda f, e: np.log10(np.maximum(e / np.maximum(f["sigma_gev"], 1e-6), 0.1)),
    "abs_eta": lambda f, e: np.abs(f["eta"]),
    "log_deta": lambda f, e: np.log10(np.maximum(f["deta"], 1e-4) / 0.025),
    "log_dphi": lambda f, e: np.log10(np.maximum(f["dphi"], 1e-4) / 0.025),
    "depth": lambda f, e: (f["r_perp_mm"] - 1500.0) / 1000.0,
    "is_cell": lambda f, e: (f["category"] == CELL).astype(float),
    "is_focus": lambda f, e: (f["category"] == FOCUS_HIT).astype(float),
    "is_other": lambda f, e: (f["category"] == OTHER_HIT).astype(float),
    "log_track_pt": lambda f, e: np.where(f["category"] == CELL, 0.0, _z_pt(f["track_pt"])),
    "track_distance": lambda f, e: np.log1p(f["track_distance"]),
}
_CELLS = ("log_energy", "log_significance", "abs_eta", "log_deta", "log_dphi", "depth")
_WITH_TRACKS = (*_CELLS, "is_cell", "is_focus", "is_other", "log_track_pt", "track_distance")


def _z_pt(pt: Any) -> np.ndarray:
    scaled: np.ndarray = (np.log10(np.maximum(pt, 0.1)) - 1.6333) / 0.8482
    return scaled


def _z_cluster(e: Any) -> np.ndarray:
    scaled: np.ndarray = (np.log10(np.maximum(e, ABSENT_GEV)) - 0.8992) / 1.0586
    return scaled


# name -> feature of an event, from its scalars
_EVENT_COLUMNS: dict[str, Callable[[Mapping[str, float]], Any]] = {
    "log_cluster_e": lambda s: _z_cluster(s["cluster_e"]),
    "abs_cluster_eta": lambda s: abs(s["cluster_eta"]),
    "log_sum_e": lambda s: _z_cluster(s["sum_e"]),
    "log_track_pt": lambda s: _z_pt(s["track_pt"]),
    "log_track_p": lambda s: _z_pt(s["track_p"]),
    "abs_track_eta": lambda s: abs(s["track_eta"]),
    "track_z0": lambda s: s["track_z0"] / 42.533,
    "track_chi2": lambda s: s["track_chi2"] / max(s["track_ndof"], 1.0),
    "n_clusters": lambda s: s["n_clusters"] / 3.0,
    **{f"log_cluster_e_{i}": lambda s, i=i: _z_cluster(s[f"cluster_e_{i}"]) for i in range(N_LEADING)},  # type: ignore[misc]
}
_LEADING = tuple(f"log_cluster_e_{i}" for i in range(N_LEADING))
_TRACK = ("log_track_pt", "log_track_p", "abs_track_eta")


@dataclass(frozen=True)
class CellPreprocess:
    """Cuts and maps. Raises ValueError for values outside their range."""

    min_cells: int = 1  # samples with fewer cells are left out
    true_energy_min_gev: float = 0.0  # of clusters: samples at or below this true energy are left out
    match_energy: bool = False  # equally many samples of each class in each tenth of a decade of true energy
    columns: tuple[str, ...] = _CELLS  # feature columns of points
    event_columns: tuple[str, ...] = ("log_cluster_e", "abs_cluster_eta")  # of events

    def __post_init__(self) -> None:
        if self.min_cells < 1:
            raise ValueError(f"min_cells={self.min_cells} is out of range. At least 1 was expected.")
        if not (math.isfinite(self.true_energy_min_gev) and self.true_energy_min_gev >= 0):
            raise ValueError(f"true_energy_min_gev={self.true_energy_min_gev} is out of range. 0 GeV or more expected.")
        for name, known in (("columns", _COLUMNS), ("event_columns", _EVENT_COLUMNS)):
            value = getattr(self, name)
            if len(set(value)) < len(value) or not set(value) <= set(known):
                raise ValueError(f"{name}={value} do not fit. Some of {', '.join(known)} were expected.")
        if not self.columns:
            raise ValueError("columns=() do not fit. At least one column was expected.")

    @staticmethod
    def of(task: Task) -> CellPreprocess:
        """The task's defaults."""
        if task.sample == "association":
            return CellPreprocess(min_cells=25, columns=_WITH_TRACKS, event_columns=(*_TRACK, "track_chi2"))
        if task.sample == "track":
            columns = ("log_sum_e", *_TRACK, "track_z0", "n_clusters", *_LEADING)
            return CellPreprocess(columns=_WITH_TRACKS, event_columns=columns)
        if task.kind == "classification":  # as the published images: E_true > 0.2 GeV, classes matched in it
            return CellPreprocess(true_energy_min_gev=0.2, match_energy=True)
        return CellPreprocess()

    @property
    def looser(self) -> str:
        """Samples of any size."""
        return "min_cells=1"

    def labels(self, task: Task) -> tuple[str, ...]:
        """The task's own and its auxiliary ones."""
        return (task.label, *task.auxiliary)

    def suited(self, info: DatasetInfo) -> CellPreprocess:
        """The same for every dataset."""
        return self

    def eligible(self, source: EventSource, task: Task) -> Eligible:
        """Samples that pass the cuts and the energy matching."""
        table: Mapping[str, np.ndarray] = source.table  # type: ignore[attr-defined]
        has_enough = np.asarray(table["n_cells"]) >= self.min_cells
        is_above = np.asarray(table["true_energy"]) > self.true_energy_min_gev if "true_energy" in table else has_enough
        selected = np.flatnonzero(has_enough & is_above)
        excluded = {TOO_FEW_CELLS: int((~has_enough).sum()), BELOW_TRUE_ENERGY: int((has_enough & ~is_above).sum())}
        if self.match_energy:
            matched = matched_in_energy(
                np.asarray(table["true_energy"])[selected], np.asarray(table[task.label])[selected],
                [source.event_ids[int(i)] for i in selected],
            )  # fmt: skip
            excluded[UNMATCHED_ENERGY] = len(selected) - len(matched)
            selected = selected[matched]
        return Eligible(selected.astype(np.int64), {reason: n for reason, n in excluded.items() if n})

    def energy_of(self, scaled: np.ndarray) -> np.ndarray:
        """(N,) GeV of the column log_energy."""
        energy: np.ndarray = 10.0 ** (np.asarray(scaled, np.float64) * 0.8184 - 1.0122)
        return energy

    def apply(self, event: Event, task: Task, frame: Frame) -> PointBatch[np.ndarray]:
        """One sample as a batch. Raises DataError for a missing label or feature."""
        energy = event.energy.astype(np.float32)
        try:
            feats = [_COLUMNS[name](event.features, energy) for name in self.columns]
            event_feats = [float(_EVENT_COLUMNS[name](event.scalars)) for name in self.event_columns]
        except KeyError as error:
            raise DataError(
                f"Sample {event.event_id} has no {error.args[0]!r}, which a feature needs. Features of "
                f"{task.name} were expected. Correct --set preprocess.columns or preprocess.event_columns."
            ) from None
        target, auxiliary = _labels(event, task)
        return PointBatch(
            coords=event.coords.astype(np.float32),
            energy=energy,
            feats=np.stack(feats, axis=1).astype(np.float32),  # (N, C)
            offsets=np.array([0, len(energy)], dtype=np.int64),
            event_ids=(event.event_id,),
            columns=self.columns,
            frame=frame,
            target=target,
            point_info=dict(event.features),
            event_info={name: np.array([value], dtype=np.float32) for name, value in event.scalars.items()},
            links=Links(event.links, event.link_kind),
            whole=WholeEvents(
                feats=np.array([event_feats], dtype=np.float32),  # (1, G)
                columns=self.event_columns,
                baseline=_baseline_energy(event, task),
                auxiliary=auxiliary,
                auxiliary_columns=task.auxiliary,
            ),
        )


def _scaled_energy(energy_gev: np.ndarray) -> np.ndarray:
    scaled: np.ndarray = (np.log10(np.maximum(energy_gev, 1e-3)) + 1.0122) / 0.8184
    return scaled


def matched_in_energy(energy_gev: np.ndarray, label: np.ndarray, ids: list[str], per_decade: int = 10) -> np.ndarray:
    """Positions, ascending, of equally many rows of each class in each bin of log10 energy: the first by hashed id.

    As for the published images of pions, whose classes were matched in true cluster energy; without it a classifier
    partly measures energy.
    """
    bins = np.floor(np.log10(np.maximum(energy_gev, 1e-6)) * per_decade).astype(np.int64)
    order = np.argsort([hashlib.sha256(i.encode()).hexdigest() for i in ids], kind="stable")
    selected: list[np.ndarray] = []
    for value in np.unique(bins):
        in_bin = order[bins[order] == value]
        by_class = [in_bin[label[in_bin] == c] for c in np.unique(label)]
        fewest = min(len(rows) for rows in by_class)
        selected += [rows[:fewest] for rows in by_class]
    return np.sort(np.concatenate(selected)) if selected else np.zeros(0, np.int64)


def _baseline_energy(event: Event, task: Task) -> np.ndarray | None:
    """(1,) log10 of a regression's baseline, GeV: a cluster's energy at the EM scale, or a track's momentum."""
    if task.kind != "regression":
        return None
    energy = event.scalars["cluster_e" if task.sample == "cluster" else "track_p"]
    return np.array([np.log10(max(energy, ABSENT_GEV))], dtype=np.float32)


def _labels(event: Event, task: Task) -> tuple[np.ndarray, np.ndarray | None]:
    """The task's target, and its auxiliary labels (1, A)."""
    try:
        label = np.asarray(event.labels[task.label])
        values = [float(event.labels[name]) for name in task.auxiliary]
    except KeyError as error:
        raise DataError(
            f"Sample {event.event_id} has no label {error.args[0]!r}. It has "
            f"{', '.join(sorted(event.labels)) or 'none'}. Choose a task of this dataset."
        ) from None
    auxiliary = np.array([values], dtype=np.float32) if task.auxiliary else None
    if task.kind == "regression" or task.soft:
        return np.atleast_1d(label).astype(np.float32), auxiliary
    target = np.atleast_1d(label).astype(np.int64)
    wrong = target[(target != task.ignore_index) & ((target < 0) | (target >= task.n_outputs))]
    if len(wrong):
        raise DataError(
            f"Sample {event.event_id} has the {task.label} label {wrong[0]}. One of 0 to {task.n_outputs - 1} was "
            f"expected. Choose another task, or repair the file."
        )
    return target, auxiliary
