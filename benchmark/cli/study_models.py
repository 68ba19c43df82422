"""`study features`, `attention`, `reconstruction`, `ablation`, ...: studies of models, with figures."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from benchmark.cli.study_app import DatasetName, Folder, Out, Split, finish, study_app

if TYPE_CHECKING:
    from benchmark.studies.encoders import EncoderRequest

OwnDataset = Annotated[str | None, typer.Option("--dataset", help="Where the events come from; default: simulated.")]
Model = Annotated[str, typer.Option(help="A self-supervised model on tokens (see `list models`), or path to a file.")]
Checkpoint = Annotated[Path | None, typer.Option(help="Pre-trained weights (.safetensors) of this model and preset.")]
PresetName = Annotated[str, typer.Option("--preset", help="Of the model; the one that the weights were made with.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Threads = Annotated[int | None, typer.Option(help="CPU threads; without it, every usable core.")]
Token = Annotated[int | None, typer.Option(help="Number of the token; without it, one of the largest particle.")]
Point = Annotated[str | None, typer.Option(help="Instead of --token: the token nearest to it.", metavar="X,Y,Z")]
Layer = Annotated[int | None, typer.Option(help="Only this layer, numbered from 0.")]
Head = Annotated[str | None, typer.Option(help="Only this head, numbered from 0, or `mean`.")]
MaskRatio = Annotated[float | None, typer.Option(help="Share of tokens hidden; without it, the model's own.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Change one setting of model or data. Repeatable.", metavar="KEY=VALUE"),
]
Seed = Annotated[int, typer.Option(help="Of the untrained weights, the mask, and the choice of events fitted on.")]
EventList = Annotated[str, typer.Option("--event", help="Numbers in the split, e.g. 0 or 0,3,5-7.", metavar="LIST")]
Event = Annotated[str, typer.Option("--event", help="Number in the split.", metavar="NUMBER")]
FitEvents = Annotated[int, typer.Option("--fit-events", min=2, help="Training events for what is fitted, not shown.")]


@study_app.command()
def features(
    model: Model, checkpoint: Checkpoint = None, preset: PresetName = "default", dataset: OwnDataset = None,
    data: Folder = None, split: Split = "test", event: EventList = "0-2", fit_events: FitEvents = 64,
    debias: Annotated[bool, typer.Option(help="Subtract what a token's position alone predicts.")] = True,
    seed: Seed = 0, device: Device = "auto", threads: Threads = None, set_: Set = None, out: Out = None,
) -> None:  # fmt: skip
    """Features of tokens as colours, beside an encoder with random weights and the truth."""
    from benchmark.studies.encoders import open_encoders, open_volume_encoders, positions
    from benchmark.studies.features import features_study
    from benchmark.studies.volume_features import volume_features_study

    shown_positions = positions(event)
    request = _encoder_request(model, checkpoint, preset, dataset, data, split, seed, device, threads, set_)
    if request.of_volumes:
        tiles = open_volume_encoders(request, fit_events)
        finish(volume_features_study(tiles, shown_positions, debias), out, tiles.choose(shown_positions), tiles.device)
        return
    encoders = open_encoders(request, fit_events)
    finish(features_study(encoders, shown_positions, debias), out, encoders.choose(shown_positions), encoders.device)


@study_app.command()
def attention(
    model: Model, checkpoint: Checkpoint = None, preset: PresetName = "default", dataset: OwnDataset = None,
    data: Folder = None, split: Split = "test", event: Event = "0",
    token: Token = None, point: Point = None, layer: Layer = None, head: Head = None,
    seed: Seed = 0, device: Device = "auto", threads: Threads = None, set_: Set = None, out: Out = None,
) -> None:  # fmt: skip
    """What one token attends to, in every layer and head."""
    from benchmark.errors import ConfigError
    from benchmark.studies.attention import attention_study
    from benchmark.studies.encoders import one_position, open_encoders, open_volume_encoders, point_position
    from benchmark.studies.volume_attention import volume_attention_study

    position, point_coords = one_position(event), None if point is None else point_position(point)
    request = _encoder_request(model, checkpoint, preset, dataset, data, split, seed, device, threads, set_)
    if request.of_volumes:
        if point is not None:
            raise ConfigError(
                f"--point {point} is for clouds of points. The number of a token was expected. Type --token 312."
            )
        tiles = open_volume_encoders(request)
        study = volume_attention_study(tiles, position, token, layer, head)
        finish(study, out, tiles.choose([position]), tiles.device)
        return
    encoders = open_encoders(request)
    study = attention_study(encoders, position, token, point_coords, layer, head)
    finish(study, out, encoders.choose([position]), encoders.device)


@study_app.command()
def reconstruction(
    model: Model, checkpoint: Checkpoint = None, preset: PresetName = "default", dataset: OwnDataset = None,
    data: Folder = None, split: Split = "test", event: EventList = "0-1",
    mask_ratio: MaskRatio = None, fit_events: FitEvents = 32, seed: Seed = 0, device: Device = "auto",
    threads: Threads = None, set_: Set = None, out: Out = None,
) -> None:  # fmt: skip
    """Points that a masked autoencoder predicts for hidden tokens, and how far off they are."""
    from benchmark.studies.encoders import open_encoders, open_volume_encoders, positions
    from benchmark.studies.reconstruction import reconstruction_study
    from benchmark.studies.volume_reconstruction import volume_reconstruction_study

    shown_positions = positions(event)
    changes = [*(set_ or ()), *([] if mask_ratio is None else [f"model.mask_ratio={mask_ratio}"])]
    request = _encoder_request(model, checkpoint, preset, dataset, data, split, seed, device, threads, changes)
    if request.of_volumes:
        tiles = open_volume_encoders(request, whole=True)
        finish(volume_reconstruction_study(tiles, shown_positions), out, tiles.choose(shown_positions), tiles.device)
        return
    encoders = open_encoders(request, fit_events, whole=True)
    finish(reconstruction_study(encoders, shown_positions), out, encoders.choose(shown_positions), encoders.device)


@study_app.command()
def ablation(
    model: Model = "polarmae", preset: PresetName = "default", dataset: DatasetName = "lartpc-sim", data: Folder = None,
    steps: Annotated[int, typer.Option(help="Of pre-training, for every strategy.")] = 250,
    labels: Annotated[str, typer.Option(help="Events that the probe is fitted on.", metavar="N|all")] = "100",
    seeds: Annotated[int, typer.Option(help="Repetitions, each with weights of its own.")] = 1,
    device: Device = "auto", threads: Threads = None, set_: Set = None, out: Out = None,
) -> None:  # fmt: skip
    """Grouping strategies by the score of the token probe: pre-trains the model once per strategy."""
    from benchmark.runs.execution import Execution
    from benchmark.studies.ablation import Plan, ablation_study

    folder = out or Path("runs") / "studies" / "ablation"
    execution = Execution(device, threads, data, folder / "records", folder / "runs")
    plan = Plan(model, preset, dataset, steps, labels, seeds, tuple(set_ or ()))
    finish(ablation_study(plan, execution, lambda text: print(text, file=sys.stderr, flush=True)), folder, None)


@study_app.command()
def masking(
    model: Annotated[str, typer.Option(help="A model that predicts hidden tokens.")] = "volume_mae",
    preset: PresetName = "default", dataset: OwnDataset = None, data: Folder = None,
    ratios: Annotated[str, typer.Option(help="Shares of tokens that are hidden.", metavar="LIST")] = "0.2,0.4,0.6",
    steps: Annotated[int, typer.Option(help="Of training, for every kind of mask.")] = 300,
    labels: Annotated[str, typer.Option(help="Tiles to learn from.", metavar="N|all")] = "all",
    seeds: Annotated[int, typer.Option(help="Repetitions, each with weights of its own.")] = 1,
    device: Device = "auto", threads: Threads = None, set_: Set = None, out: Out = None,
) -> None:  # fmt: skip
    """Share and choice of hidden tokens: trains the model once per kind of mask, and scores it beside inpainting."""
    from benchmark.runs.execution import Execution
    from benchmark.studies.masking import Plan, masking_study, shares

    folder = out or Path("runs") / "studies" / "masking"
    execution = Execution(device, threads, data, folder / "records", folder / "runs")
    plan = Plan(model, preset, dataset, shares(ratios), steps=steps, labels=labels, n_seeds=seeds,
                assignments=tuple(set_ or ()))  # fmt: skip
    finish(masking_study(plan, execution, lambda text: print(text, file=sys.stderr, flush=True)), folder, None)


@study_app.command()
def recipes(
    model: Annotated[str, typer.Option(help="A model that is trained step by step.")] = "pointnet",
    task: Annotated[str, typer.Option(help="A classification.")] = "cell-to-track",
    dataset: Annotated[str | None, typer.Option(help="Where the events come from; default: the task's own.")] = None,
    data: Folder = None, preset: PresetName = "default",
    labels: Annotated[str, typer.Option(help="Labelled events.", metavar="N|all")] = "1000",
    steps: Annotated[int, typer.Option(help="Of training, for every recipe.")] = 600,
    every: Annotated[int, typer.Option(help="Steps between scores.")] = 50,
    events: Annotated[int, typer.Option(help="Validation events that are scored.")] = 200,
    positive_weight: Annotated[float, typer.Option(help="Of the weighted cross-entropy.")] = 2.0,
    grid: Annotated[bool, typer.Option("--grid", help="Every combination, not only the published ones.")] = False,
    device: Device = "auto", threads: Threads = None, set_: Set = None, out: Out = None,
) -> None:  # fmt: skip
    """Losses, optimisers and schedules: scores on validation events as training goes on, beside trivial baselines."""
    from benchmark.runs.execution import Execution
    from benchmark.studies.recipes import Plan, recipes_study

    folder = out or Path("runs") / "studies" / "recipes"
    execution = Execution(device, threads, data, runs=folder / "runs")
    changes = tuple(set_ or ())
    plan = Plan(model, task, dataset, preset, labels, steps, every, events, positive_weight, grid, changes)
    finish(recipes_study(plan, execution, lambda text: print(text, file=sys.stderr, flush=True)), folder, None)


def _encoder_request(
    model: str, checkpoint: Path | None, preset: str, dataset: str | None, data: Path | None, split: str, seed: int,
    device: str, threads: int | None, set_: list[str] | None,
) -> EncoderRequest:  # fmt: skip
    from benchmark.studies.encoders import EncoderRequest

    return EncoderRequest(model, checkpoint, preset, dataset, data, split, seed, device, threads, tuple(set_ or ()))
