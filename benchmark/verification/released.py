"""A released checkpoint scored again, and compared with every published number that belongs to it.

Each number is compared twice: with the publication's way of counting where it gives one (means over batches; see
`benchmark.metrics.paper_protocol`) and with the suite's (sums first, divided once). With few events a score says
little, so that the bootstrap interval over events decides: a number differs where the interval, widened by the
tolerance, leaves it out, and below MIN_EVENTS events that is noted, not failed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.checkpoints.load import Checkpoint
from benchmark.errors import ConfigError
from benchmark.metrics.families import OVERALL
from benchmark.published import Published, published
from benchmark.records import RunRecord
from benchmark.run import Execution
from benchmark.transfer import Target, evaluate_checkpoint
from benchmark.verify import Check, Report

MIN_EVENTS = 100
TOLERANCE = 0.01
SCORES = ("f1", "precision", "recall", "macro_f1", "macro_precision", "macro_recall", "accuracy")


@dataclass(frozen=True)
class Compared:
    """One published number beside the same score of this evaluation."""

    row: Published
    value: float | None
    low: float | None
    high: float | None
    by_batches: float | None  # the publication's way of counting; None where it is not counted so

    def agrees(self, tolerance: float) -> bool:
        """Whether one way of counting gives the number, within the tolerance or the interval over events."""
        values = [v for v in (self.value, self.by_batches) if v is not None]
        if any(abs(v - self.row.value) <= tolerance for v in values):
            return True
        if self.low is None or self.high is None:
            return False
        return self.low - tolerance <= self.row.value <= self.high + tolerance


def verify_released(
    checkpoint: Checkpoint, target: Target, execution: Execution, setting: str | None = None,
    tolerance: float = TOLERANCE, batch_size: int | None = None, assignments: Sequence[str] = (),
) -> tuple[Report, RunRecord]:  # fmt: skip
    """Score a checkpoint on a split and compare; also returns the record. Raises ConfigError for an unknown setting."""
    if not tolerance >= 0:
        raise ConfigError(f"--tolerance {tolerance} is not possible. A number from 0 on was expected. Type 0.01.")
    rows = belonging(checkpoint, setting)
    record = evaluate_checkpoint(checkpoint, target, execution, batch_size, assignments)
    n_events = int(record.events["test"])
    compared = [_compared(row, record) for row in rows]
    checks = [_check(c, tolerance, n_events) for c in compared]
    title = (
        f"{checkpoint.path.name} against {len(rows)} published numbers: {n_events} {target.split} events of "
        f"{record.dataset['name']}, tolerance {tolerance:g}"
    )
    agree = sum(c.agrees(tolerance) for c in compared)
    details: dict[str, Any] = {
        "n_events": n_events, "agree": agree, "differ": len(compared) - agree, "setting": rows[0].setting,
        "checkpoint": dict(checkpoint.manifest.origin),
    }  # fmt: skip
    return Report(title, tuple(checks), details), record


def belonging(checkpoint: Checkpoint, setting: str | None) -> list[Published]:
    """Published scores of the checkpoint's model on its task, in one setting. Raises ConfigError."""
    manifest = checkpoint.manifest
    wanted = setting or manifest.training.get("mode")
    rows = [
        r for r in published() if (r.task, r.model) == (manifest.task, manifest.model) and r.metric in SCORES
        and "approximate" not in r.note
    ]  # fmt: skip
    settings = sorted({r.setting for r in rows})
    if wanted not in settings:
        said = "does not say how it was trained" if wanted is None else f"has no published scores as {wanted!r}"
        raise ConfigError(
            f"{checkpoint.path} ({manifest.model}, {manifest.task}) {said}. One of {', '.join(settings) or 'none'} was "
            f"expected. Type --setting {settings[0] if settings else 'fft'}."
        )
    return [r for r in rows if r.setting == wanted]


def _compared(row: Published, record: RunRecord) -> Compared:
    section = record.metrics[OVERALL] if not row.cls else record.metrics["per_class"].get(row.cls, {})
    entry = section.get(row.metric) or {}
    by_batches = None if row.cls else record.metrics.get("paper_protocol", {}).get(f"{row.metric}_mean_over_batches")
    return Compared(row, entry.get("value"), entry.get("low"), entry.get("high"), by_batches)


def _check(compared: Compared, tolerance: float, n_events: int) -> Check:
    row, agrees = compared.row, compared.agrees(tolerance)
    few = n_events < MIN_EVENTS
    found = "undefined" if compared.value is None else f"{compared.value:.4f}"
    if compared.low is not None and compared.high is not None:
        found += f" [{compared.low:.3f}, {compared.high:.3f}]"
    if compared.by_batches is not None:
        found += f"; mean over batches {compared.by_batches:.4f}"
    verdict = "agrees" if agrees else "differs"
    verdict += f" (only {n_events} events: this tells nothing)" if few else ""
    name = f"{row.metric} {row.cls}".strip() + f" ({row.source}, {row.item})"
    return Check(name, agrees, f"{found}: {verdict}", f"{row.value:g}", noted=few)


def lines(checks: Iterable[Check]) -> list[str]:
    """Plain text, one check each."""
    return [f"{c.status}: {c.name}: {c.found}; published {c.expected}" for c in checks]
