"""Points in space with the same colours in a static panel (matplotlib) and in an interactive page (plotly).

Static panels are orthographic projections on the plane in which the event is widest, so that one scale bar holds for
the whole panel; near points are drawn last. Pages work without a network.
"""

from __future__ import annotations

import html
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from benchmark.packages import missing_error
from benchmark.plots.style import COLOURS

GREY = (0.80, 0.80, 0.80)
MARK = (0.05, 0.05, 0.05)  # of a marked point
PAGE_MARK = "#e6007e"  # the same on a page, which may be dark
INK = "#333333"
N_MAP_STEPS = 12  # colours of a plotly colour scale
MARGIN = 1.08  # of a panel around its points
TALLEST, FLATTEST = 1.0, 0.5  # height of a panel over its width
EYE_DISTANCE = {1: 1.8, 2: 2.2, 3: 3.2}  # of a page's camera in units of the scene's size, by scenes beside each other


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
    a panel, in inches.
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
            axes[i][0].set_ylabel(row_labels[i], fontsize=10, color=INK)
    if legend:
        handles = [plt.Line2D([], [], marker="o", linestyle="", color=c, markersize=7) for c in legend.values()]
        figure.legend(handles, list(legend), loc="outside upper center", ncols=len(legend), frameon=False, fontsize=10)
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
    axis.set_title(panel.title, fontsize=10, pad=4)


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


@dataclass(frozen=True)
class Choice:
    """One entry of a page's menu: panels side by side, rotated together."""

    label: str
    panels: Sequence[Panel]


def page(
    title: str, choices: Sequence[Choice], unit: str, text: str = "", scale: tuple[Scale, Sequence[str]] | None = None
) -> str:
    """A self-contained HTML page: a menu of choices, each with its panels as 3-D scenes whose cameras move together.

    `text` is shown below the title; `scale` with its `N_MAP_STEPS` colours adds a colour bar. A choice whose panels
    have the first choice's coordinates only recolours them, which keeps the page small. Every text is escaped.
    Raises BenchmarkError without plotly.
    """
    go = _plotly()
    n_scenes = max(len(choice.panels) for choice in choices)
    figure = go.Figure()
    owners: list[int] = []
    for number, choice in enumerate(choices):
        if number > 0 and _is_recolouring(choice, choices[0]):
            continue
        for column, panel in enumerate(choice.panels):
            for trace in _traces(go, panel, column, number == 0, scale):
                figure.add_trace(trace)
                owners.append(number)
    if scale is not None:
        figure.add_trace(_colour_bar_trace(go, *scale, choices[0].panels[0].coords[0]))
        owners.append(-1)
    figure.update_layout(
        height=680, margin={"l": 0, "r": 0, "t": 60, "b": 0}, showlegend=False, paper_bgcolor="rgba(0,0,0,0)",
        annotations=[_heading(panel.title, i, n_scenes) for i, panel in enumerate(choices[0].panels)],
        **{_scene_name(i): _scene_layout(i, n_scenes, unit, choices[0].panels[0].coords) for i in range(n_scenes)},
    )  # fmt: skip
    if len(choices) > 1:
        buttons = [
            _button(choice, number, owners, choices[0], n_scenes, scale) for number, choice in enumerate(choices)
        ]
        menu = {"buttons": buttons, "x": 0.0, "y": 1.0, "xanchor": "left", "yanchor": "bottom", "pad": {"b": 30}}
        figure.update_layout(updatemenus=[menu], margin={"t": 90})
    link = _PAGE_SCRIPT.replace("N_SCENES", str(n_scenes))
    body = figure.to_html(full_html=False, include_plotlyjs=True, post_script=link)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title)}</title>\n<style>{_PAGE_STYLE}</style></head>\n"
        f"<body><h2>{html.escape(title)}</h2>\n<p>{html.escape(text)}</p>\n{body}\n</body></html>\n"
    )


def colour_steps(plt: Any, scale: Scale) -> list[str]:
    """The `N_MAP_STEPS` colours of a scale from low to high, for `page`."""
    return [_css(c) for c in np.asarray(plt.get_cmap(scale.colour_map)(np.linspace(0, 1, N_MAP_STEPS)))[:, :3]]


_PAGE_STYLE = f"""
:root{{color-scheme:light dark}}
body{{font-family:sans-serif;margin:1em auto;padding:0 1em;max-width:1600px;color:{INK};background:#fff}}
p{{max-width:60em}}h2,p{{overflow-wrap:anywhere}}
@media (prefers-color-scheme:dark){{body{{color:#e8ebef;background:#14171b}}}}
"""

