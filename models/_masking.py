"""Masked reconstruction of tokens: which are hidden, what is predicted for them, and the two losses.

PoLAr-MAE (arXiv 2502.02558), sections 3.3 and 3.4: Chamfer distance between predicted and true points of a hidden
group, and "energy infilling", the energies of its points given their positions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark.models._point_embedding import MiniPointNet
from benchmark.models._tokens import Tokens
from benchmark.models._vit import Transformer


def n_masked(n_tokens: int, ratio: float) -> int:
    """How many of an event's tokens are hidden: the floor of ratio x n, safe against the ratio's binary rounding."""
    return int(ratio * n_tokens + 1e-9)


def random_mask(lengths: Sequence[int], ratio: float, device: torch.device) -> Tensor:
    """(T,) bool, True for hidden tokens: `n_masked` of each event, uniformly, from torch's global generator."""
    parts = []
    for length in lengths:
        mask = torch.zeros(length, dtype=torch.bool)
        mask[torch.randperm(length)[: n_masked(length, ratio)]] = True
        parts.append(mask)
    return torch.cat(parts).to(device)


def chamfer_per_group(predicted: Tensor, true: Tensor, mask: Tensor) -> Tensor:
    """(G,) Chamfer distances of groups: mean nearest squared distance from true to predicted, plus the reverse.

    predicted and true (G, K, C), mask (G, K) of true points. A group of n points is compared with its first n
    predictions. Every group needs at least one point. Gradients flow through the nearest pairs only, so the table of
    all pairs takes no part in them.
    """
    with torch.no_grad():
        squared = torch.full((*mask.shape, mask.shape[1]), 0.0, device=true.device)  # (G, true, predicted)
        for channel in range(true.shape[2]):
            squared += (true[:, :, None, channel] - predicted[:, None, :, channel]).square_()
        squared.masked_fill_(~(mask[:, :, None] & mask[:, None, :]), torch.inf)
        to_predicted, to_true = squared.argmin(2), squared.argmin(1)  # (G, K) each
    missed = (true - _take(predicted, to_predicted)).square().sum(2)
    invented = (_take(true, to_true) - predicted).square().sum(2)
    return ((missed + invented) * mask).sum(1) / mask.sum(1)


def _take(points: Tensor, index: Tensor) -> Tensor:
    """points (G, K, C) at index (G, K)."""
    return points.gather(1, index[:, :, None].expand(-1, -1, points.shape[2]))


class EnergyInfill(nn.Module):
    """Energies of a hidden group's points from their positions and the decoder's view of the group (section 3.4)."""

    def __init__(self, width: int, n_slots: int, widths: tuple[int, int, int], channel: int) -> None:
        super().__init__()
        self.channel = channel  # of a member's inputs, that holds the log energy
        self.shape = MiniPointNet(3, widths, width, n_slots)
        self.energy = nn.Linear(2 * width, n_slots)

    def forward(self, decoded: Tensor, target: Tokens) -> Tensor:
        """Mean squared error over all points of the hidden tokens, decoder outputs (H, D)."""
        shape, _ = self.shape(target.inputs[:, :3], target.token, target.slot, target.sizes)
        by_slot = self.energy(torch.cat([shape.to(decoded.dtype), decoded], dim=1))  # (H, K)
        return functional.mse_loss(by_slot[target.token, target.slot].float(), target.inputs[:, self.channel])


class MaskedDecoder(nn.Module):
    """Everything that only pre-training uses: mask token, decoder, reconstruction and energy heads."""

    def __init__(
        self, width: int, transformer: Transformer, n_slots: int, n_channels: int, infill: EnergyInfill | None
    ) -> None:
        super().__init__()
        self.n_slots, self.n_channels = n_slots, n_channels
        self.mask_token = nn.Parameter(torch.empty(width))
        nn.init.trunc_normal_(self.mask_token, std=0.02, a=-0.02, b=0.02)
        self.transformer = transformer
        self.norm = nn.LayerNorm(width)
        self.points = nn.Linear(width, n_slots * n_channels)
        self.infill = infill

    def forward(self, visible: Tensor, hidden: Tensor, positions: Tensor, tokens: Tokens) -> Tensor:
        """Decoder outputs of the hidden tokens, (H, D).

        visible (V, D) encoder outputs of the tokens not in `hidden` (T,); positions (T, D) of all.
        """
        filled = self.mask_token.to(visible.dtype).expand(len(hidden), -1).clone()
        filled[~hidden] = visible
        decoded = self.transformer(filled, positions, tokens.lengths, tokens.event)[-1]
        outputs: Tensor = self.norm(decoded[hidden])
        return outputs

    def losses(self, decoded: Tensor, target: Tokens) -> dict[str, Tensor]:
        """Reconstruction losses of the hidden tokens `target` from their decoder outputs (H, D)."""
        zero = decoded.sum() * 0  # what events too small to hide anything give: connected, but nothing to learn
        if len(target) == 0:
            return {"chamfer": zero, "energy": zero} if self.infill else {"chamfer": zero}
        true, mask = target.padded_members()
        predicted = self.points(decoded).float().view(len(target), self.n_slots, self.n_channels)
        losses = {"chamfer": chamfer_per_group(predicted, true, mask).mean()}
        if self.infill is not None:
            losses["energy"] = self.infill(decoded, target)
        return losses
