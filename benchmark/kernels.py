"""Whether the Triton kernels of `cuda/` can be used here: asked by every engine that is made of them."""

from __future__ import annotations

from importlib.util import find_spec

import torch


def missing() -> str | None:
    """Why the kernels cannot be used here, or None."""
    if find_spec("triton") is None:
        return "the package triton is missing: it comes with the CUDA builds of torch for Linux (pytorch.org)"
    if not torch.cuda.is_available():
        return "torch sees no CUDA device: type `python -m benchmark doctor` for the reason"
    return None
