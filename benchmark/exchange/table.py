"""Values of points or events with the ids of their events: what files for and from other frameworks hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from benchmark.errors import DataError

EVENT_ID = "event_id"  # of every row
EVENT_IDS, OFFSETS = "event_ids", "offsets"  # of every event, and where its rows begin
EVENT_INDEX = "event_index"  # in place of ids: the number of every event in the file that `export` wrote, from 0


@dataclass(frozen=True, eq=False)
class Table:
    """Rows of B events: event b owns rows offsets[b]:offsets[b+1]; without offsets each event is one row."""

    event_ids: tuple[str, ...]  # (B,)
    columns: Mapping[str, np.ndarray]  # (N, ...) each
    offsets: np.ndarray | None = None  # (B+1,) int64
    about: Mapping[str, str] = field(default_factory=dict)  # what the file says of itself
    numbers: np.ndarray | None = None  # (B,) int64 of the events in an export, where the file names them so

    @property
    def n_rows(self) -> int:
        """Number of rows N."""
        return len(self.event_ids) if self.offsets is None else int(self.offsets[-1])

    def rows(self, position: int) -> slice:
        """Rows of the event at a position."""
        if self.offsets is None:
            return slice(position, position + 1)
        return slice(int(self.offsets[position]), int(self.offsets[position + 1]))

    def row_ids(self) -> np.ndarray:
        """(N,) id of the event of each row, Python texts."""
        ids = np.array(self.event_ids, object)
        return ids if self.offsets is None else np.repeat(ids, np.diff(self.offsets))


def by_event(event_id: np.ndarray, columns: Mapping[str, np.ndarray]) -> Table:
    """The table of rows that each name their event, in any order; rows of one event keep theirs."""
    import pandas as pd

    number, ids = pd.factorize(event_id, sort=True)
    order = np.argsort(number, kind="stable")
    offsets = np.concatenate([[0], np.cumsum(np.bincount(number, minlength=len(ids)))]).astype(np.int64)
    is_sorted = bool((order[1:] > order[:-1]).all())
    sorted_columns = {name: values if is_sorted else values[order] for name, values in columns.items()}
    return Table(tuple(map(str, ids)), sorted_columns, offsets)


def checked(path: str, table: Table) -> Table:
    """The table. Raises DataError, naming the file, for columns and offsets that do not fit each other."""
    offsets = table.offsets
    if offsets is not None and not _are_offsets(offsets, len(table.event_ids)):
        raise DataError(
            f"{path}: `{OFFSETS}` is no list of rows of its {len(table.event_ids)} events. {len(table.event_ids) + 1} "
            f"whole numbers that begin with 0 and never fall were expected. Correct it."
        )
    for name, values in table.columns.items():
        if values.ndim == 0 or len(values) != table.n_rows:
            raise DataError(
                f"{path}: `{name}` has the shape {values.shape}. {table.n_rows} rows were expected, one for each "
                f"{'event' if offsets is None else 'point'}. Correct it."
            )
    return table


def _are_offsets(offsets: np.ndarray, n_events: int) -> bool:
    whole = offsets.ndim == 1 and offsets.dtype.kind in "iu" and len(offsets) == n_events + 1
    return whole and offsets[0] == 0 and bool((offsets[1:] >= offsets[:-1]).all())
