"""Scores of many runs in the same bootstrap resamples of their test events, for every interval and difference.

Each resample draws the independent events with replacement (collision events, scans: all their samples together), once
for all runs that were scored on them, and the runs of a row with replacement. Scores that may have no interval
(`benchmark.metrics.few_events`) are NaN in every resample. Resampling thousands of runs takes seconds, so the resamples
of large folders are cached, by the fingerprints and counts of their runs. Memory is bounded: resamples are drawn in
blocks, and where events are many, drawn again for each block of runs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.data.archives import check_sizes
from benchmark.errors import RecordError
from benchmark.io import atomic_path, sha256_text
from benchmark.metrics.bootstrap import N_RESAMPLES, multiplicities
from benchmark.metrics.families import OVERALL, family
from benchmark.metrics.few_events import MIN_EVENTS
from benchmark.paths import cache_dir
from benchmark.progress import progress
from benchmark.records.counts import unpack_counts
from benchmark.records.record import RunRecord
from benchmark.records.scored import rule_of, same_scored, scored, units_of
from benchmark.records.scores import family_name, family_of
from benchmark.seeding import generator

Resamples = dict[tuple[str, str], np.ndarray]  # (section, score) -> (R,) or (R, rows) resampled scores
CACHE_VERSION = 2  # raised when the resampling changes
CACHE_FROM = 500  # runs of a task and revision from which resamples are cached; slow scores always are
_EXACT = 1 << 24  # integers below it are exact in float32
_BLOCK_RUNS = 256  # runs resampled at once, fewer where their events are many:
_BLOCK_EVENTS = 1 << 19  # events of the runs resampled at once
_KEPT = 1 << 23  # multiplicities kept from one block of runs to the next, at most: 64 MiB


def confusions(run: RunRecord) -> np.ndarray | None:
    """(B, C, C) counts of every event, [true, predicted]; None where the record has no confusion counts."""
    if not run.per_event or not run.metrics or family_of(run) is not family("segmentation"):
        return None
    return unpack_counts(run.per_event)


def resampled(rows: Sequence[tuple[RunRecord, ...]]) -> list[Resamples | None]:
    """The mean scores of every row in each resample; None where its runs have no common events, or too few.

    Rows on the same events of one task and revision share the resampled events.
    """
    groups: dict[tuple[Any, ...], list[int]] = {}
    for i, runs in enumerate(rows):
        task = runs[0].task
        if same_scored(runs) and runs[0].metrics:
            units, kind = units_of(runs[0]), (task["primary_metric"], *task["classes"], family_name(runs[0]))
            if units is not None and units.max() + 1 >= MIN_EVENTS:
                groups.setdefault((scored(runs[0]), units.tobytes(), kind), []).append(i)
    result: list[Resamples | None] = [None] * len(rows)
    for (what, packed_units, _), members in sorted(groups.items(), key=lambda item: item[1][0]):
        units = np.frombuffer(packed_units, np.int64)
        draws = _Draws(what.task, what.revision, units)
        group = [rows[i] for i in members]
        n_runs, is_linear = sum(map(len, group)), family_of(group[0][0]).linear is not None
        cache = _ResampleCache(n_runs >= CACHE_FROM or not is_linear, what, units.tolist())
        keys = [cache.key(row) for row in group]
        missing = [row for row, name in zip(group, keys, strict=True) if name not in cache.rows]
        computed = _resample_rows(missing, draws, silent=is_linear and n_runs < CACHE_FROM)
        for i, name in zip(members, keys, strict=True):
            result[i] = cache.rows[name] if name in cache.rows else next(computed)
        if missing:
            cache.write(dict(zip(keys, (result[i] or {} for i in members), strict=True)))
        for i in members:
            result[i] = _allowed(rows[i][0], result[i] or {})
    return result


class _Draws:
    """The resamples of the events of one task and revision, the same whenever they are asked for."""

    def __init__(self, task: str, revision: str, units: np.ndarray) -> None:
        self.n_events = len(units)
        self._name, self._units = (task, revision), units
        self._kept: list[np.ndarray] | None = None
        self.seed = 0  # of the weights of runs; follows the resamples in the stream, known after them

    def blocks(self) -> Iterator[np.ndarray]:
        """Blocks (r, B) float64 of each event's multiplicity."""
        if self._kept is not None:
            yield from self._kept
            return
        rng, kept = generator("bootstrap over runs", *self._name), []
        for block in multiplicities(self._units, rng):
            if self.n_events * N_RESAMPLES <= _KEPT:
                kept.append(block)
            yield block
        self.seed = int(rng.integers(1 << 62))
        self._kept = kept or None


