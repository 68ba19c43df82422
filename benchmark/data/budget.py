"""Label budgets: which events are labelled. Nested, hashed, equal on all machines and for all models."""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Sequence
from dataclasses import dataclass

from benchmark.errors import ConfigError, DataError


@dataclass(frozen=True)
class Subset:
    """Chosen events of a split: sorted positions in the list of ids, and a hash of the ids themselves."""

    indices: tuple[int, ...]
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
    order = sorted(range(n_events), key=lambda i: _rank(draw, event_ids[i]))
    chosen = tuple(sorted(order[:labels]))
    digest = hashlib.sha256("\n".join(sorted(event_ids[i] for i in chosen)).encode()).hexdigest()
    return Subset(chosen, digest)


def _rank(draw: int, event_id: str) -> bytes:
    return hashlib.sha256(f"label budget\x1f{draw}\x1f{event_id}".encode()).digest()
