"""Ids of events that are made when they are asked for: a million of them take no memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import overload

import numpy as np


class EventIds(Sequence[str]):
    """A sequence of `n_events` ids. `id_of` makes the one at a position 0..n_events-1; equal to a tuple of the ids."""

    def __init__(self, n_events: int, id_of: Callable[[int], str]) -> None:
        self._n_events, self._id_of = n_events, id_of

    def __len__(self) -> int:
        return self._n_events

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...
    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        positions = range(self._n_events)[index]
        return self._id_of(positions) if isinstance(positions, int) else tuple(map(self._id_of, positions))

    def __iter__(self) -> Iterator[str]:
        return map(self._id_of, range(self._n_events))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or len(other) != len(self):
            return False
        return all(ours == theirs for ours, theirs in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(self[:])


def shared_ids(first: Sequence[str], second: Sequence[str]) -> list[str]:
    """Ids that are in both, sorted."""
    hashes = [np.fromiter(map(hash, ids), np.int64, len(ids)) for ids in (first, second)]  # 8 bytes an id
    common = np.intersect1d(hashes[0], hashes[1])
    in_common = [np.flatnonzero(np.isin(of_ids, common)) for of_ids in hashes]
    return sorted({first[int(i)] for i in in_common[0]} & {second[int(i)] for i in in_common[1]})


def ids_sha256(ids: Sequence[str]) -> str:
    """Hex SHA-256 of the sorted ids, one to a line."""
    is_sorted = all(before < after for before, after in pairwise(ids))
    digest = hashlib.sha256()
    for i, event_id in enumerate(ids if is_sorted else sorted(ids)):
        digest.update((f"\n{event_id}" if i else event_id).encode())
    return digest.hexdigest()
