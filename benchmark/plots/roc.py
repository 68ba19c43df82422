"""ROC curves of pion classifiers, and the rejection of neutral pions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import NormalDist

import numpy as np

from benchmark.errors import BenchmarkError
from benchmark.metrics import pions
from benchmark.metrics.bootstrap import LEVEL
from benchmark.plots.method_styles import method_styles
from benchmark.plots.style import finish_figure, plain_ticks, pyplot, require_methods, shown_name

MARKED = 0.9  # efficiency of the rejection in the legend
BAND = 0.12  # opacity of a band
MAX_VERTICES = 4001  # of a drawn ROC


def draw_roc(curves: Mapping[str, np.ndarray], path: Path) -> None:
    """A PNG of the ROC, and of the rejection of neutral pions against the efficiency for charged ones.

    curves: method -> (B, 4) state of `pions`. Bands hold the 95% Wilson interval of the false-positive rate at each
    threshold (E. B. Wilson, JASA 22 (1927) 209); thresholds without false positives are not drawn. The point at 90%
    follows the step rule of the scores. Raises BenchmarkError without matplotlib, without methods, or where a method
    lacks signal or background.
    """
    plt = pyplot()
    require_methods(curves, "curves")
    figure, (roc, rejection) = plt.subplots(1, 2, figsize=(11, 4.8), layout="constrained")
    roc.plot([0, 1], [0, 1], color="#bbbbbb", linewidth=1, linestyle=":")
    roc.text(0.5, 0.53, "chance", color="#888888", fontsize=9, rotation=45, ha="center", va="center")
    highest = 1.0
    styles = method_styles(list(curves))
    for name, state in curves.items():
        style = {**styles[name].line(), "linewidth": 1.6, "markersize": 0}
        signal, background = _vertices(name, state)
        efficiency, fpr = signal / signal[-1], background / background[-1]
        scores = pions.scores(state, np.ones((1, len(state))))["overall"]
        at = int(np.argmax(efficiency >= MARKED - 1e-12))  # the step rule
        label = (
            f"{shown_name(name)}: AUC {scores['roc_auc'][0]:.3f}, rejection {_rejection_text(fpr[at], background[-1])}"
        )
        marker_style = style | {"markersize": 8, "markeredgecolor": "white", "zorder": 5}
        roc.plot(efficiency[at], fpr[at], label=label, **marker_style)
        if fpr[at] > 0:
            rejection.plot(efficiency[at], 1 / fpr[at], **marker_style)
        if len(fpr) > MAX_VERTICES:  # those of the step rule at evenly spaced efficiencies
            vertices = np.unique([*np.searchsorted(efficiency, np.linspace(0, 1, MAX_VERTICES)), len(fpr) - 1])
            efficiency, fpr = efficiency[vertices], fpr[vertices]
        roc.plot(np.append(0, efficiency), np.append(0, fpr), **style)
        has_background = fpr > 0
        low, high = (1 / edge[has_background] for edge in _wilson_interval(fpr, background[-1])[::-1])
        rejection.fill_between(
            efficiency[has_background], low, high, color=style["color"], alpha=BAND, linewidth=0, step="pre"
        )
        rejection.plot(efficiency[has_background], 1 / fpr[has_background], drawstyle="steps-pre", **style)
        shown = has_background & (efficiency >= 0.5)
        highest = max(highest, *(1 / fpr[shown]), 1)
    for axis in (roc, rejection):
        axis.axvline(MARKED, color="#888888", linewidth=1, linestyle=":", zorder=1)
    roc.set(title="ROC", xlim=(0, 1), ylim=(0, 1), aspect="equal")
    rejection.set(title=f"rejection of neutral pions; bands: {LEVEL:.0%} over events", xlim=(0.5, 1), yscale="log")
    rejection.set_ylim(1, 1.6 * highest)
    roc.set(xlabel="efficiency for charged pions", ylabel="efficiency for neutral pions")
    rejection.set(xlabel="efficiency for charged pions", ylabel="1 / efficiency for neutral pions")
    plain_ticks(rejection.yaxis)
    finish_figure(figure, roc, len(curves), path)


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


def _wilson_interval(share: np.ndarray, n: float) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper ends of the 95% score interval of a binomial share of n."""
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    return centre - half, centre + half


def _rejection_text(fpr: float, n: float) -> str:
    """1 / FPR at the marked efficiency with its 95% interval, or that interval's lower end without false positives."""
    low, high = (float(edge) for edge in _wilson_interval(np.asarray(fpr), n))
    value = f"{1 / fpr:.3g} [{1 / high:.3g}, {1 / low:.3g}]" if fpr > 0 else f"above {1 / high:.3g}"
    return f"{value} at {MARKED:.0%}"
