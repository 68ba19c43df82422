"""Transformer over the tokens of each event: pre-norm blocks, positions added before every block.

PoLAr-MAE (arXiv 2502.02558), section 3.2 and table 6. Tokens of all events lie behind one another, (T, D); attention
never crosses events, and LayerNorm acts on each token by itself, so an event's result does not depend on its batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional

LONGEST_WAVE = 2.0  # normalised units: the diameter of the unit ball that holds the detector
PADDED_SHARE = 1.25  # events are attended to together while the longest has at most so many times the shortest's tokens


class PositionEmbedding(nn.Module):
    """A vector per token from its centre (T, 3): a perceptron on the coordinates, as published.

    With `n_waves`, sines and cosines of each coordinate are joined to it, of wavelengths from the detector's size down
    to `shortest` (normalised units): a small perceptron trained for minutes does not resolve neighbouring centres.
    """

    wave_numbers: Tensor

    def __init__(self, hidden: int, width: int, n_waves: int = 0, shortest: float = 0.03) -> None:
        super().__init__()
        exponents = torch.linspace(0, 1, n_waves) if n_waves else torch.zeros(0)
        waves = LONGEST_WAVE * (shortest / LONGEST_WAVE) ** exponents
        self.register_buffer("wave_numbers", 2 * math.pi / waves, persistent=False)
        self.layers = nn.Sequential(nn.Linear(3 + 6 * n_waves, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, centres: Tensor) -> Tensor:
        """(T, 3) normalised coordinates -> (T, width)."""
        phase = (centres[:, :, None] * self.wave_numbers).flatten(1)
        embedded: Tensor = self.layers(torch.cat([centres, phase.sin(), phase.cos()], dim=1))
        return embedded


def attend(query: Tensor, key: Tensor, value: Tensor, lengths: Sequence[int], dropout: float) -> Tensor:
    """Scaled dot-product attention inside each event: (T, heads, d) in and out, sum of `lengths` is T.

    A CPU takes the events one by one and wastes nothing; an accelerator takes them at once, padded and masked.
    """
    if query.device.type == "cpu":
        sizes = list(lengths)
        events = zip(torch.split(query, sizes), torch.split(key, sizes), torch.split(value, sizes), strict=True)
        mixed = [_attention(q.transpose(0, 1), k.transpose(0, 1), v.transpose(0, 1), dropout) for q, k, v in events]
        return torch.cat([m.transpose(0, 1) for m in mixed])
    return attend_padded(query, key, value, lengths, dropout)


def attend_padded(query: Tensor, key: Tensor, value: Tensor, lengths: Sequence[int], dropout: float) -> Tensor:
    """The same as `attend`, over events of similar length at once, so that little of the work is padding."""
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
        found = _attention(q, k, v, dropout, present[index, None, None, :longest])
        mixed[index, :longest] = found.transpose(1, 2)
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
    """Pre-norm attention and perceptron, each with stochastic depth per event."""

    norm: ClassVar[type[nn.Module]] = nn.LayerNorm

    def __init__(self, width: int, n_heads: int, mlp_ratio: float, attention_dropout: float, drop_path: float) -> None:
        super().__init__()
        hidden = int(width * mlp_ratio)
        self.n_heads = n_heads
        self.attention_dropout = attention_dropout
        self.drop_path = drop_path
        self.norm1 = self.norm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.norm2 = self.norm(width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, tokens: Tensor, lengths: Sequence[int], event: Tensor, always_drop: bool = False) -> Tensor:
        """tokens (T, D) of events with `lengths`, `event` (T,) -> (T, D).

        `always_drop` keeps the dropout of attention on in evaluation.
        """
        dropout = self.attention_dropout if self.training or always_drop else 0.0
        query, key, value = self._heads(tokens)
        attended = self.project(attend(query, key, value, lengths, dropout).flatten(1))
        tokens = tokens + self._dropped(attended, len(lengths), event)
        return tokens + self._dropped(self.mlp(self.norm2(tokens)), len(lengths), event)

    def attention(self, tokens: Tensor, lengths: Sequence[int]) -> list[Tensor]:
        """Attention weights (heads, n, n) inside each event, given the block's inputs (T, D); rows sum to 1."""
        query, key, _ = (rows.split(list(lengths)) for rows in self._heads(tokens))
        scale = query[0].shape[2] ** -0.5
        return [(torch.einsum("qhd,khd->hqk", q, k) * scale).softmax(2) for q, k in zip(query, key, strict=True)]

    def _heads(self, tokens: Tensor) -> tuple[Tensor, ...]:
        """Queries, keys and values, each (T, heads, d)."""
        return self.qkv(self.norm1(tokens)).unflatten(1, (3, self.n_heads, -1)).unbind(1)

    def _dropped(self, branch: Tensor, n_events: int, event: Tensor) -> Tensor:
        if not self.training or self.drop_path == 0:
            return branch
        kept = torch.rand(n_events, 1, device=branch.device) >= self.drop_path
        return branch * (kept / (1 - self.drop_path)).to(branch.dtype)[event]


class Transformer(nn.Module):
    """`depth` blocks; returns the output of every one. Stochastic depth rises linearly to `drop_path`."""

    def __init__(
        self, width: int, depth: int, n_heads: int, mlp_ratio: float, attention_dropout: float, drop_path: float,
        block: type[Block] = Block,
    ) -> None:  # fmt: skip
        super().__init__()
        rates = torch.linspace(0, drop_path, depth).tolist()
        self.blocks = nn.ModuleList(block(width, n_heads, mlp_ratio, attention_dropout, rate) for rate in rates)
        self.apply(_initialise)

    def forward(
        self, tokens: Tensor, positions: Tensor, lengths: Sequence[int], event: Tensor, always_drop: bool = False
    ) -> list[Tensor]:
        """tokens and positions (T, D) -> the (T, D) output of each block, before the next addition of positions."""
        outputs = []
        for block in self.blocks:
            tokens = block(tokens + positions, lengths, event, always_drop)
            outputs.append(tokens)
        return outputs


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
