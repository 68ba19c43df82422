"""The network and the workloads of the public benchmark of sparse convolution, in three sizes.

That of sparse-conv-benchmarks, which compares spconv, TorchSparse, WarpConvNet and MinkowskiEngine on GPUs in bf16: a
stem, then four stages of residual blocks, the last three of which begin with a 3^3 convolution of stride 2; batch norms
in training mode, the energy as only input; 1 to 16 events of PILArNet-M with 4,690 to 56,700 voxels in all.

Ours differs in two points. The voxels of a coarser level are the parents of the finer ones for every backend, as in
MinkowskiEngine; spconv on its own would add the voxels that an odd voxel also touches. And `workload` cuts events to
the published number of voxels.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from benchmark.errors import DataError, unknown_name
from benchmark.sparse.backend import SparseBackend
from benchmark.sparse.layers import StridedConvolution, SubmanifoldConvolution
from benchmark.sparse.sites import Sites
from benchmark.sparse.tensor import SparseTensor


class Size(NamedTuple):
    """One size of the network."""

    channels: tuple[int, int, int, int]  # of the stages
    blocks: int  # residual blocks in each stage
    n_parameters: int  # published


SIZES = {
    "small": Size((16, 32, 64, 128), 1, 1_467_216),
    "medium": Size((32, 64, 128, 256), 2, 10_567_200),
    "large": Size((64, 128, 256, 512), 3, 61_061_952),
}
VOXELS = {1: 4_690, 2: 7_299, 4: 18_984, 8: 30_392, 16: 56_700}  # events of a batch -> voxels in all


class _Block(nn.Module):
    """Convolution, norm, ReLU, convolution, norm; the input is added before the last ReLU."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.conv1, self.norm1 = SubmanifoldConvolution(n, n), nn.BatchNorm1d(n)
        self.conv2, self.norm2 = SubmanifoldConvolution(n, n), nn.BatchNorm1d(n)

    def forward(self, x: SparseTensor, backend: SparseBackend) -> SparseTensor:
        inner = self.conv1(x, backend)
        inner = self.conv2(inner.with_features(self.norm1(inner.features).relu()), backend)
        return x.with_features((self.norm2(inner.features) + x.features).relu())


class PublicNetwork(nn.Module):
    """From energies (N, 1) on sites to features on the voxels of eight times the size."""

    def __init__(self, size: str) -> None:
        """Raises UnknownNameError for a size that is none of SIZES."""
        super().__init__()
        if size not in SIZES:
            raise unknown_name("size of the public network", size, SIZES, "Correct the size.")
        channels, blocks, _ = SIZES[size]
        down = (StridedConvolution(a, b, 3) for a, b in pairwise(channels))
        self.entries = nn.ModuleList([SubmanifoldConvolution(1, channels[0]), *down])
        self.norms = nn.ModuleList(nn.BatchNorm1d(n) for n in channels)
        self.blocks = nn.ModuleList(_Block(n) for n in channels for _ in range(blocks))

    def forward(self, x: SparseTensor, backend: SparseBackend) -> SparseTensor:
        """(M, channels of the last stage) on `x.sites.coarser.coarser.coarser`."""
        n_blocks = len(self.blocks) // len(self.entries)
        for stage, (entry, norm) in enumerate(zip(self.entries, self.norms, strict=True)):
            x = entry(x, backend)
            x = x.with_features(norm(x.features).relu())
            for block in self.blocks[stage * n_blocks : (stage + 1) * n_blocks]:
                x = block(x, backend)
        return x


def workload(events: Iterable[tuple[Tensor, Tensor]], n_events: int) -> tuple[Tensor, Tensor]:
    """(N, 4) int64 voxels and (N, 1) float32 energies of a batch with the published number of voxels, VOXELS[n_events].

    events: whole-numbered coordinates (n, 3), all different, and energies (n,). The first events that have enough
    voxels give equal shares, the last one the rest: each the voxels nearest to its first one, so that they stay as
    dense as they are. Raises DataError where the events do not suffice.
    """
    if n_events not in VOXELS:
        raise DataError(
            f"The public benchmark has no batch of {n_events} events. One of {', '.join(map(str, VOXELS))} was "
            f"expected. Correct the number of events."
        )
    share, rest = divmod(VOXELS[n_events], n_events)
    coords: list[Tensor] = []
    energies: list[Tensor] = []
    for xyz, energy in events:
        n_voxels = share + (rest if len(coords) == n_events - 1 else 0)
        if len(xyz) < n_voxels:
            continue
        nearest = (xyz - xyz[:1]).long().square().sum(1).argsort(stable=True)[:n_voxels]
        coords.append(torch.cat([torch.full((n_voxels, 1), len(coords)), xyz[nearest].long()], dim=1))
        energies.append(energy[nearest].float())
        if len(coords) == n_events:
            return torch.cat(coords), torch.cat(energies)[:, None]
    raise DataError(f"{len(coords)} events have {share} voxels or more. {n_events} were expected. Give more events.")


def one_pass(net: PublicNetwork, backend: SparseBackend, coords: Tensor, energies: Tensor, backward: bool) -> Tensor:
    """The sum of the network's outputs, the benchmark's loss; with `backward`, gradients are computed too.

    The search for neighbours is part of the pass, unlike in the published times, whose tensor is built once.
    """
    sites, row = Sites.of(coords)
    features = torch.empty_like(energies).index_copy(0, row, energies)
    with torch.set_grad_enabled(backward):
        loss: Tensor = net(SparseTensor(features, sites), backend).features.sum()
        if backward:
            loss.backward()  # type: ignore[no-untyped-call]
    return loss.detach()
