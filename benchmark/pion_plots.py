"""Pictures of pion results: ROC and rejection, energy response against energy, and the cells of one event by layer.

Functions take arrays: states of `benchmark.metrics.pions` and `benchmark.metrics.response` by method, or cells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.displays import COLOURS, pyplot
from benchmark.errors import BenchmarkError
from benchmark.io import atomic_path
from benchmark.metrics import pions
from benchmark.metrics.association import CLASSES as OWNERS
from benchmark.metrics.bootstrap import percentiles
from benchmark.seeding import generator

DPI = 160
MARKED = 0.9  # efficiency whose rejection is written out
LEVEL = 0.683  # of all bands
N_RESAMPLES = 400
MIN_ROWS = 20  # events of a bin that is drawn
MAX_VERTICES = 4001  # of a ROC as drawn
MEDIANS = (0.5, 1.6)  # responses beyond this are told in figures
NAMES = {"pi0": "neutral pions (π⁰)", "pipm": "charged pions (π±)"}
SAMPLINGS = (  # layers in ATLAS's own order, from the inside out within each part
    "PreSamplerB", "EMB1", "EMB2", "EMB3", "PreSamplerE", "EME1", "EME2", "EME3", "HEC0", "HEC1", "HEC2", "HEC3",
    "TileBar0", "TileBar1", "TileBar2", "TileGap1", "TileGap2", "TileGap3", "TileExt0", "TileExt1", "TileExt2",
)  # fmt: skip
_PERCENT = (16, 50, 84)
_WIDTHS = (0.1, 0.2, 0.25, 0.5, 1.0)  # decades that a bin may span
_DASHES = ("-", "--", ":")
_MARKERS = ("o", "s", "^", "D", "v")


def draw_roc(curves: Mapping[str, np.ndarray], path: Path) -> None:
    """A PNG of the ROC, and of the rejection of neutral pions against the efficiency for charged ones.

    curves: method -> (B, 4) state of `pions`. Bands hold the 68% Wilson interval of the false-positive rate at each
    threshold (E. B. Wilson, JASA 22 (1927) 209); thresholds without false positives are not drawn. The point at 90%
    follows the step rule of the scores. Raises BenchmarkError without matplotlib, without methods, or where a method
    lacks signal or background.
    """
    plt = pyplot()
    _require(curves, "curves")
    figure, (roc, rejection) = plt.subplots(1, 2, figsize=(11, 5.2), layout="constrained")
    roc.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=1, linestyle=":")
    roc.text(0.5, 0.53, "chance", color="#888888", fontsize=9, rotation=45, ha="center", va="center")
    highest = 1.0
    for number, (name, state) in enumerate(curves.items()):
        style = _style(number)
        signal, background = _vertices(name, state)
        efficiency, fpr = signal / signal[-1], background / background[-1]
        scores = pions.scores(state, np.ones((1, len(state))))["overall"]
        at = int(np.argmax(efficiency >= MARKED - 1e-12))  # the step rule
        label = f"{name}: AUC {scores['roc_auc'][0]:.3f}, rejection {_rejection(fpr[at], background[-1])}"
        marked = style | {"linewidth": 2.6, "marker": _MARKERS[number % len(_MARKERS)], "markersize": 8,
                          "markeredgecolor": "white", "zorder": 5}  # fmt: skip
        roc.plot(efficiency[at], fpr[at], label=label, **marked)
        if fpr[at] > 0:
            rejection.plot(efficiency[at], 1 / fpr[at], **marked)
        if len(fpr) > MAX_VERTICES:  # those of the step rule at evenly spaced efficiencies
            kept = np.unique([*np.searchsorted(efficiency, np.linspace(0, 1, MAX_VERTICES)), len(fpr) - 1])
            efficiency, fpr = efficiency[kept], fpr[kept]
        roc.plot(np.append(0, efficiency), np.append(0, fpr), **style)
        seen = fpr > 0
        low, high = (1 / edge[seen] for edge in _wilson(fpr, background[-1])[::-1])
        rejection.fill_between(efficiency[seen], low, high, color=style["color"], alpha=0.18, linewidth=0, step="pre")
        rejection.plot(efficiency[seen], 1 / fpr[seen], drawstyle="steps-pre", **style)
        shown = seen & (efficiency >= 0.5)
        highest = max(highest, *(1 / fpr[shown]), 1)
    for axis in (roc, rejection):
        axis.axvline(MARKED, color="#888888", linewidth=1, linestyle=":", zorder=1)
    roc.set(title="ROC", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    rejection.set(title="rejection of neutral pions, with 68% bands", xlim=(0.5, 1), yscale="log")
    rejection.set_ylim(1, 1.6 * highest)
    roc.set(xlabel="efficiency for charged pions", ylabel="efficiency for neutral pions")
    rejection.set(xlabel="efficiency for charged pions", ylabel="1 / efficiency for neutral pions")
    _plain_ticks(rejection.yaxis)
    _finish(figure, roc, len(curves), path)


def _vertices(name: str, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(G,) accepted signal and background at each threshold, the highest first."""
    values = np.asarray(state, dtype=np.float64)
    n_signal = int((values[:, 1] == 1).sum())
    if n_signal in (0, len(values)):
        raise BenchmarkError(
            f"{name} has {n_signal} charged pions of {len(values)} events. Both kinds of pions were expected. Choose a "
            f"split that holds both."
        )
    ranked = values[np.argsort(-values[:, 0], kind="stable")]
    signal, background = pions.roc_vertices(ranked, np.ones((1, len(ranked))))
    return signal[0], background[0]


