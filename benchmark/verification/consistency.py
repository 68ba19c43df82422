"""Internal consistency of published tables: F1 with precision and recall, means with their classes.

A published number may be off by half a unit of its last digit; this rounding is propagated to derived numbers. A number
that its own source contradicts is noted, not passed.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

from benchmark.records.published import DISCREPANCY, Published
from benchmark.verification.report import Check

TABLES = "published tables"
AVERAGED = ("f1", "precision", "recall")
SINGLE = 5e-7  # numbers printed with all digits: single precision
RISING = ("macro_f1", "panoptic_quality", "adjusted_rand_index")  # scores that more labels should not lower


def consistency(rows: Sequence[Published]) -> list[Check]:
    """One check per row of a published table and type of consistency."""
    groups: dict[tuple[str, ...], list[Published]] = {}
    for row in rows:
        groups.setdefault(row.group, []).append(row)
    checks = [check for group in groups.values() for check in (*_f1(group), *_means(group))]
    return [*checks, *_rising(rows), *_discrepancies(rows)]


def _rounding(row: Published) -> float:
    return max(row.half_digit, SINGLE)


def _title(row: Published) -> str:
    budget = f", {row.labelled_events:,} labels" if row.labelled_events else ""
    return f"{row.source}, {row.item}: {row.model}, {row.setting}{budget}"


def _f1(group: Sequence[Published]) -> Iterable[Check]:
    """F1 = 2PR/(P+R) of every class."""
    by_metric = {(r.metric, r.cls): r for r in group}
    mismatches: list[str] = []
    n = 0
    for (metric, cls), f1 in by_metric.items():
        precision, recall = by_metric.get(("precision", cls)), by_metric.get(("recall", cls))
        if metric != "f1" or precision is None or recall is None:
            continue
        n += 1
        # F1 rises with both: its extremes for the unrounded values
        low, high = (
            _harmonic(precision.value + sign * _rounding(precision), recall.value + sign * _rounding(recall))
            for sign in (-1, 1)
        )
        slack = _rounding(f1) + 1e-9
        if not low - slack <= f1.value <= high + slack:
            mismatches.append(f"{cls or 'all'}: {f1.value:g}, but 2PR/(P+R) lies from {low:.4f} to {high:.4f}")
    if n:
        result = "; ".join(mismatches) or f"equal in {n} of {n}"
        yield Check(
            f"F1 from P and R: {_title(group[0])}", not mismatches, result, "2PR/(P+R) within rounding", group=TABLES
        )


def _harmonic(p: float, r: float) -> float:
    p, r = min(max(p, 0.0), 1.0), min(max(r, 0.0), 1.0)
    return 2 * p * r / (p + r) if p + r else 0.0


def _means(group: Sequence[Published]) -> Iterable[Check]:
    """A macro score is the mean over the classes."""
    for metric in AVERAGED:
        classes = [r for r in group if r.metric == metric and r.cls]
        mean = next((r for r in group if r.metric == f"macro_{metric}" and not r.cls), None)
        if mean is None or len(classes) < 4:
            continue
        expected = sum(r.value for r in classes) / len(classes)
        slack = _rounding(mean) + sum(map(_rounding, classes)) / len(classes)
        yield Check(
            f"macro {metric}: {_title(mean)}", abs(mean.value - expected) <= slack + 1e-9, f"{mean.value:g}",
            f"{expected:.4f}, the mean of {len(classes)} classes, within {slack:.4f}", group=TABLES,
        )  # fmt: skip


def _rising(rows: Sequence[Published]) -> Iterable[Check]:
    """More labels do not lower a score."""
    curves: dict[tuple[str, ...], list[Published]] = {}
    for row in rows:
        if row.metric in RISING and not row.cls and row.labelled_events:
            key = (row.source, row.item, row.dataset, row.task, row.model, row.setting, row.metric)
            curves.setdefault(key, []).append(row)
    for curve in curves.values():
        if len(curve) < 3:
            continue
        values = [r.value for r in sorted(curve, key=lambda r: r.labelled_events or 0)]
        falls = [(a, b) for a, b in pairwise(values) if b < a]
        first = curve[0]
        yield Check(
            f"rises with labels: {first.source}, {first.item}: {first.model}, {first.setting}, {first.metric}",
            not falls, " ".join(f"{v:g}" for v in values), "no fall", group="published curves",
        )  # fmt: skip


def _discrepancies(rows: Sequence[Published]) -> Iterable[Check]:
    for row in rows:
        if row.note.startswith(DISCREPANCY):
            score = f"{row.metric} {row.cls}".strip()
            name = f"{score}: {_title(row)}"
            yield Check(name, True, f"{row.value:g}", row.note, noted=True, group="known discrepancies")
