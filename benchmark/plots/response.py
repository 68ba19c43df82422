"""Energy response of pions against their true energy, and its width, from states of `benchmark.metrics.response`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.errors import BenchmarkError
from benchmark.metrics import pions
from benchmark.metrics.bootstrap import LEVEL, percentiles
from benchmark.plots.method_styles import MethodStyle, method_styles
from benchmark.plots.style import finish_figure, plain_ticks, pyplot, require_methods, shown_name
from benchmark.seeding import generator

N_RESAMPLES = 400
MIN_ROWS = 20  # events of a bin that is drawn
MEDIANS = (0.5, 1.6)  # range of the axis; values outside are written as numbers
MOST_VALUES = 4  # written at an edge
_PERCENT = (16, 50, 84)
_WIDTHS = (0.1, 0.2, 0.25, 0.5, 1.0)  # decades that a bin may span
NAMES = {"pi0": "neutral pions (π⁰)", "pipm": "charged pions (π±)"}


def draw_response(states: Mapping[str, np.ndarray], path: Path, by_class: bool = True) -> None:
    """A PNG of the median response and its width against true energy, a line per method with 95% bootstrap bands.

    states: method -> (B, 4) state of `response`. by_class: a column each for neutral and charged pions; else one of all
    events. Bins are the finest with most events in bins of at least 20; smaller bins are not drawn. Raises
    BenchmarkError without matplotlib, without methods, or without a bin to draw.
    """
    plt = pyplot()
    require_methods(states, "states")
    columns = list(zip(pions.CLASSES, (0, 1), strict=True)) if by_class else [("all", None)]
    figure, axes = plt.subplots(
        2, len(columns), figsize=(5.2 * len(columns) + 0.6, 6.8), layout="constrained", squeeze=False, sharex=True,
        sharey="row",
    )  # fmt: skip
    n_drawn, styles = 0, method_styles(list(states))
    for (upper, lower), (class_name, label) in zip(axes.T, columns, strict=True):
        upper.axhline(1, color="#888888", linewidth=1.2, zorder=1)
        for name, state in states.items():
            selected = np.asarray(state) if label is None else np.asarray(state)[np.asarray(state)[:, 2] == label]
            n_drawn += _draw_response_lines(upper, lower, name, selected, styles[name])
        upper.set_title(f"{NAMES.get(class_name, 'all pions')}; bands: {LEVEL:.0%} over events")
        lower.set(xlabel="true energy (GeV)", xscale="log", yscale="log")
    if not n_drawn:
        raise BenchmarkError(
            f"No bin of energy holds {MIN_ROWS} events of a class. More events were expected. Choose a larger split."
        )
    _clip_medians(axes[0])
    axes[0, 0].set_ylabel("median of  R = predicted / true")
    axes[1, 0].set_ylabel("(q84 − q16) / (2 median)  of  R")
    for axis in axes[1]:
        plain_ticks(axis.xaxis)
    plain_ticks(axes[1, 0].yaxis)
    finish_figure(figure, axes[0, 0], len(states), path, axes[0])


def response_edges(true_gev: np.ndarray) -> np.ndarray:
    """Edges from 0.1 to 10000 GeV, equal in log energy: the finest that leave 80% of the events in bins of MIN_ROWS."""
    for width in _WIDTHS:
        edges = 10 ** (-1 + width * np.arange(round(5 / width) + 1))
        n = np.histogram(true_gev, edges)[0]
        if n[n >= MIN_ROWS].sum() >= 0.8 * n.sum():
            break
    return np.asarray(edges)


def _draw_response_lines(upper: Any, lower: Any, name: str, state: np.ndarray, style: MethodStyle) -> int:
    """Draw one method's two lines in a column; returns their number of bins."""
    edges = response_edges(state[:, 1])
    in_bins = pions.in_bins(np.asarray(state[:, 1], dtype=np.float64), edges)
    drawn_bins = [row for row in in_bins if row.sum() >= MIN_ROWS]
    if not drawn_bins:
        return 0
    centre = np.sqrt(edges[:-1] * edges[1:])[in_bins.sum(axis=1) >= MIN_ROWS]
    rng = generator("bands of a response plot", name)
    values, bands = [], []
    for row in drawn_bins:
        ratios = np.sort(state[row, 0].astype(np.float64) / state[row, 1])
        values.append(_median_and_width(np.percentile(ratios, _PERCENT)))
        bands.append(percentiles(_median_and_width(resampled_percentiles(ratios, _PERCENT, rng)), LEVEL))
    for axis, middle, (low, high) in zip((upper, lower), np.transpose(values), np.transpose(bands, (2, 1, 0)),
                                         strict=True):  # fmt: skip
        axis.fill_between(centre, low, high, color=style.colour, alpha=0.12, linewidth=0)
        axis.plot(centre, middle, label=shown_name(name), markersize=5, linewidth=1.6, **style.line())
    return len(drawn_bins)


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
    ranks, index = np.unique([lower, np.minimum(lower + 1, n - 1)], return_inverse=True)
    spacings = rng.standard_gamma(np.diff([0, *(ranks + 1), n + 1]), size=(n_resamples, len(ranks) + 1))
    uniform = np.cumsum(spacings, axis=1)
    drawn = rising[np.minimum((n * uniform[:, :-1] / uniform[:, -1:]).astype(np.int64), n - 1)]  # (R, ranks)
    low, high = drawn[:, index.reshape(2, -1)[0]], drawn[:, index.reshape(2, -1)[1]]
    return np.asarray(low + (rank - lower) * (high - low))


