"""`plot roc|response|cells`: figures of pion results from records, and of the cells of one sample."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.cli.app import app, known_dataset

if TYPE_CHECKING:
    import numpy as np

plot_app = typer.Typer(
    name="plot", help="Draw results of the calorimeter tasks, or one sample.", no_args_is_help=True,
    rich_markup_mode=None,
)  # fmt: skip
app.add_typer(plot_app, name="plot")

Records = Annotated[Path | None, typer.Option(help="Folder of records; default runs/records.")]
Labels = Annotated[str, typer.Option(help="The runs with this budget: a number of events, or all.", metavar="N|all")]
Draw = Annotated[int, typer.Option(help="The runs with this draw of labelled events.")]
Models = Annotated[
    str | None, typer.Option(help="The runs of these models, with commas between them, in the order of the legend.")
]
Out = Annotated[Path | None, typer.Option(help="The PNG to write.")]


@plot_app.command()
def roc(
    records: Records = None, task: Annotated[str, typer.Option(help="A task of pions.")] = "pion-classification",
    labels: Labels = "10000", draw: Draw = 0, models: Models = None, out: Out = None,
) -> None:  # fmt: skip
    """ROC and rejection against efficiency, a line per recorded model. Needs matplotlib."""
    from benchmark.plots.roc import draw_roc

    path = out or Path("roc.png")
    draw_roc(_states(records, task, "pions", labels, draw, models), path)
    print(path)


@plot_app.command()
def response(
    records: Records = None, task: Annotated[str, typer.Option(help="A regression of energies.")] = "pion-regression",
    labels: Labels = "10000", draw: Draw = 0, models: Models = None, out: Out = None,
) -> None:  # fmt: skip
    """Median response and resolution against true energy, a line per recorded model. Needs matplotlib."""
    import numpy as np

    from benchmark.plots.response import draw_response

    path = out or Path("response.png")
    states = _states(records, task, "response", labels, draw, models)
    both = all(len(np.unique(state[:, 2])) > 1 for state in states.values())
    draw_response(states, path, by_class=both)
    print(path)


@plot_app.command()
def cells(
    task: Annotated[str, typer.Option(help="What a sample is.")] = "pion-classification",
    dataset: Annotated[
        str | None, typer.Option(help="Where samples come from; default: the task's own.", callback=known_dataset)
    ] = None,
    data: Annotated[Path | None, typer.Option("--data", help="Folder of the dataset; without it, the cache.")] = None,
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    event: Annotated[int, typer.Option(help="Number among the samples that the task uses.")] = 0,
    out: Out = None,
) -> None:
    """The cells of one sample, a panel per layer, by energy or by the particle they belong to. Needs matplotlib."""
    from benchmark.plots.cells import draw_sample

    path = out or Path(f"cells-{event}.png")
    draw_sample(task, dataset, data, split, event, path)
    print(path)


def _states(
    records: Path | None, task: str, metrics: str, labels: str, draw: int, models: str | None
) -> dict[str, np.ndarray]:
    """Model -> counts of its test events, of the newest finished run of each model in its default mode."""
    from collections import Counter

    from benchmark import tasks
    from benchmark.errors import ConfigError
    from benchmark.records.counts import unpack_counts
    from benchmark.records.scored import scored
    from benchmark.records.store import found_records, records_dir

    task_spec = tasks.task(task)
    if task_spec.metrics != metrics:
        fitting = ", ".join(t.name for t in tasks.TASKS.values() if t.metrics == metrics)
        raise ConfigError(f"--task {task} has other scores. One of {fitting} was expected. Correct --task.")
    all_runs, _ = found_records(records or records_dir())
    runs = [
        r for r in sorted(all_runs, key=lambda r: (r.config["mode"] == "fft", r.created, r.fingerprint))
        if r.status == "finished" and r.task["name"] == task_spec.name and r.labels == labels
        and r.config["draw"] == draw and r.config["mode"] in ("scratch", "fft") and r.split == "test"
    ]  # fmt: skip
    n_scored = Counter(scored(r) for r in runs)
    runs = [r for r in runs if scored(r) == n_scored.most_common(1)[0][0]]  # lines of one figure are of the same events
    newest = {r.model: r for r in runs}
    names = sorted(newest) if models is None else models.split(",")
    missing = [name for name in names if name not in newest]
    if missing or not names:
        raise ConfigError(
            f"There is no finished run of {missing[0] if missing else task} with {labels} labels and draw {draw}. One "
            f"of {', '.join(sorted(newest)) or 'any model'} was expected. Type `python -m benchmark leaderboard` for "
            f"what there is."
        )
    return {name: unpack_counts(newest[name].per_event) for name in names}
