"""A command in a forked process, with at most one fault.

An audit hook sees every file that Python opens for writing, renames or deletes, before it happens: at the k-th of them
the process is killed, or told that the disk is full or only read.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from faults.check import NOT_YET

_CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.chmod", "fcntl.flock", "shutil.rmtree")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@dataclass(frozen=True)
class Fault:
    """What happens at the `call`-th change of a file, or (call 0) `after_s` seconds after the start."""

    kind: str = "none"  # none | SIGKILL | SIGTERM | SIGINT | an errno's name, from this change on
    call: int = 0
    after_s: float = 0.0
    clock_s: float = 0.0  # added to the time of day, from the start
    memory: int = 0  # bytes of address space beyond those at the start; 0: no limit

    def __str__(self) -> str:
        place = f"change {self.call} of a file" if self.call else f"{self.after_s:.2f} s"
        return self.kind if self.kind == "none" else f"{self.kind} at {place}"


class Child:
    """A started command."""

    def __init__(self, words: tuple[str, ...], folder: Path, fault: Fault, name: str = "command") -> None:
        """Output goes to `<name>.out` and `<name>.err` beside the folder; the number of changes to `<name>.calls`."""
        self.folder, self.fault = folder, fault
        self.files = {kind: folder.parent / f"{folder.name}.{name}.{kind}" for kind in ("out", "err", "calls")}
        for path in self.files.values():
            path.unlink(missing_ok=True)
        sys.stdout.flush()
        sys.stderr.flush()
        self.started, self.born = time.monotonic(), time.time()
        self.process = os.fork()
        if self.process == 0:
            try:
                self._run(words)
            finally:
                os._exit(NOT_YET)

    def wait(self, limit_s: float) -> int | None:
        """Exit code as a shell's, negative for a signal; None where it had to be ended after `limit_s`."""
        signal_at = (
            self.started + self.fault.after_s if self.fault.kind.startswith("SIG") and not self.fault.call else None
        )
        while True:
            process, status = os.waitpid(self.process, os.WNOHANG)
            if process:
                return os.waitstatus_to_exitcode(status)
            now = time.monotonic()
            if signal_at is not None and now >= signal_at:
                os.kill(self.process, getattr(signal, self.fault.kind))
                signal_at = None
            if now > self.started + limit_s:
                os.killpg(self.process, signal.SIGKILL)
                os.waitpid(self.process, 0)
                return None
            time.sleep(0.005)

    def left_alone(self, limit_s: float = 15.0) -> bool:
        """Whether its workers have ended with it."""
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            try:
                os.killpg(self.process, 0)
            except ProcessLookupError:
                return True
            time.sleep(0.05)
        os.killpg(self.process, signal.SIGKILL)
        return False

    @property
    def errors(self) -> str:
        """What it wrote to standard error."""
        return self.files["err"].read_text(encoding="utf-8", errors="replace") if self.files["err"].is_file() else ""

    @property
    def n_calls(self) -> int:
        """Changes of files of a command that came to its end."""
        return int(self.files["calls"].read_text())

    def _run(self, words: tuple[str, ...]) -> None:
        os.setpgid(0, 0)
        for number, kind in ((1, "out"), (2, "err")):
            stream = os.open(self.files[kind], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(stream, number)
        for number, name in ((1, "stdout"), (2, "stderr")):
            setattr(sys, name, os.fdopen(os.dup(number), "w", buffering=1, encoding="utf-8"))
        os.chdir(self.folder)
        os.environ["PARTICLEBENCH_CACHE"] = str(self.folder / "cache")
        os.environ.pop("PARTICLEBENCH_RECORDS", None)
        sys.argv = ["benchmark", *words]
        signal.signal(signal.SIGINT, signal.default_int_handler)
        from benchmark.cli import main

        calls = _watch(self.fault)
        if self.fault.clock_s:
            real = time.time
            time.time = lambda: real() + self.fault.clock_s
        if self.fault.memory:
            used = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
            resource.setrlimit(resource.RLIMIT_AS, (used + self.fault.memory,) * 2)
        code = 0
        try:
            main(list(words))
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            import traceback

            traceback.print_exc()
            code = 1
        calls["armed"] = 0
        self.files["calls"].write_text(str(calls["n"]))
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _watch(fault: Fault) -> dict[str, int]:
    """Count changes of files, and make the fault happen at one of them."""
    import errno

    counter = {"n": 0, "armed": 1, "inside": 0}
    number = getattr(signal, fault.kind, 0) if fault.kind.startswith("SIG") else 0
    failure = getattr(errno, fault.kind, 0)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if not counter["armed"] or counter["inside"]:
            return
        if event == "open":
            path, _, flags = arguments
            if not isinstance(path, str | bytes) or not flags & _WRITING or str(path).startswith(("/dev/", "/proc/")):
                return
        elif event not in _CHANGES:
            return
        counter["n"] += 1
        if fault.call and counter["n"] >= fault.call:
            counter["inside"] = 1
            try:
                if number and counter["n"] == fault.call:
                    os.kill(os.getpid(), number)
                if failure and event != "os.remove" and event != "fcntl.flock":
                    raise OSError(failure, os.strerror(failure), str(arguments[0]))
            finally:
                counter["inside"] = 0

    sys.addaudithook(hook)
    return counter
