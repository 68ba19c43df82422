"""The command line: `python -m benchmark` or `particlebench`. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from typing import TYPE_CHECKING, Annotated, Any

import typer

from benchmark.errors import BenchmarkError

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

INTERRUPTED = 130  # exit code of a program ended by Ctrl-C
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)
# click's class of usage errors, wherever this version of typer keeps it
_USAGE_ERROR = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")

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


def _version(asked: bool) -> None:
    if asked:
        from benchmark import __version__

        print(f"particlebench {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Options of every command. `--debug` is read by `main`."""


def add_commands() -> None:
    """Each file of this folder adds its command to `app` when it is imported."""
    from benchmark.cli import (  # noqa: F401
        checkpoint,
        compare,
        curve,
        data,
        display,
        doctor,
        evaluate,
        fairness,
        leaderboard,
        listing,
        perf,
        plot,
        pretrain,
        run,
        site,
        study,
        sweep,
        training_curves,
        transfer,
        tune,
        verify,
    )


def main(arguments: list[str] | None = None) -> None:
    """Run the command line. A user's error is one line on standard error and exit code 2."""
    from benchmark.environment import calm_torch

    calm_torch()
    add_commands()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    try:
        code = app([a for a in arguments if a != "--debug"], prog_name="python -m benchmark", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except Exception as error:
        message = _message(error)
        if message is None:
            raise
        if debug:
            traceback.print_exc()
        print(f"error: {' '.join(message.split())}", file=sys.stderr)
        sys.exit(2)
    if code == INTERRUPTED:
        print("interrupted; the same command continues where it stopped", file=sys.stderr)
    if code:
        sys.exit(code)


def console() -> Console:
    """Where tables go. Output that is no terminal has no width of its own: wide enough then to cut nothing."""
    from rich.console import Console

    narrow = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(markup=False) if narrow else Console(markup=False, width=200)


def _message(error: Exception) -> str | None:
    """What a user is told of an error that is not the program's own; None for one that is."""
    if isinstance(error, BenchmarkError):
        return str(error)
    if isinstance(error, _USAGE_ERROR):
        usage: Any = error
        context = getattr(usage, "ctx", None)
        command = context.command_path if context is not None else "python -m benchmark"
        if type(error).__name__ == "NoArgsIsHelpError":  # a group without its command: show what there is
            usage.show()
            sys.exit(usage.exit_code)
        return f"{usage.format_message().rstrip('.')}. Type `{command} --help` for what is expected."
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        where = f" at {error.filename}" if error.filename else ""
        return (
            f"The disk refused{where}: {error.strerror}. A writable folder with free space was expected. Free some "
            f"space or choose another folder, then repeat the command: it continues where it stopped."
        )
    return None
