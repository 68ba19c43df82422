"""Transformer over the tokens of each event: pre-norm blocks, positions added before every block.

PoLAr-MAE (arXiv 2502.02558), section 3.2 and table 6. Tokens of all events are concatenated, (T, D); attention
never crosses events, and LayerNorm acts per token, so an event's result does not depend on its batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark.ops import triton

LONGEST_WAVE = 2.0  # normalised units: the diameter of the unit ball that holds the detector
PADDED_SHARE = 1.25  # maximum ratio of longest to shortest event in one padded attention call


class Positions(NamedTuple):
    """Positions of tokens, as a transformer uses them."""

    added: Tensor  # (T, D), added to the tokens before every block
    rotation: Tensor | None  # (T, d / 2) phases that rotate queries and keys of d channels, or None


class PositionEmbedding(nn.Module):
    """A vector per token from its centre (T, 3): a perceptron on the coordinates, as published.

    With a `shortest` wavelength (normalised units; 0: none, as published), attention sees relative positions too:
    rotary phases (Su et al., arXiv 2104.09864) of each coordinate, of wavelengths from the detector's size down to it.
    A perceptron of absolute coordinates needs many thousand steps to resolve neighbouring centres.
    """

    wave_numbers: Tensor | None

    def __init__(self, hidden: int, width: int, shortest: float = 0.0, head_width: int = 0) -> None:
        super().__init__()
        self.n_pairs = head_width // 2
        waves = shortest * (LONGEST_WAVE / shortest) ** torch.linspace(0, 1, self.n_pairs // 3) if shortest else None
        self.register_buffer("wave_numbers", None if waves is None else 2 * math.pi / waves, persistent=False)
        self.layers = nn.Sequential(nn.Linear(3, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, centres: Tensor) -> Positions:
        """(T, 3) normalised coordinates -> vectors (T, width) and phases."""
        rotation = None
        if self.wave_numbers is not None:
            phases = (centres[:, :, None] * self.wave_numbers).flatten(1)  # (T, 3 n_waves)
            rotation = functional.pad(phases, (0, self.n_pairs - phases.shape[1]))  # remaining pairs are not rotated
        return Positions(self.layers(centres), rotation)


class Packing(NamedTuple):
    """The events of the tokens."""

    lengths: tuple[int, ...]  # tokens of each event, sum T
    event: Tensor  # (T,) event of each token
    tiles: Tensor | None  # the same for the GPU's attention kernel

    @classmethod
    def of(cls, lengths: Sequence[int], event: Tensor) -> Packing:
        """Concatenated events of `lengths` tokens; `event` (T,) numbers them."""
        kernel = triton.serves(event.device.type)
        return cls(tuple(lengths), event, triton.attention_tiles(lengths, event.device) if kernel else None)


def rotate_pairs(rows: Tensor, phases: Tensor) -> Tensor:
    """Rows (T, heads, d) with channel pairs i and i + d / 2 rotated by the phases (T, d / 2)."""
    cos, sin = phases.cos()[:, None].to(rows.dtype), phases.sin()[:, None].to(rows.dtype)
    first, second = rows.chunk(2, dim=2)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=2)


def attend(query: Tensor, key: Tensor, value: Tensor, packing: Packing, dropout: float) -> Tensor:
    """Scaled dot-product attention inside each event: (T, heads, d) in and out.

    A CPU computes event by event, without padding; a GPU all at once, in one kernel with Triton, else padded and
    masked.
    """
    if packing.tiles is not None:
        return triton.attend(query, key, value, packing.tiles, dropout)
    if query.device.type != "cpu":
        return attend_padded(query, key, value, packing.lengths, dropout)
    sizes = list(packing.lengths)
    parts = zip(torch.split(query, sizes), torch.split(key, sizes), torch.split(value, sizes), strict=True)
    mixed = [_attention(q.transpose(0, 1), k.transpose(0, 1), v.transpose(0, 1), dropout) for q, k, v in parts]
    return torch.cat([m.transpose(0, 1) for m in mixed])


def attend_padded(query: Tensor, key: Tensor, value: Tensor, lengths: Sequence[int], dropout: float) -> Tensor:
    """The same as `attend`, over events of similar length at once, to limit padding."""
    n_tokens = torch.tensor(lengths, device=query.device)
    present = torch.arange(max(lengths), device=query.device) < n_tokens[:, None]  # (B, longest)
    dense = query.new_zeros(3, *present.shape, *query.shape[1:])
    for i, rows in enumerate((query, key, value)):
        dense[i, present] = rows
    mixed = query.new_empty(dense.shape[1:])
    for bucket in similar_lengths(lengths):
        longest = max(lengths[i] for i in bucket)
        index = torch.tensor(bucket, device=query.device)
        q, k, v = dense[:, index, :longest].transpose(2, 3)
        result = _attention(q, k, v, dropout, present[index, None, None, :longest])
        mixed[index, :longest] = result.transpose(1, 2)
    return mixed[present]


def similar_lengths(lengths: Sequence[int]) -> list[list[int]]:
    """Indices of `lengths` in buckets, longest first, each with lengths within a factor PADDED_SHARE."""
    buckets: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if buckets and lengths[buckets[-1][0]] <= PADDED_SHARE * lengths[i]:
            buckets[-1].append(i)
        else:
            buckets.append([i])
    return buckets


def _attention(query: Tensor, key: Tensor, value: Tensor, dropout: float, mask: Tensor | None = None) -> Tensor:
    return functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)


class Block(nn.Module):
    """Pre-norm attention and perceptron, two residual branches."""

    norm: ClassVar[type[nn.Module]] = nn.LayerNorm
    drops_events: ClassVar[bool] = True  # stochastic depth drops a branch for whole events, not for single tokens

    def __init__(self, width: int, n_heads: int, mlp_ratio: float, attention_dropout: float) -> None:
        super().__init__()
        hidden = int(width * mlp_ratio)
        self.n_heads = n_heads
        self.attention_dropout = attention_dropout
        self.norm1 = self.norm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.norm2 = self.norm(width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(
        self, tokens: Tensor, positions: Positions, packing: Packing, factors: Tensor | None = None,
        always_drop: bool = False,
    ) -> Tensor:  # fmt: skip
        """tokens (T, D) -> (T, D).

        `factors` (2, T, 1) multiplies the two branches: 0 where one is dropped. `always_drop` keeps the dropout
        of attention on in evaluation.
        """
        dropout = self.attention_dropout if self.training or always_drop else 0.0
        tokens = tokens + positions.added
        query, key, value = self._heads(tokens, positions)
        attended = self.project(attend(query, key, value, packing, dropout).flatten(1))
        tokens = tokens + (attended if factors is None else attended * factors[0].to(attended.dtype))
        changed = self.mlp(self.norm2(tokens))
        return tokens + (changed if factors is None else changed * factors[1].to(changed.dtype))

    def attention(self, tokens: Tensor, positions: Positions, lengths: Sequence[int]) -> list[Tensor]:
        """Attention weights (heads, n, n) inside each event, given the block's inputs (T, D); rows sum to 1."""
        query, key, _ = (rows.split(list(lengths)) for rows in self._heads(tokens + positions.added, positions))
        scale = query[0].shape[2] ** -0.5
        return [(torch.einsum("qhd,khd->hqk", q, k) * scale).softmax(2) for q, k in zip(query, key, strict=True)]

    def _heads(self, tokens: Tensor, positions: Positions) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each (T, heads, d)."""
        query, key, value = self.qkv(self.norm1(tokens)).unflatten(1, (3, self.n_heads, -1)).unbind(1)
        if positions.rotation is not None:
            query, key = rotate_pairs(query, positions.rotation), rotate_pairs(key, positions.rotation)
        return query, key, value


class Transformer(nn.Module):
    """`depth` blocks; returns the output of every one. Stochastic depth rises linearly to `drop_path`.

    Its random factors are drawn for all blocks at once, so that one compiled block serves all.
    """

    rates: Tensor

    def __init__(
        self, width: int, depth: int, n_heads: int, mlp_ratio: float, attention_dropout: float, drop_path: float,
        block: type[Block] = Block,
    ) -> None:  # fmt: skip
        super().__init__()
        self.drops = drop_path > 0
        self.drops_events = block.drops_events
        self.register_buffer("rates", torch.linspace(0, drop_path, depth), persistent=False)
        self.blocks = nn.ModuleList(block(width, n_heads, mlp_ratio, attention_dropout) for _ in range(depth))
        self.apply(_initialise)

    def forward(
        self, tokens: Tensor, positions: Positions, packing: Packing, always_drop: bool = False
    ) -> list[Tensor]:
        """tokens (T, D) -> the (T, D) output of each block, before the next addition of positions."""
        outputs = []
        block_factors = self.branch_factors(packing) if self.training and self.drops else [None] * len(self.blocks)
        for block, factors in zip(self.blocks, block_factors, strict=True):
            tokens = block(tokens, positions, packing, factors, always_drop)
            outputs.append(tokens)
        return outputs

    def branch_factors(self, packing: Packing) -> Tensor:
        """(depth, 2, T, 1) factors of each block's branches: 0 where one is dropped, else such that the mean is 1."""
        rates = self.rates[:, None, None]
        n = len(packing.lengths) if self.drops_events else len(packing.event)
        factors = (torch.rand(len(self.blocks), 2, n, device=rates.device) >= rates) / (1 - rates)
        return (factors[:, :, packing.event] if self.drops_events else factors)[..., None]


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
