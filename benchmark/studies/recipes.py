"""Loss, optimiser and schedule compared on one task: the score on validation events against the training step.

Follows the comparison in the cell-to-track study (ATL-SOFT-PROC-2025-018, slides): Dice and focal loss with AdamW or
SGD and a cyclical rate, weighted cross-entropy with Adam and a cosine, beside trivial baselines. Every recipe trains
the same network from the same weights on the same labelled events in the same order; the test split is not read.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from benchmark import registry
from benchmark.contracts import Task
from benchmark.contracts.colours import COLOURS
from benchmark.contracts.torch_model import TorchModel
from benchmark.data.budget import subset
from benchmark.data.stream import EventSet
from benchmark.errors import ConfigError
from benchmark.evaluation.evaluate import evaluate
from benchmark.io import atomic_write_json, sha256_text
from benchmark.plots.style import shown_name
from benchmark.runs.config import Request, RunConfig
from benchmark.runs.events import bootstrap_rng
from benchmark.runs.execution import Execution
from benchmark.runs.prepared import Prepared, identify, prepare
from benchmark.runs.resolve import can_do, resolve
from benchmark.runs.supervised import train_on_labels
from benchmark.studies.base import Row, Study

TRIVIAL = ("majority", "random_guess", "particle_flow", "p_em")  # used if they support the task
DASHES = {"adamw": "-", "adam": "--", "sgd": ":"}
# usual peak learning rate of each optimiser; --set optim.lr sets one for all
RATES = {"adamw": 2e-3, "adam": 2e-3, "sgd": 1e-2}


@dataclass(frozen=True)
class Recipe:
    """A loss, an optimiser and a schedule."""

    loss: str
    optimiser: str
    schedule: str

    @property
    def name(self) -> str:
        """For tables and legends."""
        return f"{self.loss} + {self.optimiser} + {self.schedule}"

    def settings(self, task: Task, positive_weight: float) -> tuple[str, ...]:
        """Assignments of a run. Weighted cross-entropy gives the positive class a larger weight."""
        weight = positive_weight if self.loss == "weighted_cross_entropy" else 1.0
        return (
            f"loss.kind={self.loss.removeprefix('weighted_')}", f"loss.positive_weight={weight}",
            f"optim.optimiser={self.optimiser}", f"optim.schedule={self.schedule}",
            f"optim.lr={RATES[self.optimiser]}",
        )  # fmt: skip


PUBLISHED = (
    Recipe("dice", "adamw", "cyclical"),
    Recipe("dice", "sgd", "cyclical"),
    Recipe("focal", "adamw", "cyclical"),
    Recipe("focal", "sgd", "cyclical"),
    Recipe("weighted_cross_entropy", "adam", "cosine"),
)
GRID = tuple(
    Recipe(*parts)
    for parts in product(
        ("cross_entropy", "weighted_cross_entropy", "focal", "dice"), ("adamw", "adam", "sgd"), ("cosine", "cyclical")
    )
)


@dataclass(frozen=True)
class Plan:
    """What is trained, and where it is scored."""

    model: str = "pointnet"
    task: str = "cell-to-track"
    dataset: str | None = None
    preset: str = "default"
    labels: str = "1000"
    steps: int = 600
    every: int = 50  # steps between scores
    events: int = 200  # validation samples that are scored
    positive_weight: float = 2.0  # of weighted cross-entropy
    whole_grid: bool = False  # every combination, not only the published ones
    assignments: tuple[str, ...] = ()

    def request(self, recipe: Recipe, task: Task) -> Request:
        """The run of one recipe. The user's settings come last and take precedence."""
        settings = dict(a.partition("=")[::2] for a in recipe.settings(task, self.positive_weight))
        settings |= {"train.steps": str(self.steps)} | dict(a.partition("=")[::2] for a in self.assignments)
        return Request(
            self.model, self.task, self.dataset, self.preset, self.labels, mode="scratch",
            assignments=tuple(f"{k}={v}" for k, v in settings.items()),
        )  # fmt: skip


@dataclass(frozen=True)
class _RecipeSetup:
    """What all recipes share."""

    prepared: Prepared  # with the settings of a plain run
    labelled: EventSet
    validation: EventSet


def recipes_study(plan: Plan, execution: Execution, say: Callable[[str], None]) -> Study:
    """Train once per recipe; results are cached below the folder of runs."""
    for name in ("steps", "every", "events"):
        if getattr(plan, name) < 1:
            raise ConfigError(
                f"--{name} {getattr(plan, name)} is not possible. A number from 1 on was expected. Correct it."
            )
    recipes = GRID if plan.whole_grid else PUBLISHED
    plain_request = Request(plan.model, plan.task, plan.dataset, plan.preset, plan.labels, mode="scratch")
    task = resolve(plain_request).task
    if task.kind != "classification" or task.level == "token":
        raise ConfigError(
            f"--task {plan.task} has no classes. A classification was expected. Type --task cell-to-track."
        )
    configs = {r: resolve(plan.request(r, task)) for r in recipes}  # raises for an invalid setting before training
    setup = _set_up(plan, prepare(identify(plain_request, execution.device), execution))
    results = {r: _train_or_load(r, plan, c, setup, say) for r, c in configs.items()}
    baselines = {
        name: _baseline_scores(name, plan, setup) for name in TRIVIAL if can_do(registry.model_spec(name), task)
    }
    metric = task.primary_metric
    rows = [{"recipe": r.name, **point} for r, points in results.items() for point in points]
    return Study(
        name="recipes",
        rows=rows,
        highlights=[_highlight(r.name, points[-1], metric) for r, points in results.items()]
        + [_highlight(name, {"step": "-", **scores}, metric) for name, scores in baselines.items()],
        settings={
            **dataclasses.asdict(plan), "rates": RATES, "dataset": setup.prepared.dataset.info.name,
            "revision": setup.prepared.dataset.revision, "validation_events": len(setup.validation),
            "labelled_events": len(setup.labelled),
        },
        findings={"trivial": baselines},
        draw=partial(_draw, results=results, baselines=baselines, metric=metric, plan=plan),
    )  # fmt: skip


