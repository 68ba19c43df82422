"""The environment of a run: device, threads, precision, versions, commit. Probed on call."""

from __future__ import annotations

import base64
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from benchmark.errors import ConfigError
from benchmark.io import sha256_file, sha256_text
from benchmark.paths import checkout

PACKAGES = ("particlebench", "torch", "lightning", "numpy", "scipy", "numba", "h5py", "safetensors")


def limit_thread_spinning() -> None:
    """Let waiting OpenMP threads sleep, and limit oneDNN's cache of compiled kernels.

    On a shared CPU spinning threads can slow small steps down tenfold and more. Ragged batches have new shapes in each
    step, and caching a kernel for each shape uses gigabytes after some thousand steps and saves no time.

    Only works before torch is imported, so the command line calls it first; a user's settings take precedence.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "64")


def usable_cores() -> int:
    """CPU cores that this process may use: affinity and OMP_NUM_THREADS respected."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(cores, int(limit))) if limit.isdigit() else cores


def choose_device(requested: str) -> str:
    """`cpu` or `cuda` from `auto`, `cpu` or `cuda`. Raises ConfigError where there is no such device."""
    import torch

    if requested not in ("auto", "cpu", "cuda"):
        raise ConfigError(
            f"--device {requested!r} is not known. One of auto, cpu, cuda was expected. Type --device auto."
        )
    if requested == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            "--device cuda is not possible: torch sees no CUDA device. A CUDA build of torch and a GPU were "
            "expected. Type --device cpu, or `python -m benchmark doctor` for the reason."
        )
    return "cuda" if requested != "cpu" and torch.cuda.is_available() else "cpu"


def choose_precision(requested: str, device: str) -> str:
    """`32` or `bf16` from `auto`, `32` or `bf16`. `auto` takes bf16 (mixed) on GPUs only.

    On a CPU bf16 saves at most a third of a step's time here, and for ragged batches torch's CPU library keeps compiled
    code for every new number of rows, so that memory grows from step to step.
    """
    if requested != "auto":
        return requested
    return "bf16" if device == "cuda" else "32"


def processor() -> str:
    """Name of the CPU."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide results."""
    result = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            result[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    if "particlebench" not in result:
        from benchmark import __version__

        result["particlebench"] = __version__
    return result


def commit() -> dict[str, Any]:
    """Git commit of the suite and whether its tracked code differs from it; records and tables do not count.

    Of an installed wheel, which has no commit: the SHA-256 of its files, and whether one of them was changed.
    """
    root = checkout()
    if not (root / ".git").exists():
        return {"commit": None, **_wheel(root)}
    head = _git(root, "rev-parse", "HEAD")
    changed = _git(root, "status", "--porcelain", "--untracked-files=normal", "--", ".", ":!leaderboards", ":!runs")
    return {"commit": head, "dirty": None if changed is None else bool(changed)}


def _wheel(root: Path) -> dict[str, Any]:
    """`wheel_sha256` of modules and data as the wheel brought them, and `dirty`; unknown for a copy without either."""
    try:
        wheel = metadata.distribution("particlebench")
    except metadata.PackageNotFoundError:
        return {"dirty": None}
    files = {f.as_posix(): f.hash.value for f in wheel.files or () if f.parts[0] == "benchmark" and f.hash is not None}
    if not files or Path(str(wheel.locate_file("benchmark"))).resolve() != root / "benchmark":
        return {"dirty": None}
    listed = "".join(f"{name} {value}\n" for name, value in sorted(files.items()))
    changed = any(_record_hash(root / name) != value for name, value in files.items())
    return {"wheel_sha256": sha256_text(listed), "dirty": changed}


def _record_hash(path: Path) -> str | None:
    """A file's SHA-256, written as in the RECORD of a wheel; None where the file is gone."""
    try:
        digest = bytes.fromhex(sha256_file(path))
    except OSError:
        return None
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def describe_machine(device: str, precision: str, threads: int) -> dict[str, Any]:
    """The machine's entry in a record, with the hash of tiles that were tuned for its GPU."""
    import torch

    from benchmark.hardware.kernels import missing, triton_version
    from benchmark.hardware.tiles import recorded_tiles

    kernels = {"triton": triton_version()} if device == "cuda" and missing() is None else {}
    return {
        "device": device,
        "device_name": torch.cuda.get_device_name() if device == "cuda" else processor(),
        "precision": precision,
        "threads": threads,
        "platform": f"{platform.system()} {platform.machine()}",
        "versions": {**versions(), **kernels},
        **recorded_tiles(device),
        **commit(),
    }


def peak_memory_bytes(device: str) -> int:
    """Largest memory held so far: of the GPU on cuda, else resident memory of this process."""
    if device == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated())
    import resource

    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        process = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, text=True, timeout=20, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return process.stdout.strip()
