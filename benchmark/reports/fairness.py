"""What each result cost and how its settings were chosen: a table per task, dataset and label budget. No torch needed.

Everything comes from run records and from the records of searches (`benchmark.records.tuning`); nothing is looked up in
the code, so that the page stays true of runs that were made with earlier defaults.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from benchmark.records.record import RunRecord
from benchmark.records.scores import row_order
from benchmark.records.tuning import Tuning
from benchmark.reports.averages import Average, averages
from benchmark.reports.tables import PUBLISHED_PRESETS, cell, dirty_note, markdown_table, shown

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
)  # said once above a table where it is the same for every row that has it
TEXT = ("model", "preset", "mode", "chosen by", *RECIPE)  # the rest are numbers
NONE = "-"
OPTIMISERS = {"adamw": "AdamW", "adam": "Adam", "sgd": "SGD, Nesterov"}
EVALUATED = "evaluate"  # mode of records of checkpoints that were only scored
_FREE = ("labels", "draw", "seed", "checkpoint")  # what a search and the run that uses it may differ in
_FREE_IN_TRAINING = ("steps", "checkpoint_every")


@dataclass(frozen=True)
class FairTable:
    """One task, dataset revision and label budget; best primary metric first."""

    title: str
    common: str  # the part of the recipe that is the same for every model that was trained; may be empty
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""

    def rich(self) -> Table:
        """For the terminal."""
        title = "\n".join(part for part in (self.title, self.common) if part)
        table = Table(title=title, caption=self.note or None, title_justify="left", caption_justify="left")
        for name in self.columns:
            table.add_column(name, justify="left" if name in TEXT else "right", overflow="fold")
        for row in self.rows:
            table.add_row(*row)
        return table

    def markdown(self) -> str:
        """For a page."""
        sides = ["left" if name in TEXT else "right" for name in self.columns]
        table = markdown_table(self.columns, sides, self.rows)
        return "\n".join(f"{part}\n" for part in (f"**{self.title}**", self.common, table, self.note) if part)


def fair_tables(records: Iterable[RunRecord], tunings: Sequence[Tuning]) -> list[FairTable]:
    """One per task, dataset revision, protocol and label budget, in sorted order; a row averages draws and seeds.

    Left out are failed runs, and weights that were scored on other events than their own dataset's.
    """
    groups: dict[tuple[Any, ...], list[RunRecord]] = {}
    for record in records:
        if record.status != "failed" and _trained_here(record):
            budget = record.config["labels"]
            key = (
                record.task["name"], record.task["version"], record.dataset["name"], record.dataset["revision"],
                record.protocol, budget is None, budget or 0,
            )  # fmt: skip
            groups.setdefault(key, []).append(record)
    return [_table(group, tunings) for _, group in sorted(groups.items(), key=lambda item: item[0])]


def chosen_by(record: RunRecord, tunings: Sequence[Tuning]) -> str:
    """How the learning rate of a run was found, as far as the searches at hand show it."""
    if not _has_rate(record):
        return NONE
    rate = record.config["optim"]["lr"]
    fitting = [t for t in tunings if _fits(t, record)]
    here = [t for t in fitting if t.labels == record.labels]
    best = [t for t in here if t.best_rate == rate]
    if best:
        return _describe(best[0])
    if here:
        found = "none trained" if here[0].best_rate is None else f"{here[0].best_rate:g} was best"
        return f"not by its search: {found} of {_size(here[0])}"
    elsewhere = [t for t in fitting if t.best_rate == rate]
    whose = "" if _typed(record) else "preset's, "
    if elsewhere:
        nearest = elsewhere[0]
        return f"{whose}tuned at {nearest.labels} labels: {_describe(nearest)}"
    if record.config["preset"] in PUBLISHED_PRESETS and not _typed(record):
        return "as published"
    return "not searched"


def _describe(tuning: Tuning) -> str:
    return f"best of {_size(tuning)}" + (", at the edge of the grid" if tuning.at_edge else "")


def _size(tuning: Tuning) -> str:
    return f"{len(tuning.rates)} on {tuning.events['selection']} validation events, {tuning.steps} steps"


def _fits(tuning: Tuning, record: RunRecord) -> bool:
    """Whether a search was made with the run's settings and data: the label budget, draw, seed, steps, rate aside."""
    same_task = all(tuning.task[name] == record.task[name] for name in ("name", "version"))
    same_data = all(tuning.dataset[name] == record.dataset[name] for name in ("name", "revision"))
    return same_task and same_data and _settings(tuning.config) == _settings(record.config)


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in config.items() if name not in _FREE}
    kept["optim"] = {name: value for name, value in (config.get("optim") or {}).items() if name != "lr"}
    kept["train"] = {name: value for name, value in config["train"].items() if name not in _FREE_IN_TRAINING}
    return kept


def _typed(record: RunRecord) -> bool:
    """Whether the user gave the rate, by --set."""
    return any(re.match(r"(--set=)?(optim\.)?lr=", word) for word in record.command)


def _trained_here(record: RunRecord) -> bool:
    name = record.dataset["name"]
    return bool(record.config["mode"] != EVALUATED and record.config.get("dataset", name) == name)


def _has_rate(record: RunRecord) -> bool:
    """Trained step by step: neither counted nor solved in one go."""
    told = record.config.get("optim") or {}
    return record.training.get("first_loss") is not None and "lr" in told


