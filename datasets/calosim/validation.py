"""The simulated calorimeter beside what is expected of it: one table, and the figures of docs/calo_sim.md.

    python -m benchmark.datasets.calosim.validation --out FOLDER [--events N] [--clusters CSV] [--real-events CSV]

simulates N single pions and guns, prints the table, and writes it with the figures into FOLDER (`validation.json`). A
row that misses its range says "no": the toy is not tuned until everything agrees. The two optional files hold real
ATLAS-simulated clusters (columns e_em_gev, e_true_gev, eta, n_cells, label) and charged-pion events (e_true_pion_gev,
sum_em_gev, sum_lcw_gev, n_clusters); they are compared and not shipped.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import minimize

from benchmark.io import atomic_write_json
from benchmark.progress import progress

from . import validation_checks as checks
from .clusters import MOMENTS
from .generate import GeneratorSettings
from .geometry import Floats, grid
from .local_calibration import calibrated
from .simulate import Event, simulate_event
from .validation_checks import auc, spread

N_EVENTS = 20_000
REAL_ETA = 1.2  # real clusters within the toy's range
DECADES = ((0.1, 1.0), (1.0, 10.0), (10.0, 100.0), (100.0, 1000.0), (1000.0, 3000.0))
_TABLE = "1024 real clusters, |eta| < 3 (gn4pions)"
_REAL = "129 real charged-pion events, |eta| < 3"
_SHAPES = ("strip width", "EMB2 width eta", "EMB2 width phi", "EMB1 share", "EMB3 share", "Tile share", "hottest cell")
P_BINS = (0.0, 2.0, 5.0, 10.0, 15.0, 30.0, 2000.0)  # of COCOA's template, GeV
COCOA_MEAN = (0.345, 0.393, 0.470, 0.539, 0.608, 0.701)
COCOA_SIGMA = (0.116, 0.135, 0.163, 0.153, 0.135, 0.095)


@dataclass(frozen=True)
class Check:
    """One row of the table: a measured number and the range in which it counts as reproduced."""

    name: str
    expected: str
    source: str
    low: float
    high: float
    measured: float

    @property
    def reproduced(self) -> bool:
        """Is the number in its range?"""
        return bool(self.low <= self.measured <= self.high)


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
    """Simulate `n_events` single pions of a seed of their own."""
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


# ---- pieces of the table


def matched(sample: Sample, max_eta: float, rng: np.random.Generator) -> np.ndarray:
    """(J,) clusters, as many neutral as charged in every tenth of a decade of true energy above 0.2 GeV."""
    total, charged = sample.columns["ENG_CALIB_TOT"], sample.charged_clusters()
    usable = (np.abs(sample.columns["Eta"]) < max_eta) & (total > 0.2)
    bins = np.floor(10 * np.log10(np.maximum(total, 1e-3)))
    kept = []
    for value in np.unique(bins[usable]):
        both = [np.flatnonzero(usable & (bins == value) & (charged == c)) for c in (False, True)]
        n = min(map(len, both))
        kept += [rng.permutation(rows)[:n] for rows in both]
    return np.concatenate(kept)


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


def _matter() -> list[Check]:
    depth = checks.calorimeter_depth()
    geant = "Geant4 atlasECAL.g4"
    return [
        Check("depth of the EM layers at eta = 0 [X0]", "22 to 27.6", "COCOA; " + geant, 21.9, 27.7, depth["EM X0"]),
        Check("interaction length per X0, EM", "0.0463", geant, 0.0462, 0.0464, depth["lambda per X0"]),
        Check("depth of Tile at eta = 0 [lambda]", "7.4", "COCOA", 7.39, 7.41, depth["Tile lambda"]),
    ]


def _electromagnetic(facts: dict[str, Any]) -> list[Check]:
    gflash = "GFLASH, hep-ex/0001020"
    rows = []
    for energy in (10.0, 100.0):
        measured, analytic = checks.mean_depth(energy)
        rows.append(
            Check(
                f"mean depth of {energy:g} GeV showers [X0]",
                f"{analytic:.2f}",
                gflash,
                0.97 * analytic,
                1.06 * analytic,
                measured,
            )
        )
        got, expected = checks.layer_shares(energy)
        facts[f"layers {energy:g}"] = {"measured": got.tolist(), "gflash": expected.tolist()}
        worst = float(np.abs(got - expected).max())
        rows.append(
            Check(f"layers' shares, {energy:g} GeV electrons: largest difference", "< 0.05", gflash, 0, 0.05, worst)
        )
    rows.append(
        Check(
            "share within one Moliere radius, 10 GeV",
            "0.90",
            "definition of it",
            0.85,
            0.95,
            checks.moliere_share(10.0),
        )
    )
    energies = (5.0, 10.0, 20.0, 50.0, 100.0, 200.0)
    found = checks.photon_responses(energies)
    facts["photons"] = {"energies": energies, "median": [float(np.median(r)) for r in found],
                        "spread": [spread(r) for r in found]}  # fmt: skip
    stochastic, constant = checks.fit_resolution(energies, found)
    card = "Delphes ATLAS card"
    rows += [
        Check("photons: stochastic term [%]", "10.1", card, 8.5, 12.0, 100 * stochastic),
        Check("photons: constant term [%]", "0.17 to 0.7", card + "; ATLAS LAr", 0.1, 1.0, 100 * constant),
    ]
    return rows


def _strips(facts: dict[str, Any]) -> list[Check]:
    energies = (5.0, 10.0, 20.0, 40.0, 60.0, 80.0, 120.0, 200.0)
    values = []
    for energy in energies:
        both = [checks.second_maximum(checks.strip_profiles(energy, p, 150)) for p in (False, True)]
        values.append(auc(np.concatenate(both), np.repeat([False, True], [len(b) for b in both])))
    facts["strips"] = {"energies": energies, "auc": values}
    at = dict(zip(energies, values, strict=True))
    source = "strips of 4.7 mm, opening angle 2 m / E"
    return [
        Check("pi0 and photon in EMB1, 20 GeV: AUC of the second maximum", "resolved", source, 0.8, 1.0, at[20.0]),
        Check("the same, 200 GeV", "not resolved (above 80 GeV)", source, 0.3, 0.75, at[200.0]),
    ]


def _hadronic(facts: dict[str, Any]) -> list[Check]:
    rows = []
    for energy, mean, sigma in ((10.0, 0.34, (0.13, 0.22)), (100.0, 0.56, (0.08, 0.13))):
        drawn = checks.f_em(energy)
        rows += [
            Check(f"mean f_em, {energy:g} GeV", f"{mean}", "Groom, from memory", mean - 0.02, mean + 0.02,
                  float(drawn.mean())),
            Check(f"spread of f_em, {energy:g} GeV", f"{sigma[0]} to {sigma[1]}", "from memory", *sigma,
                  float(drawn.std())),
        ]  # fmt: skip
    measured, bock = checks.tile_shares(50.0)
    facts["tile layers 50"] = {"measured": measured.tolist(), "bock": bock.tolist()}
    rows.append(
        Check(
            "Tile layers' shares, 50 GeV showers: largest difference",
            "< 0.08",
            "Bock et al. 1981, from memory",
            0,
            0.08,
            float(np.abs(measured - bock).max()),
        )
    )
    energies = (20.0, 50.0, 100.0, 200.0)
    found = [checks.tile_responses(energy) for energy in energies]
    card = [float(np.sqrt(0.5205**2 / e + 0.0302**2 + (1.59 / e) ** 2)) for e in energies]
    facts["tile"] = {"energies": energies, "spread": [spread(r) for r in found], "delphes": card,
                     "median": [float(np.median(r)) for r in found]}  # fmt: skip
    rows.append(
        Check(
            "Tile alone, 50 GeV: (q84 - q16) / 2 median",
            f"{card[1]:.3f}",
            "Delphes ATLAS card",
            0.7 * card[1],
            1.4 * card[1],
            spread(found[1]),
        )
    )
    return rows


def _cluster_rows(sample: Sample) -> list[Check]:
    rows = []
    targets = {
        True: ((1.53, 0.93, 0.89, 0.91, 0.94), (None, 0.29, 0.14, 0.09, 0.036)),
        False: ((2.07, 1.10, 1.03, 1.01, 1.01), (None, None, None, None, None)),
    }
    for charged, (medians, spreads) in targets.items():
        name = "pi+-" if charged else "pi0"
        for k, values in enumerate(responses(sample, "E", charged)):
            low, high = DECADES[k]
            where = f"{name}, {low:g} to {high:g} GeV" if k < 4 else f"{name}, above 1 TeV"
            margin = 0.3 if k == 0 else 0.06
            rows.append(
                Check(
                    f"EM response, {where}",
                    f"{medians[k]}",
                    _TABLE,
                    medians[k] - margin,
                    medians[k] + margin,
                    float(np.median(values)),
                )
            )
            target = spreads[k]
            if target is not None:
                rows.append(
                    Check(
                        f"EM (q84 - q16) / 2 median, {where}",
                        f"{target}",
                        _TABLE,
                        0.7 * target,
                        1.3 * target,
                        spread(values),
                    )
                )
    for charged in (True, False):
        name = "pi+-" if charged else "pi0"
        cells = sample.columns["n_cells"][sample.charged_clusters() == charged]
        rows.append(
            Check(
                f"cells per cluster, {name}: median",
                "52.5" if charged else "66.5",
                _TABLE,
                45,
                75,
                float(np.median(cells)),
            )
        )
    return rows


def _event_rows(sample: Sample, facts: dict[str, Any]) -> list[Check]:
    seen = sample.is_charged & (sample.n_clusters > 0)
    rows = [
        Check("clusters per charged pion: mean", "2.67", _REAL, 2.0, 3.0, float(sample.n_clusters[seen].mean())),
        Check("charged pions above 2 GeV without a track", "some", "trackless pions exist", 0.01, 0.15,
              float((sample.n_tracks[sample.is_charged & (sample.energy > 2)] == 0).mean())),
    ]  # fmt: skip
    for column, name, targets in (("E", "EM", (0.46, 0.59, 0.82)), ("calibrated", "LC", (0.83, 0.90, 0.99))):
        ratio = sample.sums(column) / sample.energy
        for (low, high), target in zip(((1, 10), (10, 100), (100, 2000)), targets, strict=True):
            mine = seen & (sample.energy >= low) & (sample.energy < high)
            rows.append(
                Check(
                    f"sum of clusters, {name}, pi+- of {low} to {high} GeV: median",
                    f"{target}",
                    _REAL,
                    target - 0.08,
                    target + 0.08,
                    float(np.median(ratio[mine])),
                )
            )
    over_p = sample.sums("E") / sample.momentum
    found = []
    for low, high in pairwise(P_BINS):
        mine = seen & (sample.momentum >= low) & (sample.momentum < min(high, 100.0))
        found.append((float(over_p[mine].mean()), float(over_p[mine].std())))
    facts["E over p"] = found
    for k, (mean, _) in enumerate(found):
        where = f"{P_BINS[k]:g} to {P_BINS[k + 1]:g} GeV" if k < 5 else "30 to 100 GeV"
        rows.append(
            Check(
                f"EM sum over p, pi+- of {where}: mean",
                f"{COCOA_MEAN[k]}",
                "COCOA's template",
                COCOA_MEAN[k] - 0.08,
                COCOA_MEAN[k] + 0.08,
                mean,
            )
        )
    return rows


def _separation_rows(found: dict[str, float]) -> list[Check]:
    paper = "caloml-atlas, |eta| < 0.7, energy-matched"
    names = [n for n in found if n.startswith("P_EM ")]
    gnn = "falls below 1 GeV, published GNN .895 to .997"
    rise = min(found[b] - found[a] for a, b in pairwise(names))
    gain = found["moments and shapes, fitted"] - found["moments, fitted"]
    return [
        Check("AUC of 1 - P_EM", "0.941", paper, 0.92, 0.96, found["P_EM"]),
        Check("smallest rise of that AUC from one energy bin to the next", "> 0", gnn, 0.0, 1.0, rise),
        Check("AUC of moments and shapes minus that of moments", "> 0.005", "images reach 0.986", 0.005, 0.1, gain),
    ]


def validate(n_events: int = N_EVENTS) -> tuple[list[Check], dict[str, Any], Sample]:
    """All checks, the numbers behind them, and the sample of single pions."""
    facts: dict[str, Any] = {}
    sample = make_sample(n_events)
    facts["separation"] = separation(sample)
    rows = [
        *_matter(), *_electromagnetic(facts), *_strips(facts), *_hadronic(facts), *_cluster_rows(sample),
        *_event_rows(sample, facts), *_separation_rows(facts["separation"]),
    ]  # fmt: skip
    return rows, facts, sample


def table(rows: list[Check]) -> str:
    """The checks as a Markdown table."""
    lines = ["| check | expected | source | measured | reproduced |", "|---|---|---|---|---|"]
    for row in rows:
        verdict = "yes" if row.reproduced else "**no**"
        cells = (row.name, row.expected, row.source, f"{row.measured:.3g}", verdict)
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    n_good = sum(row.reproduced for row in rows)
    return "\n".join([*lines, f"\n{n_good} of {len(rows)} reproduced."])


def real_table(sample: Sample, real: Any) -> str:
    """Clusters of the toy beside real ones within the toy's |eta|, per class and decade, as a Markdown table."""
    lines = [
        "| clusters | n (toy, real) | median response (toy, real) | (q84 - q16) / 2 median | median cells |",
        "|---|---|---|---|---|",
    ]
    total = sample.columns["ENG_CALIB_TOT"]
    for charged in (False, True):
        for low, high in DECADES:
            mine = (sample.charged_clusters() == charged) & (total >= low) & (total < high)
            theirs = (real["label"] == charged) & (np.abs(real["eta"]) < REAL_ETA)
            theirs &= (real["e_true_gev"] >= low) & (real["e_true_gev"] < high)
            if min(mine.sum(), theirs.sum()) < 5:
                continue
            ratios = sample.columns["E"][mine] / total[mine], (real["e_em_gev"] / real["e_true_gev"])[theirs]
            cells = sample.columns["n_cells"][mine], real["n_cells"][theirs]
            lines.append(
                f"| {'pi+-' if charged else 'pi0'}, {low:g} to {high:g} GeV | {len(ratios[0])}, {len(ratios[1])} "
                f"| {np.median(ratios[0]):.3f}, {np.median(ratios[1]):.3f} "
                f"| {spread(ratios[0]):.3f}, {spread(ratios[1]):.3f} "
                f"| {np.median(cells[0]):.0f}, {np.median(cells[1]):.0f} |"
            )
    return "\n".join(lines)


