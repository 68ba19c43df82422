"""Whether a training was long enough: its score beside that of the same training with at least twice the steps.

A row has not converged where its score and that of the longer training differ by more than the larger spread of the two
over draws and seeds; of single runs, which have no spread, where the paired interval of the difference leaves out zero.
The longer training proves the shorter one; itself it is not checked until somebody doubles its steps.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from benchmark.records.record import EVALUATED, RunRecord
from benchmark.reports.averages import Average
from benchmark.reports.paired_differences import difference

FACTOR = 2  # times the steps
MARK = "†"
_REPETITION = ("draw", "seed", "checkpoint")
NOTE = f"{MARK} not converged: with at least twice the steps the score moves by more than its spread"


def converged(rows: Sequence[Average]) -> list[bool | None]:
    """For each row of a table whether its steps were enough; None where no longer training says so."""
    groups: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        if _steps(row.record) and row.record.status == "finished":
            groups.setdefault(_all_but_steps(row.record), []).append(i)
    found: list[bool | None] = [None] * len(rows)
    for members in groups.values():
        for i in members:
            longer = [j for j in members if _steps(rows[j].record) >= FACTOR * _steps(rows[i].record)]
            if longer:
                found[i] = _agree(rows[i], rows[min(longer, key=lambda j: _steps(rows[j].record))])
    return found


def _agree(row: Average, longer: Average) -> bool | None:
    """Whether the scores of two trainings are as good as equal; None where they cannot be compared."""
    moved = difference(longer, row)
    if moved is None:
        return None
    spreads = [s for s in (row.spread, longer.spread) if s is not None]
    return abs(moved.value) <= max(spreads) if spreads else (None if moved.low is None else not moved.separated)


def _steps(record: RunRecord) -> int:
    """Steps of the training on labels; 0 where nothing is trained step by step."""
    has_steps = record.config["mode"] != EVALUATED and record.training.get("first_loss") is not None
    return int(record.training.get("steps") or 0) if has_steps else 0


def _all_but_steps(record: RunRecord) -> str:
    """Key of the trainings that differ in their steps alone, and in a learning rate tuned for these."""
    c = {k: v for k, v in record.config.items() if k not in _REPETITION}
    c["train"] = {k: v for k, v in c["train"].items() if k not in ("steps", "checkpoint_every")}
    c["optim"] = {k: v for k, v in (c.get("optim") or {}).items() if k != "lr"}
    return json.dumps(c, sort_keys=True)
