"""The kernels of `cuda/` as a backend of sparse convolution, for NVIDIA GPUs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from benchmark.hardware.kernels import missing, triton_version
from benchmark.sparse.backend import SparseBackend
from benchmark.sparse.pairs import CENTRE, Pairs
from benchmark.sparse.sites import PairsKind, Sites
from benchmark.sparse.tiles import Tile, Use


class Triton(SparseBackend):
    """Compiled at their first use on a machine, then kept on disk."""

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
            _pairs("neighbour_pairs", sites)
            if level < depth - 1:
                _pairs("parent_pairs", sites)
                sites = sites.coarser

    def submanifold(self, features: Tensor, weight: Tensor, sites: Sites) -> Tensor:
        """See SparseBackend."""
        return _convolve(features, weight, _pairs("neighbour_pairs", sites), CENTRE)

    def strided(self, features: Tensor, weight: Tensor, sites: Sites) -> Tensor:
        """See SparseBackend."""
        kind: PairsKind = "parent_pairs" if len(weight) == 8 else "strided_pairs"
        return _convolve(features, weight, _pairs(kind, sites), None)

    def inverse(self, features: Tensor, weight: Tensor, sites: Sites) -> Tensor:
        """See SparseBackend."""
        return _convolve(features, weight, _pairs("parent_pairs", sites).reversed, None)


Asked = tuple[Tensor, Tensor, Pairs, int | None]  # features, weight, pairs, centre of a convolution
_heard: dict[Any, Asked] | None = None  # filled inside `hearing`


@contextmanager
def hearing() -> Iterator[dict[Any, Asked]]:
    """What is convolved inside, for `tune`: of convolutions of equal channels the one with the most pairs."""
    global _heard
    _heard = {}
    try:
        yield _heard
    finally:
        _heard = None


def tune(
    work: Iterable[Asked], time: Callable[[Callable[[], Tensor]], float], say: Callable[[str], None]
) -> dict[Use, Tile]:
    """The fastest tiles for the convolutions of `work`; `time` gives a job's milliseconds (`cuda/tuning.py`)."""
    from benchmark.cuda.tuning import Convolution
    from benchmark.cuda.tuning import tune as run

    chosen: dict[Use, Tile] = run([Convolution(*asked) for asked in work], time, say)
    return chosen


def _hear(heard: dict[Any, Asked], features: Tensor, weight: Tensor, pairs: Pairs, centre: int | None) -> None:
    kind = features.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else features.dtype
    channels = (*weight.shape[1:], centre is None, dtype)
    if channels not in heard or len(heard[channels][2].source) < len(pairs.source):
        heard[channels] = features.detach().to(dtype), weight.detach(), pairs, centre


def _convolve(features: Tensor, weight: Tensor, pairs: Pairs, centre: int | None) -> Tensor:
    from benchmark.cuda.convolution import convolve

    if _heard is not None:
        _hear(_heard, features, weight, pairs, centre)
    result: Tensor = convolve(features, weight, pairs, centre)
    return result


def _pairs(kind: PairsKind, sites: Sites) -> Pairs:
    """Made once for all layers on these sites."""
    made = sites.shared.pairs
    if kind not in made:
        from benchmark.cuda import kernel_maps

        made[kind] = getattr(kernel_maps, kind)(sites)
    return made[kind]