# All scenes share the camera; they stand below each other on a phone, and take the system's colours.
_PAGE_SCRIPT = """
var plot = document.getElementById('{plot_id}'), busy = false, NARROW = 700;
var isDark = matchMedia('(prefers-color-scheme: dark)');
function arrange() {
  var n = N_SCENES, narrow = window.innerWidth < NARROW, ink = isDark.matches ? '#e8ebef' : '#333333';
  var change = { 'font.color': ink, height: narrow ? 90 + 400 * n : 680 };
  for (var i = 0; i < n; i++) {
    var scene = 'scene' + (i === 0 ? '' : i + 1), top = 1 - i / n;
    change[scene + '.domain.x'] = narrow ? [0, 1] : [i / n + 0.01, (i + 1) / n - 0.01];
    change[scene + '.domain.y'] = narrow ? [top - 1 / n, top - 0.06 / n] : [0, 1];
    ['xaxis', 'yaxis', 'zaxis'].forEach(function (axis) {
      change[scene + '.' + axis + '.gridcolor'] = isDark.matches ? '#3a424b' : '#eeeeee';
      change[scene + '.' + axis + '.color'] = ink;
    });
    change['annotations[' + i + '].x'] = narrow ? 0.5 : (i + 0.5) / n;
    change['annotations[' + i + '].y'] = narrow ? top - 0.06 / n : 1;
  }
  (plot.layout.updatemenus || []).forEach(function (menu, i) {
    change['updatemenus[' + i + '].bgcolor'] = isDark.matches ? '#1f242a' : '#ffffff';
  });
  busy = true;
  Plotly.relayout(plot, change).then(function () { busy = false; });
}
arrange();
plot.on('plotly_update', arrange);
isDark.addEventListener('change', arrange);
window.addEventListener('resize', arrange);
plot.on('plotly_relayout', function (change) {
  if (busy) { return; }
  for (var i = 1; i <= N_SCENES; i++) {
    var camera = change['scene' + (i === 1 ? '' : i) + '.camera'];
    if (!camera) { continue; }
    var update = {};
    for (var j = 1; j <= N_SCENES; j++) { update['scene' + (j === 1 ? '' : j) + '.camera'] = camera; }
    busy = true;
    Plotly.relayout(plot, update).then(function () { busy = false; });
    return;
  }
});
"""


def _traces(go: Any, panel: Panel, column: int, visible: bool, scale: tuple[Scale, Sequence[str]] | None) -> list[Any]:
    x, y, z = ([round(float(v), 1) for v in part] for part in panel.coords.T)
    size = np.clip(5.0 * np.sqrt(np.broadcast_to(panel.size, len(x))), 1, 8).round(1)
    marker: dict[str, Any] = {"size": size.tolist(), "line": {"width": 0}}
    common = {"mode": "markers", "scene": _scene_name(column), "visible": visible, "name": html.escape(panel.title)}
    extra: dict[str, Any] = {"hoverinfo": "text" if panel.hover else "skip"}
    if panel.values is None or scale is None:
        marker["color"] = [_css(c) for c in panel.colours]
    else:
        marker |= {
            "color": _scale_fractions(panel.values, scale[0]),
            "colorscale": _colour_scale(scale[1]),
            "cmin": 0,
            "cmax": 1,
        }
        extra = {"customdata": _three_digits(panel.values), "hovertemplate": _hover_template(scale[0])}
    text = [html.escape(t).replace("\n", "<br>") for t in panel.hover]
    traces = [go.Scatter3d(x=x, y=y, z=z, marker=marker, text=text, **extra, **common)]
    if panel.mark is not None:
        a, b, c = ([float(v)] for v in panel.mark)
        ring = {"size": 15, "color": PAGE_MARK, "symbol": "diamond-open", "line": {"width": 4}}
        traces.append(go.Scatter3d(x=a, y=b, z=c, marker=ring, hovertext="chosen token", hoverinfo="text", **common))
    return traces


def _is_recolouring(choice: Choice, first: Choice) -> bool:
    """Whether a choice has the same points and marks as the first, in the same objects."""
    pairs = list(zip(choice.panels, first.panels, strict=False))
    same = all(a.coords is b.coords and a.mark is b.mark and (a is b or a.values is not None) for a, b in pairs)
    return same and len(choice.panels) == len(first.panels)


def _scale_fractions(values: np.ndarray, scale: Scale) -> list[float]:
    return [round(float(v), 3) for v in scale.fraction(values)]


