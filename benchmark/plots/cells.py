"""A figure of one calorimeter sample: cells by layer, their particles, and the tracks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmark import registry, tasks
from benchmark.contracts import PointBatch, Task
from benchmark.contracts.cells import CELL, FOCUS_HIT, OTHER_HIT
from benchmark.contracts.colours import COLOURS
from benchmark.data.preparation import preparation
from benchmark.data.stream import event_set
from benchmark.errors import BenchmarkError, ConfigError
from benchmark.metrics.association import CLASSES as OWNERS
from benchmark.plots.style import pyplot, save_figure, shown_name

SAMPLINGS = (  # layers in ATLAS's order, from the inside out in each subdetector
    "PreSamplerB", "EMB1", "EMB2", "EMB3", "PreSamplerE", "EME1", "EME2", "EME3", "HEC0", "HEC1", "HEC2", "HEC3",
    "TileBar0", "TileBar1", "TileBar2", "TileGap1", "TileGap2", "TileGap3", "TileExt0", "TileExt1", "TileExt2",
)  # fmt: skip


def draw_sample(task: str, dataset: str | None, data: Path | None, split: str, number: int, path: Path) -> None:
    """A PNG of one sample of a split. Raises ConfigError where there is no such sample."""
    task_spec = tasks.task(task)
    if task_spec.detector != "calorimeter":
        raise ConfigError(
            f"--task {task_spec.name} has no cells. A task of the calorimeter was expected. Type "
            f"`python -m benchmark list tasks`."
        )
    spec = registry.dataset_spec(dataset or task_spec.dataset)
    events = event_set(spec.open(spec.config(), data), split, task_spec, preparation(task_spec))
    if not 0 <= number < len(events):
        raise ConfigError(
            f"--event {number} does not exist. A number from 0 to {len(events) - 1} was expected. Correct --event."
        )
    batch = events.batch([number])
    info = batch.point_info
    layer = np.array([SAMPLINGS[int(s)] for s in info["sampling"]])
    cell = info["category"] == CELL
    eta, phi, deta, dphi = (np.asarray(info[name])[cell] for name in ("eta", "phi", "deta", "dphi"))
    draw_cells(
        eta, phi, deta, dphi, np.asarray(batch.energy)[cell], layer[cell].tolist(), path,
        fractions=_fractions(batch, task_spec, cell), tracks=_track_points(batch, layer, FOCUS_HIT),
        other_tracks=_track_points(batch, layer, OTHER_HIT), title=_title(batch, task_spec),
    )  # fmt: skip


def _fractions(batch: PointBatch, task: Task, cell: np.ndarray) -> np.ndarray | None:
    """(N, 3) shares of focus, other charged and neutral particles, where the task has such labels."""
    if task.metrics != "association":
        return None
    target: np.ndarray = np.asarray(batch.target)[cell]
    if task.soft:
        return target
    focus = (target == 1).astype(np.float32)
    return np.stack([focus, np.zeros_like(focus), 1 - focus], axis=1)


def _track_points(batch: PointBatch, layer: np.ndarray, category: int) -> dict[str, np.ndarray] | None:
    """Layer -> (n, 2) eta and phi of the tracks' points there."""
    selected = np.asarray(batch.point_info["category"]) == category
    if not selected.any():
        return None
    eta_phi = np.stack([batch.point_info["eta"], batch.point_info["phi"]], axis=1)
    return {name: eta_phi[selected & (layer == name)] for name in sorted(set(layer[selected]))}


def _title(batch: PointBatch, task: Task) -> str:
    event_info = batch.event_info
    parts = [shown_name(batch.event_ids[0])]
    if task.metrics == "pions":
        parts.append(task.classes[int(np.asarray(batch.target)[0])])
    if task.auxiliary and "log_true_energy" in task.auxiliary:
        parts.append(f"true energy {10 ** batch.label('log_true_energy')[0]:.3g} GeV")
    elif task.kind == "regression":
        parts.append(f"true energy {10 ** np.asarray(batch.target)[0]:.3g} GeV")
    if "track_p" in event_info:
        parts.append(f"track p {event_info['track_p'][0]:.3g} GeV")
    return ", ".join(parts)


