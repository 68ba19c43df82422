"""Energy response of pions against their true energy, and its width, from states of `benchmark.metrics.response`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.errors import BenchmarkError
from benchmark.metrics import pions
from benchmark.metrics.few_events import MadeOf
from benchmark.metrics.response import repeated_percentiles
from benchmark.plots.bands import MethodStates, bands_text
from benchmark.plots.method_styles import MethodStyle, method_styles
from benchmark.plots.style import finish_figure, plain_ticks, pyplot, require_methods, shown_name

MIN_ROWS = 20  # events of a bin that is drawn
MEDIANS = (0.5, 1.6)  # range of the axis; values outside are written as numbers
MOST_VALUES = 4  # written at an edge
_PERCENT = (16, 50, 84)
_WIDTHS = (0.1, 0.2, 0.25, 0.5, 1.0)  # decades that a bin may span
NAMES = {"pi0": "neutral pions (π⁰)", "pipm": "charged pions (π±)"}


def draw_response(states: Mapping[str, MethodStates], path: Path, by_class: bool = True) -> None:
    """A PNG of the median response and its width against true energy, a line per method with 95% bootstrap bands.

    states: method -> (B, 4) states of `response`. by_class: a column each for neutral and charged pions; else one of
    all events. Bins are the finest with most events in bins of at least 20; smaller bins are not drawn. Raises
    BenchmarkError without matplotlib, without methods, or without a bin to draw.
    """
    plt = pyplot()
    require_methods(states, "states")
    columns = list(zip(pions.CLASSES, (0, 1), strict=True)) if by_class else [("all", None)]
    figure, axes = plt.subplots(
        2, len(columns), figsize=(5.2 * len(columns) + 0.6, 6.8), layout="constrained", squeeze=False, sharex=True,
        sharey="row",
    )  # fmt: skip
    styles = method_styles(list(states))
    have: list[bool] = []  # of every line and bin, whether it has a band
    for (upper, lower), (class_name, label) in zip(axes.T, columns, strict=True):
        upper.axhline(1, color="#888888", linewidth=1.2, zorder=1)
        for name, tested in states.items():
            have += _draw_response_lines(upper, lower, name, tested, label, styles[name])
        upper.set_title(NAMES.get(class_name, "all pions"))
        lower.set(xlabel="true energy (GeV)", xscale="log", yscale="log")
    if not have:
        raise BenchmarkError(
            f"No bin of energy holds {MIN_ROWS} events of a class. More events were expected. Choose a larger split."
        )
    _clip_medians(axes[0])
    axes[0, 0].set_ylabel("median of  R = predicted / true")
    axes[1, 0].set_ylabel("(q84 − q16) / (2 median)  of  R")
    for axis in axes[1]:
        plain_ticks(axis.xaxis)
    plain_ticks(axes[1, 0].yaxis)
    figure.suptitle(bands_text(have, "points"), fontsize=11)
    finish_figure(figure, axes[0, 0], len(states), path, axes[0])


def response_edges(true_gev: np.ndarray) -> np.ndarray:
    """Edges from 0.1 to 10000 GeV, equal in log energy: the finest that leave 80% of the events in bins of MIN_ROWS."""
    for width in _WIDTHS:
        edges = 10 ** (-1 + width * np.arange(round(5 / width) + 1))
        n = np.histogram(true_gev, edges)[0]
        if n[n >= MIN_ROWS].sum() >= 0.8 * n.sum():
            break
    return np.asarray(edges)


def _draw_response_lines(
    upper: Any, lower: Any, name: str, tested: MethodStates, label: int | None, style: MethodStyle
) -> list[bool]:  # fmt: skip
    """Draw one method's two lines in a column, of a class or of all; returns of each bin whether it has a band."""
    state = np.asarray(tested.states, dtype=np.float64)
    selected = np.ones(len(state), bool) if label is None else state[:, 2] == label
    edges = response_edges(state[selected, 1])
    in_bins = pions.in_bins(state[:, 1], edges) & selected
    is_drawn = in_bins.sum(axis=1) >= MIN_ROWS
    if not is_drawn.any():
        return []
    centre = np.sqrt(edges[:-1] * edges[1:])[is_drawn]
    values, bands = _medians_and_widths(name, tested, in_bins[is_drawn])
    for axis, middle, (low, high) in zip((upper, lower), values.T, np.moveaxis(bands, 2, 0), strict=True):
        axis.fill_between(centre, low, high, color=style.colour, alpha=0.12, linewidth=0)
        axis.plot(centre, middle, label=shown_name(name), markersize=5, linewidth=1.6, **style.line())
    return [not np.isnan(ends).any() for ends in np.moveaxis(bands, 1, 0)]


def _medians_and_widths(name: str, tested: MethodStates, in_bins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(bins, 2) median and width of the response, and (2, bins, 2) ends of their intervals, NaN without one."""
    response = tested.states[:, 0].astype(np.float64) / tested.states[:, 1]
    orders = [np.flatnonzero(row)[np.argsort(response[row], kind="stable")] for row in in_bins]
    values = np.array([_median_and_width(np.percentile(response[order], _PERCENT)) for order in orders])
    resampled: list[list[np.ndarray]] = [[] for _ in orders]
    for times in tested.resamples(name):
        for order, found in zip(orders, resampled, strict=True):
            found.append(_median_and_width(repeated_percentiles(response[order], times[:, order], _PERCENT)))
    ends = [tested.ends(MadeOf(row), found, (2,)) for row, found in zip(in_bins, resampled, strict=True)]
    return values, np.stack(ends, axis=1)


def _median_and_width(quantiles: np.ndarray) -> np.ndarray:
    """(..., 2) median and iqr_over_2median of (..., 3) percentiles 16, 50, 84."""
    q16, median, q84 = np.moveaxis(quantiles, -1, 0)
    return np.stack([median, (q84 - q16) / (2 * median)], axis=-1)


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
