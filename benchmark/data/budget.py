"""Label budgets: which events are labelled. Nested, hashed, equal on all machines and for all models."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmark.data.ids import EventIds, ids_sha256
from benchmark.errors import ConfigError, DataError


@dataclass(frozen=True, eq=False)
class Subset:
    """Chosen events of a split: sorted positions in the list of ids, and a hash of the ids themselves."""

    indices: np.ndarray  # (n,) int64
    sha256: str

    def __len__(self) -> int:
        return len(self.indices)


def parse_labels(budget: int | str) -> int | None:
    """Number of labelled events, from a number or its text; None means `all`. Raises ConfigError."""
    if budget == "all":
        return None
    try:
        number = int(budget.replace("_", "")) if isinstance(budget, str) else operator.index(budget)
    except (ValueError, TypeError):
        number = 0
    if number < 1 or isinstance(budget, bool):
        raise ConfigError(
            f"--labels {budget!r} is not a label budget. A whole number of events from 1 on, or `all`, was expected. "
            f"Type for example --labels 100."
        )
    return number


def subset(event_ids: Sequence[str], labels: int | None, draw: int) -> Subset:
    """The first `labels` events of the permutation that sorts sha256(draw, id).

    An event's rank depends on the draw and its id only, so budgets of one draw are nested. Raises DataError where
    fewer events exist than requested.
    """
    n_events = len(event_ids)
    labels = n_events if labels is None else labels
    if labels > n_events:
        raise DataError(
            f"--labels {labels} is more than the {n_events} usable events of the training split. A smaller budget was "
            f"expected. Type --labels all, or make more events (`python -m benchmark data simulate --help`)."
        )
    chosen = np.arange(n_events) if labels == n_events else np.sort(_order(event_ids, draw)[:labels])
    return Subset(chosen, ids_sha256(EventIds(labels, lambda i: event_ids[int(chosen[i])])))


def _order(event_ids: Sequence[str], draw: int) -> np.ndarray:
    """(n,) positions in the order of sha256(draw, id), by its first 16 bytes."""
    ranks = np.empty((len(event_ids), 2), ">u8")
    for i, event_id in enumerate(event_ids):
        digest = hashlib.sha256(f"label budget\x1f{draw}\x1f{event_id}".encode()).digest()
        ranks[i] = np.frombuffer(digest, ">u8", 2)
    return np.lexsort((ranks[:, 1], ranks[:, 0]))
