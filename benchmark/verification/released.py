"""A released checkpoint scored again and compared with its published numbers.

Each number is compared twice: with the publication's way of counting where it gives one (means over batches; see
`benchmark.metrics.paper_protocol`) and with the suite's (sums first, divided once). With few events the
bootstrap interval over events decides: a number differs where it lies outside the interval, widened by the tolerance.
A difference is noted, not failed, below MIN_EVENTS events and on other data than the published (unless strict), and for
numbers published for a single batch, not a whole split.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.checkpoints.load import Checkpoint
from benchmark.errors import ConfigError
from benchmark.metrics.families import OVERALL
from benchmark.records.published import APPROXIMATE, Published, published
from benchmark.records.record import RunRecord
from benchmark.runs.execution import Execution
from benchmark.runs.transfer import Target, evaluate_checkpoint
from benchmark.verification.report import Check, Report

MIN_EVENTS = 100
TOLERANCE = 0.01
SINGLE_BATCH = "single batch"  # in the note of a number that does not cover a whole split
SCORES = ("f1", "precision", "recall", "macro_f1", "macro_precision", "macro_recall", "accuracy")


@dataclass(frozen=True)
class Compared:
    """One published number and the same score of this evaluation."""

    row: Published
    value: float | None
    low: float | None
    high: float | None
    by_batches: float | None  # the publication's way of counting; None where not computed

    def ways(self, tolerance: float) -> tuple[str, ...]:
        """The ways of counting that give the number within the tolerance."""
        ways = {"sums first": self.value, "mean over batches": self.by_batches}
        return tuple(w for w, v in ways.items() if v is not None and abs(v - self.row.value) <= tolerance)

    def agrees(self, tolerance: float, strict: bool = False) -> bool:
        """Whether one way of counting gives the number, or (not strict) the interval over events holds it."""
        if self.ways(tolerance):
            return True
        if strict or self.low is None or self.high is None:
            return False
        return self.low - tolerance <= self.row.value <= self.high + tolerance


def verify_released(
    checkpoint: Checkpoint, target: Target, execution: Execution, setting: str | None = None,
    tolerance: float = TOLERANCE, batch_size: int | None = None, assignments: Sequence[str] = (), strict: bool = False,
) -> tuple[Report, RunRecord]:  # fmt: skip
    """Score a checkpoint on a split and compare; also returns the record.

    strict: differences with few events or other data fail too, and the interval is not used. Raises ConfigError
    for an unknown setting.
    """
    if not 0 <= tolerance < float("inf"):
        raise ConfigError(f"--tolerance {tolerance} is not possible. A number from 0 on was expected. Type 0.01.")
    rows = published_scores(checkpoint, setting)
    record = evaluate_checkpoint(checkpoint, target, execution, batch_size, assignments)
    n_events = int(record.events["test"])
    compared = [_compare(row, record) for row in rows]
    data = f"{record.dataset['name']} {record.dataset['revision'].partition('-')[0]}"
    checks = [_check(c, tolerance, n_events, data, strict) for c in compared]
    agree = sum(c.agrees(tolerance, strict) for c in compared)
    title = (
        f"{checkpoint.path.name} ({rows[0].setting}) against {len(rows)} published numbers: {n_events} {target.split} "
        f"events of {record.dataset['name']} {record.dataset['revision']}, tolerance {tolerance:g}; "
        f"{agree} agree, {len(compared) - agree} differ"
    )
    details: dict[str, Any] = {
        "n_events": n_events, "agree": agree, "differ": len(compared) - agree, "setting": rows[0].setting,
        "dataset": record.dataset["name"], "revision": record.dataset["revision"], "strict": strict,
        "checkpoint": dict(checkpoint.manifest.origin), "rows": [_details(c, tolerance, strict) for c in compared],
    }  # fmt: skip
    return Report(title, tuple(checks), details), record


def published_scores(checkpoint: Checkpoint, setting: str | None) -> list[Published]:
    """Published scores of the checkpoint's model on its task, in one setting. Raises ConfigError."""
    manifest = checkpoint.manifest
    requested = setting or manifest.training.get("mode")
    rows = [
        r for r in published() if (r.task, r.model) == (manifest.task, manifest.model) and r.metric in SCORES
        and not r.note.startswith(APPROXIMATE)
    ]  # fmt: skip
    settings = sorted({r.setting for r in rows})
    if requested not in settings:
        problem = (
            "does not say how it was trained" if requested is None else f"has no published scores as {requested!r}"
        )
        raise ConfigError(
            f"{checkpoint.path} ({manifest.model}, {manifest.task}) {problem}. One of {', '.join(settings) or 'none'} "
            f"was expected. Type --setting {settings[0] if settings else 'fft'}."
        )
    return [r for r in rows if r.setting == requested]


def _compare(row: Published, record: RunRecord) -> Compared:
    section = record.metrics[OVERALL] if not row.cls else record.metrics["per_class"].get(row.cls, {})
    entry = section.get(row.metric) or {}
    by_batches = None if row.cls else record.metrics.get("paper_protocol", {}).get(f"{row.metric}_mean_over_batches")
    return Compared(row, entry.get("value"), entry.get("low"), entry.get("high"), by_batches)


def _check(compared: Compared, tolerance: float, n_events: int, data: str, strict: bool) -> Check:
    row, agrees = compared.row, compared.agrees(tolerance, strict)
    reasons = [
        *([f"{n_events} events are too few"] if n_events < MIN_EVENTS else []),
        *([f"published of {row.dataset}"] if row.dataset.casefold() != data.casefold() else []),
    ]
    is_single_batch = SINGLE_BATCH in row.note
    measured = "undefined" if compared.value is None else f"{compared.value:.4f}"
    if compared.low is not None and compared.high is not None:
        measured += f" [{compared.low:.3f}, {compared.high:.3f}]"
    if compared.by_batches is not None:
        measured += f"; mean over batches {compared.by_batches:.4f}"
    ways = ", ".join(compared.ways(tolerance)) or "within the interval"
    verdict = f"agrees ({ways})" if agrees else "differs"
    measured = "; ".join((f"{measured}: {verdict}", *reasons))
    noted = is_single_batch or (bool(reasons) and not strict)
    expected = f"{row.value:g}" + (f" ({row.note})" if is_single_batch else "")
    group = f"{row.source}, {row.item}"
    return Check(f"{row.metric} {row.cls}".strip(), agrees, measured, expected, noted, group)


def _details(compared: Compared, tolerance: float, strict: bool) -> dict[str, Any]:
    """One published number and its measured values, as plain values."""
    row = compared.row
    return {
        "source": row.source, "item": row.item, "metric": row.metric, "cls": row.cls, "published": row.value,
        "value": compared.value, "low": compared.low, "high": compared.high, "mean_over_batches": compared.by_batches,
        "agrees": compared.agrees(tolerance, strict),
    }  # fmt: skip
