"""The file of tiles that were chosen for a card by trial, for `cuda/convolution.py`.

Without one, the rule in `cuda/tiles.py` gives every card the same sizes. `python -m benchmark perf sparse --tune` tries
out others and keeps the fastest in the cache; every later run on that card takes them, and its record names their hash,
since other sizes may round otherwise.
"""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmark.errors import DataError
from benchmark.hardware.kernels import missing, triton_version
from benchmark.io import atomic_write_json, sha256_file
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


@cache
def tuned(device: torch.device) -> dict[Use, Tile]:
    """What was chosen by trial for this device's card; read once per process."""
    file = file_of(device) if device.type == "cuda" else None
    return read(file) if file is not None and file.is_file() else {}


def file_of(device: torch.device) -> Path:
    """Where a card's tiles are kept, for the version of Triton that compiles them."""
    card = re.sub(r"[^a-z0-9]+", "-", torch.cuda.get_device_name(device).lower()).strip("-")
    return cache_dir() / "tiles" / f"{card}-triton-{triton_version()}.json"


def recorded_tiles(device: str) -> dict[str, str]:
    """What a record says of tiles that somebody has tuned for this GPU: their hash under `tiles`, or nothing."""
    found = hash_of(torch.device(device))
    return {} if found is None else {"tiles": found}


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
