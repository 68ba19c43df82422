"""What a backend of sparse convolution computes, and which one does it here.

Kernels have one layout everywhere, (offsets, channels in, channels out), the first spatial axis fastest, so weights
move between backends. A backend other than ours must pass `conformance` on the device at hand before it is used.
"""

from __future__ import annotations

from functools import cache

import torch

from benchmark.errors import BenchmarkError, unknown_name
from benchmark.sparse.backend import SparseBackend

BACKENDS = ("native", "triton", "spconv", "spconv-triton", "minkowski")


@cache
def backend(name: str) -> SparseBackend:
    """The backend of this name, whether or not it can be used here. Raises UnknownNameError."""
    if name == "native":
        from benchmark.sparse.native import Native

        return Native()
    if name == "triton":
        from benchmark.sparse.triton import Triton

        return Triton()
    if name == "spconv":
        from benchmark.sparse.spconv import Spconv

        return Spconv()
    if name == "spconv-triton":
        from benchmark.sparse.spconv import SpconvTriton

        return SpconvTriton()
    if name == "minkowski":
        from benchmark.sparse.minkowski import Minkowski

        return Minkowski()
    raise unknown_name("sparse backend", name, ("auto", *BACKENDS), "Type `python -m benchmark list backends`.")


def choose(name: str, device: str | torch.device) -> SparseBackend:
    """The backend that `name` means on a device; `auto` takes triton on GPUs where it can be used, else native.

    Raises UnknownNameError, and BenchmarkError with the reason where a named one is missing or computes wrong results.
    """
    kind = torch.device(device).type
    if name == "auto":
        return backend("triton") if kind == "cuda" and unusable("triton", kind) is None else backend("native")
    reason = unusable(name, kind)
    if reason is not None:
        raise BenchmarkError(
            f"The sparse backend {name} cannot be used on this {kind} device: {reason}. A backend that computes what "
            f"a dense convolution does was expected. Choose native, which always can, or auto."
        )
    return backend(name)


@cache
def unusable(name: str, kind: str) -> str | None:
    """Why a backend cannot be used on a kind of device (cpu, cuda), or None. Tried once per process."""
    candidate = backend(name)
    if name == "native":
        return None
    from benchmark.sparse.conformance import mismatch_reason

    return candidate.available() or mismatch_reason(candidate, torch.device(kind))
