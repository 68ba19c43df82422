"""Masked reconstruction of tokens: random masks, predictions, and the two losses.

PoLAr-MAE (arXiv 2502.02558), sections 3.3 and 3.4: Chamfer distance between predicted and true points of a hidden
group, and "energy infilling", the energies of its points given their positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark.models._point_embedding import MiniPointNet
from benchmark.models._tokens import Tokens
from benchmark.models._vit import Packing, Positions, Transformer
from benchmark.ops import triton
from benchmark.ops.host_tables import to_device


def n_masked(n_tokens: int, ratio: float) -> int:
    """How many of an event's tokens are hidden: floor(ratio x n), safe against binary rounding of the ratio."""
    return int(ratio * n_tokens + 1e-9)


def random_mask(
    lengths: Sequence[int], ratio: float, device: torch.device, generator: torch.Generator | None = None
) -> Tensor:
    """(T,) bool, True for hidden tokens: `n_masked` of each event, uniformly; by default with torch's generator.

    A GPU draws all events at once, unless a CPU generator is passed, which gives the CPU's masks.
    """
    if device.type == "cuda" and (generator is None or generator.device.type == "cuda"):
        return random_mask_at_once(lengths, ratio, device, generator)
    parts = []
    for length in lengths:
        mask = torch.zeros(length, dtype=torch.bool)
        mask[torch.randperm(length, generator=generator)[: n_masked(length, ratio)]] = True
        parts.append(mask)
    return torch.cat(parts).to(device)


def random_mask_at_once(
    lengths: Sequence[int], ratio: float, device: torch.device, generator: torch.Generator | None = None
) -> Tensor:
    """The same on the device, without a loop over events; other random numbers."""
    n_tokens = sum(lengths)
    length, hidden = to_device([list(lengths), [n_masked(n, ratio) for n in lengths]], torch.int64, device)
    begin = length.cumsum(0) - length
    event = torch.repeat_interleave(length, output_size=n_tokens)
    shuffled = torch.rand(n_tokens, device=device, generator=generator).argsort()
    order = shuffled[event[shuffled].argsort(stable=True)]  # a permutation within each event
    rank = torch.arange(n_tokens, device=device) - begin[event]
    return torch.zeros(n_tokens, dtype=torch.bool, device=device).scatter_(0, order, rank < hidden[event])


class Masked(NamedTuple):
    """Tokens with a mask of those to predict."""

    tokens: Tokens
    hidden: Tensor  # (T,) bool
    visible: Tokens
    target: Tokens  # the hidden tokens

    @classmethod
    def of(cls, tokens: Tokens, hidden: Tensor) -> Masked:
        """From the mask `hidden` (T,) of the tokens to predict."""
        return cls(tokens, hidden, *tokens.split(hidden))


def chamfer_per_group(predicted: Tensor, true: Tensor, mask: Tensor) -> Tensor:
    """(G,) Chamfer distances of groups: mean nearest squared distance from true to predicted, plus the reverse.

    predicted and true (G, K, C), mask (G, K) of true points. A group of n points is compared with its first n
    predictions. Every group needs at least one point. Gradients flow through the nearest pairs only, not through the
    table of all pairs.
    """
    nearest = triton.nearest_pairs if triton.serves(true.device.type) else nearest_by_table
    to_predicted, to_true = nearest(true, predicted.detach(), mask)
    recall_term = (true - _gather_points(predicted, to_predicted)).square().sum(2)
    precision_term = (_gather_points(true, to_true) - predicted).square().sum(2)
    return ((recall_term + precision_term) * mask).sum(1) / mask.sum(1)