def _allowed(run: RunRecord, resamples: Resamples) -> Resamples | None:
    """The resamples, NaN where a score may have no interval; None where none may."""
    rule = rule_of(run)
    if rule is None:
        return None
    return {name: np.where(rule.allows(*name), values, np.nan) for name, values in resamples.items()}


class _ResampleCache:
    """Resamples of the rows of one task and revision; in a file where `in_file`."""

    def __init__(self, in_file: bool, *group: object) -> None:
        self.rows: dict[str, Resamples] = {}
        self.path: Path | None = None
        if in_file:
            name = sha256_text(repr((CACHE_VERSION, N_RESAMPLES, *group)))[:16]
            self.path = cache_dir() / "resamples" / f"{name}.npz"
            self.rows = self._read(self.path)

    def key(self, runs: Sequence[RunRecord]) -> str:
        """Hash of the runs of a row and their counts."""
        if self.path is None:
            return ""
        digest = hashlib.blake2b(digest_size=16)
        for run in runs:
            digest.update(f"{run.fingerprint} {run.per_event['encoding']} {run.per_event['data']}\n".encode())
        return digest.hexdigest()

    def write(self, rows: dict[str, Resamples]) -> None:
        """Replace the cached rows by these."""
        if self.path is None or len({tuple(drawn) for drawn in rows.values()}) != 1:
            return
        names = list(next(iter(rows.values())))
        arrays = {
            f"{section}/{name}": np.stack([drawn[section, name] for drawn in rows.values()]) for section, name in names
        }
        with atomic_path(self.path) as partial, partial.open("wb") as stream:
            np.savez(stream, keys=np.array(list(rows)), **arrays)  # type: ignore[arg-type]

    @staticmethod
    def _read(path: Path) -> dict[str, Resamples]:
        if not path.is_file():
            return {}
        try:
            check_sizes(path)
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            keys = arrays.pop("keys")
            if any(a.dtype != np.float64 or a.shape[:2] != (len(keys), N_RESAMPLES) for a in arrays.values()):
                return {}
            names = {name: tuple(name.split("/", 1)) for name in arrays}
            return {str(k): {names[n]: a[i] for n, a in arrays.items()} for i, k in enumerate(keys)}  # type: ignore[misc]
        except Exception:  # damaged archives raise any type of error: computed again
            return {}


