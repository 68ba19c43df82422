"""The application of all commands, and the console for tables."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

_HELP = """One fair benchmark for models of particle images: same labelled events, same counting, error bars.

\b
Start here:
  python -m benchmark run --model polarmae --labels 100
      the main job: train, score, and a table of F1 per class
  python -m benchmark list          models, baselines, datasets, tasks, backends
  python -m benchmark leaderboard   everything that has been run so far
  python -m benchmark doctor        what this machine has, and what is missing
"""

app = typer.Typer(
    name="benchmark",
    help=_HELP,
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120},
)
data_app = typer.Typer(
    name="data", help="Get, look at, or simulate events.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(data_app, name="data")


def _print_version(requested: bool) -> None:
    if requested:
        from benchmark import __version__

        print(f"particlebench {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Options of every command. `--debug` is read by `main`."""


def known_dataset(value: str | None) -> str | None:
    """The value of --dataset; loads a file, so that its tasks are known."""
    if value is not None and value.endswith(".py"):
        from benchmark import registry

        registry.dataset_spec(value)
    return value


def typed_command() -> list[str]:
    """The command as it was typed, with paths as records write them."""
    from benchmark.paths import PROGRAM, shown_path

    return [*PROGRAM, *(shown_path(word) for word in sys.argv[1:])]


def console() -> Console:
    """Console for tables; 200 columns wide where the output is not a terminal."""
    from rich.console import Console

    has_width = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(markup=False) if has_width else Console(markup=False, width=200)
