"""Single pions of the validation, and quantities of their clusters."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.optimize import minimize

from benchmark.datasets.calosim.clusters import MOMENTS
from benchmark.datasets.calosim.generate import GeneratorSettings
from benchmark.datasets.calosim.geometry import Floats, grid
from benchmark.datasets.calosim.local_calibration import calibrated
from benchmark.datasets.calosim.simulate import Event, simulate_event
from benchmark.progress import progress

from .guns import auc

DECADES = ((0.1, 1.0), (1.0, 10.0), (10.0, 100.0), (100.0, 1000.0), (1000.0, 3000.0))  # GeV in clusters
_SHAPES = ("strip width", "EMB2 width eta", "EMB2 width phi", "EMB1 share", "EMB3 share", "Tile share", "hottest cell")


@dataclass(frozen=True)
class Sample:
    """Single pions: N events, K clusters."""

    columns: dict[str, Floats]  # (K,) MOMENTS, "n_cells", "em_probability", "had_weight", "calibrated"
    shapes: Floats  # (K, 7) _SHAPES, from the cells
    event: np.ndarray  # (K,) number of the cluster's event
    is_charged: np.ndarray  # (N,) bool
    energy: Floats  # (N,) GeV, of the pion
    momentum: Floats  # (N,) GeV
    n_clusters: np.ndarray  # (N,)
    n_tracks: np.ndarray  # (N,)

    def charged_clusters(self) -> np.ndarray:
        """(K,) bool: from a charged pion."""
        return self.is_charged[self.event]

    def sums(self, column: str) -> Floats:
        """(N,) sum over the clusters of each event."""
        return np.bincount(self.event, self.columns[column], minlength=len(self.energy))


def make_sample(n_events: int, seed_name: str = "calo-sim validation") -> Sample:
    """Simulate `n_events` single pions with a separate seed."""
    settings = GeneratorSettings()
    moments, shapes, n_cells, event, per_event = [], [], [], [], []
    with progress("simulating validation pions", n_events) as bar:
        for k in range(n_events):
            e = simulate_event("pions", settings, (seed_name, k))
            moments.append(e.clusters.moments)
            shapes.append(_shapes(e))
            n_cells.append(e.clusters.n_cells)
            event.append(np.full(len(e.clusters.moments), k))
            p = e.shot.momenta[0]
            per_event.append(
                (e.shot.pdg[0] != 111, p[0], np.linalg.norm(p[1:]), len(e.clusters.moments), len(e.tracks))
            )
            if k % 500 == 0:
                bar.update(k)
        bar.update(n_events)
    table, facts = np.concatenate(moments), np.array(per_event)
    columns = {name: table[:, k] for k, name in enumerate(MOMENTS)}
    weights = calibrated(columns)
    columns |= {
        "n_cells": np.concatenate(n_cells).astype(float), "em_probability": weights.em_probability,
        "had_weight": weights.had_weight, "calibrated": weights.calibrated,
    }  # fmt: skip
    return Sample(
        columns, np.concatenate(shapes), np.concatenate(event), facts[:, 0] > 0, facts[:, 1], facts[:, 2],
        facts[:, 3].astype(int), facts[:, 4].astype(int),
    )  # fmt: skip


def _shapes(event: Event) -> Floats:
    """(K, 7) simple shapes of each cluster: widths (cells' eta or phi), shares of layers, share of the hottest cell."""
    cells, clusters = grid(), event.clusters
    ends = [0, *np.cumsum(clusters.n_cells)]
    result = np.zeros((len(clusters.n_cells), len(_SHAPES)))
    for k, (first, last) in enumerate(pairwise(ends)):
        rows, e = clusters.rows[first:last], clusters.energy[first:last]
        layer, total = cells.layer[rows], max(e.sum(), 1e-9)
        for at, axis, number in ((0, cells.eta, 0), (1, cells.eta, 1), (1, cells.phi, 2)):
            mine = layer == at
            if e[mine].sum() > 0:
                offset = np.angle(np.exp(1j * (axis[rows[mine]] - axis[rows[mine]][e[mine].argmax()])))
                mean = (e[mine] * offset).sum() / e[mine].sum()
                result[k, number] = np.sqrt((e[mine] * (offset - mean) ** 2).sum() / e[mine].sum())
        result[k, 3:6] = [e[layer == 0].sum(), e[layer == 2].sum(), e[layer >= 3].sum()] / total
        result[k, 6] = e.max() / total if len(e) else 0.0
    return result


def matched(sample: Sample, max_eta: float, rng: np.random.Generator) -> np.ndarray:
    """(J,) clusters, as many neutral as charged in every tenth of a decade of true energy above 0.2 GeV."""
    total, charged = sample.columns["ENG_CALIB_TOT"], sample.charged_clusters()
    usable = (np.abs(sample.columns["Eta"]) < max_eta) & (total > 0.2)
    bins = np.floor(10 * np.log10(np.maximum(total, 1e-3)))
    selected_rows = []
    for value in np.unique(bins[usable]):
        both = [np.flatnonzero(usable & (bins == value) & (charged == c)) for c in (False, True)]
        n = min(map(len, both))
        selected_rows += [rng.permutation(rows)[:n] for rows in both]
    return np.concatenate(selected_rows)


def separation(sample: Sample) -> dict[str, float]:
    """AUCs of 1 - P_EM in the barrel's middle, energy-matched, in all and per decade; and with shapes added."""
    rows = matched(sample, 0.7, np.random.default_rng(7))
    charged, total = sample.charged_clusters()[rows], sample.columns["ENG_CALIB_TOT"][rows]
    score = 1.0 - sample.columns["em_probability"][rows]
    result = {"P_EM": auc(score, charged)}
    for low, high in ((0.2, 1.0), *DECADES[1:3], (100.0, 3000.0)):
        inside = (total >= low) & (total < high)
        result[f"P_EM {low:g} to {high:g} GeV"] = auc(score[inside], charged[inside])
    c = {name: sample.columns[name][rows] for name in ("E", "Eta", "CENTER_LAMBDA", "FIRST_ENG_DENS")}
    moments = np.stack(
        [np.log10(c["E"]), np.abs(c["Eta"]), np.log10(c["CENTER_LAMBDA"]), np.log10(c["FIRST_ENG_DENS"] + 1e-12)], 1
    )
    result["moments, fitted"] = _fitted_auc(moments, charged)
    result["moments and shapes, fitted"] = _fitted_auc(np.hstack([moments, sample.shapes[rows]]), charged)
    return result


def _fitted_auc(x: Floats, y: np.ndarray) -> float:
    """AUC on one half of a logistic regression with squares and products, fitted to the other half."""
    x = (x - x.mean(axis=0)) / (x.std(axis=0) + 1e-9)
    i, j = np.triu_indices(x.shape[1])
    x = np.clip(np.hstack([x, x[:, i] * x[:, j], np.ones((len(x), 1))]), -20, 20)
    half = np.random.default_rng(1).random(len(x)) < 0.5

    def loss(w: Floats) -> tuple[float, Floats]:
        s = x[half] @ w
        p = 1.0 / (1.0 + np.exp(-s))
        value = float(np.mean(np.logaddexp(0.0, s) - y[half] * s) + 1e-4 * w @ w)
        return value, x[half].T @ (p - y[half]) / half.sum() + 2e-4 * w

    fit = minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B", options={"maxiter": 300})
    return auc(x[~half] @ fit.x, y[~half])


def responses(sample: Sample, column: str, charged: bool) -> list[Floats]:
    """E / ENG_CALIB_TOT of the clusters of one class, an array per decade of ENG_CALIB_TOT."""
    total = sample.columns["ENG_CALIB_TOT"]
    mine = sample.charged_clusters() == charged
    return [
        (sample.columns[column] / np.maximum(total, 1e-9))[mine & (total >= low) & (total < high)]
        for low, high in DECADES
    ]
