"""PoLAr-MAE: a masked autoencoder on volumetric tokens of particle trajectories.

Young, Jwa and Terao, arXiv 2502.02558. Behaviour follows the paper's words: LayerNorm per token, padding neutral,
no neighbour cap, deterministic evaluation; only visible tokens are encoded in pre-training.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark.contracts import Inputs, ModelSpec, PointBatch, Preset, Task, TorchModel
from benchmark.losses import focal_loss
from benchmark.models._masking import EnergyInfill, MaskedDecoder, random_mask
from benchmark.models._point_embedding import MiniPointNet
from benchmark.models._segmentation_head import LinearHead, SegmentationHead
from benchmark.models._tokens import Tokens, group_points, interpolate_points
from benchmark.models._vit import PositionEmbedding, Transformer
from benchmark.ops.grouping import GroupingConfig
from benchmark.ops.segments import segment_mean


@dataclass(frozen=True)
class PolarMAEConfig:
    """Hyper-parameters of PoLAr-MAE. The defaults are the `default` preset, made for minutes on a CPU."""

    # Tokens
    group_radius: float = 5.0  # radius of a group in coordinate units (voxels of 3 mm); section 3.1
    overlap: float = 0.73  # f of C-NMS: centres lie at least 2 x radius x f apart; section 3.1
    group_points: int = 32  # points kept of a group, by farthest point sampling
    max_tokens: int = 512  # groups of an event at most; more are thinned evenly over the event
    # Encoder
    width: int = 128  # size of a token's vector
    depth: int = 4  # encoder blocks
    heads: int = 4  # attention heads
    mlp_ratio: float = 4.0  # hidden over outer width of a block's perceptron
    embed_widths: tuple[int, int, int] = (64, 128, 128)  # hidden widths of the mini-PointNet
    position_hidden: int = 128  # hidden width of the position embedding
    position_waves: int = 0  # sines and cosines of the centre per coordinate; 0 as published
    attention_dropout: float = 0.0  # dropout of attention weights
    drop_path: float = 0.0  # stochastic depth of the last block, per event
    # Pre-training
    mask_ratio: float = 0.6  # share of an event's tokens that is hidden
    decoder_depth: int = 2  # decoder blocks
    chamfer_weight: float = 1.0  # weight of the reconstruction of points
    energy_weight: float = 1.0  # weight of the energy infilling; 0 leaves it out (Point-MAE)
    # Fine-tuning
    fetch_layers: tuple[int, ...] = (1, 2, 3)  # blocks whose outputs are averaged, counted from 0
    upsample_neighbours: int = 5  # tokens that a point is interpolated from
    head: Literal["pointnet", "linear"] = "pointnet"  # "linear" is the read-out of mode `frozen`
    head_widths: tuple[int, int] = (128, 64)  # hidden widths of the segmentation head
    head_dropout: float = 0.1  # dropout in the segmentation head
    point_features: bool = True  # the head also sees a point's own features and its offset to the nearest centre
    member_features: bool = (
        True  # the head also sees a point's vectors inside the mini-PointNet, averaged over its groups
    )
    inverse_frequency_loss: bool = False  # published class weights (total / count), not the task's milder ones

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"width={self.width} does not divide into heads={self.heads}. A multiple was expected.")
        if not 0 < self.mask_ratio < 1:
            raise ValueError(f"mask_ratio={self.mask_ratio} is not possible. A number between 0 and 1 was expected.")
        if not self.fetch_layers or not all(0 <= i < self.depth for i in self.fetch_layers):
            raise ValueError(
                f"fetch_layers={self.fetch_layers} are not blocks of depth={self.depth}. 0..depth-1 was expected."
            )


class PolarMAE(TorchModel):
    """Tokens -> mini-PointNet -> transformer encoder; a decoder for pre-training and a head for supervision."""

    def __init__(self, config: PolarMAEConfig, inputs: Inputs, task: Task) -> None:
        super().__init__(task)
        self.config = config
        self.columns = inputs.columns
        c, n_channels = config, 3 + inputs.n_features
        self.embed = MiniPointNet(n_channels, c.embed_widths, c.width)
        shortest_wave = 4 * c.group_radius * inputs.frame.scale
        self.position = PositionEmbedding(c.position_hidden, c.width, c.position_waves, shortest_wave)
        self.encoder = Transformer(c.width, c.depth, c.heads, c.mlp_ratio, c.attention_dropout, c.drop_path)
        decoder = Transformer(c.width, c.decoder_depth, c.heads, c.mlp_ratio, c.attention_dropout, c.drop_path)
        energy = inputs.columns.index("log_energy") if c.energy_weight > 0 and "log_energy" in inputs.columns else None
        infill = None if energy is None else EnergyInfill(c.width, c.group_points, c.embed_widths, 3 + energy)
        self.decoder = MaskedDecoder(c.width, decoder, c.group_points, n_channels, infill)
        n_own = 3 + (3 + inputs.n_features if c.point_features else 0) + (c.width if c.member_features else 0)
        self.head: nn.Module = (
            LinearHead(c.width, task.n_outputs)
            if c.head == "linear"
            else SegmentationHead(c.width, n_own, c.head_widths, task.n_outputs, c.head_dropout)
        )

    def backbone(self) -> Iterable[nn.Module]:
        """Everything that turns points into token features."""
        return self.embed, self.position, self.encoder

    def pretraining_only(self) -> Iterable[nn.Module]:
        """The decoder with its heads and mask token."""
        return (self.decoder,)

    def tokens(self, batch: PointBatch) -> Tokens:
        """The tokens of a batch."""
        c = self.config
        grouping = GroupingConfig(c.group_radius, c.overlap, c.group_points, c.max_tokens, "spread")
        return group_points(batch, self.columns, grouping)

    def encode(self, tokens: Tokens) -> tuple[list[Tensor], Tensor]:
        """Outputs (T, D) of every encoder block, and the vectors (M, D) of the tokens' members inside the embedding."""
        embedded, members = self.embed(tokens.inputs, tokens.token, tokens.slot, tokens.sizes)
        outputs = self.encoder(embedded, self.position(tokens.centres), tokens.lengths, tokens.event)
        return outputs, members

    def forward(self, batch: PointBatch) -> Tensor:
        """(N, n_outputs) scores of points."""
        tokens = self.tokens(batch)
        layers, members = self.encode(tokens)
        normalised = [functional.layer_norm(layers[i], (self.config.width,)) for i in self.config.fetch_layers]
        features = torch.stack(normalised).mean(0)
        to_points = interpolate_points(batch, tokens, self.config.upsample_neighbours)
        lengths = torch.tensor(tokens.lengths, device=features.device)
        own = [batch.normalised_coords]
        if self.config.point_features:
            nearest = tokens.centres[to_points.tokens[:, 0]]
            own += [(batch.normalised_coords - nearest) / (self.config.group_radius * batch.frame.scale), batch.feats]
        if self.config.member_features:
            own.append(segment_mean(members.float(), tokens.point, batch.n_points))
        scores: Tensor = self.head(features, lengths, to_points, torch.cat(own, dim=1), batch.event_index)
        return scores

    def loss(self, batch: PointBatch, scores: Tensor) -> Tensor:
        """Focal loss, gamma 2, with the task's class weights or the published inverse frequencies."""
        weights = self.class_weights
        if (
            not self.config.inverse_frequency_loss
            or weights is None
            or batch.target is None
            or self.task.kind != "classification"
        ):
            usual: Tensor = super().loss(batch, scores)
            return usual
        squared = weights.square()  # the task's weights are roots of inverse frequencies, times a constant
        inverse = squared * squared.reciprocal().sum()
        loss: Tensor = focal_loss(scores, batch.target, inverse, 2.0, self.task.ignore_index)
        return loss

    def pretrain_loss(self, batch: PointBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Chamfer distance and energy error of hidden tokens, given the visible ones."""
        tokens = self.tokens(batch)
        hidden = random_mask(tokens.lengths, self.config.mask_ratio, tokens.centres.device)
        visible = self.encode(tokens.select(~hidden))[0][-1]
        decoded = self.decoder(visible, hidden, self.position(tokens.centres), tokens)
        parts = self.decoder.losses(decoded, tokens.select(hidden))
        total = self.config.chamfer_weight * parts["chamfer"]
        if "energy" in parts:
            total = total + self.config.energy_weight * parts["energy"]
        return total, parts


def build(config: PolarMAEConfig, inputs: Inputs, task: Task) -> PolarMAE:
    """A model with random weights."""
    return PolarMAE(config, inputs, task)


_PAPER: dict[str, Any] = {
    "width": 384, "depth": 12, "heads": 6, "decoder_depth": 4, "embed_widths": (128, 256, 512), "position_waves": 0,
    "attention_dropout": 0.05, "drop_path": 0.25, "fetch_layers": (3, 7, 11),
    "head_widths": (512, 256), "head_dropout": 0.5, "point_features": False, "member_features": False,
    "inverse_frequency_loss": True,
}  # fmt: skip
_PAPER_OPTIM: dict[str, Any] = {
    "lr": 1e-4, "weight_decay": 0.05, "clip_norm": 3.0, "schedule": "cosine", "final_lr_fraction": 0.086,
}  # fmt: skip
_TINY: dict[str, Any] = {
    "width": 32, "depth": 2, "heads": 2, "embed_widths": (16, 32, 32), "position_hidden": 32, "decoder_depth": 1,
    "fetch_layers": (0, 1), "head_widths": (32, 16), "max_tokens": 256,
}  # fmt: skip

SPEC = ModelSpec(
    name="polarmae",
    summary="Masked autoencoder on volumetric tokens, with energy infilling (PoLAr-MAE)",
    config=PolarMAEConfig,
    build=build,
    presets={
        "default": Preset(optim={"lr": 3e-3}, pretrain_optim={"lr": 1e-3}),
        "tiny": Preset(model=_TINY, optim={"lr": 2e-3}, pretrain_optim={"lr": 2e-3}),
        "paper": Preset(
            model=_PAPER,
            optim={**_PAPER_OPTIM, "warmup_fraction": 0.125},
            pretrain_optim={**_PAPER_OPTIM, "warmup_fraction": 0.025},
            steps=100_000,
            batch_size=32,
            pretrain_steps=500_000,
            pretrain_batch_size=32,
        ),
    },
    pretrains=True,
    mode_overrides={"frozen": {"head": "linear"}},
    reference="arXiv:2502.02558, sections 3 and 4, tables 5 to 7",
)
