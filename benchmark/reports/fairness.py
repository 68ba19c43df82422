"""What each result cost and how its settings were chosen: a table per task, dataset and label budget. No torch needed.

Everything comes from run records and from the records of searches (`benchmark.records.tuning`), not from the code, so
that the tables also hold for runs with earlier defaults.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.records.record import EVALUATED, RunRecord
from benchmark.records.schema import Loss, Optim, Train
from benchmark.records.scored import scored
from benchmark.records.scores import row_order
from benchmark.records.tuning import Tuning
from benchmark.reports.averages import Average, averages
from benchmark.reports.convergence import converged
from benchmark.reports.fitted_table import FittedTable
from benchmark.reports.tables import PUBLISHED_PRESETS, cell, dirty_note, escape_markdown, markdown_table, shown

Row = Mapping[str, str]
RECIPE = (
    "batch",
    "augmentation",
    "loss",
    "optimiser",
    "weight decay",
    "clipping",
    "schedule",
    "warm-up",
    "backbone's rate",
)  # stated once above a table where equal in every row that has it
TEXT = ("model", "preset", "mode", "converged", "chosen by", *RECIPE)  # the rest are numbers
IMPORTANT = ("parameters", "steps", "mode", "preset", "learning rate")  # beside the score, in a narrow terminal
NONE = "-"
OPTIMISERS = {"adamw": "AdamW", "adam": "Adam", "sgd": "SGD, Nesterov"}
_FREE = ("labels", "draw", "seed", "checkpoint", "split")  # settings that may differ between a search and a run
_FREE_IN_TRAINING = ("steps", "checkpoint_every")


@dataclass(frozen=True)
class FairTable:
    """One task, dataset revision and label budget; best primary metric first."""

    title: str
    common: str  # recipe shared by every trained model; may be empty
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    def rich(self) -> FittedTable:
        """For the terminal."""
        title = "\n".join(part for part in (self.title, self.common) if part)
        numbers = [name for name in self.columns if name not in TEXT]
        table = FittedTable(title, self.columns, numbers=numbers, first=(*numbers[:1], *IMPORTANT),
                            caption=self.note, shown_by="--markdown")  # fmt: skip
        for row in self.rows:
            table.row(*row)
        return table

    def markdown(self) -> str:
        """For a page."""
        sides = ["left" if name in TEXT else "right" for name in self.columns]
        table = markdown_table(self.columns, sides, self.rows)
        return "\n".join(
            f"{part}\n" for part in (f"**{escape_markdown(self.title)}**", self.common, table, self.note) if part
        )


def fair_tables(records: Iterable[RunRecord], tunings: Sequence[Tuning]) -> list[FairTable]:
    """One for everything that was scored, and label budget, in sorted order; a row averages draws and seeds.

    Failed runs are left out, and weights scored on another dataset than their own, or another split than the test one.
    """
    groups: dict[tuple[Any, ...], list[RunRecord]] = {}
    for record in records:
        if record.status != "failed" and record.is_in_tables_of("test") and _is_trained_on_dataset(record):
            budget = record.config["labels"]
            key = (scored(record), budget is None, budget or 0)
            groups.setdefault(key, []).append(record)
    return [_fair_table(group, tunings) for _, group in sorted(groups.items(), key=lambda item: item[0])]


def chosen_by(record: RunRecord, tunings: Sequence[Tuning]) -> str:
    """How the learning rate of a run was chosen, according to these searches."""
    if not _has_rate(record):
        return NONE
    rate = record.config["optim"]["lr"]
    matching = [t for t in tunings if _matches(t, record)]
    matching.sort(key=lambda t: (t.steps == record.config["train"].get("steps"), t.created), reverse=True)
    same_budget = [t for t in matching if t.labels == record.labels]
    best = [t for t in same_budget if t.best_rate == rate]
    if best:
        return _describe_search(best[0])
    if same_budget:
        search = same_budget[0]
        outcome = "none trained" if search.best_rate is None else f"{search.best_rate:g} was best"
        return f"not by its search: {outcome} of {_describe_grid(search)}"
    elsewhere = [t for t in matching if t.best_rate == rate]
    origin = "" if _is_rate_typed(record) else "preset's, "
    if elsewhere:
        nearest = elsewhere[0]
        return f"{origin}tuned at {nearest.labels} labels: {_describe_search(nearest)}"
    if record.config["preset"] in PUBLISHED_PRESETS and not _is_rate_typed(record):
        return "as published"
    return "not searched"


def _describe_search(tuning: Tuning) -> str:
    return f"best of {_describe_grid(tuning)}" + (", at the edge of the grid" if tuning.at_edge else "")


def _describe_grid(tuning: Tuning) -> str:
    return f"{len(tuning.rates)} on {tuning.events['selection']} validation events, {tuning.steps} steps"


def _matches(tuning: Tuning, record: RunRecord) -> bool:
    """Whether a search has the run's settings and data, except label budget, draw, seed, steps and rate."""
    same_task = all(tuning.task[name] == record.task[name] for name in ("name", "version"))
    same_data = all(tuning.dataset[name] == record.dataset[name] for name in ("name", "revision"))
    return same_task and same_data and _compared_settings(tuning.config) == _compared_settings(record.config)


