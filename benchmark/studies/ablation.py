"""Grouping strategies compared by what the encoder learns: a small version of PoLAr-MAE's table 4 (arXiv:2502.02558).

The same model is pre-trained with each grouping strategy for the same number of steps on the same events, then a linear
SVM reads the classes from its frozen tokens (the task `lartpc-token-probe`). Every strategy makes its own tokens, so
the probe's targets differ slightly, as in the publication. The published numbers come from another data set, another
model size and 100,000 steps; they have their own columns.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from typing import Any

from benchmark.errors import ConfigError
from benchmark.plots.style import shown_name
from benchmark.records.record import RunRecord
from benchmark.records.scores import score
from benchmark.reports.score_text import with_interval
from benchmark.runs.config import Request
from benchmark.runs.execution import Execution
from benchmark.runs.resolve import resolve
from benchmark.runs.run import run
from benchmark.studies.base import Row, Study

TASK = "lartpc-token-probe"
PUBLISHED = "published_ablation.csv"  # beside this file, with the source of each number
N_CENTRES = 512  # farthest points used as centres: the context length (table 5)
N_CANDIDATES = 2048  # farthest points that C-NMS chooses from (table 5)
UNTRAINED = "C-NMS + ball query, untrained"


@dataclass(frozen=True)
class Strategy:
    """A row of the table: its published name and its model settings."""

    name: str
    settings: tuple[str, ...]
    mode: str = "frozen"  # of the probe; scratch: random weights


STRATEGIES = (
    Strategy("FPS + kNN", ("model.strategy=fps_knn", f"model.n_seeds={N_CENTRES}")),
    Strategy("FPS + ball query", ("model.strategy=fps_ball", f"model.n_seeds={N_CENTRES}")),
    Strategy("FPS + C-NMS + ball query, f = 1", ("model.strategy=fps_cnms_ball", f"model.n_seeds={N_CANDIDATES}",
                                                 "model.overlap=1.0")),
    Strategy("FPS + C-NMS + ball query", ("model.strategy=fps_cnms_ball", f"model.n_seeds={N_CANDIDATES}")),
    Strategy("C-NMS + ball query", ("model.strategy=cnms_ball",)),
    Strategy(UNTRAINED, ("model.strategy=cnms_ball",), "scratch"),
)  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """What is pre-trained and probed."""

    model: str
    preset: str = "default"
    dataset: str | None = None
    steps: int = 250  # of pre-training
    labels: str = "100"  # events that the SVM is fitted on
    n_seeds: int = 1  # repetitions with other initial weights, masks and order of events
    assignments: tuple[str, ...] = ()

    def request(self, strategy: Strategy, seed: int) -> Request:
        """The run of one strategy and seed. A random encoder has no pre-training steps."""
        steps = () if strategy.mode == "scratch" else (f"pretrain.steps={self.steps}",)
        return Request(
            self.model, TASK, self.dataset, self.preset, self.labels, strategy.mode, seed=seed,
            assignments=(*strategy.settings, *steps, *_applicable_assignments(self.assignments, strategy)),
        )  # fmt: skip


def _applicable_assignments(assignments: Sequence[str], strategy: Strategy) -> tuple[str, ...]:
    """The user's settings, without those of pre-training for a random encoder."""
    is_untrained = strategy.mode == "scratch"
    return tuple(a for a in assignments if not (is_untrained and a.startswith(("pretrain.", "pretrain_optim."))))


def published() -> dict[tuple[str, str], float]:
    """(strategy, class or `mean`) -> published F1."""
    text = (files("benchmark.studies") / PUBLISHED).read_text(encoding="utf-8")
    return {(r["strategy"], r["class"]): float(r["f1"]) for r in csv.DictReader(text.splitlines())}


