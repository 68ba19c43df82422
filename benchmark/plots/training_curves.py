"""Training curves: loss, its parts, learning rate, gradients and scores against the step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.contracts.colours import COLOURS
from benchmark.contracts.pretext import method_name
from benchmark.errors import BenchmarkError
from benchmark.io import atomic_path
from benchmark.metrics.segmentation import scores_from_counts
from benchmark.plots.method_styles import method_styles
from benchmark.plots.style import pyplot, shown_name
from benchmark.records.record import RunRecord
from benchmark.reports.efficiency import curve_names

DPI = 110
SIGNS = ("entropy", "in_use", "agreement", "spread", "found")  # of pretexts, beside their losses
SHOWN_SCORES = "f1"  # the probe's panel shows scores with this in their names


def draw_curves(record: Mapping[str, Any], path: Path) -> None:
    """A PNG of a training record's `history` and probe scores. Raises BenchmarkError without matplotlib."""
    plt = pyplot()
    history, scores = record["history"], [s for s in record["probe"]["scores"] if len(s) > 1]
    signs = [name for name in history if name in SIGNS]
    panels = 2 + bool(signs) + bool(scores)
    figure, axes = plt.subplots(1, panels, figsize=(4.6 * panels, 3.6), layout="constrained")
    left = iter(axes)
    _draw_losses(next(left), history)
    if signs:
        shares = next(left)
        _draw_lines(shares, history, signs)
        shares.set(title="beside the loss, from 0 to 1", ylim=(0, 1.02))
    rates = next(left)
    rates.plot(history["step"], history["lr"], color=COLOURS[1])
    rates.set(title="learning rate", xlabel="step", ylim=(0, None))
    if scores:
        _draw_scores(next(left), scores, record["probe"].get("of", "tokens"))
    config = record["config"]
    name = f"{shown_name(method_name(config['model'], config.get('pretext')))} [{shown_name(config['preset'])}]"
    figure.suptitle(f"{name}, pre-trained on {record['events']:,} events", fontsize=11)
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=DPI, format="png")
    plt.close(figure)


def _draw_losses(axis: Any, history: Mapping[str, Any]) -> None:
    names = [name for name in history if name not in ("step", "lr", "grad_norm", *SIGNS)]
    _draw_lines(axis, history, sorted(names, key=lambda n: n != "loss"))
    low, high = (end(value for name in names for value in history[name]) for end in (min, max))
    scale = "log" if low > 0 and 3 * low < high else "linear"  # ticks of a log axis need a decade to be read
    axis.set(title="loss (means over intervals of steps)", yscale=scale)


def _draw_lines(axis: Any, history: Mapping[str, Any], names: Sequence[str]) -> None:
    for number, name in enumerate(names):
        axis.plot(history["step"], history[name], color=COLOURS[number % len(COLOURS)], label=name)
    axis.set(xlabel="step")
    _legend_beside(axis)


def _draw_scores(axis: Any, scores: list[Mapping[str, Any]], of: str) -> None:
    names = sorted({name for score in scores for name in score if SHOWN_SCORES in name})
    for number, name in enumerate(names):
        points = [(s["step"], s[name]) for s in scores if s.get(name) is not None]
        width = 2.2 if name.startswith("macro") else 1.2
        colour = "black" if name.startswith("macro") else COLOURS[number % len(COLOURS)]
        axis.plot(*zip(*points, strict=True), marker="o", markersize=3, linewidth=width, color=colour, label=name)
    axis.set(title=f"linear SVM on frozen {of}, validation split", xlabel="step", ylim=(0, 1))
    _legend_beside(axis)


def _legend_beside(axis: Any) -> None:
    """A legend outside of the panel, where it covers no curve."""
    axis.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))


def draw_trainings(records: Sequence[RunRecord], path: Path) -> None:
    """A PNG of training curves: loss, gradient norm and F1 on the training events against the step, a line per run.

    F1 comes from the counts of each interval of steps, on augmented events with the model of that time; runs of a
    regression have none. Raises BenchmarkError without matplotlib, or where no record holds a training history.
    """
    shown = [r for r in records if r.training.get("history", {}).get("step")]
    if not shown:
        raise BenchmarkError(
            f"None of {len(records)} records holds a training history. Records of trained models were expected. "
            f"Type `python -m benchmark run --model pointnet --labels 100` first."
        )
    plt = pyplot()
    classes = shown[0].task["classes"] if any(r.training["history"].get("counts") for r in shown) else []
    columns = max(4, len(classes))  # the upper row holds three panels and the legend
    rows = 2 if classes else 1
    figure, axes = plt.subplots(rows, columns, figsize=(3.9 * columns, 3.5 * rows), layout="constrained", squeeze=False)
    titles = ("loss", "norm of the gradient", *(["macro F1 on training events"] if classes else []))
    names = curve_names(shown)
    styles = method_styles(names)
    for name, record in zip(names, shown, strict=True):
        history = record.training["history"]
        values, per_class = [history["loss"], history["grad_norm"]], []
        if history.get("counts"):
            f1 = scores_from_counts(np.asarray(history["counts"]))
            values.append(f1["macro_f1"])
            per_class = list(f1["f1"].T)
        for axis, curve in (*zip(axes[0], values, strict=False), *zip(axes[-1], per_class, strict=False)):
            line = styles[name].line(len(curve))
            axis.plot(history["step"], curve, linewidth=1.3, markersize=4, label=shown_name(name), **line)
    for axis, title in (*zip(axes[0], titles, strict=False), *zip(axes[-1], classes, strict=False)):
        name = title if title in titles else f"F1 of {shown_name(title)} on training events"
        axis.set(title=name, xlabel="step", **({"ylim": (0, 1)} if "F1" in name else {"yscale": "log"}))
    for axis in (*axes[0, len(titles) :], *(axes[1, len(classes) :] if classes else ())):
        axis.set_axis_off()
    lines = dict(zip(*reversed(axes[0, 0].get_legend_handles_labels()), strict=True))  # runs of other seeds: once
    axes[0, 3].legend(list(lines.values()), list(lines), frameon=False, fontsize=8, loc="center left")
    figure.suptitle(
        f"{shown_name(shown[0].task['name'])}: {', '.join(sorted({r.labels for r in shown}))} labelled events"
    )
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=DPI, format="png")
    plt.close(figure)
