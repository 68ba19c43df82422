"""Point Transformer V3: attention inside patches of serialised voxels, in a U-shaped network.

Wu et al. (arXiv:2312.10035), section 4 and figure 4; details from the authors' code (Pointcept, PT-v3m1; PT-v3m2 where
said). A block is a convolution that encodes positions, attention inside patches, and a perceptron, each residual.
Stages are joined by pooling (a maximum per voxel of twice the size) and by copying back.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark.ops.batch_norm import BatchNorm1d
from benchmark.sparse import SparseBackend, SparseTensor, SubmanifoldConvolution

from ._ptv3_levels import Level, surroundings
from ._serialisation import Patches


class BatchNorm(BatchNorm1d):
    """Over all voxels of the batch. A single voxel has no variance: it is scaled by the running statistics."""

    def __init__(self, n: int) -> None:
        super().__init__(n, eps=1e-3)


NORMS: dict[str, type[nn.Module]] = {"layer": nn.LayerNorm, "batch": BatchNorm}


def linear_norm_act(n_in: int, n_out: int, norm: str) -> nn.Sequential:
    """Linear map, norm, activation."""
    return nn.Sequential(nn.Linear(n_in, n_out), NORMS[norm](n_out), nn.GELU())


class Stem(nn.Module):
    """From inputs to the first stage's channels: a submanifold convolution with a `kernel`^3, norm, activation."""

    def __init__(self, n_in: int, n_out: int, kernel: int, norm: str) -> None:
        super().__init__()
        self.radius = kernel // 2
        self.linear = nn.Linear(kernel**3 * n_in, n_out, bias=kernel == 1)
        self.norm = NORMS[norm](n_out)

    def forward(self, x: Tensor, level: Level) -> Tensor:
        """(N, n_out) from (N, n_in)."""
        around = surroundings(level, x, self.radius).flatten(1) if self.radius else x
        return functional.gelu(self.norm(self.linear(around)))


class PatchAttention(nn.Module):
    """Multi-head attention inside each patch."""

    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)

    def forward(self, x: Tensor, patches: Patches) -> Tensor:
        """(N, C) in and out."""
        qkv = self.qkv(x.index_select(0, patches.rows)).unflatten(1, (3, self.n_heads, -1))  # (R, 3, H, d)
        n_rows = patches.n_whole * patches.size
        parts = []
        if patches.n_whole:
            parts.append(_attend(qkv[:n_rows].unflatten(0, (patches.n_whole, patches.size)), None))
        if patches.present is not None:
            parts.append(_attend(qkv[n_rows:].unflatten(0, patches.present.shape), patches.present))
        mixed = torch.cat(parts) if len(parts) > 1 else parts[0]
        result: Tensor = self.project(mixed.index_select(0, patches.slots))
        return result


def _attend(qkv: Tensor, present: Tensor | None) -> Tensor:
    """(P * K, C) from (P, K, 3, H, d); keys that are not `present` (P, K) are left out."""
    query, key, value = qkv.permute(2, 0, 3, 1, 4)  # (P, H, K, d) each
    mask = None if present is None else present[:, None, None]
    mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    return mixed.transpose(1, 2).flatten(2).flatten(0, 1)


class Position(nn.Module):
    """The conditional position encoding: a 3^3 submanifold convolution, a linear map and a norm, added (xCPE)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = SubmanifoldConvolution(width, width)
        self.bias = nn.Parameter(torch.zeros(width))  # of the convolution
        self.linear = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor, level: Level, backend: SparseBackend) -> Tensor:
        """(N, C) in and out."""
        convolved = self.conv(SparseTensor(x, level.sites), backend).features + self.bias
        return x + self.norm(self.linear(convolved))


class Block(nn.Module):
    """Position, pre-norm attention (none where `patch` is 0) and perceptron; stochastic depth per voxel."""

    def __init__(
        self, width: int, n_heads: int, patch: int, index: int, mlp_ratio: float, drop_path: float,
        layer_scale: float = 0.0,
    ) -> None:  # fmt: skip
        super().__init__()
        hidden = int(width * mlp_ratio)
        self.patch, self.index, self.drop_path = patch, index, drop_path
        self.position = Position(width)
        self.attention = PatchAttention(width, n_heads) if patch else None
        self.norm1 = nn.LayerNorm(width) if patch else None
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
        self.scales = (  # of the two branches, in PT-v3m2
            nn.ParameterList(nn.Parameter(torch.full((width,), layer_scale)) for _ in range(2)) if layer_scale else None
        )

    def forward(self, x: Tensor, level: Level, backend: SparseBackend) -> Tensor:
        """(N, C) in and out."""
        x = self.position(x, level, backend)
        if self.attention is not None and self.norm1 is not None:
            x = x + self._branch(self.attention(self.norm1(x), level.patches(self.index, self.patch)), 0)
        return x + self._branch(self.mlp(self.norm2(x)), 1)

    def _branch(self, branch: Tensor, number: int) -> Tensor:
        """A branch scaled, then kept or dropped."""
        if self.scales is not None:
            branch = branch * self.scales[number]
        if not self.training or self.drop_path == 0:
            return branch
        is_kept = torch.rand(len(branch), 1, device=branch.device) >= self.drop_path
        return branch * (is_kept / (1 - self.drop_path)).to(branch.dtype)


class Down(nn.Module):
    """Onto voxels of twice the size: linear map, maximum, norm, activation."""

    def __init__(self, n_in: int, n_out: int, norm: str) -> None:
        super().__init__()
        self.linear = nn.Linear(n_in, n_out)
        self.norm = NORMS[norm](n_out)

    def forward(self, x: Tensor, level: Level) -> Tensor:
        """(M, n_out) from (N, n_in)."""
        return functional.gelu(self.norm(level.max_pool(self.linear(x))))


class Up(nn.Module):
    """Back onto the finer voxels, each of which takes its parent's features and adds its own of the encoder."""

    def __init__(self, n_in: int, n_skip: int, n_out: int, norm: str) -> None:
        super().__init__()
        self.coarse = linear_norm_act(n_in, n_out, norm)
        self.skip = linear_norm_act(n_skip, n_out, norm)

    def forward(self, x: Tensor, skip: Tensor, level: Level) -> Tensor:
        """(N, n_out) from (M, n_in) and (N, n_skip); `level` is the finer one."""
        result: Tensor = self.skip(skip) + self.coarse(x).index_select(0, level.parent)
        return result


