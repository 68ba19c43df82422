"""Figures of the calorimeter's validation, one file each, small enough for the documentation."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.datasets.calosim.geometry import LAYERS, N_ETA, grid
from benchmark.datasets.calosim.showers import HADRON, PHOTON
from benchmark.packages import missing_error
from benchmark.seeding import seed_from

from . import guns
from .checks import COCOA_MEAN, COCOA_SIGMA, P_BINS, REAL_ETA
from .guns import spread
from .sample import DECADES, Sample, matched, responses

COLOURS = {False: "#30638e", True: "#d1495b"}  # neutral, charged
NAMES = {False: "pi0", True: "pi+-"}
_COCOA_CENTRES = (1.0, 3.2, 7.0, 12.0, 21.0, 55.0)


def draw_all(folder: Path, sample: Sample, facts: dict[str, Any], real_clusters: Any, real_events: Any) -> None:
    """Write every figure into `folder`. real_*: tables to compare with (see `__main__`), or None."""
    try:
        import matplotlib
    except ImportError as error:
        raise missing_error("matplotlib", "A figure") from error
    matplotlib.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    _events(folder / "events.png")
    _electromagnetic(folder / "electromagnetic.png", facts)
    _strips(folder / "strips.png", facts)
    _hadronic(folder / "hadronic.png", facts)
    _responses(folder / "responses.png", sample, real_clusters)
    _clusters(folder / "clusters.png", sample, real_clusters)
    _separation(folder / "separation.png", sample, facts)
    _pions(folder / "pions.png", sample, facts, real_events)


def _axes(n: int, width: float = 4.6, height: float = 3.6, rows: int = 1) -> tuple[Any, Any]:
    import matplotlib.pyplot as plt

    return plt.subplots(rows, n, figsize=(width * n, height * rows), layout="constrained")


def _save(figure: Any, path: Path) -> None:
    import matplotlib.pyplot as plt

    figure.savefig(path, dpi=80)
    plt.close(figure)


def _events(path: Path) -> None:
    """Cells of three clusters above 2 sigma: layers beside each other, particles below each other."""
    shots = (("50 GeV photon", [guns.gun(PHOTON, 50.0)]), ("50 GeV pi+-", [guns.gun(HADRON, 50.0)]),
             ("50 GeV pi+-, another", [guns.gun(HADRON, 50.0)]))  # fmt: skip
    bench, cells = guns.GunBench(), grid()
    figure, axes = _axes(len(LAYERS), 2.3, 2.3, len(shots))
    drawn = None
    for row, (name, particles) in enumerate(shots):
        bench.clusters(particles, seed_from("display", row), 0.3, 0.05)
        energy = bench.readout.energy
        for at, layer in enumerate(LAYERS):
            axis = axes[row, at]
            mine = np.flatnonzero((cells.layer == at) & (energy > 2 * cells.sigma_gev))
            mine = mine[np.argsort(energy[mine])]
            drawn = axis.scatter(
                cells.eta[mine], cells.phi[mine], c=np.log10(energy[mine]), s=(3, 10, 14, 60, 60, 90)[at], marker="s",
                vmin=-1.5, vmax=1.5, cmap="viridis",
            )  # fmt: skip
            axis.set(xlim=(0.0, 0.6), ylim=(-0.25, 0.35))
            axis.tick_params(labelsize=6)
            if row == 0:
                axis.set_title(layer, fontsize=9)
            if at == 0:
                axis.set_ylabel(f"{name}\nphi", fontsize=8)
            if row == len(shots) - 1:
                axis.set_xlabel("eta", fontsize=8)
    figure.colorbar(drawn, ax=axes, label="log10 (E / GeV)", shrink=0.6)
    _save(figure, path)


def _electromagnetic(path: Path, facts: dict[str, Any]) -> None:
    figure, axes = _axes(3)
    positions = np.arange(5)
    for k, energy in enumerate((10, 100)):
        both = facts[f"layers {energy}"]
        axes[0].bar(positions + 0.4 * k - 0.2, both["measured"], 0.36, color=f"C{k}", label=f"{energy} GeV electrons")
        axes[0].plot(positions + 0.4 * k - 0.2, both["gflash"], "k_", ms=14, label="mean GFLASH profile" if k else None)
    axes[0].set_xticks(positions, ("front", "EMB1", "EMB2", "EMB3", "behind"))
    axes[0].set(ylabel="share of the energy")
    photons = facts["photons"]
    energy = np.array(photons["energies"])
    axes[1].semilogx(energy, 100 * np.array(photons["spread"]), "o", label="photons, sum of clusters")
    line = np.geomspace(energy[0], energy[-1], 50)
    axes[1].plot(line, 100 * np.sqrt(0.101**2 / line + 0.0017**2), "k--", lw=0.8, label="Delphes ATLAS card")
    axes[1].set(xlabel="energy [GeV]", ylabel="(q84 - q16) / 2 median [%]", ylim=(0, None))
    axes[2].semilogx(energy, photons["median"], "o")
    axes[2].axhline(1.0, color="k", lw=0.8, ls="--")
    axes[2].set(xlabel="photon energy [GeV]", ylabel="EM scale over true energy in clusters", ylim=(0.9, 1.05))
    axes[0].legend(fontsize=8)
    axes[1].legend(fontsize=8)
    _save(figure, path)


def _strips(path: Path, facts: dict[str, Any]) -> None:
    figure, axes = _axes(3)
    offset = (np.arange(64) - 31.5) * 2.8 / N_ETA[0]
    for axis, is_pion in ((axes[0], False), (axes[1], True)):
        for profile in guns.strip_profiles(20.0, is_pion, 3, "display"):
            axis.step(offset, profile, where="mid", lw=1)
        name = "pi0" if is_pion else "photon"
        axis.set(xlabel="eta from the particle", ylabel="GeV per strip", title=f"20 GeV {name}", xlim=(-0.06, 0.06))
    strips = facts["strips"]
    axes[2].semilogx(strips["energies"], strips["auc"], "o-")
    axes[2].axhline(0.5, color="k", lw=0.8, ls="--")
    axes[2].set(xlabel="energy [GeV]", ylabel="AUC of the second maximum,\npi0 against photon", ylim=(0.4, 1.02))
    _save(figure, path)


def _hadronic(path: Path, facts: dict[str, Any]) -> None:
    figure, axes = _axes(3)
    for k, energy in enumerate((10.0, 100.0)):
        axes[0].hist(guns.f_em(energy), 40, (0, 1), density=True, histtype="step", color=f"C{k}",
                     label=f"{energy:g} GeV")  # fmt: skip
        axes[0].axvline(1 - energy ** (0.82 - 1), color=f"C{k}", ls="--", lw=0.8)
    axes[0].set(xlabel="electromagnetic share", ylabel="density")
    both = facts["tile layers 50"]
    axes[1].bar(np.arange(3), both["measured"], 0.6, label="50 GeV showers")
    axes[1].plot(np.arange(3), both["bock"], "k_", ms=24, label="Bock et al.")
    axes[1].set_xticks(np.arange(3), LAYERS[3:])
    axes[1].set(ylabel="share of Tile's energy")
    tile = facts["tile"]
    axes[2].semilogx(tile["energies"], tile["spread"], "o", label="showers in Tile alone")
    axes[2].plot(tile["energies"], tile["delphes"], "k--", lw=0.8, label="Delphes ATLAS card")
    axes[2].set(xlabel="pion energy [GeV]", ylabel="(q84 - q16) / 2 median", xscale="linear", ylim=(0, None))
    for axis in axes:
        axis.legend(fontsize=8)
    _save(figure, path)


def _responses(path: Path, sample: Sample, real: Any) -> None:
    figure, axes = _axes(2)
    centres = [np.sqrt(low * high) for low, high in DECADES]
    for charged in (False, True):
        measured_responses = responses(sample, "E", charged)
        for axis, measure in ((axes[0], np.median), (axes[1], spread)):
            values = [measure(r) if len(r) > 9 else np.nan for r in measured_responses]
            axis.semilogx(centres, values, "o-", color=COLOURS[charged], label=f"{NAMES[charged]}, toy")
            if real is not None:
                mine = (real["label"] == charged) & (np.abs(real["eta"]) < REAL_ETA)
                ratio = real["e_em_gev"][mine] / real["e_true_gev"][mine]
                parts = [ratio[(real["e_true_gev"][mine] >= a) & (real["e_true_gev"][mine] < b)] for a, b in DECADES]
                values = [measure(r) if len(r) > 4 else np.nan for r in parts]
                axis.semilogx(np.array(centres) * 1.1, values, "x", color=COLOURS[charged], ms=8,
                              label=f"{NAMES[charged]}, ATLAS simulation, |eta| < {REAL_ETA}")  # fmt: skip
    axes[0].axhline(1.0, color="k", lw=0.8, ls="--")
    axes[0].set(xlabel="true cluster energy [GeV]", ylabel="median EM response", ylim=(0.7, 2.2))
    axes[1].set(xlabel="true cluster energy [GeV]", ylabel="(q84 - q16) / 2 median", yscale="log")
    axes[0].legend(fontsize=7)
    _save(figure, path)


def _clusters(path: Path, sample: Sample, real: Any) -> None:
    figure, axes = _axes(3)
    charged = sample.charged_clusters()
    for c in (False, True):
        mine = charged == c
        axes[0].hist(np.log10(sample.columns["n_cells"][mine].clip(1)), 30, (0, 3), density=True, histtype="step",
                     color=COLOURS[c], label=f"{NAMES[c]}, toy")  # fmt: skip
        axes[1].hist(np.log10(sample.columns["CENTER_LAMBDA"][mine]), 40, (1.4, 3.5), density=True, histtype="step",
                     color=COLOURS[c], label=NAMES[c])  # fmt: skip
        axes[2].hist(np.log10(sample.columns["FIRST_ENG_DENS"][mine].clip(1e-10)), 40, (-9, -2.5), density=True,
                     histtype="step", color=COLOURS[c])  # fmt: skip
        if real is not None:
            rows = (real["label"] == c) & (np.abs(real["eta"]) < REAL_ETA)
            axes[0].hist(np.log10(real["n_cells"][rows]), 15, (0, 3), density=True, histtype="step", ls=":",
                         color=COLOURS[c], label=f"{NAMES[c]}, ATLAS simulation")  # fmt: skip
    axes[0].set(xlabel="log10 cells per cluster", ylabel="density")
    axes[1].set(xlabel="log10 (CENTER_LAMBDA / mm)")
    axes[2].set(xlabel="log10 (FIRST_ENG_DENS / (GeV / mm3))")
    axes[0].legend(fontsize=7)
    axes[1].legend(fontsize=8)
    _save(figure, path)


def _separation(path: Path, sample: Sample, facts: dict[str, Any]) -> None:
    figure, axes = _axes(3)
    rows = matched(sample, 0.7, np.random.default_rng(7))
    charged, score = sample.charged_clusters()[rows], 1.0 - sample.columns["em_probability"][rows]
    order = np.argsort(-score, kind="stable")
    passed = [np.cumsum(c[order]) / c.sum() for c in (~charged, charged)]
    axes[0].plot(passed[0], passed[1], label=f"1 - P_EM, AUC {facts['separation']['P_EM']:.3f}")
    axes[0].set(xlabel="pi0 clusters accepted", ylabel="pi+- clusters accepted")
    for c in (False, True):
        axes[1].hist(score[charged == c], 30, (0, 1), density=True, histtype="step", color=COLOURS[c], label=NAMES[c])
    axes[1].set(xlabel="1 - P_EM", ylabel="density", yscale="log")
    bins = [n for n in facts["separation"] if n.startswith("P_EM ")]
    axes[2].plot(range(len(bins)), [facts["separation"][n] for n in bins], "o-", label="1 - P_EM, toy")
    axes[2].plot(range(len(bins)), [0.895, 0.927, 0.993, 0.997], "kx", label="published GNN, ATLAS simulation")
    axes[2].set_xticks(range(len(bins)), ("< 1", "1 to 10", "10 to 100", "> 100"))
    axes[2].set(xlabel="true cluster energy [GeV]", ylabel="AUC")
    for axis in axes:
        axis.legend(fontsize=8)
    _save(figure, path)


def _pions(path: Path, sample: Sample, facts: dict[str, Any], real: Any) -> None:
    figure, axes = _axes(3)
    seen = sample.is_charged & (sample.n_clusters > 0)
    edges = np.geomspace(1.0, 2000.0, 12)
    middle = np.sqrt(edges[1:] * edges[:-1])
    real_edges = (1, 10, 100, 2000)
    for column, name, theirs, colour in (("E", "EM", "sum_em_gev", "C0"), ("calibrated", "LC", "sum_lcw_gev", "C1")):
        ratio = sample.sums(column) / sample.energy
        inside = [ratio[seen & (sample.energy >= a) & (sample.energy < b)]
                  for a, b in pairwise(edges)]  # fmt: skip
        values = [np.percentile(r, [16, 50, 84]) if len(r) > 9 else [np.nan] * 3 for r in inside]
        low, median, high = np.array(values).T
        axes[0].semilogx(middle, median, "o-", color=colour, label=f"{name}, toy")
        axes[0].fill_between(middle, low, high, color=colour, alpha=0.15)
        if real is not None:
            energy, their_ratio = real["e_true_pion_gev"], real[theirs] / real["e_true_pion_gev"]
            for a, b in pairwise(real_edges):
                mine = (energy >= a) & (energy < b)
                q = np.percentile(their_ratio[mine], [16, 50, 84])
                axes[0].errorbar(np.median(energy[mine]), q[1], [[q[1] - q[0]], [q[2] - q[1]]], fmt="x", color=colour,
                                 label=f"{name}, ATLAS simulation" if a == 1 else None)  # fmt: skip
    axes[0].set(xlabel="pion energy [GeV]", ylabel="sum of clusters over E", ylim=(0, 1.6))
    mean, sigma = np.array(facts["E over p"]).T
    axes[1].errorbar(_COCOA_CENTRES, mean, sigma, fmt="o", label="toy")
    axes[1].errorbar(np.array(_COCOA_CENTRES) * 1.1, COCOA_MEAN, COCOA_SIGMA, fmt="x", color="k",
                     label="COCOA's template")  # fmt: skip
    axes[1].set(xlabel=f"momentum [GeV], bins from {P_BINS[0]:g} to 100", ylabel="EM sum over p", xscale="log")
    shown = seen & (sample.energy > 2)
    axes[2].hist(sample.n_clusters[shown], np.arange(0.5, 10), density=True, histtype="step", label="toy, above 2 GeV")
    if real is not None:
        axes[2].hist(real["n_clusters"], np.arange(0.5, 10), density=True, histtype="step", ls=":", color="k",
                     label="ATLAS simulation")  # fmt: skip
    axes[2].set(xlabel="clusters per charged pion", ylabel="share")
    for axis in axes:
        axis.legend(fontsize=7)
    _save(figure, path)
