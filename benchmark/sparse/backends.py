"""The backends of sparse convolution by name, and the choice for a device.

Kernels have one layout everywhere, (offsets, channels in, channels out), the first spatial axis fastest, so weights
move between backends. Backends other than `native` must pass `conformance` on the device at hand before it is used.
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
    """The backend of this name on a device; `auto` is triton on GPUs where it can be used, else native.

    Raises UnknownNameError, and BenchmarkError with the reason where a named one is missing or computes wrong results.
    """
    device_type = torch.device(device).type
    if name == "auto":
        return (
            backend("triton")
            if device_type == "cuda" and unusable("triton", device_type) is None
            else backend("native")
        )
    reason = unusable(name, device_type)
    if reason is not None:
        raise BenchmarkError(
            f"The sparse backend {name} cannot be used on this {device_type} device: {reason}. A backend that gives "
            f"the results of a dense convolution was expected. Choose native, or auto."
        )
    return backend(name)


@cache
def unusable(name: str, device_type: str) -> str | None:
    """Why a backend cannot be used on a device type (cpu, cuda), or None. Tested once per process."""
    candidate = backend(name)
    if name == "native":
        return None
    from benchmark.sparse.conformance import mismatch_reason

    return candidate.available() or mismatch_reason(candidate, torch.device(device_type))
