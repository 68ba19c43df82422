"""SIGTERM (scancel, a time limit, docker stop) ends a command as Ctrl-C does; workers end with their parent."""

from __future__ import annotations

import ctypes
import signal
import sys
import threading
from typing import Any

TERMINATED, INTERRUPTED = 128 + signal.SIGTERM, 128 + signal.SIGINT  # exit codes, as shells report these signals
_arrived: list[int] = []
_PR_SET_PDEATHSIG = 1  # of prctl(2)


class TerminatedError(BaseException):
    """SIGTERM has arrived. Not an Exception: nothing but the command line handles it."""


def raise_on_signals() -> None:
    """From now on SIGTERM raises TerminatedError in the main thread, so that files and workers are cleaned up.

    SIGINT raises KeyboardInterrupt as before, and is remembered: libraries can turn either into another exception.
    """
    _arrived.clear()
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _raise)
        sys.unraisablehook = _raise_again
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # it is ignored in the background
            signal.signal(signal.SIGINT, _interrupt)


def stopped_by() -> int:
    """Exit code of the signal that has arrived; 0 for none."""
    return 128 + _arrived[0] if _arrived else 0


def _interrupt(number: int, frame: Any) -> None:
    _arrived.append(number)
    raise KeyboardInterrupt


def _raise_again(unraisable: Any) -> None:
    """Python swallows what is raised in a destructor: raise it a moment later, outside of it."""
    if unraisable.exc_type is TerminatedError:
        signal.signal(signal.SIGALRM, _raise)
        signal.setitimer(signal.ITIMER_REAL, 0.02)
    else:
        sys.__unraisablehook__(unraisable)


def _raise(number: int, frame: Any) -> None:
    _arrived.append(signal.SIGTERM)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second one must not interrupt the cleaning up
    raise TerminatedError


def end_with_parent() -> None:
    """Ask the kernel to send this worker SIGTERM when its parent ends, however that ends. Linux only."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
