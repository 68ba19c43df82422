"""The grouping engines by name. All give the same indices; they differ in speed and device."""

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
    loaded = _load_optional(name)
    reason = loaded.available()
    if reason is not None:
        raise BenchmarkError(f"The grouping engine {name} cannot be used: {reason}. Or choose the engine native.")
    return loaded


def _load_optional(name: str) -> Engine:
    if name == "triton":
        from benchmark.ops.triton import Triton

        return Triton()
    from benchmark.ops._pytorch3d import Pytorch3d

    return Pytorch3d()
