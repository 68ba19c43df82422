"""Data-efficiency curves as a figure: measured scores with bands on the left, published ones beside them, never mixed.

Below: the same for every class. A dot is one run, a line the mean over draws and seeds, a band its 95% interval; a
marker is hollow where longer training gives another score.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.io import atomic_path
from benchmark.plots.bands import bands_text
from benchmark.plots.method_styles import MethodStyle, method_styles, published_styles
from benchmark.plots.style import LONGEST_NAME, load_backend_in_notebook, require_matplotlib, shown_name
from benchmark.records.published import Published
from benchmark.reports.efficiency import MACRO, Curve, classes_of, curves
from benchmark.reports.frames import points, runs
from benchmark.reports.leaderboard import Leaderboard

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 150
FORMATS = (".png", ".pdf", ".svg")
WIDTH, HEIGHT = 5.2, 3.6  # of a panel, inches
LETTERS = 13.5  # of a legend's size, per inch


def draw_curve(
    board: Leaderboard, path: Path, published: Sequence[Published] = (), chosen: Sequence[str] = (),
    one_panel: bool = False,
) -> None:  # fmt: skip
    """Write a figure, in the format that the path's ending names.

    chosen: names of curves; all without any. one_panel: the measured primary score alone, without classes and published
    scores.
    """
    with _style():
        figure = _one_panel(board, chosen) if one_panel else _figure(board, published, chosen)
        with atomic_path(path) as partial:
            figure.savefig(partial, dpi=DPI, format=path.suffix.lstrip("."))


def curve_figure(board: Leaderboard, published: Sequence[Published] = (), chosen: Sequence[str] = ()) -> Figure:
    """The figure that `draw_curve` writes; the settings and the backend of matplotlib stay as they are."""
    with _style():
        figure = _figure(board, published, chosen)
    load_backend_in_notebook()
    return figure


@contextmanager
def _style() -> Iterator[None]:
    """seaborn's look for one figure. Raises BenchmarkError without matplotlib."""
    require_matplotlib()
    import matplotlib
    import seaborn as sns

    look = {**sns.axes_style("ticks"), **sns.plotting_context("paper", font_scale=1.05)}
    with matplotlib.rc_context(look):
        yield


def _figure(board: Leaderboard, published: Sequence[Published], chosen: Sequence[str]) -> Figure:
    import seaborn as sns
    from matplotlib.figure import Figure

    macro = _kept(curves(board), chosen)
    styles = method_styles([c.name for c in macro])
    classes = classes_of(board)
    n_columns = 2
    n_rows = 1 + (len(classes) + 1) // n_columns
    figure = Figure(figsize=(WIDTH * n_columns, HEIGHT * n_rows), layout="constrained")  # no window of pyplot's
    axes = figure.subplots(n_rows, n_columns, squeeze=False)
    record = board.averages[0].record
    metric = record.task["primary_metric"]
    _measured(axes[0][0], macro, styles, metric)
    axes[0][0].set(title=f"measured: {shown_name(board.dataset)}, {record.events['test']} test events", ylabel=metric)
    _published(axes[0][1], published, metric)
    for axis, name in zip(axes[1:].flat, classes, strict=False):
        _measured(axis, _kept(curves(board, name), chosen), styles, f"f1 {name}")
        axis.set(title=f"measured: {shown_name(name)}", ylabel="F1")
    for axis in list(axes[1:].flat)[len(classes) :]:
        axis.set_axis_off()
    figure.legend(
        handles=_handles(styles),
        loc="outside lower center",
        ncols=_legend_columns(styles),
        frameon=False,
        fontsize=9,
        markerscale=1.2,
    )
    figure.suptitle(f"{shown_name(board.task)}: score against labelled events; {_bands(macro)}", fontsize=11)
    sns.despine(figure)
    return figure