def _table(records: list[RunRecord], tunings: Sequence[Tuning]) -> FairTable:
    first = records[0]
    metric = first.task["primary_metric"]
    own = f", {first.protocol} protocol" if first.protocol else ""
    ordered = sorted(averages(records), key=lambda average: row_order(average.record))
    rows = [_row(average, f"{metric} [95%]", tunings) for average in ordered]
    values = {name: {row[name] for row in rows} - {NONE} for name in rows[0]}
    same = [name for name in RECIPE if len(values[name]) == 1]
    columns = tuple(name for name in rows[0] if values[name] and name not in same)
    budget = "all labelled events" if first.labels == "all" else f"{first.labels} labelled events"
    data = f"{first.dataset['name']}, {first.dataset['revision']}"
    return FairTable(
        title=f"{first.task['name']} (version {first.task['version']}) on {data}{own}: {budget}",
        common=f"The same for every trained model: {_listed(same, values)}." if same else "",
        columns=columns,
        rows=tuple(tuple(row[name] for name in columns) for row in rows),
        note=dirty_note(records),
    )


def _row(average: Average, metric: str, tunings: Sequence[Tuning]) -> Row:
    record = average.record
    c = record.config
    marks = "" if record.status == "finished" else f" ({record.status})"
    dirty = "*" if any(r.environment.get("dirty") for r in average.runs) else ""
    return {
        "model": record.model + marks + dirty,
        "preset": c["preset"],
        "mode": c["mode"],
        metric: cell(record, shown(record)[0]),
        "runs": str(average.n_runs),
        "parameters": f"{record.resources.get('n_parameters', 0):,}",
        "GFLOPs per event": _gflops(average.runs),
        **_training(record),
        **_pretraining(record),
        "learning rate": f"{c['optim']['lr']:g}" if _has_rate(record) else NONE,
        "chosen by": chosen_by(record, tunings),
        **_recipe(record),
    }


def _gflops(runs: Sequence[RunRecord]) -> str:
    counts = [r.resources["flops_per_event"] for r in runs if "flops_per_event" in r.resources]
    return f"{sum(counts) / len(counts) / 1e9:.2f}" if counts else NONE


def _training(record: RunRecord) -> Row:
    """Steps, and how many events were seen in them, repetitions counted."""
    if not _has_rate(record):
        return {"steps": NONE, "events seen": NONE}
    steps, batch = record.training["steps"], record.config["train"]["batch_size"]
    return {"steps": f"{steps:,}", "events seen": f"{steps * batch:,}"}


def _pretraining(record: RunRecord) -> Row:
    """On how many unlabelled events and in how many steps the weights were made that the run started from."""
    told = record.training.get("pretraining")
    if not told:
        return {"unlabelled events": "0", "pre-training steps": "0"}
    events, steps = told.get("events"), told.get("steps")  # unknown of a checkpoint from elsewhere
    return {
        "unlabelled events": "unknown" if events is None else f"{events:,}",
        "pre-training steps": "unknown" if steps is None else f"{steps:,}",
    }


def _recipe(record: RunRecord) -> Row:
    """How the weights were fitted: the loss, the optimiser and its settings; of a probe, the solver."""
    row = dict.fromkeys(RECIPE, NONE)
    probe = record.config.get("probe")
    if probe:
        return {**row, "optimiser": f"linear SVM with C = {probe['c']:g}"}
    if not _has_rate(record):
        return row
    o, train = record.config["optim"], record.config["train"]
    name = o.get("optimiser", "adamw")  # records made before there were others have AdamW
    betas = f"{o['betas'][0]:g}" if name == "sgd" else ", ".join(f"{beta:g}" for beta in o["betas"])
    loss = record.config["task"].get("loss")
    end = "" if o["schedule"] == "constant" else f" to {o['final_lr_fraction']:g} of the rate"
    return {
        "batch": f"{train['batch_size']} events",
        "augmentation": f"rotation={train['rotation']}",
        "loss": NONE if loss is None else _loss(loss),  # older records do not say it
        "optimiser": f"{OPTIMISERS[name]} ({betas})",
        "weight decay": f"{o['weight_decay']:g}" + (" on everything" if o["decay"] == "everything" else ""),
        "clipping": f"{o['clip_norm']:g}" if o["clip_norm"] else "none",
        "schedule": o["schedule"] + end,
        "warm-up": f"{o['warmup_fraction']:.0%} of the steps",
        "backbone's rate": _backbone(record),
    }


def _loss(loss: Mapping[str, Any]) -> str:
    power = loss["energy_power"]
    focus = f" ({loss['gamma']:g})" if loss["kind"] == "focal" else ""
    kind = str(loss["kind"]).replace("_", " ")
    return kind + focus + (f", rows weighted by energy^{power:g}" if power else "")


def _backbone(record: RunRecord) -> str:
    """Of pre-trained weights, beside that of new ones."""
    if record.config["mode"] in ("peft", "frozen"):
        return "fixed"
    scale = record.config["optim"]["backbone_lr_scale"] if record.training.get("pretraining") else 1
    return "the same" if scale == 1 else f"times {scale:g}"


def _listed(names: Sequence[str], values: Mapping[str, set[str]]) -> str:
    return "; ".join(f"{name} {next(iter(values[name]))}" for name in names)