def _compared_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    settings = {name: value for name, value in config.items() if name not in _FREE}
    settings["optim"] = {name: value for name, value in (config.get("optim") or {}).items() if name != "lr"}
    settings["train"] = {name: value for name, value in config["train"].items() if name not in _FREE_IN_TRAINING}
    return settings


def _is_rate_typed(record: RunRecord) -> bool:
    """Whether the user gave the rate, by --set."""
    return any(re.match(r"(--set=)?(optim\.)?lr=", word) for word in record.command)


def _is_trained_on_dataset(record: RunRecord) -> bool:
    name = record.dataset["name"]
    return bool(record.config["mode"] != EVALUATED and record.config.get("dataset", name) == name)


def _has_rate(record: RunRecord) -> bool:
    """Whether the model was trained by gradient steps."""
    optim = record.config.get("optim") or {}
    return record.training.get("first_loss") is not None and "lr" in optim


def _fair_table(records: list[RunRecord], tunings: Sequence[Tuning]) -> FairTable:
    first = records[0]
    metric = first.task["primary_metric"]
    protocol = f", {first.protocol} protocol" if first.protocol else ""
    ordered = sorted(averages(records), key=lambda average: row_order(average.record))
    enough = converged(ordered)
    rows = [_fair_row(row, told, f"{metric} [95%]", tunings) for row, told in zip(ordered, enough, strict=True)]
    values = {name: {row[name] for row in rows} - {NONE} for name in rows[0]}
    same = [name for name in RECIPE if len(values[name]) == 1]
    columns = tuple(name for name in rows[0] if values[name] and name not in same)
    budget = "all labelled events" if first.labels == "all" else f"{first.labels} labelled events"
    data = f"{first.dataset['name']}, {first.dataset['revision']}"
    events = f"{first.events['test']:,} {first.split} events"
    return FairTable(
        title=f"{first.task['name']} (version {first.task['version']}) on {data}{protocol}, {events}: {budget}",
        common=f"The same for every trained model: {_join_settings(same, values)}." if same else "",
        columns=columns,
        rows=tuple(tuple(row[name] for name in columns) for row in rows),
        note=dirty_note(records),
    )


