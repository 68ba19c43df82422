"""The usable events of one split, as notebooks and displays ask for them: by names and `--set` options."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmark import registry, tasks
from benchmark.contracts import Dataset
from benchmark.data.preparation import preparation
from benchmark.data.stream import EventSet, event_set
from benchmark.errors import unknown_name
from benchmark.runs.resolve import apply_settings
from benchmark.settings import override, parse_assignments


def chosen_events(
    dataset: str, split: str, task: str | None, data: Path | None, assignments: Sequence[str],
    any_size: bool = False,
) -> tuple[Dataset, EventSet]:  # fmt: skip
    """A dataset, and the events of a split with a task's labels and cuts.

    task: by default the dataset's first. assignments: `data.KEY` of the dataset, `preprocess.KEY` of the cuts, or a KEY
    that only one of them has. any_size: without the cut on the size of an event, unless it is assigned. Raises
    UnknownNameError, ConfigError, DataError.
    """
    spec = registry.dataset_spec(dataset)
    asked = tasks.task(task or spec.info.tasks[0])
    if asked.name not in spec.info.tasks:
        raise unknown_name(f"task of {dataset}", asked.name, spec.info.tasks, "Correct --task or --dataset.")
    if split not in spec.info.splits:
        raise unknown_name(f"split of {dataset}", split, spec.info.splits, "Correct --split.")
    prepared = preparation(asked)
    if any_size:
        prepared = override(prepared, parse_assignments([prepared.looser]), "preprocess")
    sections = {"data": spec.config(), "preprocess": prepared}
    apply_settings(sections, assignments)
    opened = spec.open(sections["data"], data)
    return opened, event_set(opened, split, asked, sections["preprocess"])