def draw_cells(
    eta: np.ndarray,
    phi: np.ndarray,
    deta: np.ndarray,
    dphi: np.ndarray,
    energy_gev: np.ndarray,
    sampling: Sequence[str],
    path: Path,
    *,
    fractions: np.ndarray | None = None,
    tracks: Mapping[str, np.ndarray] | None = None,
    other_tracks: Mapping[str, np.ndarray] | None = None,
    title: str = "",
) -> None:
    """A PNG of an event's cells, a panel per layer, as rectangles in pseudorapidity and azimuth on shared axes.

    eta, phi, deta, dphi, energy_gev: (N,) centres, full widths (phi in rad) and energies of cells. sampling: (N,) names
    of layers. The colour is the energy on a logarithmic scale; with fractions (N, C) it is the class that holds most of
    the cell, paler at lower energy. Cells without positive energy are empty. tracks, other_tracks: layer -> (n, 2) eta
    and phi where the focus track, and others, cross it. Azimuth is unwrapped around the cells, so it may pass pi.
    Raises BenchmarkError without matplotlib, without cells, or for lengths that differ.
    """
    plt = pyplot()
    names = np.asarray(sampling)
    arrays = [np.asarray(a, dtype=np.float64) for a in (eta, phi, deta, dphi, energy_gev)]
    _check_cells(arrays, names, fractions)
    eta, phi, deta, dphi, energy_gev = arrays
    middle = np.angle(np.exp(1j * phi).mean())
    phi = _unwrap_phi(phi, middle)
    layers = sorted(set(names.tolist()), key=lambda n: (SAMPLINGS.index(n) if n in SAMPLINGS else len(SAMPLINGS), n))
    columns = min(4, len(layers))
    n_rows = -(-len(layers) // columns)
    window = [_axis_limits(eta, deta), _axis_limits(phi, dphi)]
    shape = float(np.clip(np.ptp(window[1]) / np.ptp(window[0]), 0.5, 1.6))  # height over width of a panel
    figure, axes = plt.subplots(
        n_rows, columns, figsize=(3.1 * columns + 1.2, (3.1 * shape + 0.5) * n_rows + 0.7), layout="constrained",
        squeeze=False, sharex=True, sharey=True,
    )  # fmt: skip
    scale = _energy_scale(plt, energy_gev)
    colours = scale.to_rgba(energy_gev) if fractions is None else _class_colours(plt, scale, energy_gev, fractions)
    colours[energy_gev <= 0] = 0  # transparent
    for axis, layer in zip(axes.flat, layers, strict=False):
        in_layer = names == layer
        axis.bar(
            eta[in_layer], dphi[in_layer], deta[in_layer], phi[in_layer] - dphi[in_layer] / 2,
            color=colours[in_layer], edgecolor="#77777799", linewidth=0.35,
        )  # fmt: skip
        for points, colour, size in ((other_tracks, "#777777", 45), (tracks, "black", 80)):
            if points is not None and layer in points:
                crossings = np.asarray(points[layer], dtype=np.float64).reshape(-1, 2)
                for halo, width in (("white", 4.2), (colour, 2.0)):
                    axis.scatter(crossings[:, 0], _unwrap_phi(crossings[:, 1], middle), s=size, marker="x", color=halo,
                                 linewidths=width, zorder=5)  # fmt: skip
        total = energy_gev[in_layer].sum()
        axis.set_title(
            f"{layer}   {total:.3g} GeV, {in_layer.sum()} cell{'s' if in_layer.sum() > 1 else ''}", fontsize=9
        )
        axis.set(xlim=window[0], ylim=window[1])
    _label_axes(axes, len(layers), columns)
    if fractions is None:
        figure.colorbar(scale, ax=axes, label="cell energy (GeV)", format="%g", shrink=0.9, aspect=30, pad=0.015)
    _cells_legend(plt, figure, 0 if fractions is None else np.shape(fractions)[1], bool(tracks), bool(other_tracks))
    figure.suptitle(title, fontsize=11)
    save_figure(figure, path)


def _label_axes(axes: Any, n_panels: int, columns: int) -> None:
    """Labels at the lower and left edges of the panels; the rest of the grid is empty."""
    for axis in axes.flat[n_panels:]:
        axis.set_axis_off()
    for number, axis in enumerate(axes.flat[:n_panels]):
        if number + columns >= n_panels:
            axis.set_xlabel("pseudorapidity η")
            axis.tick_params(labelbottom=True)
        if number % columns == 0:
            axis.set_ylabel("azimuth φ (rad)")


def _check_cells(arrays: list[np.ndarray], names: np.ndarray, fractions: np.ndarray | None) -> None:
    shapes = {a.shape for a in (*arrays, names)}
    n_cells = len(names)
    fits = shapes == {(n_cells,)} and (fractions is None or (np.ndim(fractions) == 2 and len(fractions) == n_cells))
    fractions_shape = "none" if fractions is None else np.shape(fractions)
    if not fits or not n_cells:
        raise BenchmarkError(
            f"The cells' arrays have shapes {sorted(shapes)} and the fractions {fractions_shape}. One value per "
            f"cell was expected of each, of at least one cell, and (cells, classes) fractions. Choose another event."
        )


def _unwrap_phi(phi: np.ndarray, middle: float) -> np.ndarray:
    """The azimuth within pi of `middle`."""
    return np.asarray(middle + (phi - middle + np.pi) % (2 * np.pi) - np.pi)


def _energy_scale(plt: Any, energy_gev: np.ndarray) -> Any:
    """Colours of energies, logarithmic over at most four decades."""
    positive = energy_gev[energy_gev > 0]
    high = positive.max() if len(positive) else 1.0
    low = max(positive.min(), 1e-4 * high) if len(positive) else 0.1
    scale = plt.cm.ScalarMappable(norm="log", cmap="viridis_r")
    scale.set_clim(low, high if high > low else 2 * low)
    return scale


def _class_colours(plt: Any, scale: Any, energy_gev: np.ndarray, fractions: np.ndarray) -> np.ndarray:
    """(N, 4) colour of the class with the largest fraction, towards white at low energy."""
    rgba = np.array([plt.matplotlib.colors.to_rgba(c) for c in COLOURS])[np.argmax(fractions, axis=1) % len(COLOURS)]
    depth = np.clip(np.asarray(scale.norm(np.maximum(energy_gev, scale.norm.vmin))), 0, 1)[:, None]
    strength = 0.25 + 0.75 * depth
    rgba[:, :3] = 1 - strength * (1 - rgba[:, :3])
    return np.asarray(rgba)


def _axis_limits(centre: np.ndarray, width: np.ndarray) -> tuple[float, float]:
    """Limits of one axis that hold every cell, with a margin."""
    low, high = (centre - width / 2).min(), (centre + width / 2).max()
    margin = 0.04 * (high - low) or 0.1
    return float(low - margin), float(high + margin)


def _cells_legend(plt: Any, figure: Any, n_classes: int, has_tracks: bool, has_other_tracks: bool) -> None:
    """Legend of classes and tracks, below the panels."""
    names = OWNERS if n_classes == len(OWNERS) else tuple(f"class {i}" for i in range(n_classes))
    handles = [plt.Rectangle((0, 0), 1, 1, color=COLOURS[i % len(COLOURS)], label=f"largest share: {name}")
               for i, name in enumerate(names)]  # fmt: skip
    for is_shown, colour, name in ((has_tracks, "black", "focus track"), (has_other_tracks, "#777777", "other tracks")):
        if is_shown:
            handles += plt.plot([], [], marker="x", linestyle="", color=colour, markeredgewidth=1.8, label=name)
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9,
                      title="paler: less energy" if n_classes else None, title_fontsize=8)  # fmt: skip