def _fair_row(average: Average, is_converged: bool | None, metric: str, tunings: Sequence[Tuning]) -> Row:
    record = average.record
    c = record.config
    marks = "" if record.status == "finished" else f" ({record.status})"
    dirty = "*" if any(r.environment.get("dirty") for r in average.runs) else ""
    return {
        "model": record.method + marks + dirty,
        "preset": c["preset"],
        "mode": c["mode"],
        metric: cell(record, shown(record)[0]),
        "runs": str(average.n_runs),
        "parameters": f"{record.resources.get('n_parameters', 0):,}",
        "GFLOPs per event": _gflops(average.runs),
        **_training(record),
        "converged": NONE if is_converged is None else "yes" if is_converged else "no",
        **_pretraining(record),
        "learning rate": f"{c['optim']['lr']:g}" if _has_rate(record) else NONE,
        "chosen by": chosen_by(record, tunings),
        **_recipe(record),
    }


def _gflops(runs: Sequence[RunRecord]) -> str:
    counts = [r.resources["flops_per_event"] for r in runs if "flops_per_event" in r.resources]
    return f"{sum(counts) / len(counts) / 1e9:.2f}" if counts else NONE


def _training(record: RunRecord) -> Row:
    """Steps and events seen, repetitions included."""
    if not _has_rate(record):
        return {"steps": NONE, "events seen": NONE}
    steps, batch = record.training.get("steps") or 0, Train.model_validate(record.config["train"]).batch_size
    return {"steps": f"{steps:,}", "events seen": f"{steps * batch:,}"}


def _pretraining(record: RunRecord) -> Row:
    """Unlabelled events and steps of the pre-training that the run started from."""
    pretraining = record.training.get("pretraining")
    if not pretraining:
        return {"unlabelled events": "0", "pre-training steps": "0"}
    events, steps = pretraining.get("events"), pretraining.get("steps")  # unknown of released checkpoints
    return {
        "unlabelled events": "unknown" if events is None else f"{events:,}",
        "pre-training steps": "unknown" if steps is None else f"{steps:,}",
    }


def _recipe(record: RunRecord) -> Row:
    """Loss, optimiser and its settings; of a probe, the solver."""
    row = dict.fromkeys(RECIPE, NONE)
    probe = record.config.get("probe")
    if probe:
        return {**row, "optimiser": f"linear SVM with C = {probe['c']:g}"}
    if not _has_rate(record):
        return row
    o, train = Optim.model_validate(record.config["optim"]), Train.model_validate(record.config["train"])
    betas = f"{o.betas[0]:g}" if o.optimiser == "sgd" else ", ".join(f"{beta:g}" for beta in o.betas)
    loss = (record.config.get("task") or {}).get("loss")
    final = "" if o.schedule == "constant" else f" to {o.final_lr_fraction:g} of the rate"
    return {
        "batch": f"{train.batch_size} events",
        "augmentation": f"rotation={train.rotation}",
        "loss": NONE if loss is None else _describe_loss(Loss.model_validate(loss)),  # absent in older records
        "optimiser": f"{OPTIMISERS.get(o.optimiser, o.optimiser)} ({betas})",
        "weight decay": f"{o.weight_decay:g}" + (" on everything" if o.decay == "everything" else ""),
        "clipping": f"{o.clip_norm:g}" if o.clip_norm else "none",
        "schedule": o.schedule + final,
        "warm-up": f"{o.warmup_fraction:.0%} of the steps",
        "backbone's rate": _backbone_rate(record, o.backbone_lr_scale),
    }


def _describe_loss(loss: Loss) -> str:
    focus = f" ({loss.gamma:g})" if loss.kind == "focal" else ""
    weighted = f", rows weighted by energy^{loss.energy_power:g}" if loss.energy_power else ""
    return loss.kind.replace("_", " ") + focus + weighted


def _backbone_rate(record: RunRecord, scale_of_weights: float) -> str:
    """Learning rate of pre-trained weights, relative to that of new ones."""
    if record.config["mode"] in ("peft", "frozen"):
        return "fixed"
    scale = scale_of_weights if record.training.get("pretraining") else 1
    return "the same" if scale == 1 else f"times {scale:g}"


def _join_settings(names: Sequence[str], values: Mapping[str, set[str]]) -> str:
    return "; ".join(f"{name} {next(iter(values[name]))}" for name in names)
