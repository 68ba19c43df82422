"""Reads files of strangers in a process of its own, with limits of processor time and memory.

On some damaged files the HDF5 library loops for ever or crashes, which neither Ctrl-C nor an exception ends, and a few
bytes of a pickle or of a ROOT file can ask for gigabytes. What such a reader finds is kept (a pack, a schema), so each
content is read this way once, and again only when it has changed.

The process gets `{"task": "module:function", "arguments": [...], "folder": ...}` and its limits on its standard input.
It answers with lines of JSON: `done` (a count), and at last `result`, `refused` (the sentence of a BenchmarkError),
`memory` (too little) or `failed` (a traceback).
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmark.errors import BenchmarkError, DataError
from benchmark.hardware.signals import end_with_parent
from benchmark.paths import checkout

SECONDS = 5  # of processor time (a slow disk does not count), and
SECONDS_PER_MB = 1  # more for each MB of the files
MEMORY_MB = 400  # beyond what the process has when it starts, and
MEMORY_PER_BYTE = 16  # more for each byte of the files: a list of numbers takes up to 8 times its pickle
_MB = 1 << 20
# threads, and their parts of the heap, take room from the limit of memory
_ONE_THREAD = {
    **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1"),
    **{"ZARR_THREADING__MAX_WORKERS": "1", "BLOSC_NTHREADS": "1", "MALLOC_ARENA_MAX": "1"},
}


def guarded(
    task: str, arguments: Sequence[Any], paths: Sequence[Path], report: Callable[[int], object] = lambda n_done: None
) -> Any:
    """What a task (`module:function`, called with a function that reports and the arguments) returns, as JSON.

    paths: the files, or folders of Zarr, that it reads. `report` gets the counts that the task reports; a task of
    several files reports the number that it has finished, by which the one at fault is found. Raises DataError: the
    task's own, or one for a file on which the reader crashes or goes beyond the limits.
    """
    n_bytes = sum(map(_size, paths))
    request: dict[str, Any] = {"task": task, "arguments": list(arguments), "folder": os.getcwd()}
    request |= {"seconds": _seconds(n_bytes), "memory": _memory(n_bytes)}
    n_done = 0
    command = [sys.executable, "-m", "benchmark.hardware.guarded"]
    environment = {**os.environ, **_ONE_THREAD}
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **pipes, text=True, encoding="utf-8", cwd=checkout(), env=environment) as process:
        to_child: Any = process.stdin
        from_child: Any = process.stdout
        try:
            with contextlib.suppress(BrokenPipeError):
                json.dump(request, to_child)
                to_child.close()
            for answer in map(json.loads, from_child):
                if "done" not in answer:
                    return _result(answer, paths[min(n_done, len(paths) - 1)], n_bytes)
                n_done = answer["done"]
                report(n_done)
        finally:
            process.kill()
    raise _unreadable(paths[min(n_done, len(paths) - 1)], _end(process.returncode, n_bytes))


def _result(answer: dict[str, Any], path: Path, n_bytes: int) -> Any:
    if "memory" in answer:
        needed = f"more than {_memory(n_bytes) // _MB:,} MB of memory, far more than its {_size(path):,} bytes"
        raise _unreadable(path, f"its reader needs {needed}")
    if "refused" in answer:
        raise DataError(answer["refused"])
    if "failed" in answer:  # a fault of the reader, not of the file
        raise RuntimeError(answer["failed"])
    return answer["result"]


def _end(code: int, n_bytes: int) -> str:
    if code == -getattr(signal, "SIGXCPU", 0):
        return f"its reader does not come to an end (stopped after {_seconds(n_bytes)} s of processor time)"
    if code == -signal.SIGKILL:
        return "its reader was killed, as systems do that run out of memory"
    return f"its reader crashes ({signal.Signals(-code).name if code < 0 else f'exit code {code}'})"


def _unreadable(path: Path, problem: str) -> DataError:
    return DataError(f"{path} cannot be read: {problem}. A whole file was expected. Fetch or write the file again.")


def _size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(f.lstat().st_size for f in path.rglob("*")) if path.is_dir() else path.stat().st_size


def _seconds(n_bytes: int) -> int:
    return SECONDS + SECONDS_PER_MB * n_bytes // _MB


def _memory(n_bytes: int) -> int:
    return MEMORY_MB * _MB + MEMORY_PER_BYTE * n_bytes


def _limit(seconds: int, memory: int) -> None:
    """Set the limits of this process. They are those of Unix."""
    try:
        import resource
    except ImportError:
        return
    pages = Path("/proc/self/statm")
    now = int(pages.read_text().split()[0]) * resource.getpagesize() if pages.is_file() else 0
    for kind, value in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, seconds),
        *([(resource.RLIMIT_AS, now + memory)] if now else []),
    ):
        _, most = resource.getrlimit(kind)
        resource.setrlimit(kind, (value if most == resource.RLIM_INFINITY else min(value, most), most))


def _answer(request: dict[str, Any], say: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    module, _, function = request["task"].partition(":")
    task = getattr(importlib.import_module(module), function)
    os.chdir(request["folder"])  # not earlier: Python imports from the folder that a process starts in
    _limit(request["seconds"], request["memory"])
    try:
        return {"result": task(lambda n_done: say({"done": n_done}), *request["arguments"])}
    except BenchmarkError as error:
        return {"refused": str(error)}
    except MemoryError:
        return {"memory": "too little"}
    except Exception:
        return {"failed": traceback.format_exc()}


def main() -> None:
    """Answer one request."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    end_with_parent()
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what libraries print is no answer

    def say(answer: dict[str, Any]) -> None:
        print(json.dumps(answer), file=answers, flush=True)

    say(_answer(json.load(sys.stdin), say))


if __name__ == "__main__":
    main()