def _resample_rows(
    rows: Sequence[tuple[RunRecord, ...]], draws: _Draws, silent: bool
) -> Iterator[Resamples]:  # fmt: skip
    """The resampled means of rows on the same events, in order. A thread unpacks the next block meanwhile."""
    if not rows:
        return
    blocks: list[list[tuple[RunRecord, ...]]] = [[]]
    is_linear = family_of(rows[0][0]).linear is not None
    max_runs = min(_BLOCK_RUNS, max(1, _BLOCK_EVENTS // draws.n_events)) if is_linear else 1
    for row in rows:
        if sum(map(len, blocks[-1])) >= max_runs:
            blocks.append([])
        blocks[-1].append(row)
    with (
        ThreadPoolExecutor(1) as pool,
        progress("resampling scores", sum(map(len, rows)), silent=silent) as bar,
    ):
        ahead, n_done = pool.submit(_unpack_rows, blocks[0]), 0
        for block, following in zip(blocks, [*blocks[1:], None], strict=True):
            states = ahead.result()
            if following is not None:
                ahead = pool.submit(_unpack_rows, following)
            yield from _resample_block(block, states, draws)
            n_done += len(states)
            bar.update(n_done)


def _unpack_rows(rows: Sequence[tuple[RunRecord, ...]]) -> list[np.ndarray]:
    """Counts of every run of these rows."""
    return [_checked_counts(run) for row in rows for run in row]


def _resample_block(
    rows: Sequence[tuple[RunRecord, ...]], states: list[np.ndarray], draws: _Draws
) -> Iterable[Resamples]:  # fmt: skip
    scores, begin = _resampled_scores(rows[0][0], states, draws), 0
    for row in rows:
        weights = _run_weights(len(row), N_RESAMPLES, draws.seed)
        of_row = scores[begin : begin + len(row)]
        begin += len(row)
        yield {
            name: np.einsum("rn,nr...->r...", weights, np.stack([drawn[name] for drawn in of_row]))
            for name in of_row[0]
        }


@lru_cache(maxsize=64)
def _run_weights(n_runs: int, n_resamples: int, seed: int) -> np.ndarray:
    """(R, runs) weight of each run in each resample; rows with equally many runs share them, so draws are paired."""
    rng = np.random.default_rng([seed, n_runs])
    weights: np.ndarray = rng.multinomial(n_runs, np.full(n_runs, 1 / n_runs), size=n_resamples) / n_runs
    return weights


def _resampled_scores(run: RunRecord, states: list[np.ndarray], draws: _Draws) -> list[Resamples]:
    """Primary metric and table columns of each run in every resample."""
    score_family, task, n_runs = family_of(run), run.task, len(states)
    if score_family.linear is not None and task["primary_metric"] == "macro_f1":
        matrix = score_family.linear.features(states[0].shape[1:]).astype(np.float32)  # (cells, F)
        features = np.concatenate([s.reshape(len(s), -1).astype(np.float32) @ matrix for s in states], axis=1)
        sums = np.concatenate([_exact_sums(times, features) for times in draws.blocks()])  # (R, runs * F)
        sums = sums.reshape(len(sums), n_runs, -1)
        whole = np.stack([s.reshape(len(s), -1).sum(axis=0) @ matrix for s in states])  # (runs, F)
        drawn = score_family.linear.scores(sums, whole)
        return [{name: values[:, i] for name, values in drawn.items()} for i in range(n_runs)]
    shown = {(OVERALL, task["primary_metric"])} | {(c.section, c.name) for c in score_family.columns(task["classes"])}
    result: list[Resamples] = []
    for run_states in states:
        parts = [score_family.scores(run_states, times) for times in draws.blocks()]
        names = [(s, n) for s, scores in parts[0].items() for n in scores if (s, n) in shown]
        result.append({(s, n): np.concatenate([part[s][n] for part in parts]) for s, n in names})
    return result


def _exact_sums(times: np.ndarray, features: np.ndarray) -> np.ndarray:
    """(R, F) float64 sums of integer features (B, F): exact, hence equal on every machine.

    Single precision is exact below 2^24 and twice as fast.
    """
    sums: np.ndarray = times.astype(np.float32) @ features
    if sums.size and sums.max() >= _EXACT:
        sums = times @ features.astype(np.float64)
    return sums.astype(np.float64)


def _checked_counts(run: RunRecord) -> np.ndarray:
    """The counts of every event. Raises RecordError where they do not fit the record's classes."""
    states = unpack_counts(run.per_event)
    n_classes, score_family = len(run.task["classes"]), family_of(run)
    shapes = {"segmentation": (n_classes, n_classes), "multilabel": (n_classes + 1, 4)}
    expected = next((shape for name, shape in shapes.items() if score_family is family(name)), states.shape[1:])
    if states.shape[1:] != expected:
        raise RecordError(
            f"The record {run.fingerprint[:12]} of {run.method} has counts of shape {states.shape[1:]} per event. "
            f"{expected}, for its {n_classes} classes, was expected. Delete it and run again."
        )
    return states
