"""The tokenised transformer of PoLAr-MAE, Point-MAE and the same network without pre-training.

Young, Jwa and Terao, arXiv 2502.02558, sections 3 and 4: an event's points become tokens, a mini-PointNet a vector of
each, a transformer mixes them, and a head reads scores of points, or of the event, from its layers. Self-supervision is
in `_masked_autoencoder.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark.contracts import Inputs, PointBatch, Task, TokenFeatures, TorchModel
from benchmark.contracts.heads import PooledHead, with_hidden
from benchmark.contracts.losses import focal_loss
from benchmark.errors import ConfigError
from benchmark.models._event_head import LinearEventHead
from benchmark.models._point_embedding import MiniPointNet, RowBatchNorm
from benchmark.models._segmentation_head import LinearHead, SegmentationHead, interpolate
from benchmark.models._tokens import Interpolation, Tokens, group_points, interpolate_points
from benchmark.models._vit import Block, Packing, PositionEmbedding, Transformer
from benchmark.ops.grouping import GroupingConfig, Strategy
from benchmark.ops.host_tables import to_device
from benchmark.ops.segments import segment_mean


@dataclass(frozen=True)
class TokenTransformerConfig:
    """Hyper-parameters of tokens, encoder and head. The defaults are the `default` preset, made for a CPU."""

    # Tokens
    group_radius: float = 5.0  # radius of a group in coordinate units (voxels of 3 mm); section 3.1
    overlap: float = 0.73  # f of C-NMS: centres lie at least 2 x radius x f apart; section 3.1
    strategy: Strategy | None = None  # cnms_ball, fps_cnms_ball, fps_ball or fps_knn (table 4); None: as `n_seeds` says
    n_seeds: int | None = None  # farthest points that C-NMS chooses from, or, without C-NMS, centres; None: all points
    group_points: int = 32  # points kept of a group, by farthest point sampling
    max_tokens: int = 512  # maximum groups of an event; more are thinned evenly over the event
    # Encoder
    width: int = 128  # size of a token's vector
    depth: int = 4  # encoder blocks
    heads: int = 4  # attention heads
    mlp_ratio: float = 4.0  # hidden over outer width of a block's perceptron
    embed_widths: tuple[int, int, int] = (64, 128, 128)  # hidden widths of the mini-PointNet
    position_hidden: int = 128  # hidden width of the position embedding
    rotary_wave: float = 40.0  # shortest wavelength of rotary phases in attention, in coordinate units; 0: none
    attention_dropout: float = 0.0  # dropout of attention weights
    drop_path: float = 0.0  # stochastic depth of the last block, per event
    # Head
    fetch_layers: tuple[int, ...] = (1, 2, 3)  # blocks whose outputs are averaged, counted from 0
    # "pointnet": the published head of points, the shared one of events; "linear" is the head of mode `frozen`
    head: Literal["pointnet", "linear"] = "pointnet"
    inverse_frequency_loss: bool = False  # published class weights (total / count), not the task's milder ones
    # Head of point tasks alone
    upsample_neighbours: int = 5  # tokens that a point is interpolated from
    head_widths: tuple[int, int] = (128, 64)  # hidden widths of the segmentation head
    head_dropout: float = 0.1  # dropout in the segmentation head
    point_features: bool = True  # the head also sees a point's own features and its offset to the nearest centre
    # The head also sees a point's vectors inside the mini-PointNet, averaged over its groups
    member_features: bool = True

    def __post_init__(self) -> None:
        GroupingConfig(max_groups=self.max_tokens, n_seeds=self.n_seeds, strategy=self.strategy).check()
        if self.width % self.heads:
            raise ValueError(f"width={self.width} does not divide into heads={self.heads}. A multiple was expected.")
        if self.rotary_wave < 0 or (self.rotary_wave > 0 and self.width // self.heads < 6):
            raise ValueError(
                f"rotary_wave={self.rotary_wave} does not fit heads of {self.width // self.heads} channels. 0, or a "
                f"wavelength and heads of at least 6 channels, was expected."
            )
        if not self.fetch_layers or not all(0 <= i < self.depth for i in self.fetch_layers):
            raise ValueError(
                f"fetch_layers={self.fetch_layers} are not blocks of depth={self.depth}. 0..depth-1 was expected."
            )


class TokenTransformer(TorchModel):
    """Tokens -> mini-PointNet -> transformer encoder -> head. A subclass ends its constructor with `add_head`."""

    # Parts that `_reference.py` replaces.
    mini_pointnet: ClassVar[type[MiniPointNet]] = MiniPointNet
    block: ClassVar[type[Block]] = Block
    batch_norm: ClassVar[type[RowBatchNorm]] = RowBatchNorm
    drops_in_evaluation: ClassVar[bool] = False  # attention dropout, in pre-training modules

    head: nn.Module

    def __init__(self, config: TokenTransformerConfig, inputs: Inputs, task: Task) -> None:
        super().__init__(task)
        self.config = config
        self.columns = inputs.columns
        self.n_event_features = inputs.n_event_features  # read by the head, not the backbone
        c = config
        self.embed = self.mini_pointnet(3 + inputs.n_features, c.embed_widths, c.width, c.group_points)
        shortest = c.rotary_wave * inputs.frame.scale
        self.position = PositionEmbedding(c.position_hidden, c.width, shortest, c.width // c.heads)
        self.encoder = self.transformer(c.depth)

    def transformer(self, depth: int) -> Transformer:
        """`depth` blocks of the configured sizes, with random weights."""
        c = self.config
        return Transformer(c.width, depth, c.heads, c.mlp_ratio, c.attention_dropout, c.drop_path, self.block)

    def add_head(self) -> None:
        """The head with random weights, drawn last so that it does not change earlier draws."""
        c, n_features, n_outputs = self.config, len(self.columns), self.task.n_outputs
        self.feature_width = c.width
        n_shared = self.n_event_features
        if self.task.level == "event":
            head_class = LinearEventHead if c.head == "linear" else PooledHead
            self.head = head_class(c.width, n_outputs, n_event_features=n_shared)
            return
        n_point_inputs = (
            3 + (3 + n_features if c.point_features else 0) + (c.width if c.member_features else 0) + n_shared
        )
        self.head = (
            LinearHead(c.width, n_outputs, n_shared)
            if c.head == "linear"
            else SegmentationHead(c.width, n_point_inputs, c.head_widths, n_outputs, c.head_dropout, self.batch_norm)
        )

    def backbone(self) -> Iterable[nn.Module]:
        """The modules from points to token features."""
        return self.embed, self.position, self.encoder

    def parts_to_compile(self) -> Iterable[nn.Module]:
        """The transformer's blocks: on a GPU, where attention is one operator, each is one graph."""
        return self.encoder.blocks

    def prepare(self, batch: PointBatch, stage: str, generator: torch.Generator) -> Any:
        """The tokens."""
        return self.tokens(with_hidden(batch, self.columns))

    def tokens(self, batch: PointBatch) -> Tokens:
        """The tokens of a batch."""
        if isinstance(batch.prepared, Tokens):
            return batch.prepared
        c = self.config
        grouping = GroupingConfig(
            c.group_radius, c.overlap, c.group_points, c.max_tokens, "spread", n_seeds=c.n_seeds, strategy=c.strategy
        )
        return group_points(batch, self.columns, grouping)

    def encode(self, tokens: Tokens, always_drop: bool = False) -> tuple[list[Tensor], Tensor]:
        """Outputs (T, D) of every encoder block, and the vectors (M, D) of the tokens' members inside the embedding."""
        embedded, members = self.embed(tokens.inputs, tokens.token, tokens.slot, tokens.sizes)
        positions = self.position(tokens.centres)
        return self.encoder(embedded, positions, Packing.of(tokens.lengths, tokens.event), always_drop), members

    def normalised(self, layer: Tensor) -> Tensor:
        """One block's outputs (T, D), normalised for the head."""
        return functional.layer_norm(layer, (self.config.width,))

    def fetched(self, layers: list[Tensor]) -> Tensor:
        """(T, D) features for the head: the mean over `fetch_layers`, each normalised."""
        return torch.stack([self.normalised(layers[i]) for i in self.config.fetch_layers]).mean(0)

    def interpolation(self, batch: PointBatch, tokens: Tokens) -> Interpolation:
        """The interpolation of points from tokens."""
        return interpolate_points(batch, tokens, self.config.upsample_neighbours)

    def forward(self, batch: PointBatch) -> Tensor:
        """(N, n_outputs) scores of a point task, (B, n_outputs) of an event task.

        An event's scores use the mean and the maximum of its tokens' fetched features, as in the published segmentation
        head. Point-MAE classifies from the maximum and a class token (in its published code);
        there is no class token here, nor in the released weights; the mean replaces it.
        """
        batch = with_hidden(batch, self.columns)
        tokens = self.tokens(batch)
        layers, members = self.encode(tokens)
        features = self.fetched(layers)
        scores: Tensor
        if self.task.level == "event":
            scores = self.head(features, tokens.lengths, batch.whole.feats)
            return scores
        to_points = self.interpolation(batch, tokens)
        lengths = to_device(tokens.lengths, torch.int64, features.device)
        point_inputs = self.own_inputs(batch, tokens, members, to_points)
        scores = self.head(features, lengths, to_points, point_inputs, batch.event_index)
        return scores

    def point_features(self, batch: PointBatch) -> Tensor:
        """(N, D) the tokens' fetched features, interpolated."""
        batch = with_hidden(batch, self.columns)
        tokens = self.tokens(batch)
        layers, _ = self.encode(tokens)
        return interpolate(self.fetched(layers), self.interpolation(batch, tokens))

    def own_inputs(self, batch: PointBatch, tokens: Tokens, members: Tensor, to_points: Interpolation) -> Tensor:
        """(N, n_own) the head's inputs of a point besides tokens: position, more if configured, event features last."""
        columns = [batch.normalised_coords]
        if self.config.point_features:
            nearest = tokens.centres[to_points.tokens[:, 0]]
            columns += [
                (batch.normalised_coords - nearest) / (self.config.group_radius * batch.frame.scale),
                batch.feats,
            ]
        if self.config.member_features:
            columns.append(segment_mean(members.float(), tokens.point, batch.n_points))
        if self.n_event_features:
            assert batch.whole.feats is not None, "the batch has no event features, which the model needs"
            columns.append(batch.whole.feats[batch.event_index])
        return torch.cat(columns, dim=1)

    def loss(self, batch: PointBatch, scores: Tensor) -> Tensor:
        """Focal loss, gamma 2, with the task's class weights or the published inverse frequencies."""
        weights = self.class_weights
        if (
            not self.config.inverse_frequency_loss
            or weights is None
            or batch.target is None
            or self.task.kind != "classification"
        ):
            task_loss: Tensor = super().loss(batch, scores)
            return task_loss
        squared = weights.square()  # the task's weights are roots of inverse frequencies, times a constant
        inverse = squared * squared.reciprocal().sum()
        loss: Tensor = focal_loss(scores, batch.target, inverse, 2.0, self.task.ignore_index)
        return loss

    @torch.inference_mode()
    def token_features(self, batch: PointBatch) -> TokenFeatures:
        """Tokens of a batch with the encoder's last outputs, all tokens visible."""
        with evaluating(self):
            tokens = self.tokens(with_hidden(batch, self.columns))
            layers, _ = self.encode(tokens, self.drops_in_evaluation)
            return features_of(batch, tokens, layers[-1])

    @torch.inference_mode()
    def attention(self, batch: PointBatch, layer: int) -> list[Tensor]:
        """Attention weights of an encoder block, (heads, n, n) per event, before any dropout; rows sum to 1."""
        if not 0 <= layer < self.config.depth:
            raise ConfigError(
                f"There is no encoder block {layer}. A number from 0 to {self.config.depth - 1} was expected. "
                f"Correct the layer."
            )
        with evaluating(self):
            tokens = self.tokens(with_hidden(batch, self.columns))
            block_inputs, _ = self.embed(tokens.inputs, tokens.token, tokens.slot, tokens.sizes)
            positions = self.position(tokens.centres)
            packing = Packing.of(tokens.lengths, tokens.event)
            for block in self.encoder.blocks[:layer]:
                block_inputs = block(block_inputs, positions, packing)
            weights: list[Tensor] = self.encoder.blocks[layer].attention(block_inputs, positions, tokens.lengths)
            return [w.float() for w in weights]


