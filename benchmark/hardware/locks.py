"""One process at a time on a folder: a second one says whom it waits for, and goes on when the first has ended.

A lock is the kernel's, on an open file (`flock`; on a folder shared over a network, NFS makes it a lock of the server),
so that a process which is killed holds none. The file names its holder and is deleted with the lock.
"""

from __future__ import annotations

import contextlib
import errno
import os
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from benchmark.errors import RecordError
from benchmark.progress import to_stderr

fcntl: Any
try:
    import fcntl
except ImportError:  # Windows: no locks
    fcntl = None

LOCK = ".lock"  # name of the lock of a folder, inside it
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)  # of a file system


@contextmanager
def locked(file: Path, subject: str, say: Callable[[str], None] = to_stderr) -> Iterator[None]:
    """Hold the lock `file` inside the block; where another process holds it, say so and wait.

    subject: what only one process may write, for the message. Where the file system has no locks, the block runs
    without one. Raises RecordError where the file cannot be made.
    """
    stream = None if fcntl is None else _acquire(file, subject, say)
    try:
        yield
    finally:
        if stream is not None:
            with contextlib.suppress(OSError):  # deleted while it is held: whoever waits for it sees that it has gone
                file.unlink()
            fcntl.flock(stream, fcntl.LOCK_UN)  # for worker processes too, which inherit the open file
            stream.close()


@contextmanager
def locked_folder(
    folder: Path, subject: str, say: Callable[[str], None] = to_stderr, leftovers: str = ".*.partial"
) -> Iterator[None]:
    """As `locked`, of a folder and its lock `.lock`. What a killed process left in it, by its pattern, is deleted."""
    with locked(folder / LOCK, subject, say):
        for path in folder.glob(leftovers):
            path.unlink(missing_ok=True)
        yield


def _acquire(file: Path, subject: str, say: Callable[[str], None]) -> IO[str] | None:
    """The open file with its lock; None where there are no locks."""
    is_told = False
    while True:
        stream = _open(file)
        try:
            if not _lock_now(stream):
                if not is_told:
                    say(f"another process ({_holder(file)}) works on {subject}: waiting until it has ended")
                is_told = True
                fcntl.flock(stream, fcntl.LOCK_EX)
            if _is_at(stream, file):
                stream.truncate(0)
                stream.write(f"{os.getpid()} on {platform.node()}")
                stream.flush()
                return stream
            stream.close()  # its holder deleted it: the next holder makes a new one
        except BaseException as error:
            stream.close()
            if isinstance(error, OSError) and error.errno in _NO_LOCKS:
                return None
            raise


def _open(file: Path) -> IO[str]:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        return file.open("a", encoding="utf-8")
    except OSError as error:
        raise RecordError(
            f"{file.parent} could not be written: {error.strerror or error}. A writable folder with free space was "
            f"expected. Free some space or choose another folder, then repeat the command."
        ) from error


def _lock_now(stream: IO[str]) -> bool:
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(stream: IO[str], file: Path) -> bool:
    """Whether the open file is still the one at this path."""
    try:
        return os.path.samestat(os.fstat(stream.fileno()), file.stat())
    except FileNotFoundError:
        return False


def _holder(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8") or "just started"
    except OSError:
        return "just ended"