def _clip_medians(axes: Sequence[Any]) -> None:
    """Limit the row's axis to MEDIANS; medians outside are marks at its edge, with the value of a line's last one.

    They stand below each other inside the panel, so that they cover neither each other nor the axis.
    """
    lines = [(axis, line) for axis in axes for line in axis.lines[1:]]  # without the reference lines
    medians = np.concatenate([np.asarray(line.get_ydata(), dtype=np.float64) for _, line in lines])
    low, high = (float(np.clip(end, *MEDIANS)) for end in (min(medians.min(), 0.95), max(medians.max(), 1.05)))
    margin = 0.06 * (high - low)
    axes[0].set_ylim(low - margin, high + margin)
    for axis in axes:
        for is_above, edge in ((True, high), (False, low)):
            outside = {}  # line -> (x, y) of its last median there
            for line in (line for of, line in lines if of is axis):
                beyond = [(x, y) for x, y in zip(*line.get_data(), strict=True) if (y > high if is_above else y < low)]
                axis.plot([x for x, _ in beyond], [edge] * len(beyond), marker="^" if is_above else "v", markersize=8,
                          color=line.get_color(), linestyle="")  # fmt: skip
                if beyond:
                    outside[line] = beyond[-1]
            _write_values(axis, edge, outside, -11 if is_above else 11)


def _write_values(axis: Any, edge: float, outside: Mapping[Any, tuple[float, float]], step: int) -> None:
    """The values of lines outside the axis, in their colours, away from the edge; of many lines their range alone."""
    if not outside:
        return
    right = max(x for x, _ in outside.values())
    texts = [(f"{y:.2g}", line.get_color()) for line, (_, y) in outside.items()]
    if len(texts) > MOST_VALUES:
        values = [y for _, y in outside.values()]
        texts = [(f"{len(values)} lines: {min(values):.2g} to {max(values):.2g}", "#555555")]
    is_right = right > np.sqrt(np.prod(axis.get_xlim()))
    for number, (text, colour) in enumerate(texts):
        axis.annotate(
            text, (right, edge), (-9 if is_right else 9, step * number), textcoords="offset points", fontsize=9,
            color=colour, va="center", ha="right" if is_right else "left",
            bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 0.5}, zorder=6,
        )  # fmt: skip