def _legend_columns(names: Iterable[str]) -> int:
    """As many columns of a legend as fit below two panels."""
    longest = max((len(shown_name(name)) for name in names), default=0)
    return max(1, min(4, int(LETTERS * 2 * WIDTH) // (longest + 6)))


def _one_panel(board: Leaderboard, chosen: Sequence[str]) -> Figure:
    import seaborn as sns
    from matplotlib.figure import Figure

    macro = _kept(curves(board), chosen)
    styles = method_styles([c.name for c in macro])
    figure = Figure(figsize=(1.7 * WIDTH, 1.2 * HEIGHT), layout="constrained")
    axis = figure.subplots()
    record = board.averages[0].record
    metric = record.task["primary_metric"]
    _measured(axis, macro, styles, metric)
    of = f"{shown_name(board.task)} on {shown_name(board.dataset)}, {record.events['test']} test events"
    axis.set_title(f"{of}\n{_bands(macro)}", fontsize=10)
    axis.set(ylabel=metric)
    best_first = sorted(macro, key=lambda c: -c.points[-1].value)
    handles = _handles({c.name: styles[c.name] for c in best_first})
    figure.legend(handles=handles, loc="outside right center", frameon=False, fontsize=9, markerscale=1.2)
    sns.despine(figure)
    return figure


def _bands(found: Sequence[Curve]) -> str:
    """What the bands and bars of a figure hold, or why it has none; and what hollow markers are."""
    known = bands_text([p.low is not None for curve in found for p in curve.points], "points", "events and runs")
    is_short = any(p.converged is False for curve in found for p in curve.points)
    return f"{known}; hollow: not converged" if is_short else known


def _kept(found: Sequence[Curve], chosen: Sequence[str]) -> list[Curve]:
    return [c for c in found if not chosen or c.name in chosen or c.model in chosen]


def _measured(axis: Any, found: Sequence[Curve], styles: Mapping[str, MethodStyle], score: str) -> None:
    frame = points(found)
    if frame.labels.nunique() == 1:  # one budget: side by side, or they would cover each other
        place = {curve.name: (i + 0.5) / len(found) - 0.5 for i, curve in enumerate(found)}
        frame["labels"] = frame.labels * 6.0 ** frame.curve.map(place)
    for name, group in frame.groupby("curve", sort=False):
        style = styles[name]
        group = group.sort_values("labels")
        axis.plot(group.labels, group.value, markersize=5, linewidth=1.4, **style.line())
        short = group[group.converged.eq(False)]
        hollow = {**style.line(), "linestyle": "", "markerfacecolor": "white"}
        if len(short):
            axis.plot(short.labels, short.value, markersize=5, zorder=3, **hollow)
        known = group.dropna(subset=["low", "high"]).astype({"low": float, "high": float})
        if len(known) == 1:  # a band has no width at one budget
            ends = [[v] for v in (*(known.value - known.low), *(known.high - known.value))]
            axis.errorbar(known.labels, known.value, ends, color=style.colour, capsize=3, linewidth=1.2, linestyle="")
        else:
            axis.fill_between(known.labels, known.low, known.high, color=style.colour, alpha=0.15, linewidth=0)
    for curve in found:
        if curve.of == MACRO and len(curve.runs) > len(curve.points):
            every = runs(curve.runs)
            axis.scatter(every.labels, every[score], s=7, color=styles[curve.name].colour, alpha=0.6, linewidths=0)
    _log_axis(axis, [p.labels for curve in found for p in curve.points])


def _published(axis: Any, rows: Sequence[Published], metric: str) -> None:
    groups: dict[tuple[str, ...], list[Published]] = {}
    for row in rows:
        if row.labelled_events:
            groups.setdefault((row.model, row.setting, row.source, row.item), []).append(row)
    if not groups:
        axis.text(0.5, 0.5, "no published scores\nof this task and metric", ha="center", va="center", color="0.4")
        axis.set_axis_off()
        return
    styles = published_styles(len(groups))
    for style, ((model, setting, _, item), group) in zip(styles, sorted(groups.items()), strict=True):
        group = sorted(group, key=lambda r: r.labelled_events or 0)
        labels, values = [r.labelled_events for r in group], [r.value for r in group]
        axis.plot(labels, values, linewidth=1.2, markersize=5, markerfacecolor="none",
                  label=shown_name(f"{model}, {setting} ({item})"), **style.line())  # fmt: skip
    sources = sorted({shown_name(f"{r.source}, {r.item}: {r.dataset}", 2 * LONGEST_NAME) for r in rows})
    axis.set_title("published: " + ("\n".join(sources) if len(sources) < 3 else f"{len(sources)} sources"), fontsize=9)
    axis.set(ylabel=metric)
    axis.legend(fontsize=7, frameon=False)
    _log_axis(axis, [r.labelled_events for r in rows if r.labelled_events])


def _log_axis(axis: Any, labels: Any) -> None:
    axis.set(xscale="log", xlabel="labelled events")
    values = sorted({int(v) for v in labels})
    if 0 < len(values) <= 7:
        axis.set_xticks(values, [f"{v:,}" for v in values])
        axis.minorticks_off()
        if len(values) == 1:
            axis.set_xlim(values[0] / 3, values[0] * 3)


def _handles(styles: Mapping[str, MethodStyle]) -> list[Any]:
    from matplotlib.lines import Line2D

    return [Line2D([], [], label=shown_name(name), markersize=5, **style.line()) for name, style in styles.items()]
