"""Events for other frameworks, and records of predictions that were made there.

What a record says of the training (name, budget, draw, seed, external data) is what the user says; its scores are
counted here, by the code that counts every run, and so the record is marked `reported`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from benchmark import registry
from benchmark.contracts import Dataset
from benchmark.data.budget import Subset, parse_labels, subset
from benchmark.data.stream import EventSet, event_set
from benchmark.errors import ConfigError
from benchmark.evaluation.predictions import score_predictions
from benchmark.exchange.events import check_task, table_of
from benchmark.exchange.files import check_ending, read_table, write_table
from benchmark.exchange.predictions import matched
from benchmark.hardware.environment import commit, versions
from benchmark.io import safe_name, sha256_file, sha256_text
from benchmark.paths import shown_path
from benchmark.records.counts import with_scores
from benchmark.records.record import REPORTED, RunRecord, begin_record
from benchmark.records.store import write_record
from benchmark.runs.chosen_events import chosen_events
from benchmark.runs.commands import command
from benchmark.runs.events import bootstrap_rng, check_disjoint
from benchmark.runs.execution import Execution
from benchmark.settings import as_dict

LABELLED = ("train", "val")  # splits whose labels are handed out


@dataclass(frozen=True)
class Source:
    """Which events: of a task and a split, with the task's cuts."""

    task: str
    split: str = "test"
    dataset: str | None = None  # None: the task's own
    data: Path | None = None
    settings: tuple[str, ...] = ()  # data.KEY and preprocess.KEY


@dataclass(frozen=True)
class Claim:
    """What the user says of a model that was trained elsewhere."""

    name: str
    labels: str  # label budget: a number, or all
    draw: int = 0
    seed: int = 0
    external_data: str = ""  # what else it was trained on
    n_parameters: int = 0


@dataclass(frozen=True)
class Exported:
    """What `export` wrote."""

    path: Path
    n_events: int
    n_rows: int
    has_labels: bool


def export(source: Source, out: Path, labels: str | None = None, draw: int = 0) -> Exported:
    """Write the events of a split, or of a label budget, to a file. Labels come with budgets and validation events.

    Raises ConfigError for labels of the test split, DataError, UnknownNameError.
    """
    check_ending(out)
    dataset, events = _open(source)
    about = {
        "task": events.task.name,
        "dataset": dataset.info.name,
        "revision": dataset.revision,
        "split": source.split,
    }
    if labels is not None:
        if source.split != "train":
            raise ConfigError(
                f"--labels {labels} is a budget of the training split, and --split {source.split} was asked for. "
                f"--split train was expected. Type it."
            )
        chosen = subset(events.event_ids, parse_labels(labels), draw)
        events = events.chosen(chosen)
        about |= {"labels": labels, "draw": str(draw), "events_sha256": chosen.sha256}
    has_labels = labels is not None or source.split == "val"
    task = events.task
    about |= {"classes": json.dumps(list(task.classes)), "unit": events.frame.unit}
    table = table_of(events, about, has_labels)
    write_table(out, table)
    return Exported(out, len(events), table.n_rows, has_labels)


def score_reported(
    path: Path, claim: Claim, source: Source, execution: Execution, say: Callable[[str], None] = lambda text: None
) -> RunRecord:  # fmt: skip
    """Score predictions in a file, write the record and return it.

    Raises ConfigError for a name that is none or the suite's own, DataError for a file that does not fit the events.
    """
    _check_claim(claim)
    dataset, events = _open(source)
    table = read_table(path)
    labelled = _labelled(dataset, events, claim, source.split)
    scored = _Scored(source, dataset, events)
    found = matched(table, events, scored.split_of)
    if not found.has_scores and events.task.metrics != "segmentation":
        raise ConfigError(
            f"{path} holds classes alone, and {events.task.name} is scored from scores. A column for each class was "
            f"expected, such as `score_{events.task.classes[0]}`. Write these."
        )
    if found.n_ignored:
        say(f"{found.n_ignored:,} rows are of points that {events.task.name} leaves out: not counted")
    batches = (events.batch([i]) for i in range(len(events)))
    counter = score_predictions(found.scores, events.event_ids[:], batches, events.task, events.units)
    metrics = counter.report(bootstrap_rng(events.task, dataset))
    if not found.has_scores:
        metrics.pop("calibration", None)  # classes have no confidence
    unfinished = _unfinished(path, claim, scored, labelled, execution)
    record = with_scores(unfinished, metrics, counter.counts, events.event_ids, events.units)
    write_record(execution.records_folder, record)
    return record


