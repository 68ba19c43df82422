"""Who carries out the searches behind grouping. Every engine gives the same indices; they differ in speed and device.

An engine works on the events of a batch at once, each a float32 array of its own, so that one that runs on a GPU can
pad or concatenate them as it likes. It has to supply farthest points, balls and nearest neighbours; suppression and
thinning then follow from these. An engine with kernels of its own for a whole step overrides that step.
"""

from __future__ import annotations

from benchmark.errors import BenchmarkError, unknown_name
from benchmark.ops.engine import Engine
from benchmark.ops.native import NATIVE

ENGINES = ("native", "triton", "pytorch3d")


def engine(name: str) -> Engine:
    """The engine of this name. Raises UnknownNameError, or BenchmarkError with the remedy where it cannot be used."""
    if name not in ENGINES:
        raise unknown_name("grouping engine", name, ENGINES, "Type `python -m benchmark list backends`.")
    if name == "native":
        return NATIVE
    found = _optional(name)
    reason = found.available()
    if reason is not None:
        raise BenchmarkError(f"The grouping engine {name} cannot be used: {reason}. Or choose the engine native.")
    return found


def _optional(name: str) -> Engine:
    if name == "triton":
        from benchmark.ops.triton import Triton

        return Triton()
    from benchmark.ops._pytorch3d import Pytorch3d

    return Pytorch3d()
