"""`study preprocessing`, `regions`: from scans of volumes to the input tiles of models."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from benchmark.cli.study_app import DatasetName, Folder, Out, finish, study_app

Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change one setting of the dataset. Repeatable.", metavar="KEY=VALUE"),
]


@study_app.command()
def preprocessing(
    dataset: DatasetName = "lif-sim", data: Folder = None,
    scan: Annotated[str | None, typer.Option(help="Name of the scan; without it, the first one.")] = None,
    set_: Set = None, out: Out = None,
) -> None:  # fmt: skip
    """A scan after every step of its preprocessing, and the tiles that are cut from it."""
    from benchmark.studies.preprocessing import preprocessing_study

    finish(preprocessing_study(_open_dataset(dataset, data, set_), scan), out, None)


@study_app.command()
def regions(dataset: DatasetName = "lif-sim", data: Folder = None, set_: Set = None, out: Out = None) -> None:
    """Candidate regions of tiles, found in 2-D and in 3-D, judged by the truth."""
    from benchmark.studies.regions import regions_study

    finish(regions_study(_open_dataset(dataset, data, set_)), out, None)


def _open_dataset(dataset: str, data: Any, set_: list[str] | None) -> Any:
    from benchmark import registry
    from benchmark.cli.data import settings_of

    spec = registry.dataset_spec(dataset)
    return spec.open(settings_of(spec, set_, {}), data)