def _wilson(share: np.ndarray, n: float, z: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper ends of the z-sigma score interval of a binomial share of n."""
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return centre - half, centre + half


def _rejection(fpr: float, n: float) -> str:
    """1 / FPR at the marked efficiency with its 68% interval, or that interval's lower end without false positives."""
    low, high = (float(edge) for edge in _wilson(np.asarray(fpr), n))
    value = f"{1 / fpr:.3g} ({1 / high:.3g} to {1 / low:.3g})" if fpr > 0 else f"above {1 / high:.3g}"
    return f"{value} at {MARKED:.0%}"


def draw_response(states: Mapping[str, np.ndarray], path: Path, by_class: bool = True) -> None:
    """A PNG of the median response and its width against true energy, a line per method with 68% bootstrap bands.

    states: method -> (B, 4) state of `response`. by_class: a column each for neutral and charged pions; else one of all
    events. Bins are as fine as leaves most events in bins of at least 20; smaller bins are not drawn. Raises
    BenchmarkError without matplotlib, without methods, or where nothing is left to draw.
    """
    plt = pyplot()
    _require(states, "states")
    columns = list(zip(pions.CLASSES, (0, 1), strict=True)) if by_class else [("all", None)]
    figure, axes = plt.subplots(
        2, len(columns), figsize=(5.2 * len(columns) + 0.6, 6.8), layout="constrained", squeeze=False, sharex=True,
        sharey="row",
    )  # fmt: skip
    n_drawn = 0
    for (upper, lower), (kind, label) in zip(axes.T, columns, strict=True):
        upper.axhline(1, color="#888888", linewidth=1.2, zorder=1)
        for number, (name, state) in enumerate(states.items()):
            chosen = np.asarray(state) if label is None else np.asarray(state)[np.asarray(state)[:, 2] == label]
            edges = response_edges(chosen[:, 1])
            n_drawn += _response_lines(upper, lower, name, chosen, edges, number)
        upper.set_title(NAMES.get(kind, "all pions"))
        lower.set(xlabel="true energy (GeV)", xscale="log", yscale="log")
    if not n_drawn:
        raise BenchmarkError(
            f"No bin of energy holds {MIN_ROWS} events of a class. More events were expected. Choose a larger split."
        )
    _clip_medians(axes[0])
    axes[0, 0].set_ylabel("median of  R = predicted / true")
    axes[1, 0].set_ylabel("(q84 − q16) / (2 median)  of  R")
    for axis in axes[1]:
        _plain_ticks(axis.xaxis)
    _plain_ticks(axes[1, 0].yaxis)
    _finish(figure, axes[0, 0], len(states), path, axes[0])


def response_edges(true_gev: np.ndarray) -> np.ndarray:
    """Edges from 0.1 to 10000 GeV, equal in log energy: the finest that leave 80% of the events in bins of MIN_ROWS."""
    for width in _WIDTHS:
        edges = 10 ** (-1 + width * np.arange(round(5 / width) + 1))
        n = np.histogram(true_gev, edges)[0]
        if n[n >= MIN_ROWS].sum() >= 0.8 * n.sum():
            break
    return np.asarray(edges)


def _response_lines(upper: Any, lower: Any, name: str, state: np.ndarray, edges: np.ndarray, number: int) -> int:
    """One method's two lines in a column; how many bins they have."""
    inside = pions.in_bins(np.asarray(state[:, 1], dtype=np.float64), edges)
    drawn = [row for row in inside if row.sum() >= MIN_ROWS]
    if not drawn:
        return 0
    centre = np.sqrt(edges[:-1] * edges[1:])[inside.sum(axis=1) >= MIN_ROWS]
    rng = generator("bands of a response plot", name)
    values, bands = [], []
    for row in drawn:
        ratios = np.sort(state[row, 0].astype(np.float64) / state[row, 1])
        values.append(_median_and_width(np.percentile(ratios, _PERCENT)))
        bands.append(percentiles(_median_and_width(resampled_percentiles(ratios, _PERCENT, rng)), LEVEL))
    style = _style(number) | {"marker": _MARKERS[number % len(_MARKERS)], "markersize": 4.5}
    for axis, middle, (low, high) in zip((upper, lower), np.transpose(values), np.transpose(bands, (2, 1, 0)),
                                         strict=True):  # fmt: skip
        axis.fill_between(centre, low, high, color=style["color"], alpha=0.18, linewidth=0)
        axis.plot(centre, middle, label=name, **style)
    return len(drawn)


def _median_and_width(quantiles: np.ndarray) -> np.ndarray:
    """(..., 2) median and iqr_over_2median of (..., 3) percentiles 16, 50, 84."""
    q16, median, q84 = np.moveaxis(quantiles, -1, 0)
    return np.stack([median, (q84 - q16) / (2 * median)], axis=-1)


def resampled_percentiles(
    rising: np.ndarray, percent: Sequence[float], rng: np.random.Generator, n_resamples: int = N_RESAMPLES
) -> np.ndarray:
    """(R, P) percentiles of R bootstrap resamples of (n,) sorted values, distributed as if each were drawn in full.

    The k-th smallest of n draws from n sorted values is the value at floor(n U), U the k-th smallest of n uniform
    numbers, and uniform order statistics are partial sums of gamma spacings over their total (L. Devroye, Non-Uniform
    Random Variate Generation (1986), chapter V). So only the ranks beside each percentile are drawn, whatever n is.
    """
    n = len(rising)
    rank = (n - 1) * np.asarray(percent, dtype=np.float64) / 100
    lower = np.floor(rank).astype(np.int64)
    needed, place = np.unique([lower, np.minimum(lower + 1, n - 1)], return_inverse=True)
    spacings = rng.standard_gamma(np.diff([0, *(needed + 1), n + 1]), size=(n_resamples, len(needed) + 1))
    uniform = np.cumsum(spacings, axis=1)
    drawn = rising[np.minimum((n * uniform[:, :-1] / uniform[:, -1:]).astype(np.int64), n - 1)]  # (R, ranks)
    low, high = drawn[:, place.reshape(2, -1)[0]], drawn[:, place.reshape(2, -1)[1]]
    return np.asarray(low + (rank - lower) * (high - low))


def _clip_medians(axes: Sequence[Any]) -> None:
    """The row's window holds every median within MEDIANS; a marker at its edge stands for one beyond.

    The value of a line's last such median stands beside it, those of further lines one below the other.
    """
    lines = [(axis, line) for axis in axes for line in axis.lines[1:]]  # without the reference lines
    every = np.concatenate([np.asarray(line.get_ydata(), dtype=np.float64) for _, line in lines])
    low, high = (float(np.clip(end, *MEDIANS)) for end in (min(every.min(), 0.95), max(every.max(), 1.05)))
    margin = 0.06 * (high - low)
    axes[0].set_ylim(low - margin, high + margin)
    for number, (axis, line) in enumerate(lines):
        beyond = [(x, y) for x, y in zip(*line.get_data(), strict=True) if not low <= y <= high]
        for x, y in beyond:
            edge, marker = (high, "^") if y > high else (low, "v")
            axis.plot(x, edge, marker=marker, color=line.get_color(), markersize=8, linestyle="")
        if beyond:
            below = -11 * (number % (len(lines) // len(axes)))
            axis.annotate(f"{y:.2g}", (x, edge), (10, below), textcoords="offset points", fontsize=9,
                          color=line.get_color(), va="center")  # fmt: skip


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
    phi = _unwrapped(phi, middle)
    layers = sorted(set(names.tolist()), key=lambda n: (SAMPLINGS.index(n) if n in SAMPLINGS else len(SAMPLINGS), n))
    columns = min(4, len(layers))
    n_rows = -(-len(layers) // columns)
    window = [_window(eta, deta), _window(phi, dphi)]
    shape = float(np.clip(np.ptp(window[1]) / np.ptp(window[0]), 0.5, 1.6))  # height over width of a panel
    figure, axes = plt.subplots(
        n_rows, columns, figsize=(3.1 * columns + 1.2, (3.1 * shape + 0.5) * n_rows + 0.7), layout="constrained",
        squeeze=False, sharex=True, sharey=True,
    )  # fmt: skip
    scale = _energy_scale(plt, energy_gev)
    colours = scale.to_rgba(energy_gev) if fractions is None else _class_colours(plt, scale, energy_gev, fractions)
    colours[energy_gev <= 0] = 0  # transparent
    for axis, layer in zip(axes.flat, layers, strict=False):
        own = names == layer
        axis.bar(eta[own], dphi[own], deta[own], phi[own] - dphi[own] / 2, color=colours[own], edgecolor="#77777799",
                 linewidth=0.35)  # fmt: skip
        for points, colour, size in ((other_tracks, "#777777", 45), (tracks, "black", 80)):
            if points is not None and layer in points:
                where = np.asarray(points[layer], dtype=np.float64).reshape(-1, 2)
                for halo, width in (("white", 4.2), (colour, 2.0)):
                    axis.scatter(where[:, 0], _unwrapped(where[:, 1], middle), s=size, marker="x", color=halo,
                                 linewidths=width, zorder=5)  # fmt: skip
        total = energy_gev[own].sum()
        axis.set_title(f"{layer}   {total:.3g} GeV, {own.sum()} cell{'s' if own.sum() > 1 else ''}", fontsize=9)
        axis.set(xlim=window[0], ylim=window[1])
    for axis in axes.flat[len(layers) :]:
        axis.set_axis_off()
    for number, axis in enumerate(axes.flat[: len(layers)]):
        if number + columns >= len(layers):
            axis.set_xlabel("pseudorapidity η")
            axis.tick_params(labelbottom=True)
        if number % columns == 0:
            axis.set_ylabel("azimuth φ (rad)")
    if fractions is None:
        figure.colorbar(scale, ax=axes, label="cell energy (GeV)", format="%g", shrink=0.9, aspect=30, pad=0.015)
    _cells_legend(plt, figure, 0 if fractions is None else np.shape(fractions)[1], bool(tracks), bool(other_tracks))
    figure.suptitle(title, fontsize=11)
    _save(figure, path)


def _check_cells(arrays: list[np.ndarray], names: np.ndarray, fractions: np.ndarray | None) -> None:
    shapes = {a.shape for a in (*arrays, names)}
    n_cells = len(names)
    fits = shapes == {(n_cells,)} and (fractions is None or (np.ndim(fractions) == 2 and len(fractions) == n_cells))
    given = "none" if fractions is None else np.shape(fractions)
    if not fits or not n_cells:
        raise BenchmarkError(
            f"The cells' arrays have shapes {sorted(shapes)} and the fractions {given}. One value per "
            f"cell was expected of each, of at least one cell, and (cells, classes) fractions. Choose another event."
        )


def _unwrapped(phi: np.ndarray, middle: float) -> np.ndarray:
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


def _window(centre: np.ndarray, width: np.ndarray) -> tuple[float, float]:
    """Limits of one axis that hold every cell, with a margin."""
    low, high = (centre - width / 2).min(), (centre + width / 2).max()
    margin = 0.04 * (high - low) or 0.1
    return float(low - margin), float(high + margin)


def _cells_legend(plt: Any, figure: Any, n_classes: int, has_tracks: bool, has_others: bool) -> None:
    """Names of classes and crosses, below the panels."""
    names = OWNERS if n_classes == len(OWNERS) else tuple(f"class {i}" for i in range(n_classes))
    handles = [plt.Rectangle((0, 0), 1, 1, color=COLOURS[i % len(COLOURS)], label=f"largest share: {name}")
               for i, name in enumerate(names)]  # fmt: skip
    for shown, colour, name in ((has_tracks, "black", "focus track"), (has_others, "#777777", "other tracks")):
        if shown:
            handles += plt.plot([], [], marker="x", linestyle="", color=colour, markeredgewidth=1.8, label=name)
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=9,
                      title="paler: less energy" if n_classes else None, title_fontsize=8)  # fmt: skip


# --- shared ---


def _require(methods: Mapping[str, np.ndarray], name: str) -> None:
    if not methods:
        raise BenchmarkError(f"No {name} were given. At least one method was expected. Choose records to draw.")


def _style(number: int) -> dict[str, Any]:
    """Colour and dashes of the method with this number."""
    return {
        "color": COLOURS[number % len(COLOURS)],
        "linestyle": _DASHES[number // len(COLOURS) % len(_DASHES)],
        "linewidth": 1.8,
    }


def _plain_ticks(axis: Any) -> None:
    """10 and 0.1 in place of powers of ten on a logarithmic axis."""
    axis.set_major_formatter(lambda value, _: f"{value:g}")


def _finish(figure: Any, named: Any, n_methods: int, path: Path, axes: Sequence[Any] = ()) -> None:
    """The legend below the panels, frames without their right and upper sides, and the file."""
    for axis in figure.axes:
        axis.spines[["right", "top"]].set_visible(False)
        axis.grid(color="#eeeeee", linewidth=0.8)
        axis.set_axisbelow(True)
    found: dict[str, Any] = {}
    for axis in (named, *axes):
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    figure.align_ylabels()
    columns = min(n_methods, 4 if max(map(len, found)) < 25 else 2)
    figure.legend(list(found.values()), list(found), loc="outside lower center", ncols=columns, frameon=False)
    _save(figure, path)


def _save(figure: Any, path: Path) -> None:
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=DPI, format="png")
    pyplot().close(figure)