class Stages(nn.ModuleList):
    """Blocks of each stage. Stochastic depth rises linearly over all of them; in a decoder it falls inside stages."""

    def __init__(
        self, depths: Sequence[int], channels: Sequence[int], heads: Sequence[int], config: Any, reverse: bool
    ) -> None:  # fmt: skip
        rates = iter(torch.linspace(0, config.drop_path, sum(depths), device="cpu").tolist())
        stages = []
        for stage, (depth, width, n_heads) in enumerate(zip(depths, channels, heads, strict=True)):
            patch = config.patch if stage >= config.attention_from else 0
            stage_rates = [next(rates) for _ in range(depth)]
            blocks = enumerate(reversed(stage_rates) if reverse else stage_rates)
            scale = config.layer_scale
            stages.append(
                nn.ModuleList(Block(width, n_heads, patch, i, config.mlp_ratio, rate, scale) for i, rate in blocks)
            )
        super().__init__(stages)


class Backbone(nn.Module):
    """The network, sized by a `PTv3Config`; without `decoder` the encoder alone."""

    def __init__(self, n_in: int, config: Any, decoder: bool = True) -> None:
        super().__init__()
        c = config
        self.config = c
        dec_depths, dec_channels, dec_heads = (c.dec_depths, c.dec_channels, c.dec_heads) if decoder else ((), (), ())
        enc, dec = c.enc_channels, (*dec_channels, c.enc_channels[-1])
        self.stem = Stem(n_in, enc[0], c.stem_kernel, c.norm)
        self.encoder = Stages(c.enc_depths, enc, c.enc_heads, c, reverse=False)
        self.down = nn.ModuleList(Down(a, b, c.norm) for a, b in pairwise(enc))
        self.up = nn.ModuleList(Up(dec[s + 1], enc[s], dec[s], c.norm) for s in range(len(dec_channels)))
        self.decoder = Stages(dec_depths, dec_channels, dec_heads, c, reverse=True)
        self.width = dec[0]
        for module in self.modules():
            if isinstance(module, BatchNorm):
                module.momentum = c.norm_momentum
        if c.init_std:
            self.apply(self._initialise)

    def forward(self, x: Tensor, level: Level, backend: SparseBackend) -> Tensor:
        """(N, width) features of the finest voxels."""
        return self.decode(self.encode(self.stem(x, level), level, backend), level, backend)

    def encode(self, x: Tensor, level: Level, backend: SparseBackend) -> list[Tensor]:
        """Features (N_s, C_s) of the voxels of each stage, from those of the stem (N, C_0)."""
        stages = []
        for stage, blocks in enumerate(self.encoder):
            for block in blocks:
                x = block(x, level, backend)
            stages.append(x)
            if stage < len(self.down):
                x = self.down[stage](x, level)
                level = level.coarser
        return stages

    def decode(self, stages: Sequence[Tensor], level: Level, backend: SparseBackend) -> Tensor:
        """(N, width) features of the finest voxels, from those of each stage of the encoder."""
        levels = [level]
        for _ in self.up:
            levels.append(levels[-1].coarser)
        x = stages[-1]
        for stage in reversed(range(len(self.up))):
            x = self.up[stage](x, stages[stage], levels[stage])
            for block in self.decoder[stage]:
                x = block(x, levels[stage], backend)
        return x

    def prepare(self, level: Level) -> None:
        """Compute in advance the indices of all stages that `forward` needs."""
        if self.stem.radius:
            level.neighbour_pairs(self.stem.radius)
        decoder = [*self.decoder, ()]  # the coarsest stage has none
        for stage, blocks in enumerate(self.encoder):
            for block in (*blocks, *decoder[stage]):
                if block.patch:
                    level.patches(block.index, block.patch)
            if stage < len(self.down):
                _, level = level.voxels_by_parent, level.coarser

    def _initialise(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear | SubmanifoldConvolution):
            weight = module.weight if isinstance(module, nn.Linear) else module.kernel
            nn.init.trunc_normal_(weight, std=self.config.init_std)
        if isinstance(module, nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)
