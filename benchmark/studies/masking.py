"""Reconstruction at several mask ratios, with random and with stratified masks.

For each kind of mask the same model is trained with the same number of steps on the same tiles, and scored on tokens
hidden in the same way, with reference predictions for the same tokens. More hidden tokens make the task harder for all,
so `skill` compares with harmonic inpainting at the same ratio. The lithium fluoride paper used random 20 and 60% and
stratified 40%, judged by eye; it has no numbers on these tiles.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from benchmark.contracts.colours import COLOURS
from benchmark.errors import ConfigError
from benchmark.ops.masks import MASKS
from benchmark.plots.style import shown_name
from benchmark.records.record import RunRecord
from benchmark.reports.score_text import with_interval
from benchmark.runs.config import Request
from benchmark.runs.execution import Execution
from benchmark.runs.resolve import resolve
from benchmark.runs.run import run
from benchmark.studies.base import Row, Study

TASK = "lif-reconstruction"
SCORES = ("skill_signal", "skill_background", "skill_all", "mse_signal", "mse_background", "mse_all", "peak_recovery")
SHOWN = ("skill_signal", "skill_background", "peak_recovery")


@dataclass(frozen=True)
class Plan:
    """What is trained and scored."""

    model: str = "volume_mae"
    preset: str = "default"
    dataset: str | None = None
    ratios: tuple[float, ...] = (0.2, 0.4, 0.6)
    masks: tuple[str, ...] = MASKS
    steps: int = 300  # of training, for every mask
    labels: str = "all"  # tiles to learn from
    n_seeds: int = 1
    assignments: tuple[str, ...] = ()

    def request(self, ratio: float, mask: str, seed: int) -> Request:
        """The run of one kind of mask."""
        settings = (f"preprocess.mask_ratio={ratio}", f"preprocess.mask={mask}", f"train.steps={self.steps}")
        return Request(
            self.model, TASK, self.dataset, self.preset, self.labels, "scratch", seed=seed,
            assignments=(*settings, *self.assignments),
        )  # fmt: skip


def shares(text: str) -> tuple[float, ...]:
    """`0.2,0.4` as numbers between 0 and 1. Raises ConfigError."""
    try:
        values = tuple(float(part) for part in text.split(","))
    except ValueError:
        values = ()
    if not values or not all(0 < share < 1 for share in values):
        raise ConfigError(
            f"--ratios {text!r} is no list of shares. Numbers between 0 and 1 were expected. Type --ratios 0.2,0.4,0.6."
        )
    return values


def masking_study(plan: Plan, execution: Execution, say: Callable[[str], None]) -> Study:
    """Train and score once per ratio, kind of mask and seed; runs recorded in `execution.records` are not repeated.

    Raises ConfigError for invalid settings.
    """
    if plan.n_seeds < 1 or plan.steps < 1 or not plan.ratios:
        raise ConfigError(
            f"--seeds {plan.n_seeds}, --steps {plan.steps} and {len(plan.ratios)} ratios are not possible. Numbers "
            f"from 1 on were expected. Correct them."
        )
    cases = list(product(plan.masks, plan.ratios, range(plan.n_seeds)))
    for mask, ratio, seed in cases:
        resolve(plan.request(ratio, mask, seed))  # raises for an invalid setting before any training
    records: list[RunRecord] = []
    for mask, ratio, seed in cases:
        say(f"{mask}, {ratio:.0%} hidden, seed {seed}")
        records.append(run(plan.request(ratio, mask, seed), execution, say).record)
    rows = [_row(*case, record) for case, record in zip(cases, records, strict=True)]
    return Study(
        name="masking",
        rows=rows,
        highlights=[_highlight(*case, record) for case, record in zip(cases, records, strict=True)],
        settings={
            "model": plan.model, "preset": plan.preset, "steps": plan.steps, "labels": plan.labels, "task": TASK,
            "dataset": records[0].dataset, "fingerprints": [r.fingerprint for r in records],
            "changes": list(plan.assignments),
        },
        draw=partial(_draw, rows=rows, plan=plan),
    )  # fmt: skip


def _row(mask: str, ratio: float, seed: int, record: RunRecord) -> Row:
    row: dict[str, Any] = {"mask": mask, "ratio": ratio, "seed": seed}
    overall = record.metrics["overall"]
    for name in SCORES:
        entry = overall.get(name) or {}
        row |= {f"{name}{end}": entry.get(key) for end, key in (("", "value"), ("_low", "low"), ("_high", "high"))}
    for reference, scores in record.metrics["reference"].items():
        row |= {f"{reference}_{n}": scores[n]["value"] for n in ("mse_signal", "mse_background", "mse_all")}
    return row


def _highlight(mask: str, ratio: float, seed: int, record: RunRecord) -> Row:
    overall: Mapping[str, Any] = record.metrics["overall"]
    return {"mask": mask, "hidden": f"{ratio:.0%}", "seed": seed, **{n: with_interval(overall.get(n)) for n in SHOWN}}


def _errors(row: Row, name: str) -> tuple[float, float]:
    """Below and above the score; NaN, so that none is drawn, where there is no interval."""
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return (np.nan, np.nan) if low is None else (max(row[name] - low, 0.0), max(high - row[name], 0.0))


def _draw(plt: Any, rows: Sequence[Row], plan: Plan) -> Any:
    """A panel per score against the ratio, a line per kind of mask, with 95% intervals."""
    figure, axes = plt.subplots(1, len(SHOWN), figsize=(3.9 * len(SHOWN), 3.7), layout="constrained")
    titles = {
        "skill_signal": "skill on signal tokens", "skill_background": "skill on background tokens",
        "peak_recovery": "predicted over true peak",
    }  # fmt: skip
    for axis, name in zip(axes, SHOWN, strict=True):
        for number, mask in enumerate(plan.masks):
            mask_rows = [r for r in rows if r["mask"] == mask and r[name] is not None]
            shift = (number - (len(plan.masks) - 1) / 2) * 0.012
            x = [r["ratio"] + shift for r in mask_rows]
            y = [r[name] for r in mask_rows]
            errors = np.array([_errors(r, name) for r in mask_rows]).reshape(-1, 2).T
            axis.errorbar(x, y, yerr=errors, fmt="o-", markersize=4, capsize=2, color=COLOURS[number + 1], label=mask)
        axis.axhline(1.0 if name == "peak_recovery" else 0.0, color="black", linewidth=0.8, linestyle=":")
        axis.set(title=titles[name], xlabel="share of tokens hidden", xticks=list(plan.ratios))
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False)
    shown = f"{shown_name(plan.model)} ({shown_name(plan.preset)}), {plan.steps} steps"
    figure.suptitle(f"{shown}; dotted: harmonic inpainting, or a whole peak", fontsize=10)
    return figure
