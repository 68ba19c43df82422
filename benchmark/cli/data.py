"""`data prepare|info|simulate`: get, look at, or make events."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchmark.cli.app import console, data_app

if TYPE_CHECKING:
    from benchmark.contracts import Dataset, DatasetSpec

Name = Annotated[str, typer.Argument(help="Name of a dataset (see `list`), or path to a file that binds SPEC.")]
Folder = Annotated[Path | None, typer.Option("--data", help="Folder of the dataset; without it, the cache.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="Change one setting of the dataset. Repeatable.", metavar="KEY=VALUE")
]


@data_app.command()
def prepare(
    name: Name,
    folder: Folder = None,
    revision: Annotated[str | None, typer.Option(help="Revision to get, e.g. v2.")] = None,
    split: Annotated[str | None, typer.Option(help="Only this split.")] = None,
    files: Annotated[int | None, typer.Option(help="Only the first files of each split.")] = None,
    set_: Settings = None,
) -> None:
    """Download (sizes shown first, resumable, checksummed) or simulate a dataset, and check it."""
    from benchmark import registry

    spec = registry.dataset_spec(name)
    options = {"revision": revision, "split": split, "files": files}
    dataset = spec.prepare(settings_of(spec, set_, {k: v for k, v in options.items() if v is not None}), folder)
    _show(_describe(dataset, {}))


@data_app.command()
def info(
    name: Name,
    folder: Folder = None,
    set_: Settings = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    croissant: Annotated[
        bool, typer.Option("--croissant", help="Print Croissant metadata (JSON-LD), for catalogues of datasets.")
    ] = False,
) -> None:
    """Show what a dataset holds: revision, checksums, events, voxels, labels, and how many events each task can use.

    A task without usable events has a line with the reason.
    """
    from benchmark import registry

    spec = registry.dataset_spec(name)
    dataset = spec.open(settings_of(spec, set_, {}), folder)
    if croissant:
        from benchmark.data.croissant import croissant as metadata

        print(json.dumps(metadata(dataset), indent=1))
        return
    counts: dict[str, Any] = {}
    for split in getattr(dataset, "splits", spec.info.splits):
        counts[split] = _count_split(dataset, split)
    description = _describe(dataset, counts)
    if as_json:
        print(json.dumps(description, indent=1))
    else:
        _show(description)


@data_app.command()
def simulate(
    out: Annotated[Path, typer.Option(help="New folder, or that of an interrupted simulation of the same settings.")],
    events: Annotated[int, typer.Option(help="Events in all splits together.")] = 1000,
    val: Annotated[int | None, typer.Option(help="Of these, validation events; default 5%.")] = None,
    test: Annotated[int | None, typer.Option(help="Of these, test events; default 10%.")] = None,
    seed: Annotated[int, typer.Option(help="Another seed gives other events.")] = 1,
    schema: Annotated[str, typer.Option(help="PILArNet-M schema: v1 or v2.")] = "v2",
    workers: Annotated[int | None, typer.Option(help="Processes (or cluster jobs); default one per core.")] = None,
    executor: Annotated[str, typer.Option(help="local (processes) or submitit (SLURM).")] = "local",
) -> None:
    """Simulate liquid-argon events in PILArNet-M's schema. Event k does not depend on the number of workers."""
    from benchmark.datasets.larsim.production import simulate_dataset
    from benchmark.errors import unknown_name

    for option, value, valid in (("schema", schema, ("v1", "v2")), ("executor", executor, ("local", "submitit"))):
        if value not in valid:
            raise unknown_name(option, value, valid, f"Correct --{option}.")
    manifest = simulate_dataset(
        out,
        events=events,
        val=val,
        test=test,
        seed=seed,
        version=schema,
        workers=workers,
        executor=executor,  # type: ignore[arg-type]
    )
    _show({"simulated": str(out), **{k: v for k, v in manifest.items() if not isinstance(v, dict | list)}})
    print(f"Use it: `python -m benchmark run --model polarmae --labels 100 --dataset pilarnet-m --data {out}`")


def _count_split(dataset: Dataset, split: str) -> dict[str, Any]:
    """Counts of a split for every task. Raises DataError where no task can read it: its files are damaged."""
    from benchmark import tasks
    from benchmark.data.preparation import preparation
    from benchmark.data.stream import check_declared, check_labels, source_of
    from benchmark.errors import DataError

    counts: dict[str, Any] = {}
    unreadable: list[DataError] = []
    for task in map(tasks.task, dataset.info.tasks):
        sample = "event" if task.sample == "event" else f"{task.sample} sample"
        try:
            source = source_of(dataset, split, task)
        except DataError as error:  # of one of several kinds of samples
            unreadable.append(error)
            counts |= {f"usable for {task.name}": 0, f"why not for {task.name}": str(error)}
            continue
        counts[f"{sample}s"] = len(source)
        counts[f"points per {sample}"] = round(float(source.n_points.mean()), 1) if len(source) else 0.0
        prepared = preparation(task).suited(dataset.info)
        try:
            check_declared(dataset.info, task, prepared)
            usable = prepared.eligible(source, task)
            if len(source):
                check_labels(dataset.info, task, prepared, source[int(usable.indices[0]) if len(usable.indices) else 0])
            counts[f"usable for {task.name}"] = len(usable.indices)
            if not len(usable.indices):
                cuts = ", ".join(f"{n} {reason}" for reason, n in usable.excluded.items())
                counts[f"why not for {task.name}"] = f"no event passes the cuts: {cuts or 'there is none'}"
        except DataError as error:
            counts |= {f"usable for {task.name}": 0, f"why not for {task.name}": str(error)}
    if len(unreadable) == len(dataset.info.tasks):
        raise unreadable[0]
    return counts


def settings_of(spec: DatasetSpec, assignments: list[str] | None, options: dict[str, Any]) -> Any:
    """The dataset's settings with the user's changes."""
    from benchmark.runs.resolve import apply_settings
    from benchmark.settings import override

    sections = {"data": spec.config()}
    apply_settings(sections, assignments or ())
    return override(sections["data"], options, "data")


def _describe(dataset: Dataset, counts: dict[str, Any]) -> dict[str, Any]:
    names = ("name", "summary", "licence", "citation", "energy_unit")
    description = {k: v for k, v in dataclasses.asdict(dataset.info).items() if k in names}
    description |= {"frame": _frame_text(dataset), "labels": dict(dataset.info.labels)}
    return {**description, "revision": dataset.revision, "files": dict(sorted(dataset.files.items())), **counts}


def _frame_text(dataset: Dataset) -> str:
    frame = dataset.info.frame
    return f"{' x '.join(f'{size:g}' for size in frame.extent)}, unit: {frame.unit}"


def _show(description: dict[str, Any]) -> None:
    from benchmark.reports.fitted_table import facts_table

    console().print(facts_table(description))
