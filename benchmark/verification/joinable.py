"""Whether new runs with default settings join the tables of records: the same simulated events, by revision."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmark.records.published import published_file
from benchmark.records.record import RunRecord
from benchmark.records.revisions import DEFAULT_REVISIONS, is_made_today
from benchmark.records.store import read_records
from benchmark.verification.report import Check

GROUP = "recorded tables"


def committed_records() -> Path:
    """The project's records in a checkout; an installed package has none."""
    return published_file().with_name("records")


def joinable(root: Path) -> list[Check]:
    """One check per simulated dataset used by the records under `root`; none without such a folder."""
    records, _ = read_records(root)
    return [check for name in sorted(DEFAULT_REVISIONS) for check in _check_dataset(name, records)]


def _check_dataset(name: str, records: Sequence[RunRecord]) -> list[Check]:
    records = [r for r in records if r.dataset["name"] == name]
    if not records:
        return []
    other_revisions = Counter(r.dataset["revision"] for r in records if not is_made_today(r.dataset))
    counts = "; ".join(
        f"{n} of {len(records)} records on {revision}" for revision, n in sorted(other_revisions.items())
    )
    result = counts or f"{len(records)} records on events that are made today"
    return [
        Check(
            f"new runs on {name} join its tables", not other_revisions, result, DEFAULT_REVISIONS[name][0], group=GROUP
        )
    ]
