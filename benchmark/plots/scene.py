"""Points in space in static panels (matplotlib); the same in an interactive page: `benchmark.plots.scene_page`.

Panels are orthographic projections on the plane in which the event is widest, so that one scale bar holds for the whole
panel; near points are drawn last.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from benchmark.contracts.colours import COLOURS
from benchmark.plots.style import shown_name

GREY = (0.80, 0.80, 0.80)
MARK = (0.05, 0.05, 0.05)  # of a marked point
INK = "#333333"
LETTERS = 14  # of a title, per inch
MARGIN = 1.08  # of a panel around its points
TALLEST, FLATTEST = 1.0, 0.5  # height of a panel over its width


@dataclass(frozen=True)
class Panel:
    """Points of one picture: coordinates, colours and hover texts."""

    title: str
    coords: np.ndarray  # (N, 3)
    colours: np.ndarray  # (N, 3) red, green, blue, 0 to 1
    hover: Sequence[str] = ()  # (N,) texts on a page
    size: float | np.ndarray = 1.0  # relative to the default size, scalar or (N,)
    mark: np.ndarray | None = None  # (3,) a point to mark
    values: np.ndarray | None = None  # (N,) on the page's colour bar, where the colours come from it


@dataclass(frozen=True)
class Scale:
    """A colour bar: `low` and `high` in `label`'s unit, spaced evenly or by logarithm."""

    label: str
    low: float
    high: float
    colour_map: str = "viridis"
    logarithmic: bool = False

    def colours(self, plt: Any, values: np.ndarray) -> np.ndarray:
        """(N, 3) colours of values (N,); those outside the scale take the colour of its end."""
        return np.asarray(plt.get_cmap(self.colour_map)(self.fraction(values)))[:, :3]

    def fraction(self, values: np.ndarray) -> np.ndarray:
        """(N,) position of values on the scale, 0 at the low end to 1 at the high one."""
        low, high, numbers = self.low, self.high, np.asarray(values, dtype=np.float64)
        if self.logarithmic:
            low, high, numbers = np.log(low), np.log(high), np.log(np.maximum(numbers, self.low))
        fraction: np.ndarray = np.clip((numbers - low) / (high - low), 0, 1)
        return fraction

    def round_values(self) -> list[float]:
        """1, 2 and 5 times powers of ten inside a logarithmic scale."""
        powers = range(int(np.floor(np.log10(self.low))), int(np.ceil(np.log10(self.high))) + 1)
        values = [float(f"{step}e{power}") for power in powers for step in (1, 2, 5)]
        return [v for v in values if self.low <= v <= self.high]

    def mappable(self, plt: Any) -> Any:
        """The ScalarMappable of a colour bar."""
        from matplotlib import colors

        norm = (colors.LogNorm if self.logarithmic else colors.Normalize)(self.low, self.high)
        return plt.cm.ScalarMappable(norm=norm, cmap=self.colour_map)


@dataclass(frozen=True)
class View:
    """A direction to look from: rows of `axes` are right, up and towards the eye."""

    axes: np.ndarray  # (3, 3) orthonormal, right-handed

    def project(self, coords: np.ndarray) -> np.ndarray:
        """(N, 3) coordinates of points to the right, up and towards the eye."""
        rotated: np.ndarray = coords @ self.axes.T
        return rotated


def widest_view(coords: np.ndarray) -> View:
    """The view in which the points (N, 3) spread most, from left to right first. Signs follow the detector's axes."""
    spread = np.cov((coords - coords.mean(0)).T) if len(coords) > 1 else np.eye(3)
    axes = np.linalg.eigh(spread)[1].T[::-1].copy()
    for axis in axes[:2]:
        axis *= np.sign(axis[np.argmax(np.abs(axis))])
    axes[2] = np.cross(axes[0], axes[1])
    return View(axes)


def class_colours(labels: np.ndarray, n_classes: int) -> np.ndarray:
    """(N, 3) colours of class numbers (N,), those of `benchmark.plots.events`; a label outside the classes is grey."""
    table = np.array([rgb(COLOURS[i % len(COLOURS)]) for i in range(n_classes)] + [GREY])
    inside = (labels >= 0) & (labels < n_classes)
    return table[np.where(inside, labels, n_classes)]


def rgb(colour: str) -> tuple[float, float, float]:
    """`#rrggbb` as three numbers from 0 to 1."""
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return red, green, blue


