"""ROC curves of pion classifiers, and the rejection of neutral pions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.errors import BenchmarkError
from benchmark.metrics import pions
from benchmark.plots.bands import MethodStates, bands_text
from benchmark.plots.method_styles import MethodStyle, method_styles
from benchmark.plots.style import finish_figure, plain_ticks, pyplot, require_methods, shown_name
from benchmark.reports.score_text import NO_INTERVAL

MARKED = 0.9  # efficiency of the rejection in the legend
EFFICIENCIES = np.linspace(0.5, 1, 201)  # of the band
BAND = 0.12  # opacity of a band
MAX_VERTICES = 4001  # of a drawn ROC
CONFIDENCE_EVENTS = 3  # none of n events excludes a rate above 3/n at 95% confidence


@dataclass(frozen=True)
class Roc:
    """The ROC of one method, and its rejection of neutral pions with an interval."""

    efficiency: np.ndarray  # (G,) for charged pions at each threshold, the highest first
    fpr: np.ndarray  # (G,) efficiency for neutral pions
    auc: float
    ends: np.ndarray  # (2, EFFICIENCIES) of the 95% interval of the rejection; NaN without one
    n_background: int  # independent events with neutral pions; 0 where these are not known

    @property
    def marked(self) -> int:
        """The first threshold at the marked efficiency: the step rule of the scores."""
        return int(np.argmax(self.efficiency >= MARKED - 1e-12))

    def text(self) -> str:
        """`12.3 [10.2, 14.9]` at the marked efficiency; without false positives the limit on it, where known."""
        fpr = self.fpr[self.marked]
        if fpr == 0:
            return f"> {self.n_background / CONFIDENCE_EVENTS:.3g}" if self.n_background else "without false positives"
        low, high = self.ends[:, np.argmin(np.abs(EFFICIENCIES - MARKED))]
        if np.isnan(low):
            return f"{1 / fpr:.3g} {NO_INTERVAL}"
        return f"{1 / fpr:.3g} [{low:.3g}, {'...' if np.isinf(high) else f'{high:.3g}'}]"

    def vertices(self) -> np.ndarray:
        """(n,) thresholds that are drawn: all, or those of the step rule at evenly spaced efficiencies."""
        if len(self.fpr) <= MAX_VERTICES:
            return np.arange(len(self.fpr))
        return np.unique(
            [*np.searchsorted(self.efficiency, np.linspace(0, 1, MAX_VERTICES)), len(self.fpr) - 1]
        )  # fmt: skip


def draw_roc(curves: Mapping[str, MethodStates], path: Path) -> None:
    """A PNG of the ROC, and of the rejection of neutral pions against the efficiency for charged ones.

    curves: method -> (B, 4) states of `pions`. Bands hold the 95% interval of the rejection at each efficiency over
    independent events; the rejection follows the step rule of the scores. Raises BenchmarkError without matplotlib,
    without methods, or where a method lacks signal or background.
    """
    plt = pyplot()
    require_methods(curves, "curves")
    rocs = {name: roc_of(name, tested) for name, tested in curves.items()}
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.8), layout="constrained")
    left.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=1, linestyle=":")
    left.text(0.5, 0.53, "chance", color="#888888", fontsize=9, rotation=45, ha="center", va="center")
    styles = method_styles(list(rocs))
    highest = max(_draw(left, right, name, found, styles[name]) for name, found in rocs.items())
    for axis in (left, right):
        axis.axvline(MARKED, color="#888888", linewidth=1, linestyle=":", zorder=1)
    bands = bands_text([not np.isnan(found.ends).all() for found in rocs.values()], "lines")
    left.set(title="ROC", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    right.set(title="rejection of neutral pions", xlim=(0.5, 1), yscale="log", ylim=(1, 1.6 * highest))
    left.set(xlabel="efficiency for charged pions", ylabel="efficiency for neutral pions")
    right.set(xlabel="efficiency for charged pions", ylabel="1 / efficiency for neutral pions")
    plain_ticks(right.yaxis)
    figure.suptitle(bands, fontsize=11)
    finish_figure(figure, left, len(curves), path)


def roc_of(name: str, tested: MethodStates) -> Roc:
    """The ROC of a method. Raises BenchmarkError without signal or background."""
    values = np.asarray(tested.states, dtype=np.float64)
    is_signal = values[:, 1] == 1
    if is_signal.sum() in (0, len(values)):
        raise BenchmarkError(
            f"{name} has {is_signal.sum()} charged pions of {len(values)} events. Both kinds of pions were expected. "
            f"Choose a split that holds both."
        )
    order = np.argsort(-values[:, 0], kind="stable")
    ((signal,), (background,)) = pions.roc_vertices(values[order], np.ones((1, len(values))))
    resampled = [_rejections(*pions.roc_vertices(values[order], times[:, order])) for times in tested.resamples(name)]
    (both,) = pions.made_of(tested.states)["overall"]
    n_background = 0 if tested.units is None else len(np.unique(tested.units[~is_signal]))
    auc = pions.scores(tested.states, np.ones((1, len(values))))["overall"]["roc_auc"][0]
    ends = tested.ends(both, resampled, EFFICIENCIES.shape)
    return Roc(signal / signal[-1], background / background[-1], float(auc), ends, n_background)


def _rejections(signal: np.ndarray, background: np.ndarray) -> np.ndarray:
    """(r, EFFICIENCIES) rejections of resamples with (r, G) accepted events; NaN without signal or background."""
    with np.errstate(divide="ignore", invalid="ignore"):
        shares, fpr = signal / signal[:, -1:], background / background[:, -1:]
        places = [np.searchsorted(row, EFFICIENCIES - 1e-12) for row in shares]
        found: np.ndarray = 1 / np.take_along_axis(fpr, np.minimum(places, fpr.shape[1] - 1), axis=1)
        return found


def _draw(left: Any, right: Any, name: str, found: Roc, style: MethodStyle) -> float:
    """Draw one method's two lines, its band and its marks; returns its highest rejection that is shown."""
    line = {**style.line(), "linewidth": 1.6, "markersize": 0}
    mark = line | {"markersize": 8, "markeredgecolor": "white", "zorder": 5}
    label = f"{shown_name(name)}: AUC {found.auc:.3f}, rejection {found.text()} at {MARKED:.0%}"
    left.plot(found.efficiency[found.marked], found.fpr[found.marked], label=label, **mark)
    if found.fpr[found.marked] > 0:
        right.plot(found.efficiency[found.marked], 1 / found.fpr[found.marked], **mark)
    vertices = found.vertices()
    efficiency, fpr = found.efficiency[vertices], found.fpr[vertices]
    left.plot(np.append(0, efficiency), np.append(0, fpr), **line)
    has_background = fpr > 0
    right.plot(efficiency[has_background], 1 / fpr[has_background], drawstyle="steps-pre", **line)
    low, high = np.minimum(found.ends, np.finfo(np.float32).max)  # an infinite end leaves the panel
    right.fill_between(EFFICIENCIES, low, high, color=style.colour, alpha=BAND, linewidth=0)
    shown = has_background & (efficiency >= EFFICIENCIES[0])
    return float(max(1, *(1 / fpr[shown])))
