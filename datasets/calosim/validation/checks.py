"""Measured numbers beside expected ones: the table of docs/calo_sim.md.

A row outside its range says "no": the toy is not tuned to pass every check.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from . import guns
from .guns import auc, spread
from .sample import DECADES, Sample, make_sample, responses, separation

N_EVENTS = 20_000
REAL_ETA = 1.2  # real clusters within the toy's range
_TABLE = "1024 real clusters, |eta| < 3 (gn4pions)"
_REAL = "129 real charged-pion events, |eta| < 3"
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


def _matter() -> list[Check]:
    depth = guns.calorimeter_depth()
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
        measured, analytic = guns.mean_depth(energy)
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
        got, expected = guns.layer_shares(energy)
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
            guns.moliere_share(10.0),
        )
    )
    energies = (5.0, 10.0, 20.0, 50.0, 100.0, 200.0)
    energy_ratios = guns.photon_responses(energies)
    facts["photons"] = {"energies": energies, "median": [float(np.median(r)) for r in energy_ratios],
                        "spread": [spread(r) for r in energy_ratios]}  # fmt: skip
    stochastic, constant = guns.fit_resolution(energies, energy_ratios)
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
        both = [guns.second_maximum(guns.strip_profiles(energy, p, 150)) for p in (False, True)]
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
        drawn = guns.f_em(energy)
        rows += [
            Check(f"mean f_em, {energy:g} GeV", f"{mean}", "Groom, from memory", mean - 0.02, mean + 0.02,
                  float(drawn.mean())),
            Check(f"spread of f_em, {energy:g} GeV", f"{sigma[0]} to {sigma[1]}", "from memory", *sigma,
                  float(drawn.std())),
        ]  # fmt: skip
    measured, bock = guns.tile_shares(50.0)
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
    energy_ratios = [guns.tile_responses(energy) for energy in energies]
    card = [float(np.sqrt(0.5205**2 / e + 0.0302**2 + (1.59 / e) ** 2)) for e in energies]
    facts["tile"] = {"energies": energies, "spread": [spread(r) for r in energy_ratios], "delphes": card,
                     "median": [float(np.median(r)) for r in energy_ratios]}  # fmt: skip
    rows.append(
        Check(
            "Tile alone, 50 GeV: (q84 - q16) / 2 median",
            f"{card[1]:.3f}",
            "Delphes ATLAS card",
            0.7 * card[1],
            1.4 * card[1],
            spread(energy_ratios[1]),
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
    means_and_widths = []
    for low, high in pairwise(P_BINS):
        mine = seen & (sample.momentum >= low) & (sample.momentum < min(high, 100.0))
        means_and_widths.append((float(over_p[mine].mean()), float(over_p[mine].std())))
    facts["E over p"] = means_and_widths
    for k, (mean, _) in enumerate(means_and_widths):
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


def _separation_rows(auc_by_name: dict[str, float]) -> list[Check]:
    paper = "caloml-atlas, |eta| < 0.7, energy-matched"
    names = [n for n in auc_by_name if n.startswith("P_EM ")]
    gnn = "falls below 1 GeV, published GNN .895 to .997"
    rise = min(auc_by_name[b] - auc_by_name[a] for a, b in pairwise(names))
    gain = auc_by_name["moments and shapes, fitted"] - auc_by_name["moments, fitted"]
    return [
        Check("AUC of 1 - P_EM", "0.941", paper, 0.92, 0.96, auc_by_name["P_EM"]),
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