def draw_panels(
    plt: Any, rows: Sequence[Sequence[Panel]], unit: str, *, views: Sequence[View] | None = None,
    legend: Mapping[str, Any] | None = None, scale: Scale | None = None, width: float = 3.4,
    row_labels: Sequence[str] = (), title: str = "",
) -> Any:  # fmt: skip
    """A matplotlib figure: rows of panels, each row in one view and one scale of lengths.

    `unit` is one unit of length, such as `voxel of 3 mm`; `legend`: name -> colour; `scale`: a colour bar; `width`: of
    a panel, in inches. Titles of panels, names of rows and of the legend are shortened; `title` is shown as it is.
    """
    n_columns = max(len(row) for row in rows)
    views = views or [widest_view(np.concatenate([panel.coords for panel in row])) for row in rows]
    boxes = [_row_box(view, row) for view, row in zip(views, rows, strict=True)]
    heights = [box.high / box.wide for box in boxes]
    header = 0.05 + 0.25 * bool(title) + 0.32 * bool(legend)
    size = (width * n_columns + (0.75 if scale else 0.0), sum(heights) * width + 0.27 * len(rows) + header)
    figure, axes = plt.subplots(
        len(rows), n_columns, figsize=size, squeeze=False, layout="constrained", height_ratios=heights
    )
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03, wspace=0.01, hspace=0.0)
    for i, (row, view, box) in enumerate(zip(rows, views, boxes, strict=True)):
        for axis, panel in zip(axes[i], row, strict=False):
            _draw_panel(axis, panel, view, box, width)
        for axis in axes[i][len(row) :]:
            axis.axis("off")
        if i == 0 or view is not views[i - 1]:
            _scale_bar(axes[i][0], box, unit)
            _draw_axes(axes[i][0], view)
        if row_labels:
            axes[i][0].set_ylabel(shown_name(row_labels[i], int(LETTERS * width * heights[i])), fontsize=10, color=INK)
    if legend:
        handles = [plt.Line2D([], [], marker="o", linestyle="", color=c, markersize=7) for c in legend.values()]
        names = [shown_name(name) for name in legend]
        figure.legend(handles, names, loc="outside upper center", ncols=len(legend), frameon=False, fontsize=10)
    if scale:
        bar = figure.colorbar(scale.mappable(plt), ax=axes, fraction=0.03, pad=0.01, aspect=40, shrink=0.9)
        bar.set_label(textwrap.fill(scale.label, max(int(11 * size[1]), 12)), fontsize=10)
        bar.outline.set_visible(False)
        if scale.logarithmic:
            bar.set_ticks(scale.round_values(), labels=[f"{v:g}" for v in scale.round_values()])
            bar.ax.minorticks_off()
    if title:
        figure.suptitle(title, fontsize=11)
    return figure


class _Box(NamedTuple):
    """Visible region of a view's plane, for a row of panels."""

    x: float  # of the middle
    y: float
    wide: float
    high: float


def _row_box(view: View, row: Sequence[Panel]) -> _Box:
    flat = view.project(np.concatenate([panel.coords for panel in row]))[:, :2]
    low, high = flat.min(0), flat.max(0)
    low[1] -= 0.1 * np.max(high - low)  # room for the scale bar
    wide, tall = np.maximum(MARGIN * (high - low), 1.0)
    x, y = (low + high) / 2
    return _Box(float(x), float(y), float(max(wide, tall / TALLEST)), float(max(tall, FLATTEST * wide)))


def _draw_panel(axis: Any, panel: Panel, view: View, box: _Box, width: float) -> None:
    flat = view.project(panel.coords)
    order = np.argsort(flat[:, 2], kind="stable")  # the nearest last
    usual = np.clip(12000.0 / max(len(flat), 1), 2.5, 14.0) * (width / 3.4) ** 1.5  # fewer points are drawn larger
    sizes = np.broadcast_to(np.asarray(panel.size, dtype=np.float64) * usual, len(flat))
    axis.scatter(*flat[order, :2].T, s=sizes[order], c=panel.colours[order], linewidths=0)
    if panel.mark is not None:
        x, y, _ = view.project(panel.mark[None])[0]
        axis.scatter([x], [y], s=110 * (width / 3.4), facecolors="none", edgecolors=[MARK], linewidths=1.4, zorder=5)
    axis.set_xlim(box.x - box.wide / 2, box.x + box.wide / 2, auto=True)  # `datalim` extends the longer side
    axis.set_ylim(box.y - box.high / 2, box.y + box.high / 2, auto=True)
    axis.set_aspect("equal", adjustable="datalim")
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
        spine.set_color("#dddddd")
    axis.set_title(shown_name(panel.title, int(LETTERS * width)), fontsize=10, pad=4)


def _scale_bar(axis: Any, box: _Box, unit: str) -> None:
    """A bar of a round length in the lower left corner."""
    from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar

    max_length = box.wide / 4
    power = 10.0 ** np.floor(np.log10(max_length))
    length = max(step * power for step in (1, 2, 5) if step * power <= max_length)
    bar = AnchoredSizeBar(
        axis.transData, length, length_text(length, unit), "lower left", pad=0.4, sep=2, frameon=False, color=INK,
        label_top=True, fontproperties={"size": 8},
    )  # fmt: skip
    axis.add_artist(bar)


def length_text(length: float, unit: str) -> str:
    """`50 voxels of 3 mm`; the unit's name ends at ` of ` or a comma."""
    name, size = re.match(r"(.*?)((?: of |,).*)?$", unit).groups(default="")  # type: ignore[union-attr]
    return f"{length:g} {name}{'' if length == 1 else 's'}{size}"


def _draw_axes(axis: Any, view: View) -> None:
    """The detector's axes in this view, in the upper left corner, except one along the line of sight."""
    from matplotlib.transforms import Affine2D, ScaledTranslation

    to_inches = Affine2D().scale(1 / 72) + axis.figure.dpi_scale_trans
    corner = to_inches + ScaledTranslation(0, 1, axis.transAxes)  # points from the upper left corner
    middle = np.array([17.0, -17.0])
    for name, column in zip("xyz", view.axes.T, strict=True):
        step = 11.0 * column[:2]
        if np.hypot(*column[:2]) < 0.25:
            continue
        arrow = {"arrowstyle": "-|>", "color": INK, "linewidth": 0.7, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 6}
        axis.annotate("", middle + step, middle, xycoords=corner, textcoords=corner, arrowprops=arrow)
        position = middle + 1.45 * step
        axis.text(*position, name, transform=corner, fontsize=7, color=INK, ha="center", va="center")
