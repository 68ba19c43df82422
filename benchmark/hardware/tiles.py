"""The file of tuned tiles of a card, for `cuda/convolution.py`.

Without one, the rule in `cuda/tiles.py` gives every card the same sizes. `python -m benchmark perf sparse --tune` tries
others and stores the fastest in the cache; later runs on that card use them, and their records hold the file's hash,
since other sizes may round differently.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import torch

from benchmark.errors import DataError
from benchmark.hardware.kernels import missing, triton_version
from benchmark.io import atomic_write_json, sha256_file
from benchmark.json_files import read_json
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
    """The use of a tile."""

    kernel: str  # one of KERNELS
    n_in: int  # channels
    n_out: int
    dtype: torch.dtype  # of the features

    def __str__(self) -> str:
        return f"{self.kernel} {self.n_in} {self.n_out} {str(self.dtype).removeprefix('torch.')}"


@cache
def tuned(device: torch.device) -> dict[Use, Tile]:
    """The tuned tiles of this device's card; read once per process."""
    file = file_of(device) if device.type == "cuda" else None
    return read(file) if file is not None and file.is_file() else {}


def file_of(device: torch.device) -> Path:
    """The file of a card's tiles, for the installed version of Triton."""
    card = re.sub(r"[^a-z0-9]+", "-", torch.cuda.get_device_name(device).lower()).strip("-")
    return cache_dir() / "tiles" / f"{card}-triton-{triton_version()}.json"


def recorded_tiles(device: str) -> dict[str, str]:
    """Record entry for tuned tiles of this GPU: their hash under `tiles`, or empty."""
    sha256 = hash_of(torch.device(device))
    return {} if sha256 is None else {"tiles": sha256}


def hash_of(device: torch.device) -> str | None:
    """SHA-256 of the file of a card's tiles; None without one."""
    file = file_of(device) if device.type == "cuda" and missing() is None else None
    return sha256_file(file) if file is not None and file.is_file() else None


def write(file: Path, chosen: dict[Use, Tile]) -> Path:
    """Store tiles for later runs; returns the file."""
    atomic_write_json(file, {str(use): list(sizes) for use, sizes in sorted(chosen.items(), key=lambda c: str(c[0]))})
    return file


def read(file: Path) -> dict[Use, Tile]:
    """Tiles from a file of `write`. Raises DataError for invalid content."""
    try:
        return {_parse_use(key): _parse_tile(sizes) for key, sizes in read_json(file).items()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise DataError(
            f"{file} holds no sizes of tiles ({error}). What `python -m benchmark perf sparse --tune` writes was "
            f"expected. Delete the file, or tune again."
        ) from error


def _parse_use(text: str) -> Use:
    kernel, n_in, n_out, dtype = text.split(" ")
    if kernel not in KERNELS or dtype not in DTYPES:
        raise ValueError(f"unknown kernel or type {text!r}")
    return Use(kernel, int(n_in), int(n_out), DTYPES[dtype])


def _parse_tile(sizes: Any) -> Tile:
    tile = Tile(*sizes)
    if not possible(tile):
        raise ValueError(f"impossible sizes {sizes}")
    return tile


def possible(sizes: Tile) -> bool:
    """Whether kernels can be compiled for these sizes, memory apart."""
    return set(sizes[:3]) <= set(SIDES) and sizes.warps in WARPS and sizes.stages in STAGES
