"""The layers of a sparse network: a kernel each, computed by the backend passed to each call."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from benchmark.sparse.backend import SparseBackend
from benchmark.sparse.sites import Sites
from benchmark.sparse.tensor import SparseTensor


class _ConvolutionLayer(nn.Module):
    """A kernel (offsets, channels in, channels out), uniform in +-1 / sqrt(fan), as MinkowskiEngine's layers are."""

    def __init__(self, n_offsets: int, n_in: int, n_out: int, fan_channels: int) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.empty(n_offsets, n_in, n_out))
        bound = 1 / math.sqrt(fan_channels * n_offsets)
        nn.init.uniform_(self.kernel, -bound, bound)

    def extra_repr(self) -> str:
        """Shape of the kernel."""
        return "offsets={}, channels {} -> {}".format(*self.kernel.shape)


class SubmanifoldConvolution(_ConvolutionLayer):
    """3^3 on the same sites (Graham & van der Maaten, arXiv:1706.01307)."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(27, n_in, n_out, n_in)

    def forward(self, x: SparseTensor, backend: SparseBackend) -> SparseTensor:
        """New features on the same sites."""
        return x.with_features(backend.submanifold(x.features, self.kernel, x.sites))


class StridedConvolution(_ConvolutionLayer):
    """2^3 or 3^3 with stride 2, onto the coarser sites."""

    def __init__(self, n_in: int, n_out: int, side: Literal[2, 3] = 2) -> None:
        super().__init__(side**3, n_in, n_out, n_in)

    def forward(self, x: SparseTensor, backend: SparseBackend) -> SparseTensor:
        """Features on `x.sites.coarser`."""
        return SparseTensor(backend.strided(x.features, self.kernel, x.sites), x.sites.coarser)


class InverseConvolution(_ConvolutionLayer):
    """2^3 from the coarser sites back to the finer ones, by the strided convolution's pairs."""

    def __init__(self, n_in: int, n_out: int) -> None:
        super().__init__(8, n_in, n_out, n_out)

    def forward(self, x: SparseTensor, sites: Sites, backend: SparseBackend) -> SparseTensor:
        """Features on `sites`, whose `coarser` are those of `x`. Raises ValueError for others."""
        if sites.coarser is not x.sites:
            raise ValueError("an inverse convolution needs the sites that its input was downsampled from")
        result: Tensor = backend.inverse(x.features, self.kernel, sites)
        return SparseTensor(result, sites)
