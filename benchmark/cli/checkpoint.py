"""`checkpoint import|info|upload|download`: convert and show weights, and share them on the Hugging Face hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchmark.cli.app import app, console
from benchmark.cli.evaluate import ModelName

if TYPE_CHECKING:
    from benchmark.checkpoints.load import Checkpoint

checkpoint_app = typer.Typer(
    name="checkpoint", help="Import, look at, share weights.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(checkpoint_app, name="checkpoint")

File = Annotated[Path, typer.Argument(help="A .safetensors file of ours, or a released .ckpt.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@checkpoint_app.command(name="import")
def import_(
    model: Annotated[str, typer.Argument(help="Model that the checkpoint is of, e.g. polarmae or pointmae.")],
    released: Annotated[Path, typer.Argument(help="Lightning checkpoint (.ckpt) of the publication's own code.")],
    out: Annotated[Path, typer.Option(help="The .safetensors file to write.")],
) -> None:
    """Convert a released checkpoint, pre-trained or fine-tuned. Nothing in it is executed."""
    from benchmark.checkpoints.load import open_released

    _check_suffix(out)
    checkpoint = open_released(released, model)
    checkpoint.build()  # fails for weights that cannot be loaded
    checkpoint.save(out)
    _show(_description(checkpoint, out))


@checkpoint_app.command()
def info(file: File, model: ModelName = None, as_json: Json = False) -> None:
    """Show what a checkpoint holds, after checking its checksum, its tensors and its sizes."""
    from benchmark.checkpoints.load import open_checkpoint

    checkpoint = open_checkpoint(file, model)
    checkpoint.build()
    description = _description(checkpoint, file)
    if as_json:
        print(json.dumps(description, indent=1, sort_keys=True))
    else:
        _show(description)


@checkpoint_app.command()
def upload(
    file: Annotated[Path, typer.Argument(help="A .safetensors file of ours.")],
    repository: Annotated[str, typer.Argument(help="owner/name[:file] on the hub; made where it is missing.")],
) -> None:
    """Add a checkpoint to a model repository of the Hugging Face hub, with the token of HF_TOKEN or `hf auth login`."""
    from benchmark import hub
    from benchmark.checkpoints.load import open_checkpoint

    name = hub.parse_name(repository)
    _check_suffix(file)
    open_checkpoint(file).build()  # fails for a damaged file
    target = name.file or file.name
    print(hub.upload(file, name.repo, target))
    print(f"Use it with: --checkpoint hub:{name.repo}:{target}")


@checkpoint_app.command()
def download(
    repository: Annotated[str, typer.Argument(help="owner/name[@revision][:file] on the hub.")],
    out: Annotated[Path, typer.Option(help="File to write: .safetensors, or .ckpt for a released one.")],
) -> None:
    """Fetch a checkpoint from the Hugging Face hub: resumable, checked by its hash, and by its own checksum."""
    import shutil

    from benchmark import hub
    from benchmark.checkpoints.lightning import read_lightning
    from benchmark.checkpoints.load import RELEASED_SUFFIX, open_checkpoint
    from benchmark.io import atomic_path

    name = hub.parse_name(repository.removeprefix(hub.PREFIX))
    fetched = hub.download(name)
    _check_suffix(out, fetched.suffix)
    description = None
    if fetched.suffix == RELEASED_SUFFIX:
        read_lightning(fetched)  # fails for a damaged file; the format does not name its model
    else:
        description = _description(open_checkpoint(fetched), out)
    with atomic_path(out) as partial:
        shutil.copyfile(fetched, partial)
    _show(description or {"file": str(out), "bytes": out.stat().st_size})


def _check_suffix(path: Path, suffix: str = ".safetensors") -> None:
    from benchmark.errors import ConfigError

    if path.suffix != suffix:
        raise ConfigError(
            f"{path} does not end in {suffix}. A name with the ending of its format was expected. Type "
            f"{path.with_suffix(suffix)}."
        )


def _description(checkpoint: Checkpoint, path: Path) -> dict[str, Any]:
    from benchmark.contracts.safetensors_io import tensors_sha256

    manifest = checkpoint.manifest
    return {
        "file": str(path),
        "model": manifest.model,
        **({"pretext": manifest.pretext} if manifest.pretext else {}),
        "stage": manifest.stage,
        "task": f"{manifest.task} (version {manifest.task_version})",
        "tensors": len(checkpoint.state),
        "parameters and buffers": sum(t.numel() for t in checkpoint.state.values()),
        "sha256 of the tensors": tensors_sha256(checkpoint.state),
        "batch size": manifest.batch_size,
        **{
            name: dict(getattr(manifest, field))
            for name, field in (
                ("origin", "origin"), ("training", "training"), ("model config", "model_config"),
                ("preprocess", "preprocess"), ("frame", "frame"), ("versions", "versions"),
            )
        },
    }  # fmt: skip


def _show(description: dict[str, Any]) -> None:
    from benchmark.reports.fitted_table import facts_table

    console().print(facts_table(description))
