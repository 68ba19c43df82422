"""The command line: `python -m benchmark` or `particlebench`. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import errno
import os
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

import typer

from benchmark.cli.app import app
from benchmark.errors import BenchmarkError, one_line

LONGEST = 1500  # characters of a message
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS)
# click's class of usage errors, in any version of typer
_USAGE_ERROR = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")


def add_commands() -> None:
    """Import every command; each file adds its own to `app`."""
    from benchmark.cli import (  # noqa: F401
        checkpoint,
        cite,
        compare,
        curve,
        data,
        display,
        doctor,
        evaluate,
        export,
        fairness,
        leaderboard,
        listing,
        perf,
        plot,
        pretrain,
        run,
        score,
        site,
        study,
        study_models,
        study_volumes,
        submit,
        sweep,
        training_curves,
        transfer,
        tune,
        verify,
    )


def main(arguments: list[str] | None = None) -> None:
    """Run the command line. A user's error is one line on standard error and exit code 2."""
    from benchmark.hardware.environment import limit_thread_spinning
    from benchmark.hardware.signals import INTERRUPTED, TERMINATED, TerminatedError, raise_on_signals, stopped_by

    limit_thread_spinning()
    raise_on_signals()
    threading.excepthook = _show_thread_error
    add_commands()
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in arguments
    try:
        code = app([a for a in arguments if a != "--debug"], prog_name="python -m benchmark", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except TerminatedError:
        code = TERMINATED
    except Exception as error:
        message = _user_message(error)
        code = stopped_by() or 2
        if message is None and code == 2:
            raise
        if debug:
            traceback.print_exc()
        if code == 2:
            print(f"error: {one_line(message or '', LONGEST)}", file=sys.stderr)
    stopped = {INTERRUPTED: "interrupted", TERMINATED: "stopped by SIGTERM"}.get(code)
    if stopped is not None:
        print(f"{stopped}; the same command continues where it stopped", file=sys.stderr)
    if code:
        sys.exit(code)


def _show_thread_error(failed: Any) -> None:
    """One line for a disk that refuses the logs, which threads write; a traceback for a bug."""
    message = _disk_message(failed.exc_value) if isinstance(failed.exc_value, OSError) else None
    if message is None:
        threading.__excepthook__(failed)
    else:
        print(f"warning: {one_line(message, LONGEST)}", file=sys.stderr)


def _user_message(error: Exception) -> str | None:
    """Message of an error that the user can fix; None for a bug."""
    if isinstance(error, BenchmarkError):
        return str(error)
    if isinstance(error, _USAGE_ERROR):
        usage: Any = error
        context = getattr(usage, "ctx", None)
        command = context.command_path if context is not None else "python -m benchmark"
        if type(error).__name__ == "NoArgsIsHelpError":  # a group without its command: show its help
            usage.show()
            sys.exit(usage.exit_code)
        return f"{usage.format_message().rstrip('.')}. Type `{command} --help` for what is expected."
    return _disk_message(error) if isinstance(error, OSError) else None


def _disk_message(error: OSError) -> str | None:
    """Message of a disk that is full or only read, or of a cache that was deleted; None for another error."""
    from benchmark.paths import cache_dir

    name = "" if not isinstance(error.filename, str | bytes) else os.fsdecode(error.filename)
    if error.errno == errno.ENOENT and name and Path(name).is_relative_to(cache_dir()):
        return (
            f"{name} has gone: the cache was deleted while the command ran. It was expected to stay. Repeat the "
            f"command: what was in the cache is made again."
        )
    if error.errno in _NO_ROOM:
        where = f" at {name}" if name else ""
        return (
            f"The disk refused{where}: {error.strerror}. A writable folder with free space was expected. Free some "
            f"space or choose another folder, then repeat the command: it continues where it stopped."
        )
    return None
