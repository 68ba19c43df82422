"""Shared by every launch: device check, number of programs that fill it, exact float32 arithmetic."""

from __future__ import annotations

import os
from functools import cache

import torch
from torch import Tensor

from benchmark.errors import BenchmarkError

# Multiplication and addition stay apart: fused, they would move points that lie exactly on a sphere.
EXACT = {} if os.environ.get("TRITON_INTERPRET") == "1" else {"enable_fp_fusion": False}
PROGRAMS_PER_PROCESSOR = 32  # of one warp each; what a multiprocessor of compute capability 8 and 9 holds


def interpreted() -> bool:
    """Whether kernels run in Triton's interpreter, on a CPU: slow, for tests."""
    return os.environ.get("TRITON_INTERPRET") == "1"


@cache
def resident_programs(device: torch.device) -> int:
    """Programs of one warp that run at the same time."""
    if device.type != "cuda":
        return 2
    return PROGRAMS_PER_PROCESSOR * torch.cuda.get_device_properties(device).multi_processor_count


def check_device(tensor: Tensor) -> None:
    """Raise BenchmarkError where kernels cannot run on the tensor's device."""
    if tensor.device.type != "cuda" and not interpreted():
        raise BenchmarkError(
            f"The Triton kernels got a tensor on {tensor.device.type}. A CUDA device was expected. Move the "
            f"batch there, or set TRITON_INTERPRET=1 to run them in Triton's interpreter."
        )


def power_of_two(n: int) -> int:
    """The smallest power of two that is at least `n`."""
    return 1 << max(n - 1, 0).bit_length()


def product_precision(rows: Tensor) -> str:
    """How matrix units multiply float32: as tf32 where `torch.set_float32_matmul_precision` allows it, else exactly."""
    return "tf32" if rows.dtype == torch.float32 and torch.get_float32_matmul_precision() != "highest" else "ieee"
