"""Data efficiency: score against labelled events, the labels needed to reach a score, and the ratio of two models'.

A curve joins the rows of a leaderboard that differ only in the label budget, and in the steps and the learning rate
where these follow the budget. Between measured budgets a score is interpolated linearly in the logarithm of the labels;
nothing is extrapolated: a score that is reached at the smallest budget needs at most that many labels, and one that is
not reached needs more than the largest.
Intervals come from the rows' common bootstrap resamples (`benchmark.reports.resampling`), so that ratios are paired.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from benchmark.contracts.model import model_and_mode
from benchmark.errors import ConfigError, DataError, unknown_name
from benchmark.metrics.bootstrap import LEVEL
from benchmark.records.record import EVALUATED, RunRecord
from benchmark.records.scores import primary
from benchmark.records.scores import score as score_of
from benchmark.reports.averages import Average
from benchmark.reports.convergence import converged
from benchmark.reports.leaderboard import Leaderboard, leaderboards
from benchmark.settings import flat

_FREE = (
    "labels", "draw", "seed", "checkpoint", "checkpoint_sha256", "optim.lr", "train.steps", "train.checkpoint_every",
)  # may differ between points  # fmt: skip
MACRO = "macro"  # the primary metric's curve, whatever the metric is


@dataclass(frozen=True)
class Point:
    """A model's score at one budget."""

    labels: int  # labelled events
    value: float
    low: float | None
    high: float | None
    n_runs: int
    replicates: np.ndarray | None = field(compare=False, repr=False, default=None)  # (R,)
    converged: bool | None = None  # whether longer training gives the same; None where there is none


@dataclass(frozen=True)
class Curve:
    """A model's scores over label budgets, smallest first."""

    name: str  # unique within its task: model, mode, and settings that differ
    model: str
    mode: str
    preset: str
    of: str  # MACRO, or a class
    points: tuple[Point, ...]
    runs: tuple[RunRecord, ...] = field(compare=False, repr=False, default=())


@dataclass(frozen=True)
class Amount:
    """A number of labels or a ratio of two. An end outside the measured budgets is None; `text` states the limit."""

    value: float | None
    low: float | None
    high: float | None
    text: str


@dataclass(frozen=True)
class Needed:
    """Labelled events needed for a score; -inf: the smallest budget or fewer; inf: more than the largest."""

    value: float
    low: float | None  # of a 95% interval; None where there is none
    high: float | None
    smallest: float  # measured budgets
    largest: float

    @property
    def text(self) -> str:
        """`850 [300, more than 1,000]`."""
        return self.over(1)

    def over(self, labels: int) -> str:
        """The same divided by a number of labels: a factor."""
        value = self._limit_text(self.value, labels)
        if self.low is None or self.high is None or (np.isinf(self.value) and self.low == self.high == self.value):
            return value
        return f"{value} [{self._limit_text(self.low, labels)}, {self._limit_text(self.high, labels)}]"

    def _limit_text(self, labels: float, unit: int) -> str:
        sign = "at most " if np.isneginf(labels) else "more than " if np.isposinf(labels) else ""
        shown = float(np.clip(labels, self.smallest, self.largest)) / unit
        return f"{sign}{shown:,.0f}" if unit == 1 or shown >= 9.5 else f"{sign}{shown:.2g}"


def board_of(records: Iterable[RunRecord], task: str, dataset: str | None = None) -> Leaderboard:
    """The largest leaderboard of a task's finished runs by the suite's own protocol: what curves are drawn of.

    Raises DataError without a finished run, UnknownNameError for a dataset without runs.
    """
    of_task = [r for r in records if r.status == "finished" and r.task["name"] == task and not r.protocol]
    finished = [r for r in of_task if r.split == "test"]
    if of_task and not finished:
        splits = ", ".join(sorted({r.split for r in of_task}))
        raise DataError(
            f"No run of {task} scored the test split; {len(of_task)} scored {splits}. Curves are drawn of test scores. "
            f"Type `python -m benchmark leaderboard --split {of_task[0].split}` for a table."
        )
    if not finished:
        raise DataError(
            f"There is no finished run of {task}. Runs with several label budgets were expected. Type "
            f"`python -m benchmark sweep --help`."
        )
    names = {r.dataset["name"] for r in finished}
    if dataset is not None and dataset not in names:
        raise unknown_name("dataset with runs", dataset, names, "Correct --dataset.")
    boards = leaderboards(r for r in finished if dataset in (None, r.dataset["name"]))
    return max(boards, key=lambda board: len(board.rows))


