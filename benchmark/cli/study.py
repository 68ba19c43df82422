"""`study grouping`, `sizes`, `runtime`: how events are split into tokens, as a table and a figure.

To add a study: one file in benchmark/studies/ with a function that returns a `Study` (a table, and how its
figure is drawn), and one short command here that loads the events, calls it, and hands the result to `finish`:

    @study_app.command()
    def mine(dataset: DatasetName = "lartpc-sim", data: Folder = None, ..., out: Out = None) -> None:
        \"\"\"Its question, in one line.\"\"\"
        from benchmark.studies.base import load_events
        from benchmark.studies.mine import mine_study

        selected = load_events(dataset, data, split, events, seed)
        finish(mine_study(selected), out, selected)
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from benchmark.cli.study_app import DatasetName, Folder, NEvents, Out, Seed, Split, finish, study_app


@study_app.command()
def grouping(
    dataset: DatasetName = "lartpc-sim",
    data: Folder = None,
    split: Split = "test",
    events: NEvents = 0,
    seed: Seed = 0,
    out: Out = None,
) -> None:
    """Missed against duplicated points for four ways to group, Pareto fronts, and the best overlap factor."""
    from benchmark.studies.base import load_events
    from benchmark.studies.grouping import grouping_study

    selected = load_events(dataset, data, split, events, seed)
    finish(grouping_study(selected, seed), out, selected)


@study_app.command()
def sizes(
    dataset: DatasetName = "lartpc-sim",
    data: Folder = None,
    split: Split = "test",
    events: NEvents = 0,
    seed: Seed = 0,
    radius: Annotated[float, typer.Option(help="Radius of a group, in units of the coordinates.")] = 5.0,
    overlap: Annotated[float, typer.Option(help="Overlap factor f.")] = 0.73,
    out: Out = None,
) -> None:
    """Groups per event and points per group, before and after thinning."""
    from benchmark.ops.grouping import GroupingConfig
    from benchmark.studies.base import load_events
    from benchmark.studies.sizes import sizes_study

    selected = load_events(dataset, data, split, events, seed)
    finish(sizes_study(selected, GroupingConfig(radius=radius, overlap=overlap)), out, selected)


@study_app.command()
def runtime(
    dataset: DatasetName = "lartpc-sim",
    data: Folder = None,
    split: Split = "test",
    events: NEvents = 128,
    seed: Seed = 0,
    out: Out = None,
) -> None:
    """Events grouped per second against the batch size, for every strategy and available engine."""
    from benchmark.studies.base import load_events
    from benchmark.studies.runtime import runtime_study

    selected = load_events(dataset, data, split, events, seed)
    finish(runtime_study(selected, say=lambda text: print(text, file=sys.stderr, flush=True)), out, selected)