def ablation_study(plan: Plan, execution: Execution, say: Callable[[str], None]) -> Study:
    """Pre-train and probe once per strategy and seed; runs recorded in `execution.records` are not repeated."""
    if plan.n_seeds < 1 or plan.steps < 1:
        raise ConfigError(
            f"--seeds {plan.n_seeds} and --steps {plan.steps} are not possible. Numbers from 1 on were expected. "
            f"Correct them."
        )
    for strategy in STRATEGIES:
        resolve(plan.request(strategy, 0))  # raises for an invalid setting before any training
    records: list[tuple[Strategy, int, RunRecord]] = []
    for seed in range(plan.n_seeds):
        for strategy in STRATEGIES:
            say(f"{strategy.name}, seed {seed}")
            records.append((strategy, seed, run(plan.request(strategy, seed), execution, say).record))
    classes = records[0][2].task["classes"]
    published_f1 = published()
    rows = [_row(strategy, seed, record, classes, published_f1) for strategy, seed, record in records]
    return Study(
        name="ablation",
        rows=rows,
        highlights=[_highlight(strategy, seed, record, classes, published_f1) for strategy, seed, record in records],
        settings={
            "model": plan.model, "preset": plan.preset, "pretraining_steps": plan.steps, "labels": plan.labels,
            "task": TASK, "dataset": records[0][2].dataset, "fingerprints": [r.fingerprint for _, _, r in records],
            "changes": list(plan.assignments),
        },
        draw=partial(_draw, rows=rows, columns=("macro", *classes), plan=plan),
    )  # fmt: skip


def _row(
    strategy: Strategy,
    seed: int,
    record: RunRecord,
    classes: Sequence[str],
    published_f1: Mapping[tuple[str, str], float],
) -> Row:
    model = record.config["model_config"]
    row: dict[str, Any] = {"strategy": strategy.name, "overlap": model["overlap"], "seed": seed}
    for name in ("macro", *classes):
        entry = score(record, "f1", name) or {}
        row |= {f"f1_{name}{end}": entry.get(key) for end, key in (("", "value"), ("_low", "low"), ("_high", "high"))}
    for name in ("macro", *classes):
        row[f"published_f1_{name}"] = published_f1.get((strategy.name, _published_class(name)))
    return row


def _published_class(name: str) -> str:
    return "mean" if name == "macro" else name


def _highlight(
    strategy: Strategy,
    seed: int,
    record: RunRecord,
    classes: Sequence[str],
    published_f1: Mapping[tuple[str, str], float],
) -> Row:
    scores = {f"F1 {name}": with_interval(score(record, "f1", name)) for name in ("macro", *classes)}
    published_mean = published_f1.get((strategy.name, "mean"))
    return {
        "strategy": strategy.name,
        "seed": seed,
        **scores,
        "published mean": "-" if published_mean is None else f"{published_mean:.3f}",
    }


def _draw(plt: Any, rows: Sequence[Row], columns: Sequence[str], plan: Plan) -> Any:
    """A panel per class: our F1 with its interval, the published one as an open diamond."""
    names = list(dict.fromkeys(row["strategy"] for row in rows))
    figure, axes = plt.subplots(
        1, len(columns), figsize=(2.5 + 1.75 * len(columns), 0.8 + 0.45 * len(names)), sharey=True, layout="constrained"
    )
    n_seeds = 1 + max(row["seed"] for row in rows)
    for axis, column in zip(axes, columns, strict=True):
        for row in rows:
            value, low, high = (row[f"f1_{column}{end}"] for end in ("", "_low", "_high"))
            y = names.index(row["strategy"]) + (row["seed"] - (n_seeds - 1) / 2) * 0.5 / n_seeds
            if value is not None:
                error = None if low is None else [[max(value - low, 0)], [max(high - value, 0)]]
                axis.errorbar(value, y, xerr=error, fmt="o", markersize=5, color="#30638e", capsize=2, linewidth=1.2)
            if row["seed"] == 0 and row[f"published_f1_{column}"] is not None:
                axis.plot(row[f"published_f1_{column}"], y, "D", color="#d1495b", markersize=5, fillstyle="none")
        axis.set(title="mean of classes" if column == "macro" else column, xlim=(-0.03, 1.03), xlabel="F1")
        axis.grid(axis="x", color="#eeeeee")
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_yticks(range(len(names)), names, fontsize=9)
    our_handle = plt.Line2D([], [], marker="o", linestyle="", color="#30638e")
    published_handle = plt.Line2D([], [], marker="D", linestyle="", color="#d1495b", fillstyle="none")
    labels = [
        f"here: {shown_name(plan.model)} ({shown_name(plan.preset)}), {plan.steps} steps, 95% intervals",
        "published: PILArNet-M, 100,000 steps",
    ]
    figure.legend(
        [our_handle, published_handle], labels, loc="outside lower center", ncols=2, frameon=False, fontsize=9
    )
    return figure
