"""SIGTERM (scancel, a time limit, docker stop) ends a command as Ctrl-C does; workers end with their parent."""

from __future__ import annotations

import ctypes
import signal
import sys
import threading
from typing import Any

EXIT_CODE = 128 + signal.SIGTERM  # what a shell reports of a program that SIGTERM has ended
_PR_SET_PDEATHSIG = 1  # of prctl(2)


class TerminatedError(BaseException):
    """SIGTERM has arrived. Not an Exception: nothing but the command line handles it."""


def raise_on_sigterm() -> None:
    """From now on SIGTERM raises TerminatedError in the main thread, so that files and workers are cleaned up."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _raise)
        sys.unraisablehook = _raise_again


def _raise_again(unraisable: Any) -> None:
    """Python swallows what is raised in a destructor: raise it a moment later, outside of it."""
    if unraisable.exc_type is TerminatedError:
        signal.signal(signal.SIGALRM, _raise)
        signal.setitimer(signal.ITIMER_REAL, 0.02)
    else:
        sys.__unraisablehook__(unraisable)


def _raise(number: int, frame: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not interrupt the cleaning up
    raise TerminatedError


def end_with_parent() -> None:
    """Ask the kernel to send this worker SIGTERM when its parent ends, however that ends. Linux only."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
