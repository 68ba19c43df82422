"""Differences of the published implementation from its paper, for released checkpoints and their numbers.

Facts of DeepLearnPhysics/PoLAr-MAE at 2fd3b80. Each class below replaces one part of the clean model; names and shapes
of parameters are the same. There is no padding here either: the effect of empty slots is added as constants.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark.contracts import Inputs, PointBatch, Task
from benchmark.models._masked_autoencoder import MaskedAutoencoder, MaskedAutoencoderConfig
from benchmark.models._masking import Masked, MaskedDecoder
from benchmark.models._point_embedding import MOMENTUM, MiniPointNet, RowBatchNorm, joined_linear, max_per_token
from benchmark.models._tokens import Interpolation, Tokens, group_points, interpolate_points
from benchmark.models._vit import Block, Packing
from benchmark.ops.grouping import GroupingConfig

MAX_NEIGHBOURS = 256  # of a candidate in C-NMS, and of a ball before it is thinned: the first by index


class BatchScalarNorm(nn.Module):
    """One mean and one deviation over all tokens and channels of the batch, where the paper has LayerNorm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, tokens: Tensor) -> Tensor:
        """(T, D) tokens of all events."""
        return scalar_normalised(tokens) * self.weight + self.bias


def scalar_normalised(tokens: Tensor) -> Tensor:
    """(T, D) minus the mean of all its numbers, over their standard deviation."""
    tiny = 1e-4 if tokens.dtype == torch.float16 else 1e-13
    centred = tokens - tokens.mean()
    return centred / ((centred.square().mean() + tiny).sqrt() + tiny)


class PlainBatchNorm(RowBatchNorm):
    """A single row in training is normalised with itself, so the output is the bias."""

    def forward(self, rows: Tensor) -> Tensor:
        """(M, C) -> (M, C), in single precision."""
        if not self.training or len(rows) != 1:
            return super().forward(rows)
        with torch.no_grad():
            self.running_mean.lerp_(rows[0].float(), MOMENTUM)
            self.running_var.mul_(1 - MOMENTUM)
        return rows.float() * 0 * self.weight + self.bias


class PaddedMiniPointNet(MiniPointNet):
    """Empty slots enter both maxima. After a masked batch norm such a slot holds the norm's bias, in every group."""

    batch_norm = PlainBatchNorm

    def forward(self, inputs: Tensor, token: Tensor, slot: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor]:
        """As `MiniPointNet`, always in single precision."""
        with torch.autocast(inputs.device.type, enabled=False):
            codes = None if self.order is None else self.order(self.code)
            local = self.lift(self.first(inputs.float()))  # (M, second)
            if codes is not None:
                local = local + codes[slot]
            pooled = torch.maximum(max_per_token(local, sizes), self._empty_from(codes)[sizes])
            members = self.second(joined_linear(self.mix, pooled, token, local))
            empty = self.second[2](functional.relu(self.second[0].bias))  # (n_out,)
            padded = (sizes < self.n_slots)[:, None]
            largest = max_per_token(members, sizes)
            return torch.where(padded, torch.maximum(largest, empty), largest), members

    def _empty_from(self, codes: Tensor | None) -> Tensor:
        """(K + 1, second): row n is the maximum over the slots n, ..., K - 1 where they are empty."""
        empty = self.lift(functional.relu(self.first[1].bias))
        slots = empty.expand(self.n_slots, -1) if codes is None else empty + codes
        from_slot = slots.flip(0).cummax(0).values.flip(0)
        return torch.cat([from_slot, from_slot.new_full((1, from_slot.shape[1]), -torch.inf)])


class TokenDropBlock(Block):
    """Norms over the whole batch, and stochastic depth that drops tokens, not events."""

    norm = BatchScalarNorm
    drops_events = False


class WholeNormDecoder(MaskedDecoder):
    """The final norm's statistics are those of all tokens, hidden and visible."""

    def normed(self, decoded: Tensor, rows: Tensor) -> Tensor:
        """(T, D) decoder outputs -> (H, D) of the hidden tokens, which stand in `rows` (H,)."""
        outputs: Tensor = self.norm(decoded)[rows]
        return outputs


class ReferenceAutoencoder(MaskedAutoencoder):
    """The published implementation's numbers: an event's scores depend on the rest of its batch.

    They also depend on earlier batches, through `context_length`: the first batch with an event of more than
    `max_tokens` groups keeps every group, and its maximum limits all later batches. The published numbers include
    this; it is state of the object, not of checkpoints.
    """

    mini_pointnet = PaddedMiniPointNet
    block = TokenDropBlock
    decoder_type = WholeNormDecoder
    batch_norm = PlainBatchNorm
    # As fused attention in the published configurations, which always drops: in pre-training and its probe.
    # Set `attention_dropout` to 0 for deterministic features.
    drops_in_evaluation = True
    keeps_frozen_backbone_in_evaluation = False

    def __init__(self, config: MaskedAutoencoderConfig, inputs: Inputs, task: Task, energy_weight: float = 0.0) -> None:
        super().__init__(config, inputs, task, energy_weight)
        self.context_length: int | None = None  # maximum groups of an event, set by a batch; None: no limit

    def tokens(self, batch: PointBatch) -> Tokens:
        """Groups in the stored order of points; the first batch with too many groups sets the limit."""
        if isinstance(batch.prepared, Tokens):
            return batch.prepared
        c = self.config
        radius = c.group_radius * batch.frame.scale
        grouping = GroupingConfig(
            radius, c.overlap, c.group_points, self.context_length, "first",
            max_candidate_neighbours=MAX_NEIGHBOURS, max_ball=MAX_NEIGHBOURS, n_seeds=c.n_seeds, strategy=c.strategy,
        )  # fmt: skip
        tokens = group_points(batch, self.columns, grouping, as_published=True)
        if self.context_length is None and max(tokens.lengths) > c.max_tokens:
            self.context_length = max(tokens.lengths)
        return tokens

    def encode_visible(self, masked: Masked) -> Tensor:
        """Embeds all tokens, so hidden ones enter the embedding's norms, and encodes the visible ones."""
        tokens, hidden, visible, _ = masked
        embedded, _ = self.embed(tokens.inputs, tokens.token, tokens.slot, tokens.sizes)
        positions = self.position(visible.centres)
        packing = Packing.of(visible.lengths, visible.event)
        layers = self.encoder(embedded[~hidden], positions, packing, self.drops_in_evaluation)
        last: Tensor = layers[-1]
        return last

    def normalised(self, layer: Tensor) -> Tensor:
        """One block's outputs (T, D), normalised by one deviation."""
        return scalar_normalised(layer)

    def interpolation(self, batch: PointBatch, tokens: Tokens) -> Interpolation:
        """Missing neighbours are the event's first token at distance 0, so they outweigh real ones."""
        return interpolate_points(batch, tokens, self.config.upsample_neighbours, missing_at=0.0)


def build(config: MaskedAutoencoderConfig, inputs: Inputs, task: Task, energy_weight: float) -> MaskedAutoencoder:
    """A model with random weights, of the configured behaviour."""
    model_class = ReferenceAutoencoder if config.behaviour == "reference" else MaskedAutoencoder
    return model_class(config, inputs, task, energy_weight)
