"""Records of searches for a learning rate: one JSON file per model and label budget. No torch needed.

Schema 1. A search is not a run: its scores are of the validation split and never enter a table of results.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark.contracts.pretext import method_name
from benchmark.errors import RecordError
from benchmark.io import atomic_write_json, safe_name
from benchmark.json_files import read_json
from benchmark.records.revisions import with_todays_revision
from benchmark.records.schema import Search, fault, joined
from benchmark.records.store import read_each

SCHEMA = 1
SPLIT = "val"  # the test split decides nothing


@dataclass(frozen=True)
class Tuning:
    """One search."""

    fingerprint: str  # sha256 of what decides a trial's result, the rates aside
    created: str  # UTC, ISO 8601
    command: list[str]  # that repeats it
    config: dict[str, Any]  # of a trial, RunConfig fully resolved; with the preset's rate
    task: dict[str, Any]  # name, version, classes, primary metric
    dataset: dict[str, Any]  # name, revision, files with digests
    events: dict[str, Any]  # labelled, selection (scored validation events), excluded by reason
    subset_sha256: str  # of the labelled events' ids
    code_sha256: str  # of the model's code
    rates: list[float]  # the grid, ascending
    # one per rate, ascending: rate, status, error, score {value, low, high}, f1 {class: value}, steps, first_loss,
    # last_loss, grad_norm, trained (the loss fell), wall_s
    trials: list[dict[str, Any]]
    best_rate: float | None  # None: every trial failed
    at_edge: bool  # the best rate is the smallest or largest of the grid
    environment: dict[str, Any]  # device, threads, precision, versions, commit, dirty
    schema: int = SCHEMA

    @property
    def model(self) -> str:
        """Registry name of the model."""
        return str(self.config["model"])

    @property
    def method(self) -> str:
        """Model and pretext, as tables show them: `gnn+masked`."""
        return method_name(self.model, self.config.get("pretext"))

    @property
    def labels(self) -> str:
        """The label budget as typed: a number of events, or `all`."""
        labels = self.config["labels"]
        return "all" if labels is None else str(labels)

    @property
    def steps(self) -> int:
        """Optimiser steps of each trial."""
        return int(self.config["train"]["steps"])


def best_of(trials: list[dict[str, Any]], smaller_is_better: bool = False) -> float | None:
    """The rate of the best score; of equal ones the smaller rate. None where every trial failed."""
    finished = [t for t in trials if t["status"] == "finished"]
    if not finished:
        return None
    sign = -1.0 if smaller_is_better else 1.0
    return float(max(finished, key=lambda t: (sign * t["score"]["value"], -t["rate"]))["rate"])


def is_at_edge(rate: float | None, rates: list[float]) -> bool:
    """Whether a better rate may lie beyond the grid."""
    return rate is not None and rate in (min(rates), max(rates))


def tuning_path(root: Path, tuning: Tuning) -> Path:
    """`<root>/<task>/<dataset>/<model>-<preset>-<mode>-<labels>-d<draw>-s<seed>-<fingerprint>.json`."""
    c = tuning.config
    name = f"{tuning.method}-{c['preset']}-{c['mode']}-{tuning.labels}-d{c['draw']}-s{c['seed']}"
    name += f"-{tuning.fingerprint[:12]}"  # searches with other steps or on other events stay beside each other
    return root / safe_name(tuning.task["name"]) / safe_name(tuning.dataset["name"]) / f"{safe_name(name)}.json"


def write_tuning(root: Path, tuning: Tuning) -> Path:
    """Write one search atomically, in place of an earlier one with another grid; returns its path."""
    path = tuning_path(root, tuning)
    atomic_write_json(path, dataclasses.asdict(tuning))
    return path


def read_tuning(path: Path) -> Tuning:
    """Read one search. Raises RecordError for a damaged file, missing or unknown fields, or a newer schema."""
    try:
        values = read_json(path)
    except (OSError, ValueError) as error:
        raise _invalid(path, f"cannot be read ({error})", "A JSON file that `tune` wrote was expected") from error
    if not isinstance(values, dict) or type(values.get("schema")) is not int:
        raise RecordError(
            f"{path} is not a record of a search. A JSON object with `schema` was expected. Move it elsewhere."
        )
    if values["schema"] > SCHEMA:
        raise RecordError(
            f"The search {path} has schema {values['schema']}. At most {SCHEMA} was expected. Update particlebench."
        )
    fields = {f.name for f in dataclasses.fields(Tuning)}
    if set(values) != fields:
        wrong = joined(sorted(set(values) ^ fields))
        raise _invalid(path, f"lacks or adds fields ({wrong})", f"Schema {SCHEMA} was expected")
    problem = fault(Search, values) or _inconsistent_field(values)
    if problem is not None:
        raise _invalid(path, f"has an incomplete or wrong {problem}", f"A search of schema {SCHEMA} was expected")
    return Tuning(**{**values, "dataset": with_todays_revision(values["dataset"])})


def read_tunings(root: Path) -> tuple[list[Tuning], list[str]]:
    """All searches under `root` in sorted order, and one message for each file that could not be read."""
    return read_each(root, read_tuning)


def find_tuning(root: Path, like: Tuning) -> Tuning | None:
    """The recorded search of the same configuration, data, code and rates, if there is one."""
    path = tuning_path(root, like)
    if not path.is_file():
        return None
    tuning = read_tuning(path)
    return tuning if (tuning.fingerprint, tuning.rates) == (like.fingerprint, like.rates) else None


def _inconsistent_field(values: Mapping[str, Any]) -> str | None:
    """The first field that does not follow from the others: rates from trials, the best rate from their scores."""
    rates, trials = values["rates"], values["trials"]
    if rates != sorted(set(rates)):
        return "list of rates"
    if [t["rate"] for t in trials] != rates or not all(map(_has_score, trials)):
        return "list of trials"
    best = best_of(trials, bool(values["task"].get("smaller_is_better")))
    if values["best_rate"] != best or values["at_edge"] != is_at_edge(best, rates):
        return "best rate"
    return None


def _has_score(trial: Mapping[str, Any]) -> bool:
    """Whether a finished trial has its scores; a failed one needs none."""
    if trial["status"] == "failed":
        return True
    return trial["score"] is not None and trial["score"]["value"] is not None and trial["f1"] is not None


def _invalid(path: Path, problem: str, expected: str) -> RecordError:
    return RecordError(f"The search {path} {problem}. {expected}. Delete it and search again.")
