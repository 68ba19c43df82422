"""Transformer layers on dense batches of tokens, and positions of a volume's tokens."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark.models._vit import rotate_pairs

LONGEST = 4.0  # wavelength: twice the width of a volume, whose coordinates run from -1 to 1


class Layer(nn.Module):
    """Self-attention and a perceptron, each with a residual; norms before (pre-norm) or after them (post-norm)."""

    def __init__(self, width: int, heads: int, hidden: int, dropout: float, norm_first: bool, activation: str) -> None:
        super().__init__()
        self.heads, self.norm_first, self.activation = heads, norm_first, activation
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.widen, self.narrow = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor, phases: Tensor | None, present: Tensor | None) -> Tensor:
        """tokens (B, T, D) -> (B, T, D). phases (B, T, d / 2) rotate queries and keys; present (B, T) bool."""
        if self.norm_first:
            tokens = tokens + self._attend(self.norm1(tokens), phases, present)
            return tokens + self._feed_forward(self.norm2(tokens))
        tokens = self.norm1(tokens + self._attend(tokens, phases, present))
        normed: Tensor = self.norm2(tokens + self._feed_forward(tokens))
        return normed

    def attention(self, tokens: Tensor, phases: Tensor | None) -> Tensor:
        """(B, heads, T, T) attention weights, given the layer's inputs; rows sum to 1."""
        query, key, _ = self._heads(self.norm1(tokens) if self.norm_first else tokens, phases)
        return (query @ key.transpose(2, 3) * query.shape[3] ** -0.5).softmax(3)

    def _attend(self, tokens: Tensor, phases: Tensor | None, present: Tensor | None) -> Tensor:
        query, key, value = self._heads(tokens, phases)
        mask = None if present is None else present[:, None, None, :]
        dropout = self.dropout.p if self.training else 0.0
        mixed = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
        dropped: Tensor = self.dropout(self.project(mixed.transpose(1, 2).flatten(2)))
        return dropped

    def _heads(self, tokens: Tensor, phases: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, each (B, heads, T, d)."""
        query, key, value = self.qkv(tokens).unflatten(2, (3, self.heads, -1)).unbind(2)  # (B, T, heads, d) each
        if phases is not None:
            turn = phases.flatten(0, 1)
            query, key = (rotate_pairs(rows.flatten(0, 1), turn).view_as(rows) for rows in (query, key))
        return query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)

    def _feed_forward(self, tokens: Tensor) -> Tensor:
        between = functional.gelu(self.widen(tokens)) if self.activation == "gelu" else self.widen(tokens).relu()
        dropped: Tensor = self.dropout(self.narrow(self.dropout(between)))
        return dropped


def rotary_phases(centres: Tensor, shortest: float, head_width: int) -> Tensor:
    """(T, d / 2) phases of tokens at centres (T, 3) for heads of d channels: of y and x, in relative positions.

    Rotary embedding (Su et al., arXiv 2104.09864) with wavelengths from the volume's width down to `shortest`, in the
    unit of the centres. Remaining channels are not rotated.
    """
    n_waves = head_width // 4
    waves = shortest * (LONGEST / shortest) ** torch.linspace(0, 1, n_waves, device=centres.device)
    phases = (centres[:, 1:, None] * (2 * math.pi / waves)).flatten(1)
    return functional.pad(phases, (0, head_width // 2 - phases.shape[1]))


def grid_centres(grid: tuple[int, int, int], device: torch.device) -> Tensor:
    """(T, 3) centres of the tokens of a grid, each axis from -1 to 1 over the volume, z first."""
    axes = [(torch.arange(n, device=device) + 0.5) / n * 2 - 1 for n in grid]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1).flatten(0, 2)


def patches(volume: Tensor, grid: tuple[int, int, int]) -> Tensor:
    """(B, T, V) the V voxels of every token of volumes (B, Z, Y, X)."""
    a, b, c = grid
    n, z, y, x = volume.shape
    cut = volume.view(n, a, z // a, b, y // b, c, x // c).permute(0, 1, 3, 5, 2, 4, 6)
    return cut.reshape(n, a * b * c, -1)


def unpatches(tokens: Tensor, grid: tuple[int, int, int], shape: tuple[int, int, int]) -> Tensor:
    """Volumes (B, Z, Y, X) of `shape` from their tokens' voxels (B, T, V)."""
    a, b, c = grid
    z, y, x = shape
    cut = tokens.view(len(tokens), a, b, c, z // a, y // b, x // c).permute(0, 1, 4, 2, 5, 3, 6)
    return cut.reshape(len(tokens), z, y, x)
