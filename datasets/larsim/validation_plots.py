"""Figures of the transport's validation, one file each, drawn from `validation`."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from . import constants as k
from . import validation as v
from .tables import photon_coefficients


def draw_all(folder: Path) -> dict[str, Any]:
    """Compute everything, write PNG files into `folder` (created) and return the numbers by figure."""
    import matplotlib

    matplotlib.use("Agg")
    folder.mkdir(parents=True, exist_ok=True)
    figures = {
        "ranges": _ranges, "loss_residual_range": _loss, "photons": _photons, "shower_profile": _shower,
        "radiation": _radiation, "michel": _michel, "scattering": _scattering,
    }  # fmt: skip
    return {name: draw(folder / f"transport_{name}.png") for name, draw in sorted(figures.items())}


def _axes(n: int = 1, width: float = 5.5) -> tuple[Any, Any]:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, n, figsize=(width * n, 4.0), layout="constrained")
    return figure, axes


def _save(figure: Any, path: Path) -> None:
    import matplotlib.pyplot as plt

    figure.savefig(path, dpi=120)
    plt.close(figure)


def _ranges(path: Path) -> dict[str, Any]:
    integrated, tracked, mip = v.csda_ranges(), v.tracked_ranges(), v.minimum_ionising_loss()
    figure, axes = _axes(2)
    for i, name in enumerate(v.NAMES.values()):
        for axis, rows, mark in ((axes[0], integrated, "o-"), (axes[1], tracked, "s-")):
            mine = [r for r in rows if r["particle"] == name]
            ratio = [100 * (r["model_cm"] / r["table_cm"] - 1) for r in mine]
            axis.semilogx([r["T_mev"] for r in mine], ratio, mark, color=f"C{i}", label=name)
    for axis, title in zip(axes, ("range integrated from the tables", "median path of tracked particles"), strict=True):
        axis.axhspan(-2, 2, color="0.9", zorder=0)
        axis.set(
            xlabel="kinetic energy [MeV]",
            ylabel="range against PDG, PSTAR, Bethe tables [%]",
            title=title,
            ylim=(-4, 4),
        )
        axis.legend()
    _save(figure, path)
    return {"integrated": integrated, "tracked": tracked, "minimum_ionising": mip, "fast_muons": v.fast_muon_loss()}


def _loss(path: Path) -> dict[str, Any]:
    rows = v.loss_against_residual_range()
    figure, axis = _axes()
    for i, name in enumerate(("muon", "pion", "proton")):
        mine = [r for r in rows if r["particle"] == name]
        x, table = np.array([r["rr_cm"] for r in mine]), np.array([r["table"] for r in mine])
        spread = np.abs(np.array([[r["table_p16"], r["table_p84"]] for r in mine]).T - table)
        axis.errorbar(x, table, spread, fmt="o", color=f"C{i}", label=f"{name}, SBND simulation")
        axis.plot(x, [r["model"] for r in mine], "-", color=f"C{i}", label=f"{name}, here, as charge shows it")
        axis.plot(x, [r["model_true"] for r in mine], ":", color=f"C{i}", label=f"{name}, here, true")
    axis.set(xscale="log", yscale="log", xlabel="residual range [cm]", ylabel="dE/dx, 5 cm pieces [MeV/cm]")
    axis.legend(fontsize=7)
    _save(figure, path)
    return {"rows": rows}


def _photons(path: Path) -> dict[str, Any]:
    rows = v.photon_interactions()
    energy = np.array([r["E_mev"] for r in rows])
    fine = np.geomspace(0.05, 2000.0, 300)
    mass = photon_coefficients(fine)
    total = sum(mass.values())
    figure, axes = _axes(2)
    axes[0].semilogx(fine, 1.0 / (total * k.DENSITY), "k-", label="XCOM")
    axes[0].semilogx(energy, [r["mfp_cm"] for r in rows], "o", label="sampled")
    axes[0].set(xlabel="photon energy [MeV]", ylabel="mean free path [cm]")
    axes[0].legend()
    for i, name in enumerate(("compton", "photoelectric", "pair")):
        axes[1].semilogx(fine, mass[name] / total, "-", color=f"C{i}", label=f"{name}, XCOM")
        axes[1].semilogx(energy, [r[name] for r in rows], "o", color=f"C{i}")
    axes[1].set(xlabel="photon energy [MeV]", ylabel="share of interactions")
    axes[1].legend()
    _save(figure, path)
    return {"rows": rows}


def _shower(path: Path) -> dict[str, Any]:
    from scipy.stats import gamma

    shower = v.shower_profile()
    figure, axis = _axes()
    edges, tmax = shower["edges_x0"], shower["expected_maximum_x0"]
    axis.stairs(shower["profile_mev"] / np.diff(edges), edges, label="1 GeV electrons, here")
    t = np.linspace(0.0, edges[-1], 200)
    curve = 1000.0 * gamma.pdf(t, 1.0 + 0.5 * tmax, scale=2.0)
    axis.plot(t, curve, "--", label="gamma profile, max ln(E/Ec) - 0.5, b = 0.5")
    axis.axvline(shower["depth95_x0"], color="0.6", lw=0.8, label="95% contained")
    axis.set(xlabel="depth [14 cm radiation lengths]", ylabel="dE/dt [MeV per X0]")
    axis.legend(fontsize=8)
    _save(figure, path)
    return {name: value for name, value in shower.items() if isinstance(value, float)}


def _radiation(path: Path) -> dict[str, Any]:
    share, loss = v.radiated_fraction(), v.radiative_loss()
    figure, axes = _axes(2)
    axes[0].semilogx([r["T_mev"] for r in share], [r["estar"] for r in share], "k-", label="ESTAR, CSDA")
    axes[0].semilogx([r["T_mev"] for r in share], [r["model"] for r in share], "o", label="tracked electrons")
    axes[0].set(xlabel="kinetic energy [MeV]", ylabel="radiated share of the energy")
    axes[1].loglog([r["T_mev"] for r in loss], [r["estar_mev_cm"] for r in loss], "k-", label="ESTAR")
    axes[1].loglog(
        [r["T_mev"] for r in loss], [r["model_mev_cm"] for r in loss], "o", label="photon rate x mean energy"
    )
    axes[1].set(xlabel="kinetic energy [MeV]", ylabel="radiative loss [MeV/cm]")
    for axis in axes:
        axis.legend()
    _save(figure, path)
    return {"share": share, "loss": loss}


def _michel(path: Path) -> dict[str, Any]:
    plus, minus = v.stopped_muons(-13), v.stopped_muons(13)
    figure, axes = _axes(2)
    edges = np.arange(0.0, 70.1, 2.0)
    expected = np.diff(v.michel_cdf(edges + k.M_E)) / 2.0
    axes[0].stairs(expected, edges, color="k", label="2x$^2$(3 - 2x)")
    for sample, name in ((plus, "mu+ at rest"), (minus, "mu- bound in argon")):
        axes[0].hist(sample["kinetic_mev"], edges, density=True, histtype="step", label=name)
    axes[0].set(xlabel="electron kinetic energy [MeV]", ylabel="per MeV")
    t = np.linspace(0.0, 8000.0, 41)
    for i, (sample, name, tau) in enumerate(((plus, "mu+", k.TAU_MU), (minus, "mu-", k.TAU_MU_MINUS_AR))):
        axes[1].hist(sample["t_ns"], t, density=True, histtype="step", color=f"C{i}", label=name)
        axes[1].plot(t, np.exp(-t / tau) / tau, "--", color=f"C{i}", label=f"exp(-t / {tau:.0f} ns)")
    axes[1].set(xlabel="decay time [ns]", ylabel="per ns", yscale="log", ylim=(1e-6, 3e-3))
    axes[1].set_title(f"captured share of mu-: {minus['captured']:.3f}")
    for axis in axes:
        axis.legend(fontsize=8)
    _save(figure, path)
    return {
        "mean_kinetic_mev": float(plus["kinetic_mev"].mean()),
        "mu_minus_captured": minus["captured"],
        "mu_plus_mean_life_ns": float(plus["t_ns"].mean()),
        "mu_minus_mean_life_ns": float(minus["t_ns"].mean()),
    }


def _scattering(path: Path) -> dict[str, Any]:
    rows, shift = v.scattering_angles(), v.lateral_displacement()
    momentum, thickness = 1000.0, 50.0
    beta2 = momentum**2 / (momentum**2 + k.M_MU**2)
    angles = 1e3 * v.deflections(np.array([77], np.uint64), 100_000, 25, thickness / 25, momentum, beta2)
    width = next(r["highland_mrad"] for r in rows if r["p_mev"] == momentum and r["mm"] == thickness)
    figure, axes = _axes(2)
    edges = np.linspace(-60.0, 60.0, 121)
    axes[0].hist(angles, edges, density=True, histtype="step", label="here")
    axes[0].plot(edges, np.exp(-0.5 * (edges / width) ** 2) / (width * math.sqrt(2 * math.pi)), "--", label="Highland")
    axes[0].set(
        yscale="log", ylim=(1e-5, 0.1), xlabel="projected angle [mrad]", ylabel="per mrad", title="1 GeV/c muons, 5 cm"
    )
    axes[1].plot([r["highland_mrad"] for r in rows], [r["model_mrad"] for r in rows], "o")
    axes[1].plot([0, 35], [0, 35], "k--", lw=0.8)
    axes[1].set(xlabel="Highland [mrad]", ylabel="central 98% width here [mrad]")
    axes[0].legend()
    _save(figure, path)
    return {"angles": rows, "displacement": shift}
