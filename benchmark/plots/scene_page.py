"""Points in space as an interactive page (plotly), which works without a network; the panels are those of `scene`."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmark.packages import missing_error
from benchmark.plots.scene import INK, Panel, Scale, widest_view
from benchmark.plots.style import short_name

PAGE_MARK = "#e6007e"  # of a marked point on a page, which may be dark
N_MAP_STEPS = 12  # colours of a plotly colour scale
EYE_DISTANCE = {1: 1.8, 2: 2.2, 3: 3.2}  # of a camera in units of the scene's size, by scenes beside each other


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
    common = {
        "mode": "markers",
        "scene": _scene_name(column),
        "visible": visible,
        "name": html.escape(short_name(panel.title)),
    }
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
    return {"label": html.escape(short_name(choice.label)), "method": "update", "args": arguments}


def _heading(text: str, number: int, n_scenes: int) -> dict[str, Any]:
    return {
        "text": html.escape(short_name(text)), "x": (number + 0.5) / n_scenes, "y": 1.0, "xref": "paper",
        "yref": "paper", "xanchor": "center", "yanchor": "bottom", "showarrow": False, "font": {"size": 15},
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
