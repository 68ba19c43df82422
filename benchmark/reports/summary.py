"""Which method to start from: ranks and wins over all contests of a folder of records. No torch needed, no training.

A contest is a task, data and label budget on which several methods were scored on the same events. Contests whose
events allow no interval are listed and not counted. In each of the thousand resamples of events and runs that the
tables' intervals come from (`benchmark.reports.resampling`) methods are ranked anew; intervals are of these resamples,
hence not over tasks. A method is its network, pretext, mode and preset; where a contest has several rows of one, the
row with the most runs counts, then the newest.

Mean rank: J. Demsar, JMLR 7 (2006) 1, section 3.2.2; its critical difference holds for independent contests, and these
share methods and events, so the bootstrap separates in its place. Interquartile mean: R. Agarwal et al., NeurIPS 2021
(arXiv:2108.13264), section 4.3. S. Holm, Scand. J. Statist. 6 (1979) 65.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import erfc, sqrt

import numpy as np

from benchmark.metrics.bootstrap import N_RESAMPLES, percentiles
from benchmark.records.record import EVALUATED, RunRecord
from benchmark.reports.averages import Average
from benchmark.reports.fitted_table import FittedTable
from benchmark.reports.leaderboard import Leaderboard
from benchmark.reports.paired_differences import EQUAL, value_of
from benchmark.reports.tables import markdown_table

DETECTABLE = 2.8  # standard errors that a difference needs to be found with 80% power at 5%: 1.96 + 0.84
LEVEL = 0.05  # of a claim, after Holm's correction
MOST_PROBABLE = 38.0  # standard errors beyond which a normal tail is 0 in double precision
FEWEST_FOR_MEAN = 4  # scores that an interquartile mean needs


@dataclass(frozen=True)
class Contest:
    """Methods that were scored on the same events after the same budget."""

    title: str
    labels: str
    metric: str
    methods: tuple[str, ...]
    n_runs: tuple[int, ...]
    scores: np.ndarray  # (n,) larger is better: an error with its sign turned
    replicates: np.ndarray  # (R, n) the same in each resample; a constant where a score may have no interval
    floor: int | None  # position of the task's floor
    has_intervals: bool  # False: it has too few events, and is not counted

    @property
    def normalised(self) -> np.ndarray | None:
        """(n,) scores with 0 at the floor and 1 at the best; None without a floor."""
        if self.floor is None or self.scores.max() <= self.scores[self.floor]:
            return None
        at_floor = self.scores[self.floor]
        scaled: np.ndarray = (self.scores - at_floor) / (self.scores.max() - at_floor)
        return scaled

    @property
    def detectable(self) -> float | None:
        """The difference to the best that is found with 80% power at 5%: the median over the others.

        None where the events allow no interval.
        """
        best = int(self.scores.argmax())
        return DETECTABLE * float(np.median(np.delete(self._errors(best), best))) if self.has_intervals else None

    @property
    def n_as_good(self) -> int | None:
        """Methods that cannot be told from the best after Holm's correction, the best included.

        All pairs are corrected for, because the best was not named before the scores were seen. None where the events
        allow no interval, and for a best of a single run, whose draw may have been lucky.
        """
        if not self.has_intervals or self.n_runs[int(self.scores.argmax())] < 2:
            return None
        best, n = int(self.scores.argmax()), len(self.scores)
        pairs = [(i, j) for i in range(n) for j in range(i)]
        errors = [self._errors(i) for i in range(n)]
        chances = holm([_two_sided(self.scores[i] - self.scores[j], errors[i][j]) for i, j in pairs])
        return 1 + sum(best in pair and p > LEVEL for pair, p in zip(pairs, chances, strict=True))

    def _errors(self, position: int) -> np.ndarray:
        """(n,) standard errors of the differences to the method at a position."""
        differences = self.replicates[:, [position]] - self.replicates
        errors: np.ndarray = np.std(differences, axis=0, ddof=1)
        return errors


@dataclass(frozen=True)
class Ranged:
    """A number with its 95% interval."""

    value: float
    low: float
    high: float

    def text(self, places: int) -> str:
        """`1.8 [1.5, 2.2]`."""
        return f"{self.value:.{places}f} [{self.low:.{places}f}, {self.high:.{places}f}]"


@dataclass(frozen=True)
class Standing:
    """A method over all its contests."""

    method: str
    n_contests: int
    wins: Ranged  # mean over opponents of the share of common contests in which it is better
    rank: Ranged | None  # mean over the contests that all complete methods share; None of others
    middle: float | None  # interquartile mean of normalised scores


@dataclass(frozen=True)
class Summary:
    """Contests, and methods: first those in at least half as many contests as any, then the others; by their wins."""

    contests: tuple[Contest, ...]
    standings: tuple[Standing, ...]
    wins: np.ndarray  # (n, n) share of common contests that the row's method wins against the column's; NaN without any
    n_common: np.ndarray  # (n, n) contests in which both were


_Pick = Callable[[Contest], np.ndarray]  # (R, n) scores


def _as_measured(contest: Contest) -> np.ndarray:
    return contest.scores[None]


def _resampled(contest: Contest) -> np.ndarray:
    return contest.replicates


def summary(boards: Sequence[Leaderboard]) -> Summary:
    """The summary of these leaderboards."""
    every = tuple(c for board in boards for c in _contests(board))
    contests = tuple(c for c in every if c.has_intervals)
    names = sorted({method for contest in contests for method in contest.methods})
    wins, n_common = _wins(contests, names, _as_measured)
    drawn, _ = _wins(contests, names, _resampled)
    complete = [name for name in names if all(name in c.methods for c in contests)]
    ranks, drawn_ranks = (_mean_ranks(contests, complete, pick) for pick in (_as_measured, _resampled))
    standings = [
        Standing(
            name,
            sum(name in c.methods for c in contests),
            _ranged(_mean_over_opponents(wins[:, i])[0], _mean_over_opponents(drawn[:, i])),
            _ranged(ranks[0, complete.index(name)], drawn_ranks[:, complete.index(name)]) if name in complete else None,
            _middle([float(n[c.methods.index(name)]) for c in contests
                     if name in c.methods and (n := c.normalised) is not None]),
        )
        for i, name in enumerate(names)
    ]  # fmt: skip
    most = max((s.n_contests for s in standings), default=0)
    order = sorted(
        range(len(names)), key=lambda i: (2 * standings[i].n_contests < most, -standings[i].wins.value, names[i])
    )
    return Summary(
        every, tuple(standings[i] for i in order), wins[0][np.ix_(order, order)], n_common[np.ix_(order, order)]
    )


def holm(chances: Sequence[float]) -> list[float]:
    """p-values adjusted by Holm's step-down rule, in their order."""
    adjusted, largest = [0.0] * len(chances), 0.0
    for rank, i in enumerate(sorted(range(len(chances)), key=lambda i: chances[i])):
        largest = max(largest, min(1.0, (len(chances) - rank) * chances[i]))
        adjusted[i] = largest
    return adjusted