def chosen_curves(found: Sequence[Curve], names: Sequence[str]) -> list[Curve]:
    """The curves of these names, as `_meant` reads them; all without any. Raises UnknownNameError."""
    if not names:
        return list(found)
    meant = [curve for name in names for curve in _meant(found, name, "Correct --models.")]
    return [curve for curve in found if curve in meant]


def curves(board: Leaderboard, of: str = MACRO) -> list[Curve]:
    """The curves of a leaderboard in order of name; of a class where the task's scores have one row per class."""
    rows = [r for r in board.averages if r.record.status == "finished" and r.record.config.get("mode") != EVALUATED]
    is_enough = {id(row): told for row, told in zip(board.averages, converged(board.averages), strict=True)}
    groups = [group for alike in _group_by_settings(rows) for group in _group_by_steps(alike, is_enough)]
    names = curve_names([members[0].record for members in groups])
    result = []
    for name, members in zip(names, groups, strict=True):
        first = members[0].record
        points = [p for p in (_point(row, of, is_enough[id(row)]) for row in members) if p is not None]
        if points:
            ordered = tuple(sorted(points, key=lambda p: p.labels))
            runs = tuple(run for row in members for run in row.runs)
            c = first.config
            result.append(Curve(name, first.method, c["mode"], c["preset"], of, ordered, runs))
    return sorted(result, key=lambda curve: curve.name)


def classes_of(board: Leaderboard) -> list[str]:
    """Classes with an F1."""
    record = board.averages[0].record
    return [name for name in record.task["classes"] if score_of(record, "f1", name) is not None]


def smaller_is_better(board: Leaderboard) -> bool:
    """Whether the primary metric is a distance or an error."""
    return bool(board.averages[0].record.task.get("smaller_is_better"))


def resolve_curve(available: Sequence[Curve], name: str) -> Curve:
    """The one curve that a name means. Raises UnknownNameError, or ConfigError where there are several."""
    meant = _meant(available, name, "Correct the name.")
    if len(meant) > 1:
        names = "; ".join(c.name for c in meant)
        raise ConfigError(f"{name!r} has several curves. One of {names} was expected. Give its whole name, in quotes.")
    return meant[0]


def _meant(available: Sequence[Curve], name: str, remedy: str) -> list[Curve]:
    """The curve of this name, or else all of a model, or of a model and mode. Raises UnknownNameError for none."""
    exact = [curve for curve in available if curve.name == name]
    if exact:
        return exact
    model, mode = model_and_mode(name)
    meant = [curve for curve in available if curve.model == model and mode in (None, curve.mode)]
    if not meant:
        raise unknown_name("curve", name, [curve.name for curve in available], remedy)
    return meant


def labels_to_reach(curve: Curve, score: float | Point, smaller: bool = False) -> Needed:
    """Labelled events that a model needs for a score, with a 95% interval over events and runs.

    Of another curve's point the score is drawn in the same resamples, so that the interval is paired.
    """
    target, drawn = (score, score) if isinstance(score, float | int) else (score.value, score.replicates)
    budgets, matrix = _budgets_of(curve), _replicates(curve)
    value = _crossing(budgets, np.array([[p.value for p in curve.points]]), target, smaller)[0]
    low, high = (None, None)
    if matrix is not None and drawn is not None:
        low, high = _interval(_crossing(budgets, matrix, drawn, smaller))
    return Needed(float(value), low, high, float(budgets[0]), float(budgets[-1]))