def nearest_by_table(true: Tensor, predicted: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Of each true slot the nearest predicted one, and the reverse, both (G, K), from the table of all pairs."""
    squared = torch.full((*mask.shape, mask.shape[1]), 0.0, device=true.device)  # (G, true, predicted)
    for channel in range(true.shape[2]):
        squared += (true[:, :, None, channel] - predicted[:, None, :, channel]).square_()
    squared.masked_fill_(~(mask[:, :, None] & mask[:, None, :]), torch.inf)
    return squared.argmin(2), squared.argmin(1)


def _gather_points(points: Tensor, index: Tensor) -> Tensor:
    """points (G, K, C) at index (G, K)."""
    return points.gather(1, index[:, :, None].expand(-1, -1, points.shape[2]))


class EnergyInfill(nn.Module):
    """Energies of a hidden group's points from their positions and the decoder's view of the group (section 3.4)."""

    def __init__(self, shape: MiniPointNet, width: int, channel: int) -> None:
        super().__init__()
        self.channel = channel  # index of the log energy in a member's inputs
        self.shape = shape  # vector of a group from its points' positions, (H, D)
        self.energy = nn.Linear(2 * width, shape.n_slots)

    def by_slot(self, decoded: Tensor, target: Tokens) -> Tensor:
        """(H, K) log energies of the slots of the hidden tokens `target`, decoder outputs (H, D)."""
        shape, _ = self.shape(target.inputs[:, :3], target.token, target.slot, target.sizes)
        energies: Tensor = self.energy(torch.cat([shape.to(decoded.dtype), decoded], dim=1))
        return energies

    def forward(self, decoded: Tensor, target: Tokens) -> Tensor:
        """Mean squared error over all points of the hidden tokens, decoder outputs (H, D)."""
        predicted = self.by_slot(decoded, target)[target.token, target.slot]
        return functional.mse_loss(predicted.float(), target.inputs[:, self.channel])


class MaskedDecoder(nn.Module):
    """Modules that only pre-training uses: mask token, decoder, reconstruction and energy heads."""

    def __init__(
        self, width: int, transformer: Transformer, norm: nn.Module, n_slots: int, n_channels: int,
        infill: EnergyInfill | None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.n_slots, self.n_channels = n_slots, n_channels
        self.mask_token = nn.Parameter(torch.empty(width))
        nn.init.trunc_normal_(self.mask_token, std=0.02, a=-0.02, b=0.02)
        self.transformer = transformer
        self.norm = norm
        self.points = nn.Linear(width, n_slots * n_channels)
        self.infill = infill

    def forward(
        self, visible: Tensor, hidden: Tensor, positions: Positions, tokens: Tokens, always_drop: bool = False
    ) -> Tensor:
        """Decoder outputs of the hidden tokens, (H, D).

        visible (V, D) encoder outputs of the tokens not in `hidden` (T,); positions of all T.
        """
        order = torch.argsort(hidden.byte(), stable=True)  # visible first; no wait for the GPU
        visible_rows, hidden_rows = order[: len(visible)], order[len(visible) :]
        all_tokens = self.mask_token.to(visible.dtype).expand(len(hidden), -1).index_copy(0, visible_rows, visible)
        packing = Packing.of(tokens.lengths, tokens.event)
        return self.normed(self.transformer(all_tokens, positions, packing, always_drop)[-1], hidden_rows)

    def normed(self, decoded: Tensor, rows: Tensor) -> Tensor:
        """The final norm of the hidden tokens' `rows` (H,); it acts per token."""
        outputs: Tensor = self.norm(decoded.index_select(0, rows))
        return outputs

    def reconstruct(self, decoded: Tensor) -> Tensor:
        """(H, K, C) predicted members of the hidden tokens, decoder outputs (H, D)."""
        return self.points(decoded).float().view(len(decoded), self.n_slots, self.n_channels)

    def losses(self, decoded: Tensor, target: Tokens) -> dict[str, Tensor]:
        """Reconstruction losses of the hidden tokens `target` from their decoder outputs (H, D)."""
        zero = decoded.sum() * 0  # for batches without hidden tokens: a zero loss that is connected to the graph
        if len(target) == 0:
            return {"chamfer": zero, "energy": zero} if self.infill else {"chamfer": zero}
        true, mask = target.padded_members()
        losses = {"chamfer": chamfer_per_group(self.reconstruct(decoded), true, mask).mean()}
        if self.infill is not None:
            losses["energy"] = self.infill(decoded, target)
        return losses
