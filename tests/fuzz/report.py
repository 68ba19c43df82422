"""What became of the damaged files: a table by reader, one by kind of damage, and the same as JSON."""

from __future__ import annotations

import copy
import datetime
import importlib.metadata
import platform
from collections.abc import Iterable, Sequence
from typing import Any

from benchmark import __version__
from benchmark.hardware.environment import processor
from fuzz.runner import Outcome

RESULTS = ("same", "other", "refused", "failed")
HEADS = ("tried", "read, equal values", "read, other values", "refused in one sentence", "failed")
PACKAGES = ("numpy", "h5py", "torch", "safetensors", "tifffile", "zarr", "openpyxl", "uproot", "pydantic")


def counts(outcomes: Iterable[Outcome], by: str) -> dict[str, dict[str, int]]:
    """Name -> result -> number, for each `reader` or `kind`, sorted."""
    found: dict[str, dict[str, int]] = {}
    for outcome in outcomes:
        row = found.setdefault(getattr(outcome, by), dict.fromkeys(RESULTS, 0))
        row[outcome.result] += 1
    return dict(sorted(found.items()))


def table(rows: dict[str, dict[str, int]], title: str) -> str:
    """A Markdown table with a row for each name and one for all."""
    total = {result: sum(row[result] for row in rows.values()) for result in RESULTS}
    lines = [f"| {title} | {' | '.join(HEADS)} |", f"|---|{'---:|' * len(HEADS)}"]
    for name, row in (*rows.items(), ("all", total)):
        numbers = (sum(row.values()), *(row[result] for result in RESULTS))
        lines.append(f"| {name} | {' | '.join(f'{n:,}' for n in numbers)} |")
    return "\n".join(lines)


def markdown(outcomes: Sequence[Outcome]) -> str:
    """Both tables."""
    return "\n\n".join(table(counts(outcomes, by), title) for by, title in (("reader", "file"), ("kind", "damage")))


def repeated(values: dict[str, Any], outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """What `as_values` gave, with the outcomes of its failures after they were repeated."""
    values = copy.deepcopy(values)
    for outcome in outcomes:
        for section, name in (("readers", outcome.reader), ("kinds", outcome.kind)):
            values[section][name]["failed"] -= 1
            values[section][name][outcome.result] += 1
    values["failures"] = [vars(o) for o in outcomes if o.result == "failed"]
    return values


def as_values(outcomes: Sequence[Outcome], seed: int, wall_s: float) -> dict[str, Any]:
    """Counts, failures, and where and when they were measured."""
    failures = [vars(o) for o in outcomes if o.result == "failed"]
    return {
        "tried": len(outcomes), "seed": seed, "date": datetime.date.today().isoformat(), "wall_s": round(wall_s, 1),
        "machine": {"cpu": processor(), "system": platform.system(), "python": platform.python_version()},
        "versions": {"particlebench": __version__, **{name: importlib.metadata.version(name) for name in PACKAGES}},
        "readers": counts(outcomes, "reader"), "kinds": counts(outcomes, "kind"), "failures": failures,
    }  # fmt: skip
