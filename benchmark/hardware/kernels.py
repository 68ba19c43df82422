"""Whether the Triton kernels of `cuda/` can be used here."""

from __future__ import annotations

from importlib import metadata
from importlib.util import find_spec

import torch

OLDEST = (3, 3)  # oldest Triton version with all needed features; comes with torch 2.7


def missing() -> str | None:
    """Why the kernels cannot be used here, or None."""
    if find_spec("triton") is None:
        return "the package triton is missing: it comes with the CUDA builds of torch for Linux (pytorch.org)"
    if not torch.cuda.is_available():
        return "torch sees no CUDA device: type `python -m benchmark doctor` for the reason"
    version = triton_version()
    if tuple(int(number) for number in version.split(".")[:2]) < OLDEST:
        return f"triton {version} is older than 3.3: install torch 2.7 or newer, which brings a newer one"
    return None


def triton_version() -> str:
    """Triton's version, under either of its package names."""
    try:
        return metadata.version("triton")
    except metadata.PackageNotFoundError:
        return metadata.version("pytorch-triton")  # of nightly builds