def features_of(batch: PointBatch, tokens: Tokens, features: Tensor) -> TokenFeatures:
    """Tokens with features (T, D), for probes and studies."""
    centres = batch.coords[tokens.centre]
    return TokenFeatures(tokens.lengths, centres, features.float(), tokens.token, tokens.point)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block; restores each module's mode, since probes run during training."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


# The published sizes, and the optimiser and schedule of fine-tuning (tables 5 and 6 and appendix).
PAPER: dict[str, Any] = {
    "width": 384, "depth": 12, "heads": 6, "embed_widths": (128, 256, 512), "rotary_wave": 0.0,
    "attention_dropout": 0.05, "drop_path": 0.25, "fetch_layers": (3, 7, 11),
    "head_widths": (512, 256), "head_dropout": 0.5, "point_features": False, "member_features": False,
    "inverse_frequency_loss": True,
}  # fmt: skip
PAPER_OPTIM: dict[str, Any] = {
    "lr": 1e-4, "weight_decay": 0.05, "decay": "everything", "clip_norm": 3.0, "schedule": "cosine",
    "final_lr_fraction": 0.086,
}  # fmt: skip
FINE_TUNING: dict[str, Any] = {"steps": 100_000, "batch_size": 32}
FINE_TUNING_WARMUP = 0.125  # of all steps
# Tokens of a calorimeter's clusters: some 14 of about 5 cells for a cluster of 60. Centres at least one radius apart
# put every cell in a group; only groups of more than `group_points` strips leave some out.
CALORIMETER: dict[str, Any] = {"group_radius": 4.0, "overlap": 0.5, "max_tokens": 128}
CALORIMETER_WAVE = 8.0  # shortest rotary wavelength
# of the default preset: 64 clusters per step take about as long as 8 events
CALORIMETER_SIZES: dict[str, Any] = {
    **CALORIMETER, "rotary_wave": CALORIMETER_WAVE, "width": 96, "embed_widths": (32, 64, 96), "position_hidden": 96,
}  # fmt: skip
TINY: dict[str, Any] = {
    "width": 32, "depth": 2, "heads": 2, "embed_widths": (16, 32, 32), "position_hidden": 32,
    "fetch_layers": (0, 1), "head_widths": (32, 16), "max_tokens": 256,
}  # fmt: skip
