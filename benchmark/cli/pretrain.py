"""`pretrain`: self-supervised training alone; a later `run` with the same settings uses the weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from benchmark.cli.app import app, console, known_dataset


@app.command()
def pretrain(
    model: Annotated[
        str, typer.Option(help="Name of a self-supervised model or backbone, or path to a file that binds SPEC.")
    ],
    pretext: Annotated[
        str | None,
        typer.Option(
            help="What a backbone is pre-trained on (see `list pretexts`), or path to a file that binds SPEC."
        ),
    ] = None,
    task: Annotated[
        str, typer.Option(help="Task of the later runs: it decides which points are dropped.")
    ] = "lartpc-segmentation",
    dataset: Annotated[
        str | None, typer.Option(help="Where the events come from; default: the task's own.", callback=known_dataset)
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of the dataset; without it, the cache.")] = None,
    preset: Annotated[
        str, typer.Option(help="default or small (for CPUs), tiny (to try things), paper (as published).")
    ] = "default",
    seed: Annotated[int, typer.Option(help="Initial weights, masks and order of events.")] = 0,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set", help="Change one setting, e.g. --set pretrain.steps=500. Repeatable.", metavar="KEY=VALUE"
        ),
    ] = None,
    probe_every: Annotated[
        int,
        typer.Option(
            help="Steps between scores of a linear SVM on points or tokens (labels of the validation split); 0: none."
        ),
    ] = 0,
    out: Annotated[
        Path | None,
        typer.Option(help="Copy the weights here (.safetensors), their training record beside them (.json)."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[int | None, typer.Option(help="CPU threads; without it, every usable core.")] = None,
    max_minutes: Annotated[float | None, typer.Option(help="Stop after this time; the same command continues.")] = None,
    resume: Annotated[bool, typer.Option(help="Continue an interrupted pre-training of the same settings.")] = True,
    force: Annotated[bool, typer.Option("--force", help="Pre-train again although it is done.")] = False,
    compiled: Annotated[
        bool, typer.Option("--compile", help="Training compiles the blocks of transformers. GPUs only.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the training record as JSON.")] = False,
) -> None:
    """Pre-train a model on unlabelled events; every later run with these settings starts from the weights."""
    from benchmark.hardware.distributed import processes
    from benchmark.runs.config import Request
    from benchmark.runs.execution import Execution
    from benchmark.runs.pretrain import pretrain as carry_out

    request = Request(model, task, dataset, preset, seed=seed, assignments=tuple(set_ or ()), pretext=pretext)
    execution = Execution(
        device, threads, data, max_minutes=max_minutes, resume=resume, force=force,
        compiled=compiled,
    )  # fmt: skip
    result = carry_out(request, execution, out, probe_every)
    if not processes().first:
        return
    if as_json:
        print(json.dumps(result.record, indent=1, sort_keys=True))
        return
    for line in _result_lines(result):
        console().print(line, soft_wrap=True, markup=False, highlight=False)


def _result_lines(result: Any) -> list[str]:
    from benchmark.runs.pretrain import CURVES, RECORD

    r = result.record
    if result.stopped:
        return [f"Stopped at step {r['steps']} of {r['n_steps']}: the same command continues from there."]
    lines = [] if result.fresh else ["This pre-training is already done; --force repeats it."]
    lines.append(
        f"{r['steps']:,} steps on {r['events']:,} events in {r['wall_s'] / 60:.1f} min: loss {r['first_loss']:.4f} at "
        f"first, {r['last_loss']:.4f} over the last tenth"
    )
    for score in r["probe"]["scores"][:1] + r["probe"]["scores"][1:][-1:]:
        scores = ", ".join(
            f"{name} {value:.3f}" for name, value in score.items() if name != "step" and value is not None
        )
        lines.append(f"probe at step {score['step']:,}: {scores}")
    lines += [f"weights: {result.weights}", f"record: {result.folder / RECORD}"]
    lines += [f"curves: {result.folder / CURVES}"] if (result.folder / CURVES).is_file() else []
    return lines + (
        [f"copied to: {result.out} and {result.out.with_suffix('.json')}"] if result.out is not None else []
    )