def label_ratio(one: Curve, other: Curve, score: float, smaller: bool = False) -> Amount:
    """Labels that `other` needs for a score over those that `one` needs, with a paired 95% interval.

    The ratio is a lower limit where `one` reaches the score at its smallest budget, or `other` never does.
    """
    crossings = [
        _crossing(_budgets_of(c), np.array([[p.value for p in c.points]]), score, smaller)[0] for c in (one, other)
    ]
    if np.isposinf(crossings[0]):
        return Amount(None, None, None, f"{one.name} does not reach {score:g}")
    is_limit = np.isneginf(crossings[0]) or np.isposinf(crossings[1])
    value = _clip_to_budgets(crossings[1], other) / _clip_to_budgets(crossings[0], one)
    one_replicates, other_replicates = _replicates(one), _replicates(other)
    low = high = None
    if one_replicates is not None and other_replicates is not None:
        first = _crossing(_budgets_of(one), one_replicates, score, smaller)
        second = _crossing(_budgets_of(other), other_replicates, score, smaller)
        ratios = _clip_to_budgets(second, other) / _clip_to_budgets(first, one)
        beyond = np.isneginf(first) | np.isposinf(second)
        low = float(np.quantile(np.where(np.isposinf(first), 0.0, ratios), (1 - LEVEL) / 2))
        high = float(np.quantile(np.where(beyond, np.inf, ratios), (1 + LEVEL) / 2, method="higher"))
    sign = "more than " if is_limit else ""
    interval = "" if low is None or high is None else f" [{low:.2g}, {'...' if np.isinf(high) else f'{high:.2g}'}]"
    return Amount(float(value), low, _finite_or_none(high), f"{sign}{value:.2g}{interval}")


def reachable(candidates: Iterable[Curve], smaller: bool = False) -> float | None:
    """The rounded score that most curves cross inside their budgets; None where fewer than two do."""
    candidates = list(candidates)
    values = sorted({round(p.value, 2) for c in candidates for p in c.points})
    best, most = None, 1
    for score in values:
        inside = sum(np.isfinite(_crossing(_budgets_of(c), np.array([[p.value for p in c.points]]), score, smaller)[0])
                     for c in candidates)  # fmt: skip
        if inside > most:
            best, most = score, inside
    return best


# ---- one curve


def _group_by_settings(rows: Sequence[Average]) -> list[list[Average]]:
    """Rows that differ only in the budget, in steps, or in a learning rate that was tuned at each budget.

    Settings that older records lack are not compared.
    """
    models: dict[tuple[str, ...], list[tuple[Average, dict[str, Any]]]] = {}
    for row in rows:
        c = row.record.config
        settings = {k: v for k, v in flat(c).items() if k not in _FREE}
        key = row.record.method, c["preset"], c["mode"], str(row.record.pretraining_steps)
        models.setdefault(key, []).append((row, settings))
    groups: list[list[Average]] = []
    for of_model in models.values():
        common = set.intersection(*(set(settings) for _, settings in of_model))
        equal: dict[str, list[Average]] = {}
        for row, settings in of_model:
            equal.setdefault(json.dumps({k: settings[k] for k in sorted(common)}), []).append(row)
        for members in equal.values():
            trainings = [(_labels(row), _steps(row)) for row in members]
            groups += [members] if len(set(trainings)) == len(trainings) else _group_by_rate(members)
    return groups


def _group_by_rate(rows: Sequence[Average]) -> list[list[Average]]:
    groups: dict[Any, list[Average]] = {}
    for row in rows:
        groups.setdefault((row.record.config.get("optim") or {}).get("lr"), []).append(row)
    return list(groups.values())


def _group_by_steps(rows: list[Average], is_enough: dict[int, bool | None]) -> list[list[Average]]:
    """One group where the steps grow from budget to budget, with a row of each; else one per number of steps.

    Of several rows at a budget: the one with the most runs; of these one whose steps were checked, then the most steps.
    """

    def rank(row: Average) -> tuple[int, bool, int]:
        return row.n_runs, is_enough[id(row)] is not None, _steps(row)

    at_budget: dict[int, list[Average]] = {}
    of_steps: dict[int, list[Average]] = {}
    for row in rows:
        at_budget.setdefault(_labels(row), []).append(row)
        of_steps.setdefault(_steps(row), []).append(row)
    chief = [max(at_budget[labels], key=rank) for labels in sorted(at_budget)]
    grows = all(_steps(one) < _steps(other) for one, other in pairwise(chief))
    return [chief] if grows and len(chief) > 1 else list(of_steps.values())