def _set_up(plan: Plan, prepared: Prepared) -> _RecipeSetup:
    train, config = prepared.train, prepared.config
    validation = prepared.events("val").first(plan.events, "recipes")
    return _RecipeSetup(prepared, train.chosen(subset(train.event_ids, config.labels, config.draw)), validation)


def _train_or_load(
    recipe: Recipe, plan: Plan, config: RunConfig, setup: _RecipeSetup, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Step, scores and loss, each time the recipe's model was scored."""
    prepared = setup.prepared
    revision, identity = prepared.dataset.revision, prepared.identity
    settings = [config.as_dict(), plan.every, plan.events, revision, identity.code, identity.device]
    folder = prepared.execution.runs / f"{recipe.loss}-{recipe.optimiser}-{recipe.schedule}-{_hash(settings)}"
    score_file = folder / "scores.json"
    if prepared.resume and score_file.is_file():
        cached: list[dict[str, Any]] = json.loads(score_file.read_text(encoding="utf-8"))
        return cached
    say(recipe.name)
    points = _train(plan, prepared.with_config(config), setup, folder)
    atomic_write_json(score_file, points)
    return points


def _hash(settings: Any) -> str:
    return sha256_text(json.dumps(settings, sort_keys=True))[:12]


def _train(plan: Plan, prepared: Prepared, setup: _RecipeSetup, folder: Path) -> list[dict[str, Any]]:
    from benchmark.training.states import delete_checkpoints

    model = prepared.build_model()
    if not isinstance(model, TorchModel):
        raise ConfigError(
            f"{plan.model} is not trained step by step. A model that is was expected. Type --model pointnet."
        )
    probe = partial(_scores, setup=setup, batch_size=prepared.config.train.batch_size)
    report = train_on_labels(model, prepared, setup.labelled, folder, probe=probe, probe_every=plan.every)
    delete_checkpoints(folder)
    return [dict(point) for point in report.probe]


def _scores(model: Any, setup: _RecipeSetup, batch_size: int) -> dict[str, float]:
    """Overall scores on the validation samples."""
    rng = bootstrap_rng(setup.validation.task, setup.prepared.dataset)
    overall = evaluate(model, setup.validation, batch_size, rng, split="val").metrics["overall"]
    return {name: entry["value"] for name, entry in overall.items() if entry["value"] is not None}


def _baseline_scores(name: str, plan: Plan, setup: _RecipeSetup) -> dict[str, float]:
    config, spec = setup.prepared.config, registry.model_spec(name)
    plain_config = resolve(Request(name, plan.task, plan.dataset, labels=plan.labels))
    model = spec.build_model(plain_config.model_config, setup.prepared.inputs, config.task)
    model.fit(setup.labelled.in_order(config.train.batch_size), config.task)
    return _scores(model, setup, config.train.batch_size)


def _highlight(name: str, scores: Mapping[str, Any], metric: str) -> Row:
    shown = {key: scores.get(key) for key in dict.fromkeys((metric, "precision", "recall", "accuracy"))}
    return {"recipe": name, "step": scores["step"], **{k: "-" if v is None else f"{v:.3f}" for k, v in shown.items()}}


def _draw(
    plt: Any, results: Mapping[Recipe, Sequence[Mapping[str, Any]]], baselines: Mapping[str, Mapping[str, float]],
    metric: str, plan: Plan,
) -> Any:  # fmt: skip
    """A panel for the primary metric and one for accuracy; colour by loss, dashes by optimiser, marks by schedule."""
    figure, axes = plt.subplots(1, 2, figsize=(12.5, 4.6), layout="constrained")
    losses = list(dict.fromkeys(r.loss for r in results))
    for axis, name in zip(axes, (metric, "accuracy"), strict=True):
        for recipe, points in results.items():
            curve = [(p["step"], p[name]) for p in points if p.get(name) is not None]
            axis.plot(
                *zip(*curve, strict=True), color=COLOURS[losses.index(recipe.loss)], linestyle=DASHES[recipe.optimiser],
                marker="o" if recipe.schedule == "cyclical" else "s", markersize=3.5, label=shown_name(recipe.name),
            )  # fmt: skip
        for number, (baseline, scores) in enumerate(baselines.items()):
            if name in scores:
                grey = ("#444444", "#888888", "#bbbbbb", "#666666")[number]
                axis.axhline(scores[name], color=grey, linewidth=1.2, linestyle=(0, (6, 2)), label=shown_name(baseline))
        axis.set(title=f"{name} on validation samples", xlabel="step", ylim=(0, 1))
        axis.spines[["top", "right"]].set_visible(False)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right center", frameon=False, fontsize=8)
    figure.suptitle(f"{shown_name(plan.model)} on {shown_name(plan.task)}, {plan.labels} labelled samples", fontsize=11)
    return figure
