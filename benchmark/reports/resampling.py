"""Scores of many runs in the same bootstrap resamples of their test events: behind every interval and difference.

Each resample draws the events with replacement, once for all runs that were scored on them, and the runs of a row with
replacement. Resampling thousands of runs takes seconds, so that large folders are resampled once: what came out lies in
the cache, under the fingerprints and counts that it came from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.errors import RecordError
from benchmark.io import atomic_path, sha256_text
from benchmark.metrics.bootstrap import N_RESAMPLES
from benchmark.metrics.families import OVERALL, Family, family
from benchmark.paths import cache_dir
from benchmark.progress import progress
from benchmark.records.counts import unpack_counts
from benchmark.records.record import RunRecord
from benchmark.seeding import generator

Drawn = dict[tuple[str, str], np.ndarray]  # (section, score) -> (R,) or (R, rows) resampled scores
FORM = 1  # of the cache: raised when what is resampled, or how, changes
KEPT_FROM = 500  # runs of a task and revision from which resamples are kept; of scores that take long, always
_EXACT = 1 << 24  # whole numbers below it have a float32
_BLOCK = 256  # runs resampled at once: about 10 MB


def same_events(runs: Sequence[RunRecord]) -> str | None:
    """Hash of the ids of the events that these runs were scored on; None where they differ or are not known."""
    hashes = {run.per_event.get("event_ids_sha256") for run in runs}
    return next(iter(hashes)) if len(hashes) == 1 else None


def confusions(run: RunRecord) -> np.ndarray | None:
    """(B, C, C) counts of every event, [true, predicted]; None where a task counts something else, or none are kept."""
    if not run.per_event or not run.metrics or family_of(run) is not family("segmentation"):
        return None
    return unpack_counts(run.per_event)


def family_of(record: RunRecord) -> Family:
    """The family of scores that a record's metrics are of."""
    probed = bool(record.config.get("probe"))
    return family("multilabel" if probed else record.task.get("metrics", "segmentation"))  # older records do not say it


def resampled(rows: Sequence[tuple[RunRecord, ...]]) -> list[Drawn | None]:
    """The mean scores of every row in each resample; None where there are no common events.

    Rows on the same events of one task and revision share how often each event is drawn.
    """
    groups: dict[tuple[Any, ...], list[int]] = {}
    for i, runs in enumerate(rows):
        events, task = same_events(runs), runs[0].task
        if events is not None and runs[0].per_event and runs[0].metrics:
            n_events = runs[0].per_event["shape"][0]
            key = (task["name"], runs[0].dataset["revision"], events, n_events, bool(runs[0].config.get("probe")))
            groups.setdefault(key, []).append(i)
    result: list[Drawn | None] = [None] * len(rows)
    for (task_name, revision, _, n_events, _), members in sorted(groups.items(), key=lambda item: item[1][0]):
        rng = generator("bootstrap over runs", task_name, revision)
        times = rng.multinomial(n_events, np.full(n_events, 1 / n_events), size=N_RESAMPLES).astype(np.float64)
        seed = int(rng.integers(1 << 62))
        mine = [rows[i] for i in members]
        n_runs, quick = sum(map(len, mine)), family_of(mine[0][0]).linear is not None
        kept = _Kept(n_runs >= KEPT_FROM or not quick, task_name, revision, n_events)
        names = [kept.key(row) for row in mine]
        missing = [row for row, key in zip(mine, names, strict=True) if key not in kept.found]
        made = _of_rows(missing, times, seed, silent=quick and n_runs < KEPT_FROM)
        for i, name in zip(members, names, strict=True):
            result[i] = kept.found[name] if name in kept.found else next(made)
        if missing:
            kept.write(dict(zip(names, (result[i] or {} for i in members), strict=True)))
    return result


class _Kept:
    """Resamples of the rows of one task and revision, kept in a file where there are many."""

    def __init__(self, wanted: bool, *group: object) -> None:
        self.found: dict[str, Drawn] = {}
        self.path: Path | None = None
        if wanted:
            name = sha256_text(repr((FORM, N_RESAMPLES, *group)))[:16]
            self.path = cache_dir() / "resamples" / f"{name}.npz"
            self.found = self._read(self.path)

    def key(self, runs: Sequence[RunRecord]) -> str:
        """Names the runs of a row and their counts."""
        if self.path is None:
            return ""
        digest = hashlib.blake2b(digest_size=16)
        for run in runs:
            digest.update(f"{run.fingerprint} {run.per_event['encoding']} {run.per_event['data']}\n".encode())
        return digest.hexdigest()

    def write(self, rows: dict[str, Drawn]) -> None:
        """Keep these rows and no others."""
        if self.path is None or len({tuple(drawn) for drawn in rows.values()}) != 1:
            return
        which = list(next(iter(rows.values())))
        arrays = {
            f"{section}/{name}": np.stack([drawn[section, name] for drawn in rows.values()]) for section, name in which
        }
        with atomic_path(self.path) as partial, partial.open("wb") as stream:
            np.savez(stream, keys=np.array(list(rows)), **arrays)  # type: ignore[arg-type]

    @staticmethod
    def _read(path: Path) -> dict[str, Drawn]:
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            keys = arrays.pop("keys")
            names = {name: tuple(name.split("/", 1)) for name in arrays}
            return {str(k): {names[n]: a[i] for n, a in arrays.items()} for i, k in enumerate(keys)}  # type: ignore[misc]
        except (OSError, ValueError, KeyError, IndexError):
            return {}  # made anew: nothing is lost but time


