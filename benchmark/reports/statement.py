"""How many labels pre-training saves, in sentences made from records alone.

A pre-trained network's score at N labelled events is looked up on the curve of a network from scratch
(`benchmark.reports.efficiency`: linear in the logarithm of the labels, nothing extrapolated). In every common resample
of events and runs both the score and the curve are drawn anew, so that the interval of the labels is paired. The factor
is these labels over N. Pre-training takes no labels; its cost is stated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.records.record import REPORTED
from benchmark.reports.efficiency import Curve, Needed, Point, curves, labels_to_reach, smaller_is_better
from benchmark.reports.leaderboard import Leaderboard

SCRATCH = "scratch"


@dataclass(frozen=True)
class Saving:
    """One pre-trained network at one budget, and the labels that a network from scratch needs for its score."""

    pretrained: Curve
    at: Point
    scratch: Curve
    needed: Needed  # labelled events
    is_best: bool  # best pre-trained against best from scratch; else the same architecture on both sides

    def sentence(self, metric: str) -> str:
        """One sentence with both scores, the labels, the factor, and what weakens it."""
        n, point = self.at.labels, self.at
        ends = "" if point.low is None or point.high is None else f" [{point.low:.3f}, {point.high:.3f}]"
        rival = f"{_name(self.scratch)}, the best such network," if self.is_best else _name(self.scratch)
        doubts = "; ".join((*_doubts(self.pretrained, [point]), *_doubts(self.scratch, self.scratch.points)))
        reached = f"{metric} {point.value:.3f}{ends}{self._cost()}"
        return (
            f"With {n:,} labelled events {_name(self.pretrained)} reaches {reached}; {rival} needs "
            f"{self.needed.text} for that: a factor of {self.needed.over(n)}"
            f"{f' ({doubts})' if doubts else ''}."
        )

    def _cost(self) -> str:
        """Core-hours of the pre-training, where its record says them; on another device the hours."""
        told = self.pretrained.runs[0].training.get("pretraining") or {}
        seconds, hardware = told.get("wall_s"), told.get("hardware") or {}
        if not isinstance(seconds, int | float):
            return ""
        if hardware.get("device") == "cpu":
            seconds *= hardware.get("threads", 1) * hardware.get("processes", 1)
            return f" after {seconds / 3600:.1f} core-hours of pre-training"
        return f" after {seconds / 3600:.1f} hours of pre-training on {hardware.get('device_name', 'another device')}"


def savings(board: Leaderboard) -> list[Saving]:
    """By budget: the best pre-trained network against the best from scratch, then each against its own architecture.

    The best from scratch is the one that needs the fewest labels; empty where one of the two kinds is missing.
    """
    smaller = smaller_is_better(board)
    every = curves(board)
    pretrained = [c for c in every if c.mode not in (SCRATCH, REPORTED)]
    scratch = [c for c in every if c.mode == SCRATCH]
    found: list[Saving] = []
    for labels in sorted({p.labels for c in pretrained for p in c.points}):
        at_budget = [(c, p) for c in pretrained for p in c.points if p.labels == labels]
        at_budget.sort(key=lambda pair: pair[1].value, reverse=not smaller)
        best, *others = [(curve, point, _architecture(curve)) for curve, point in at_budget]
        sides = [(*best[:2], scratch, True), *((c, p, [s for s in scratch if _architecture(s) == a], False)
                                               for c, p, a in (best, *others))]  # fmt: skip
        for curve, point, rivals, is_best in sides:
            needed = {id(c): labels_to_reach(c, point, smaller) for c in rivals}
            rival = min(rivals, key=lambda c: _order(c, needed[id(c)], smaller), default=None)
            if rival is not None and not (curve is best[0] and not is_best and rival is found[-1].scratch):
                found.append(Saving(curve, point, rival, needed[id(rival)], is_best))
    return found


def _order(curve: Curve, needed: Needed, smaller: bool) -> tuple[float, float]:
    """Order of networks from scratch for a score: by labels needed, at most; where nothing is, by the best score."""
    values = [-p.value if smaller else p.value for p in curve.points]
    return max(needed.value, needed.smallest), -(values[0] if np.isneginf(needed.value) else max(values))


def _architecture(curve: Curve) -> tuple[str, str]:
    """The network without its pretext, and its preset."""
    return curve.model.split("+")[0], curve.preset


def _name(curve: Curve) -> str:
    is_told = curve.mode != SCRATCH or f":{SCRATCH}" in curve.name
    return curve.name if is_told else f"{curve.name} from scratch"


def _doubts(curve: Curve, points: Sequence[Point]) -> list[str]:
    """Budgets whose score is of one run, or still moves when the steps double."""
    single = [f"{p.labels:,}" for p in points if p.n_runs == 1]
    short = [f"{p.labels:,}" for p in points if p.converged is False]
    found = [f"{curve.name}: one run at {', '.join(single)}"] if single else []
    return found + ([f"{curve.name}: not converged at {', '.join(short)}"] if short else [])


def statement(board: Leaderboard, full: bool = False) -> list[str]:
    """A sentence for each budget, of the best networks; full: also each pre-trained one against its own architecture.

    Empty without pre-trained networks, or without any from scratch.
    """
    metric = board.averages[0].record.task["primary_metric"]
    return [saving.sentence(metric) for saving in savings(board) if full or saving.is_best]
