"""Sizes of the tiles that `cuda/convolution.py` cuts its work into: by rule, or chosen by trial for a card.

The rule gives every card the same sizes. `python -m benchmark perf sparse --tune` tries out others and keeps the
fastest in the cache; every later run on that card takes them, and its record names their hash, since other sizes may
round otherwise.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmark.errors import DataError
from benchmark.io import atomic_write_json, sha256_file
from benchmark.kernels import missing, triton_version
from benchmark.paths import cache_dir

# products: rows times one offset's kernel; totals: the centre's product and the sum of the others; sums: the same
# without a centre; weights: parts of the kernels' gradients: rows and columns are channels, the depth is pairs.
KERNELS = ("products", "totals", "sums", "weights")
DTYPES = {str(dtype).removeprefix("torch."): dtype for dtype in (torch.float32, torch.bfloat16, torch.float16)}
SIDES, WARPS, STAGES = (16, 32, 64, 128, 256), (1, 2, 4, 8, 16), range(1, 9)


class Tile(NamedTuple):
    """Rows, columns, depth of a step; warps of a program and steps in flight."""

    rows: int
    columns: int
    depth: int
    warps: int
    stages: int


class Use(NamedTuple):
    """What a tile is for."""

    kernel: str  # one of KERNELS
    n_in: int  # channels
    n_out: int
    dtype: torch.dtype  # of the features

    def __str__(self) -> str:
        return f"{self.kernel} {self.n_in} {self.n_out} {str(self.dtype).removeprefix('torch.')}"


def tile(kernel: str, n_in: int, n_out: int, dtype: torch.dtype, device: torch.device) -> Tile:
    """The tile that a kernel takes on a device."""
    use = Use(kernel, n_in, n_out, dtype)
    return tuned(device).get(use) or by_rule(use)


@cache
def by_rule(use: Use) -> Tile:
    """The same on every card."""
    double = use.dtype == torch.float32
    columns = min(side_of(use.n_out), 128)
    if use.kernel == "sums":
        return Tile(32, columns, 16, 4, 1)
    if use.kernel == "weights":
        rows = min(side_of(use.n_in), 128)
        if double:
            return Tile(min(rows, 64), min(columns, 64), 32, 4, 3)
        return Tile(rows, columns, 64, 8 if rows * columns >= 128 * 128 else 4, 3)
    depth = min(side_of(use.n_in), 64)
    if double:
        return Tile(64, min(columns, 64), min(depth, 32), 4, 3)
    if use.kernel == "totals":
        return Tile(64, columns, depth, 4, 3)
    return Tile(128, columns, depth, 8 if columns == 128 else 4, 3)


def side_of(n_channels: int) -> int:
    """The least side of a tile that holds all channels: a power of two, 16 at least."""
    return max(1 << max(n_channels - 1, 0).bit_length(), 16)


@cache
def tuned(device: torch.device) -> dict[Use, Tile]:
    """What was chosen by trial for this device's card; read once per process."""
    file = file_of(device) if device.type == "cuda" else None
    return read(file) if file is not None and file.is_file() else {}


def file_of(device: torch.device) -> Path:
    """Where a card's tiles are kept, for the version of Triton that compiles them."""
    card = re.sub(r"[^a-z0-9]+", "-", torch.cuda.get_device_name(device).lower()).strip("-")
    return cache_dir() / "tiles" / f"{card}-triton-{triton_version()}.json"


def hash_of(device: torch.device) -> str | None:
    """SHA-256 of the file of a card's tiles; None where the rule holds."""
    file = file_of(device) if device.type == "cuda" and missing() is None else None
    return sha256_file(file) if file is not None and file.is_file() else None


def write(file: Path, chosen: dict[Use, Tile]) -> Path:
    """Keep tiles for later runs; returns the file."""
    atomic_write_json(file, {str(use): list(sizes) for use, sizes in sorted(chosen.items(), key=lambda c: str(c[0]))})
    return file


def read(file: Path) -> dict[Use, Tile]:
    """Raises DataError for what `write` cannot have written."""
    try:
        return {_use(key): _tile(sizes) for key, sizes in json.loads(file.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise DataError(
            f"{file} holds no sizes of tiles ({error}). What `python -m benchmark perf sparse --tune` writes was "
            f"expected. Delete the file, or tune again."
        ) from error


def _use(text: str) -> Use:
    kernel, n_in, n_out, dtype = text.split(" ")
    if kernel not in KERNELS or dtype not in DTYPES:
        raise ValueError(f"unknown kernel or type {text!r}")
    return Use(kernel, int(n_in), int(n_out), DTYPES[dtype])


def _tile(sizes: Any) -> Tile:
    made = Tile(*sizes)
    if not possible(made):
        raise ValueError(f"impossible sizes {sizes}")
    return made


def possible(sizes: Tile) -> bool:
    """Whether kernels can be compiled for these sizes, memory apart."""
    return set(sizes[:3]) <= set(SIDES) and sizes.warps in WARPS and sizes.stages in STAGES
