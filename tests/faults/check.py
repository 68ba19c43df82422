"""What a fault may not leave: half a file under a final name, a traceback, another result, leftovers after a rerun."""

from __future__ import annotations

import json
import signal
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from safetensors import safe_open

LEFTOVERS = (".*.partial", ".*.earlier", ".work", "*.failed.json", "*.stopped.json", "step=*.ckpt")
NOT_YET = 70  # exit code of a process that was forked and has not come to its command
_ENDED = {"SIGKILL": -9, "SIGTERM": 143, "SIGINT": 130}  # exit codes
_SAID = {"SIGTERM": "stopped by SIGTERM", "SIGINT": "interrupted"}


def half_written(folder: Path) -> list[str]:
    """Files under a final name that cannot be read whole."""
    problems = []
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and not any(part.startswith(".") and part != ".work" for part in parts):
            try:
                _read(path)
            except Exception as error:
                problems.append(f"half-written {'/'.join(parts)} ({type(error).__name__})")
    return problems


def _read(path: Path) -> None:
    if path.suffix == ".json":
        json.loads(path.read_text(encoding="utf-8"))
    elif path.suffix == ".safetensors" and path.read_bytes()[:6] == b"\x93NUMPY":  # of models without tensors
        np.load(path)
    elif path.suffix == ".safetensors":
        with safe_open(path, "numpy") as stream:
            for name in stream.keys():  # noqa: SIM118
                stream.get_tensor(name)
    elif path.suffix in (".ckpt", ".npz"):
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
    elif path.suffix == ".h5":
        with h5py.File(path) as stream:
            stream.visititems(_read_dataset)
    elif path.suffix == ".npy":
        np.load(path)
    elif path.suffix == ".bin":
        json.loads((path.parent / "manifest.json").read_text(encoding="utf-8"))
    elif path.suffix == ".html":
        assert path.read_text(encoding="utf-8").rstrip().endswith("</html>")


def _read_dataset(name: str, value: Any) -> None:
    if isinstance(value, h5py.Dataset):
        _ = value[...]


def misbehaved(kind: str, code: int | None, errors: str) -> list[str]:
    """Problems of how a disturbed command ended: code (None: it hung) and standard error."""
    if code is None:
        return ["it hung"]
    problems = []
    if kind.startswith("SIG"):
        if code not in (0, _ENDED[kind], -getattr(signal, kind), NOT_YET):  # the last two: before the command line
            problems.append(f"exit code {code}")
        if code == _ENDED[kind] and kind in _SAID and _SAID[kind] not in errors:
            problems.append("nothing was said")
    elif kind != "none" and code not in (0, 2):
        problems.append(f"exit code {code}")
    elif kind != "none" and code == 2 and "error: " not in errors:
        problems.append("nothing was said")
    if kind != "SIGKILL" and code != NOT_YET and "Traceback" in errors:
        problems.append(f"traceback: {errors.strip().splitlines()[-1][:150]}")
    return problems


def left_over(folder: Path) -> list[str]:
    """What should have gone after a rerun."""
    found = {path for pattern in LEFTOVERS for path in folder.rglob(pattern)}
    return [f"left over {path.relative_to(folder)}" for path in sorted(found)]


def differs(expected: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Names of what is missing, more, or other."""
    texts = {name: json.dumps(value, sort_keys=True) for name, value in expected.items()}
    others = {name: json.dumps(value, sort_keys=True) for name, value in found.items()}
    wrong = [name for name in sorted({*texts, *others}) if texts.get(name) != others.get(name)]
    return [f"another result: {name}" for name in wrong]