def _labels(row: Average) -> int:
    return int(row.record.events["labelled"] or 0)


def _steps(row: Average) -> int:
    return int(row.record.config["train"].get("steps", 0))


def curve_names(records: Sequence[RunRecord]) -> list[str]:
    """`model:mode`, then in brackets what makes it unique: preset, steps, those before, or else the fingerprint."""
    modes: dict[str, set[str]] = {}
    for record in records:
        modes.setdefault(record.method, set()).add(record.config["mode"])
    # the mode is named where a model has several, or it is not scratch
    names = [r.method if modes[r.method] == {"scratch"} else f"{r.method}:{r.config['mode']}" for r in records]
    details: list[list[str]] = [[] for _ in records]
    for describe in (lambda r: r.config["preset"], lambda r: f"{r.training.get('steps', 0)} steps",
                 lambda r: f"{r.pretraining_steps} pre-training steps", lambda r: r.fingerprint[:6]):  # fmt: skip
        groups: dict[str, list[int]] = {}
        for i, (name, detail) in enumerate(zip(names, details, strict=True)):
            groups.setdefault(_join_name(name, detail), []).append(i)
        for equal in groups.values():
            texts = [describe(records[i]) for i in equal]
            if len(set(texts)) > 1:
                for i, text in zip(equal, texts, strict=True):
                    details[i].append(text)
    return [_join_name(n, d) for n, d in zip(names, details, strict=True)]


def _join_name(name: str, details: Sequence[str]) -> str:
    return f"{name} ({' '.join(details)})" if details else name


def _point(row: Average, of: str, is_converged: bool | None) -> Point | None:
    record = row.record
    labels = record.events["labelled"] or 0
    if labels < 1:
        return None
    if of == MACRO:
        entry = primary(record) or {}
        replicates = row.replicates
    else:
        entry = score_of(record, "f1", of) or {}
        index = list(record.task["classes"]).index(of)
        replicates = row.by_class["f1"][:, index] if "f1" in row.by_class else None
    if entry.get("value") is None:
        return None
    return Point(
        labels, float(entry["value"]), entry.get("low"), entry.get("high"), row.n_runs, replicates, is_converged
    )


# ---- where a curve crosses a score


def _budgets_of(curve: Curve) -> np.ndarray:
    return np.array([p.labels for p in curve.points], dtype=np.float64)


def _replicates(curve: Curve) -> np.ndarray | None:
    """(R, budgets) resampled scores; None where a budget has none."""
    replicates = [p.replicates for p in curve.points]
    if any(d is None for d in replicates):
        return None
    return np.stack(replicates, axis=1)  # type: ignore[arg-type]


def _crossing(budgets: np.ndarray, values: np.ndarray, score: float | np.ndarray, smaller: bool) -> np.ndarray:
    """(R,) labels at which curves (R, budgets) first reach a score, or (R,) one each: -inf at the first budget, +inf
    never.
    """
    sign = -1.0 if smaller else 1.0
    scores = np.broadcast_to(score, len(values))
    above = sign * values >= sign * scores[:, None]
    reached = above.any(axis=1)
    first = above.argmax(axis=1)
    result = np.where(reached & (first == 0), -np.inf, np.inf)
    inside = np.flatnonzero(reached & (first > 0))
    if len(inside):
        index = first[inside]
        before, after = values[inside, index - 1], values[inside, index]
        share = (scores[inside] - before) / (after - before)
        logs = np.log(budgets)
        result[inside] = np.exp(logs[index - 1] + share * (logs[index] - logs[index - 1]))
    return result


def _interval(labels: np.ndarray) -> tuple[float, float]:
    """Ends of the middle 95%, infinities included."""
    low = np.quantile(labels, (1 - LEVEL) / 2, method="lower")
    return float(low), float(np.quantile(labels, (1 + LEVEL) / 2, method="higher"))


def _clip_to_budgets(labels: Any, curve: Curve) -> Any:
    """Labels clipped to the measured budgets."""
    budgets = _budgets_of(curve)
    return np.clip(labels, budgets[0], budgets[-1])


def _finite_or_none(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else float(value)