def method_of(record: RunRecord) -> str:
    """`gnn+masked:fft`, `polarmae:fft (paper)`: the network, and how it was trained where that is not the usual."""
    c = record.config
    mode = "" if c["mode"] == "scratch" else f":{c['mode']}"
    preset = "" if c["preset"] in ("default", c["mode"]) else f" ({c['preset']})"
    return f"{record.method}{mode}{preset}"


def _contests(board: Leaderboard) -> Iterable[Contest]:
    sign = -1.0 if board.averages[0].record.task.get("smaller_is_better") else 1.0
    by_budget: dict[str, dict[str, Average]] = {}
    for row in board.averages:
        is_shown = row.record.status == "finished" and row.record.config["mode"] != EVALUATED
        if is_shown and np.isfinite(value_of(row)):
            rows = by_budget.setdefault(row.record.labels, {})
            name = method_of(row.record)
            rows[name] = max(rows.get(name, row), row, key=lambda r: (r.n_runs, r.record.created))
    for labels, rows in by_budget.items():
        if len(rows) < 2:
            continue
        names = sorted(rows)
        scores = np.array([sign * value_of(rows[name]) for name in names])
        drawn = [_replicates(rows[name], sign) for name in names]
        task = board.averages[0].record.config.get("task") or {}
        floor = names.index(task["floor"]) if task.get("floor") in names else None
        yield Contest(
            _title(board), labels, board.averages[0].record.task["primary_metric"], tuple(names),
            tuple(rows[name].n_runs for name in names), scores, np.stack(drawn, axis=1), floor,
            any(row.replicates is not None for row in rows.values()),
        )  # fmt: skip


def _title(board: Leaderboard) -> str:
    """Task and data, and how the events were cut or scored where that is not the usual."""
    return ", ".join(filter(None, (f"{board.task} on {board.dataset}", board.protocol, board.cuts)))


def _replicates(row: Average, sign: float) -> np.ndarray:
    """(R,) resampled scores; the score itself where there are none, or where one is undefined."""
    value = sign * value_of(row)
    if row.replicates is None:
        return np.full(N_RESAMPLES, value)
    drawn: np.ndarray = np.where(np.isfinite(row.replicates), sign * row.replicates, value)
    return drawn


