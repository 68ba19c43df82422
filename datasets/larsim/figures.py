"""Every validation figure of docs/lartpc_sim.md, from one command.

    python -m benchmark.datasets.larsim.figures docs/figures/lartpc_sim

simulates 3,000 events, draws their statistics beside PILArNet-M's (numbers in `events.json` there), and draws the
transport's validation. Needs matplotlib. `--events-only` skips the transport's figures.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from benchmark.contracts.colours import COLOURS
from benchmark.io import atomic_write_json
from benchmark.packages import missing_error

from . import statistics as st
from .plan import Plan
from .production import simulate_plan

N_EVENTS = 3000


def draw_events(folder: Path, n_events: int = N_EVENTS) -> dict[str, Any]:
    """Simulate events with the default settings and draw their statistics into `folder`. Returns the numbers."""
    plt = _matplotlib()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch) / "events"
        simulate_plan(Plan({"train": n_events}), out)
        path = out / "train" / f"generic_v2_{n_events}_v2.h5"
        stats = st.measure(path)
        _display(plt, folder / "events_display.png", path)
    _classes(plt, folder / "events_classes.png", stats)
    _per_event(plt, folder / "events_counts.png", stats)
    _energy(plt, folder / "events_energy.png", stats)
    _muons(plt, folder / "events_muons.png", stats)
    _grouping(plt, folder / "events_grouping.png", stats)
    return {"n_events": n_events, "comparison": st.table(stats), **stats.numbers()}


def _matplotlib() -> Any:
    try:
        import matplotlib
    except ImportError as error:
        raise missing_error("matplotlib", "A figure") from error
    matplotlib.use("Agg")
    import matplotlib.pyplot

    return matplotlib.pyplot


def _save(plt: Any, figure: Any, path: Path) -> None:
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _classes(plt: Any, path: Path, stats: st.Statistics) -> None:
    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    simulated = np.sum(stats.voxels, axis=0) / len(stats.voxels)
    total = st.PUBLISHED["voxels per event"].value
    published = np.array([st.PUBLISHED[f"{name} fraction"].value * total for name in st.CLASSES])
    positions = np.arange(5)
    axes.bar(positions - 0.2, simulated, 0.4, color=COLOURS, label="simulated (colour)")
    axes.bar(
        positions + 0.2,
        published,
        0.4,
        color="white",
        edgecolor="black",
        label="PILArNet-M (white), a factor 1.3 either way",
    )
    axes.errorbar(
        positions + 0.2, published, [published * (1 - 1 / 1.3), published * 0.3], fmt="none", color="black", capsize=4
    )
    axes.set(xticks=positions, yscale="log", ylabel="voxels per event")
    axes.set_xticklabels(st.CLASSES)
    axes.set_ylim(10, 12_000)  # room for the legend
    axes.legend(frameon=False)
    _save(plt, figure, path)


def _per_event(plt: Any, path: Path, stats: st.Statistics) -> None:
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.4), layout="constrained")
    shown = (
        (np.sum(stats.voxels, axis=1), np.linspace(0, 15000, 61), "voxels per event", "voxels per event"),
        (np.array(stats.clusters), np.arange(0, 100, 2), "particles (cluster rows) per event", "particles per event"),
        (np.array(stats.interactions), np.arange(0.5, 8), "visible interactions per event", None),
    )
    for ax, (values, bins, label, published) in zip(axes, shown, strict=True):
        ax.hist(values, bins, color="#30638e", alpha=0.7)
        ax.axvline(values.mean(), color="#30638e", label=f"mean {values.mean():.4g}")
        if published:
            mean = st.PUBLISHED[published].value
            ax.axvline(mean, color="black", linestyle="--", label=f"PILArNet-M's mean {mean:.4g}")
        ax.set(xlabel=label, ylabel="events")
        ax.legend(frameon=False)
    _save(plt, figure, path)


def _energy(plt: Any, path: Path, stats: st.Statistics) -> None:
    figure, axes = plt.subplots(figsize=(7, 3.8), layout="constrained")
    bins = np.geomspace(st.ENERGY_CUT_MEV, 20, 80)
    for name, parts, colour in zip(st.CLASSES, stats.energy, COLOURS, strict=True):
        axes.hist(np.concatenate(parts), bins, density=True, histtype="step", color=colour, label=name)
    for name, colour in (("shower", COLOURS[0]), ("track", COLOURS[1]), ("low-energy", COLOURS[4])):
        axes.axvline(st.PUBLISHED[f"median MeV per voxel, {name}"].value, color=colour, linestyle="--", linewidth=1)
    axes.set(xscale="log", xlabel="MeV per voxel, above 0.13", ylabel="density (dashed: medians of published events)")
    axes.legend(frameon=False)
    _save(plt, figure, path)


def _muons(plt: Any, path: Path, stats: st.Statistics) -> None:
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.4), layout="constrained")
    muons = np.array(stats.muons)
    real = ((4.147, 3.882), (2.109, 2.231), (3.22, 2.59))  # the two long muons of the published events
    labels = ("voxels above 0.13 MeV per cm", "MeV per cm", "occupied neighbours of a voxel")
    for ax, column, published, label in zip(axes, muons.T, real, labels, strict=True):
        ax.hist(column, 40, range=np.percentile(column, [0.5, 99]), color="#30638e", alpha=0.7)
        for value in published:
            ax.axvline(value, color="black", linestyle="--")
        ax.set(xlabel=label, ylabel="straight muons (dashed: published)")
    _save(plt, figure, path)


def _grouping(plt: Any, path: Path, stats: st.Statistics) -> None:
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.4), layout="constrained")
    axes[0].hist(stats.cnms_groups, np.arange(0, 620, 20), color="#30638e", alpha=0.7)
    axes[0].axvline(np.mean(stats.cnms_groups), color="#30638e", label=f"mean {np.mean(stats.cnms_groups):.0f}")
    axes[0].axvline(512, color="black", linestyle=":", label="PoLAr-MAE's context, 512")
    axes[0].set(xlabel="C-NMS groups per event (radius 5, f = 0.73)", ylabel="events")
    axes[1].hist(np.concatenate(stats.points_per_group), np.arange(0.5, 60), color="#30638e", alpha=0.7)
    axes[1].set(xlabel="points per group", ylabel="groups")
    missed, repeated = np.mean(stats.overlap, axis=0).T
    for values, label in ((missed, "in no group"), (repeated, "in several"), (missed + repeated, "sum")):
        axes[2].plot(st.OVERLAPS, values, "o-", label=label)
    axes[2].axvline(0.73, color="black", linestyle=":")
    axes[2].set(xlabel="overlap factor f", ylabel="fraction of points")
    for ax in axes[[0, 2]]:
        ax.legend(frameon=False)
    _save(plt, figure, path)


def _display(plt: Any, path: Path, file: Path) -> None:
    figure, axes = plt.subplots(1, 3, figsize=(12, 4.2), layout="constrained")
    with h5py.File(file, "r") as h5:
        for k, ax in enumerate(axes):
            point, cluster = h5["point"][k].reshape(-1, 8), h5["cluster"][k].reshape(-1, 6)
            semantic = np.repeat(cluster[:, 4], cluster[:, 0])
            for s in (4, 1, 0, 3, 2):
                ax.scatter(*point[semantic == s, 2:0:-1].T, s=0.7, color=COLOURS[s], label=st.CLASSES[s])
            ax.set(
                xlim=(0, 768), ylim=(0, 768), aspect="equal", xlabel="z (voxel)", ylabel="y (voxel)", title=f"event {k}"
            )
    axes[0].legend(frameon=False, markerscale=6, fontsize=7)
    _save(plt, figure, path)


def main(arguments: list[str]) -> int:
    """Draw everything into the folder given."""
    options = [a for a in arguments if a.startswith("-")]
    folders = [a for a in arguments if not a.startswith("-")]
    if len(folders) != 1 or set(options) - {"--events-only"}:
        print("Type `python -m benchmark.datasets.larsim.figures FOLDER [--events-only]`.", file=sys.stderr)
        return 2
    folder = Path(folders[0])
    numbers = draw_events(folder)
    atomic_write_json(folder / "events.json", numbers)
    print(numbers["comparison"])
    if "--events-only" not in options:
        from .validation_plots import draw_all

        print(draw_all(folder))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