def main() -> None:
    """Print the table and write it with the figures."""
    from .validation_plots import draw_all

    parser = argparse.ArgumentParser(description="Validate the simulated calorimeter.")
    parser.add_argument("--out", type=Path, required=True, help="folder of the figures and the numbers")
    parser.add_argument("--events", type=int, default=N_EVENTS, help="single pions to simulate")
    parser.add_argument("--clusters", type=Path, help="real clusters to compare with (CSV)")
    parser.add_argument("--real-events", type=Path, help="real charged-pion events to compare with (CSV)")
    given = parser.parse_args()
    rows, facts, sample = validate(given.events)
    given.out.mkdir(parents=True, exist_ok=True)
    text = table(rows)
    numbers = {"table": text, "events": given.events, "facts": facts}
    numbers["checks"] = [{**row.__dict__, "reproduced": row.reproduced} for row in rows]
    atomic_write_json(given.out / "validation.json", numbers)
    real_clusters = _read(given.clusters)
    draw_all(given.out, sample, facts, real_clusters, _read(given.real_events))
    print(text)
    if real_clusters is not None:
        print("\n" + real_table(sample, real_clusters))


def _read(path: Path | None) -> Any:
    return None if path is None else np.genfromtxt(path, delimiter=",", names=True)


if __name__ == "__main__":
    main()