def _wins(contests: Sequence[Contest], names: Sequence[str], pick: _Pick) -> tuple[np.ndarray, np.ndarray]:
    """(R, n, n) shares of common contests that the first wins, ties by half; (n, n) numbers of common contests."""
    n = len(names)
    values = [pick(c) for c in contests]
    n_resamples = max((len(v) for v in values), default=1)
    won, met = np.zeros((n_resamples, n, n)), np.zeros((n, n))
    for contest, drawn in zip(contests, values, strict=True):
        at = np.array([names.index(m) for m in contest.methods])
        difference = drawn[:, :, None] - drawn[:, None, :]
        won[:, at[:, None], at[None]] += (difference > 0) + 0.5 * (difference == 0)
        met[at[:, None], at[None]] += 1
    np.fill_diagonal(met, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(met > 0, won / met, np.nan), met


def _mean_over_opponents(shares: np.ndarray) -> np.ndarray:
    """(R,) from (R, n)."""
    met = ~np.isnan(shares[0])
    mean: np.ndarray = shares[:, met].mean(axis=1) if met.any() else np.full(len(shares), np.nan)
    return mean


def _mean_ranks(contests: Sequence[Contest], complete: Sequence[str], pick: _Pick) -> np.ndarray:
    """(R, n) rank among the complete methods, 1 the best, ties shared, mean over contests."""
    ranks = []
    for contest in contests:
        drawn = pick(contest)[:, [contest.methods.index(m) for m in complete]]
        better = (drawn[:, None, :] > drawn[:, :, None]).sum(axis=2)
        equal = (drawn[:, None, :] == drawn[:, :, None]).sum(axis=2) - 1
        ranks.append(1 + better + equal / 2)
    mean: np.ndarray = np.mean(ranks, axis=0) if ranks else np.zeros((1, 0))
    return mean


def _ranged(value: float, drawn: np.ndarray) -> Ranged:
    low, high = percentiles(drawn)
    return Ranged(float(value), float(low), float(high))


def _middle(values: Sequence[float]) -> float | None:
    """Mean of the middle half, fractions of the outermost ones included."""
    if len(values) < FEWEST_FOR_MEAN:
        return None
    ordered, n = np.sort(values), len(values)
    ends = np.arange(n + 1)
    weights = np.clip(np.minimum(ends[1:], 0.75 * n) - np.maximum(ends[:-1], 0.25 * n), 0, None)
    return float(np.average(ordered, weights=weights))


def _two_sided(difference: float, error: float) -> float:
    """p-value of a difference by the normal approximation of its bootstrap distribution."""
    if error <= EQUAL:
        return 1.0 if abs(difference) <= EQUAL else 0.0
    return erfc(min(abs(difference) / error, MOST_PROBABLE) / sqrt(2))


# ---- as tables

STANDINGS = ("method", "contests", "wins [95%]", "mean rank [95%]", "middle score")
CONTESTS = ("contest", "labels", "methods", "best", "runs of it", "as good as it", "detectable")
_TEXTS = ("method", "contest", "best", "detectable")
NONE = "-"
NOTE = (
    "wins: share of the contests in common that a method wins against another, mean over its opponents; mean rank: "
    "among the methods of every contest; middle score: interquartile mean of scores with 0 at the task's floor and 1 "
    "at the best of the contest. Intervals are over events and runs, not over tasks."
)
CONTESTS_NOTE = (
    "as good as it: methods that cannot be told from the best at 5% after Holm's correction for all pairs, - where the "
    "best is a single run; detectable: the difference to the best that is found with 80% power (median), - with too "
    "few events for an interval: not counted above."
)


def standings_rows(found: Summary) -> list[tuple[str, ...]]:
    """The cells of a table of methods."""
    n = sum(c.has_intervals for c in found.contests)
    return [
        (
            s.method, f"{s.n_contests} of {n}", s.wins.text(2), NONE if s.rank is None else s.rank.text(1),
            NONE if s.middle is None else f"{s.middle:.2f}",
        )
        for s in found.standings
    ]  # fmt: skip


def contests_rows(found: Summary) -> list[tuple[str, ...]]:
    """The cells of a table of contests."""
    return [
        (
            c.title, c.labels, str(len(c.methods)), c.methods[int(c.scores.argmax())],
            str(c.n_runs[int(c.scores.argmax())]),
            NONE if c.n_as_good is None else str(c.n_as_good - 1),
            NONE if c.detectable is None else f"{c.detectable:.2g} in {c.metric}",
        )
        for c in found.contests
    ]  # fmt: skip


def rich(found: Summary) -> list[FittedTable]:
    """For the terminal."""
    tables = []
    for title, columns, rows, note in (
        ("Methods over all contests", STANDINGS, standings_rows(found), NOTE),
        ("Contests", CONTESTS, contests_rows(found), CONTESTS_NOTE),
    ):
        table = FittedTable(title, columns, numbers=[c for c in columns if c not in _TEXTS], caption=note,
                            shown_by="--format markdown", first=(columns[2], columns[3]))  # fmt: skip
        for row in rows:
            table.row(*row)
        tables.append(table)
    return tables


def markdown(found: Summary) -> str:
    """For a page."""
    methods = markdown_table(STANDINGS, ["left", *["right"] * 4], standings_rows(found))
    contests = markdown_table(
        CONTESTS, ["left", "right", "right", "left", "right", "right", "right"], contests_rows(found)
    )
    return f"{methods}\n\n{NOTE}\n\n{contests}\n\n{CONTESTS_NOTE}\n"
