"""The kernels of `cuda/` as a backend of sparse convolution, for NVIDIA GPUs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from benchmark.hardware.kernels import missing, triton_version
from benchmark.hardware.tiles import Tile, Use
from benchmark.sparse.backend import SparseBackend
from benchmark.sparse.pairs import CENTRE, Pairs
from benchmark.sparse.sites import PairsKind, Sites


class Triton(SparseBackend):
    """Compiled at first use on a machine, then cached on disk."""

    name = "triton"

    def available(self) -> str | None:
        """See SparseBackend."""
        return missing()

    def version(self) -> str:
        """See SparseBackend."""
        return triton_version()

    def connect(self, sites: Sites, depth: int) -> None:
        """See SparseBackend."""
        for level in range(depth):
            _cached_pairs("neighbour_pairs", sites)
            if level < depth - 1:
                _cached_pairs("parent_pairs", sites)
                sites = sites.coarser

    def submanifold(self, features: Tensor, weight: Tensor, sites: Sites) -> Tensor:
        """See SparseBackend."""
        return _convolve(features, weight, _cached_pairs("neighbour_pairs", sites), CENTRE)

    def strided(self, features: Tensor, weight: Tensor, sites: Sites) -> Tensor:
        """See SparseBackend."""
        pairs_kind: PairsKind = "parent_pairs" if len(weight) == 8 else "strided_pairs"
        return _convolve(features, weight, _cached_pairs(pairs_kind, sites), None)

    def inverse(self, features: Tensor, weight: Tensor, sites: Sites) -> Tensor:
        """See SparseBackend."""
        return _convolve(features, weight, _cached_pairs("parent_pairs", sites).reversed, None)


ConvolutionInputs = tuple[Tensor, Tensor, Pairs, int | None]  # features, weight, pairs, centre of a convolution
_recorded: dict[Any, ConvolutionInputs] | None = None  # filled inside `hearing`


@contextmanager
def hearing() -> Iterator[dict[Any, ConvolutionInputs]]:
    """Record convolutions inside the block for `tune`: per channels and dtype the one with the most pairs."""
    global _recorded
    _recorded = {}
    try:
        yield _recorded
    finally:
        _recorded = None


def tune(
    work: Iterable[ConvolutionInputs], time: Callable[[Callable[[], Tensor]], float], say: Callable[[str], None]
) -> dict[Use, Tile]:
    """The fastest tiles for the convolutions of `work`; `time` gives a job's milliseconds (`cuda/tuning.py`)."""
    from benchmark.cuda.tuning import Convolution
    from benchmark.cuda.tuning import tune as run

    chosen: dict[Use, Tile] = run([Convolution(*convolution) for convolution in work], time, say)
    return chosen


def _record_convolution(
    recorded: dict[Any, ConvolutionInputs], features: Tensor, weight: Tensor, pairs: Pairs, centre: int | None
) -> None:
    device_type = features.device.type
    dtype = torch.get_autocast_dtype(device_type) if torch.is_autocast_enabled(device_type) else features.dtype
    channels = (*weight.shape[1:], centre is None, dtype)
    if channels not in recorded or len(recorded[channels][2].source) < len(pairs.source):
        recorded[channels] = features.detach().to(dtype), weight.detach(), pairs, centre


def _convolve(features: Tensor, weight: Tensor, pairs: Pairs, centre: int | None) -> Tensor:
    from benchmark.cuda.convolution import convolve

    if _recorded is not None:
        _record_convolution(_recorded, features, weight, pairs, centre)
    result: Tensor = convolve(features, weight, pairs, centre)
    return result


def _cached_pairs(kind: PairsKind, sites: Sites) -> Pairs:
    """Pairs, cached for all layers on these sites."""
    cache = sites.shared.pairs
    if kind not in cache:
        from benchmark.cuda import kernel_maps

        cache[kind] = getattr(kernel_maps, kind)(sites)
    return cache[kind]