def _three_digits(values: np.ndarray) -> list[float]:
    return [float(f"{v:.3g}") for v in values]


def _hover_template(scale: Scale) -> str:
    return f"%{{text}}<br>{html.escape(scale.label)}: %{{customdata:.3g}}<extra></extra>"


def _colour_scale(colours: Sequence[str]) -> list[list[Any]]:
    return [[i / (len(colours) - 1), colour] for i, colour in enumerate(colours)]


def _colour_bar_trace(go: Any, scale: Scale, colours: Sequence[str], position: np.ndarray) -> Any:
    """Invisible trace that carries the colour bar."""
    ends = np.log10([scale.low, scale.high]) if scale.logarithmic else np.array([scale.low, scale.high])
    title = {"text": html.escape(scale.label), "side": "right"}
    bar: dict[str, Any] = {"title": title, "thickness": 14, "len": 0.8, "outlinewidth": 0}
    if scale.logarithmic:
        ticks = scale.round_values()
        bar |= {"tickvals": np.log10(ticks).tolist(), "ticktext": [f"{t:g}" for t in ticks]}
    limits = {"color": [float(ends[0])], "cmin": float(ends[0]), "cmax": float(ends[1])}
    marker = {
        **limits,
        "colorscale": _colour_scale(colours),
        "size": 0.01,
        "opacity": 0,
        "showscale": True,
        "colorbar": bar,
    }
    x, y, z = ([float(v)] for v in position)
    return go.Scatter3d(x=x, y=y, z=z, mode="markers", hoverinfo="skip", scene="scene", marker=marker)


def _scene_layout(number: int, n_scenes: int, unit: str, coords: np.ndarray) -> dict[str, Any]:
    view = widest_view(coords)
    eye, up = view.axes[2] * EYE_DISTANCE[min(n_scenes, 3)], view.axes[1]
    axis = {"showbackground": False, "gridcolor": "#eeeeee", "zeroline": False, "showspikes": False}
    gap = 0.01
    return {
        "domain": {"x": [number / n_scenes + gap, (number + 1) / n_scenes - gap], "y": [0, 1]},
        "aspectmode": "data",
        "camera": {
            "eye": dict(zip("xyz", eye.tolist(), strict=True)), "up": dict(zip("xyz", up.tolist(), strict=True)),
        },
        **{f"{name}axis": axis | {"title": {"text": html.escape(f"{name} ({unit})")}} for name in "xyz"},
    }  # fmt: skip


def _button(
    choice: Choice, number: int, owners: Sequence[int], first: Choice, n_scenes: int,
    scale: tuple[Scale, Sequence[str]] | None,
) -> dict[str, Any]:  # fmt: skip
    layout = {"annotations": [_heading(panel.title, i, n_scenes) for i, panel in enumerate(choice.panels)]}
    arguments: list[Any] = [{"visible": [owner in (number, -1) for owner in owners]}, layout]
    if scale is not None and _is_recolouring(choice, first):
        traces, index = [], 0
        for panel in first.panels:
            traces += [index] if panel.values is not None else []
            index += 1 if panel.mark is None else 2
        values = [panel.values for panel in choice.panels if panel.values is not None]
        colours, numbers = [_scale_fractions(v, scale[0]) for v in values], [_three_digits(v) for v in values]
        arguments = [{"marker.color": colours, "customdata": numbers}, layout, traces]
    return {"label": html.escape(choice.label), "method": "update", "args": arguments}


def _heading(text: str, number: int, n_scenes: int) -> dict[str, Any]:
    return {
        "text": html.escape(text), "x": (number + 0.5) / n_scenes, "y": 1.0, "xref": "paper", "yref": "paper",
        "xanchor": "center", "yanchor": "bottom", "showarrow": False, "font": {"size": 15},
    }  # fmt: skip


def _scene_name(number: int) -> str:
    return "scene" if number == 0 else f"scene{number + 1}"


def _css(colour: Any) -> str:
    return "#" + "".join(f"{round(255 * float(part)):02x}" for part in colour)


def _plotly() -> Any:
    try:
        import plotly.graph_objects as go
    except ModuleNotFoundError as error:
        raise missing_error("plotly", "An interactive page") from error
    return go


def plotly_js() -> str:
    """The library's script, for pages that need no network. Raises BenchmarkError without plotly."""
    _plotly()
    from plotly.offline import get_plotlyjs

    text: str = get_plotlyjs()
    return text
