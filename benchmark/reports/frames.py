"""Records as pandas frames, for figures and for a user's own analysis.

from pathlib import Path
from benchmark.reports.frames import runs
from benchmark.records.store import read_records

frame = runs(read_records(Path("leaderboards/records"))[0])
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from benchmark.metrics.families import OVERALL
from benchmark.records.record import RunRecord
from benchmark.records.scored import founded

if TYPE_CHECKING:
    import pandas as pd

    from benchmark.reports.efficiency import Curve
    from benchmark.reports.leaderboard import Leaderboard

INTERVAL = ("low", "high")


def runs(records: Iterable[RunRecord]) -> pd.DataFrame:
    """One row per run: settings, cost, and each score as `<score>` or `<score> <class>`, with its interval.

    Scores that a run does not have are NaN.
    """
    import pandas as pd

    return pd.DataFrame([_run_row(record) for record in records])


def rows(boards: Iterable[Leaderboard]) -> pd.DataFrame:
    """One row per row of leaderboards, with task, version, dataset, revision, protocol, split and cuts in front.

    Numbers are numbers; a score's interval stands beside it as `<score>_low` and `<score>_high`.
    """
    import pandas as pd

    return pd.DataFrame([values for board in boards for values in board.values()])


def points(curves: Iterable[Curve]) -> pd.DataFrame:
    """One row per point of data-efficiency curves: curve, of, labels, value, low, high, runs, converged."""
    import pandas as pd

    return pd.DataFrame(
        [
            {"curve": c.name, "of": c.of, "labels": p.labels, "value": p.value, "low": p.low, "high": p.high,
             "runs": p.n_runs, "converged": p.converged}
            for c in curves for p in c.points
        ],
        columns=["curve", "of", "labels", "value", "low", "high", "runs", "converged"],
    )  # fmt: skip


def _run_row(record: RunRecord) -> dict[str, Any]:
    c, r, e = record.config, record.resources, record.environment
    return {
        "task": record.task["name"], "version": record.task["version"], "dataset": record.dataset["name"],
        "revision": record.dataset["revision"], "model": record.method, "preset": c["preset"], "mode": c["mode"],
        "labels": record.events["labelled"], "draw": record.known("draw"), "seed": record.known("seed"),
        "status": record.status, "split": record.split, "events": record.events.get("test"),
        **_scores(record),
        "steps": record.training.get("steps"), "n_parameters": r.get("n_parameters"), "wall_s": record.run_s,
        "flops_per_event": r.get("flops_per_event"), "energy_j": r.get("energy_j"),
        "peak_memory_bytes": r.get("peak_memory_bytes"), "device": e.get("device_name"), "commit": e.get("commit"),
        "dirty": e.get("dirty"), "created": record.created, "fingerprint": record.fingerprint,
    }  # fmt: skip


def _scores(record: RunRecord) -> dict[str, Any]:
    values: dict[str, Any] = {}
    record = founded(record) if record.metrics else record
    sections = [(None, record.metrics.get(OVERALL, {})), *record.metrics.get("per_class", {}).items()]
    for row, scores in sections:
        for name, entry in scores.items():
            key = name if row is None else f"{name} {row}"
            values[key] = entry["value"]
            values |= {f"{key} {end}": entry[end] for end in INTERVAL if entry.get(end) is not None}
    return values
