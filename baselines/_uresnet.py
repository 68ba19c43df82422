"""The sparse UResNet: a U-shaped network of pre-activation residual blocks on the active voxels.

Ronneberger et al. (arXiv:1505.04597) for the shape, He et al. (arXiv:1603.05027) for the blocks, Dominé & Terao
(arXiv:1903.05663) for both on sparse images of liquid argon; in the order of SPINE 1.4.3, with which the
outputs are tested. Level l has (l + 1) m channels and voxels of size 2^l.
"""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from benchmark.ops.batch_norm import BatchNorm1d
from benchmark.sparse import (
    InverseConvolution,
    Sites,
    SparseBackend,
    SparseTensor,
    StridedConvolution,
    SubmanifoldConvolution,
    cat,
)


class NormAct(BatchNorm1d):
    """Batch norm over all voxels of the batch, then leaky ReLU."""

    def __init__(self, n: int, eps: float, momentum: float, slope: float) -> None:
        super().__init__(n, eps=eps, momentum=momentum)
        self.slope = slope

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Same sites. A single voxel has no variance: it is scaled by the running statistics, in training too."""
        return x.with_features(leaky_relu(super().forward(x.features), self.slope, inplace=True))


class Norms:
    """Makes the norms of a network, which share their settings."""

    def __init__(self, eps: float, momentum: float, slope: float) -> None:
        self.settings = (eps, momentum, slope)

    def __call__(self, n: int) -> NormAct:
        """A norm and activation of n channels."""
        return NormAct(n, *self.settings)


class ResidualBlock(nn.Module):
    """Norm, activation, convolution, twice; the input is added, through a linear map where the widths differ."""

    def __init__(self, n_in: int, n_out: int, norms: Norms) -> None:
        super().__init__()
        self.norm1, self.conv1 = norms(n_in), SubmanifoldConvolution(n_in, n_out)
        self.norm2, self.conv2 = norms(n_out), SubmanifoldConvolution(n_out, n_out)
        self.skip = nn.Linear(n_in, n_out, bias=False) if n_in != n_out else nn.Identity()

    def forward(self, x: SparseTensor, backend: SparseBackend) -> SparseTensor:
        """Same sites."""
        inner = self.conv2(self.norm2(self.conv1(self.norm1(x), backend)), backend)
        return inner + x.with_features(self.skip(x.features))


class Blocks(nn.ModuleList):
    """Residual blocks, of which the first changes the width."""

    def __init__(self, n_in: int, n_out: int, repetitions: int, norms: Norms) -> None:
        super().__init__(ResidualBlock(n_in if i == 0 else n_out, n_out, norms) for i in range(repetitions))

    def forward(self, x: SparseTensor, backend: SparseBackend) -> SparseTensor:
        """Same sites."""
        for block in self:
            x = block(x, backend)
        return x


class Down(nn.Module):
    """Norm, activation, and onto voxels of twice the size."""

    def __init__(self, n_in: int, n_out: int, norms: Norms) -> None:
        super().__init__()
        self.norm, self.conv = norms(n_in), StridedConvolution(n_in, n_out)

    def forward(self, x: SparseTensor, backend: SparseBackend) -> SparseTensor:
        """The coarser sites."""
        out: SparseTensor = self.conv(self.norm(x), backend)
        return out


class Up(nn.Module):
    """Norm, activation, and back onto the finer sites."""

    def __init__(self, n_in: int, n_out: int, norms: Norms) -> None:
        super().__init__()
        self.norm, self.conv = norms(n_in), InverseConvolution(n_in, n_out)

    def forward(self, x: SparseTensor, sites: Sites, backend: SparseBackend) -> SparseTensor:
        """The finer sites."""
        out: SparseTensor = self.conv(self.norm(x), sites, backend)
        return out


class UResNet(nn.Module):
    """From features (N, n_in) on sites to features (N, m) on the same sites, after a last norm and activation."""

    def __init__(self, n_in: int, m: int, depth: int, repetitions: int, norms: Norms) -> None:
        super().__init__()
        planes = [m * (level + 1) for level in range(depth)]
        self.stem = SubmanifoldConvolution(n_in, m)
        self.encoder = nn.ModuleList(Blocks(n, n, repetitions, norms) for n in planes)
        self.down = nn.ModuleList(Down(a, b, norms) for a, b in pairwise(planes))
        self.up = nn.ModuleList(Up(b, a, norms) for a, b in pairwise(planes))
        self.decoder = nn.ModuleList(Blocks(2 * n, n, repetitions, norms) for n in planes[:-1])
        self.norm = norms(m)

    def forward(self, x: SparseTensor, backend: SparseBackend) -> Tensor:
        """(N, m)."""
        x = self.stem(x, backend)
        skips = []
        for level, blocks in enumerate(self.encoder):
            x = blocks(x, backend)
            if level < len(self.down):
                skips.append(x)
                x = self.down[level](x, backend)
        for level in reversed(range(len(self.up))):
            x = cat(skips[level], self.up[level](x, skips[level].sites, backend))
            x = self.decoder[level](x, backend)
        return self.norm(x).features