@dataclass(frozen=True)
class _Scored:
    """The events that are scored."""

    source: Source
    dataset: Dataset
    events: EventSet

    def split_of(self, event_id: str) -> str | None:
        """The other split that holds an event."""
        splits: Sequence[str] = getattr(self.dataset, "splits", self.dataset.info.splits)
        for split in (s for s in splits if s != self.source.split):
            if event_id in set(event_set(self.dataset, split, self.events.task, self.events.config).event_ids):
                return split
        return None


def _open(source: Source) -> tuple[Dataset, EventSet]:
    from benchmark import tasks

    task = tasks.task(source.task)
    check_task(task)
    dataset = source.dataset or task.dataset
    return chosen_events(dataset, source.split, source.task, source.data, source.settings)


def _check_claim(claim: Claim) -> None:
    if not claim.name or safe_name(claim.name) != claim.name or not claim.name[0].isalnum():
        raise ConfigError(
            f"--name {claim.name!r} cannot name a model. Letters, digits and `_ . -`, a letter first, were expected. "
            f"Type for example --name my_spine_net."
        )
    if claim.name in registry.model_names():
        raise ConfigError(
            f"--name {claim.name} is a model of the suite, and these predictions were not made by it. A name of its "
            f"own was expected. Type for example --name my_{claim.name}."
        )


def _labelled(dataset: Dataset, events: EventSet, claim: Claim, split: str) -> Subset:
    """The label budget that the model says it was trained on."""
    train = event_set(dataset, "train", events.task, events.config)
    check_disjoint(train, events, split, dataset)
    return subset(train.event_ids, parse_labels(claim.labels), claim.draw)


def _unfinished(path: Path, claim: Claim, scored: _Scored, labelled: Subset, execution: Execution) -> RunRecord:
    """The record without its scores."""
    source, dataset, events = scored.source, scored.dataset, scored.events
    config: dict[str, Any] = {
        "model": claim.name, "preset": REPORTED, "mode": REPORTED, "labels": parse_labels(claim.labels),
        "draw": claim.draw, "seed": claim.seed, "task": as_dict(events.task), "dataset": dataset.info.name,
        "preprocess": as_dict(events.config), "model_config": {}, "train": {},
    }  # fmt: skip
    digest = sha256_file(path)
    name = sha256_text(json.dumps([config, dataset.revision, source.split, digest], sort_keys=True))
    options = {
        "task": source.task, "name": claim.name, "labels": claim.labels, "draw": claim.draw or None,
        "seed": claim.seed or None, "split": None if source.split == "test" else source.split,
        "dataset": source.dataset, "external": claim.external_data or None,
        "parameters": claim.n_parameters or None, "set": source.settings,
    }  # fmt: skip
    begun = begin_record(name, (), config, events.task, dataset)
    return replace(
        begun,
        status="finished",
        command=list(command(("score", shown_path(str(path))), options, replace(execution, data=source.data))),
        events={
            "labelled": len(labelled), "unlabelled": None, "selection": None, "test": len(events),
            "split": source.split, "excluded": {source.split: events.excluded},
        },
        subset_sha256=labelled.sha256,
        training={"predictions_sha256": digest, "external_data": claim.external_data},
        resources={"n_parameters": claim.n_parameters},
        environment={**commit(), "versions": versions()},
    )  # fmt: skip