def _of_rows(
    rows: Sequence[tuple[RunRecord, ...]], times: np.ndarray, seed: int, silent: bool
) -> Iterator[Drawn]:  # fmt: skip
    """The resampled means of rows on the same events, in order. The next rows are unpacked while these are summed."""
    if not rows:
        return
    blocks: list[list[tuple[RunRecord, ...]]] = [[]]
    most = _BLOCK if family_of(rows[0][0]).linear is not None else 1
    for row in rows:
        if sum(map(len, blocks[-1])) >= most:
            blocks.append([])
        blocks[-1].append(row)
    with (
        ThreadPoolExecutor(1) as pool,
        progress("resampling scores", sum(map(len, rows)), silent=silent) as bar,
    ):
        ahead, n_done = pool.submit(_unpacked, blocks[0]), 0
        for block, following in zip(blocks, [*blocks[1:], None], strict=True):
            states = ahead.result()
            if following is not None:
                ahead = pool.submit(_unpacked, following)
            yield from _of_block(block, states, times, seed)
            n_done += len(states)
            bar.update(n_done)


def _unpacked(rows: Sequence[tuple[RunRecord, ...]]) -> list[np.ndarray]:
    """The counts of every run of these rows."""
    return [_checked(run) for row in rows for run in row]


def _of_block(
    rows: Sequence[tuple[RunRecord, ...]], states: list[np.ndarray], times: np.ndarray, seed: int
) -> Iterable[Drawn]:  # fmt: skip
    every, begin = _scores(rows[0][0], states, times), 0
    for row in rows:
        shares = _shares(len(row), len(times), seed)
        mine = every[begin : begin + len(row)]
        begin += len(row)
        yield {
            which: np.einsum("rn,nr...->r...", shares, np.stack([drawn[which] for drawn in mine])) for which in mine[0]
        }


@lru_cache(maxsize=64)
def _shares(n_runs: int, n_resamples: int, seed: int) -> np.ndarray:
    """(R, runs) weight of each run in each resample, the same for all rows of as many runs: draws are paired too."""
    rng = np.random.default_rng([seed, n_runs])
    shares: np.ndarray = rng.multinomial(n_runs, np.full(n_runs, 1 / n_runs), size=n_resamples) / n_runs
    return shares


def _scores(like: RunRecord, states: list[np.ndarray], times: np.ndarray) -> list[Drawn]:
    """What tables show of each run in every resample: the primary metric and the columns of its family."""
    kind, task, n_runs = family_of(like), like.task, len(states)
    if kind.linear is not None and task["primary_metric"] == "macro_f1":
        matrix = kind.linear.features(states[0].shape[1:]).astype(np.float32)  # (cells, F)
        cells = np.stack([s.reshape(len(s), -1) for s in states], axis=1).astype(np.float32)  # (B, runs, cells)
        sums = _summed(times, (cells @ matrix).reshape(len(cells), -1)).reshape(len(times), n_runs, -1)
        drawn = kind.linear.scores(sums)
        return [{which: values[:, i] for which, values in drawn.items()} for i in range(n_runs)]
    wanted = {(OVERALL, task["primary_metric"])} | {(c.section, c.name) for c in kind.columns(task["classes"])}
    found = []
    for of_run in states:
        sections = kind.scores(of_run, times)
        found.append({(s, n): v for s, of in sections.items() for n, v in of.items() if (s, n) in wanted})
    return found


def _summed(times: np.ndarray, features: np.ndarray) -> np.ndarray:
    """(R, F) float64 sums of features (B, F) that are whole numbers: exact, so that they are the same on every machine.

    Single precision is exact below 2^24, and twice as fast.
    """
    sums: np.ndarray = times.astype(np.float32) @ features
    if sums.size and sums.max() >= _EXACT:
        sums = times @ features.astype(np.float64)
    return sums.astype(np.float64)


def _checked(run: RunRecord) -> np.ndarray:
    """The counts of every event. Raises RecordError where they do not fit the record's classes."""
    states = unpack_counts(run.per_event)
    n_classes, kind = len(run.task["classes"]), family_of(run)
    shapes = {"segmentation": (n_classes, n_classes), "multilabel": (n_classes + 1, 4)}
    expected = next((shape for name, shape in shapes.items() if kind is family(name)), states.shape[1:])
    if states.shape[1:] != expected:
        raise RecordError(
            f"The record {run.fingerprint[:12]} of {run.model} has counts of shape {states.shape[1:]} per event. "
            f"{expected}, for its {n_classes} classes, was expected. Delete it and run again."
        )
    return states
