"""The course of a training as a picture: loss, its parts, learning rate and probe scores against the step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmark.displays import COLOURS, pyplot
from benchmark.io import atomic_path

DPI = 110
SHOWN_SCORES = "f1"  # what the probe's panel shows: names with this in them


def draw_curves(record: Mapping[str, Any], path: Path) -> None:
    """A PNG of a training record's `history` and probe scores. Raises BenchmarkError without matplotlib."""
    plt = pyplot()
    history, scores = record["history"], [s for s in record["probe"]["scores"] if len(s) > 1]
    panels = 3 if scores else 2
    figure, axes = plt.subplots(1, panels, figsize=(4.6 * panels, 3.6), layout="constrained")
    _losses(axes[0], history)
    axes[1].plot(history["step"], history["lr"], color=COLOURS[1])
    axes[1].set(title="learning rate", xlabel="step", ylim=(0, None))
    if scores:
        _scores(axes[2], scores)
    config = record["config"]
    figure.suptitle(f"{config['model']} [{config['preset']}], pre-trained on {record['events']:,} events", fontsize=11)
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=DPI, format="png")
    plt.close(figure)


def _losses(axis: Any, history: Mapping[str, Any]) -> None:
    names = [name for name in history if name not in ("step", "lr", "grad_norm")]
    for number, name in enumerate(sorted(names, key=lambda n: n != "loss")):
        axis.plot(history["step"], history[name], color=COLOURS[number % len(COLOURS)], label=name)
    positive = all(value > 0 for name in names for value in history[name])
    axis.set(title="loss (means over stretches of steps)", xlabel="step", yscale="log" if positive else "linear")
    axis.legend(frameon=False, fontsize=8)


def _scores(axis: Any, scores: list[Mapping[str, Any]]) -> None:
    names = sorted({name for score in scores for name in score if SHOWN_SCORES in name})
    for number, name in enumerate(names):
        points = [(s["step"], s[name]) for s in scores if s.get(name) is not None]
        width = 2.2 if name.startswith("macro") else 1.2
        colour = "black" if name.startswith("macro") else COLOURS[number % len(COLOURS)]
        axis.plot(*zip(*points, strict=True), marker="o", markersize=3, linewidth=width, color=colour, label=name)
    axis.set(title="linear SVM on frozen tokens, validation split", xlabel="step", ylim=(0, 1))
    axis.legend(frameon=False, fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))  # beside: no corner stays free
