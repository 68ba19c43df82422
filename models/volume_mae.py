"""A masked autoencoder of light-sheet volumes: tokens of voxels are hidden, and predicted from the visible ones.

After "Learning 3D Structure in Irradiated Lithium Fluoride via Masked Autoencoders": tokens of 5 x 10 x 10 voxels,
positions by a perceptron on their centres, a transformer over the visible tokens, a decoder over all of them, mean
squared error of the hidden voxels. The preset `paper` has the published sizes. It differs from the public code in
three points that pre-training needs:

- The decoder receives the encoder's outputs. In the public code it receives the embedded patches themselves, and no
  weight of the encoder ever gets a gradient.
- The encoder's layers are layers of their own. The public code applies one layer six times (27.7 million parameters in
  place of 34.6).
- Every sample has its own mask. In the public code a batch shares one.

The default preset is made for minutes on a CPU, and differs on purpose: rotary relative positions, to resolve
neighbours within few steps; predictions are changes to a smooth filling; and a few convolutions join predicted tokens
to the surrounding voxels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from benchmark.contracts import Inputs, ModelSpec, PointBatch, Preset, Task, VolumeModel
from benchmark.models._volume_transformer import Layer, grid_centres, patches, rotary_phases, unpatches
from benchmark.ops.masks import MASKS, hidden_tokens
from benchmark.ops.smooth import fill


@dataclass(frozen=True)
class VolumeMAEConfig:
    """Hyper-parameters. The defaults are the `default` preset, made for minutes on a CPU."""

    patch: tuple[int, int, int] = (5, 10, 10)  # z, y, x voxels of a token
    # Encoder
    width: int = 128
    depth: int = 4  # layers, each with weights of its own
    heads: int = 4
    hidden: int = 384  # inner width of a layer's perceptron
    norm_first: bool = True  # norms before attention and perceptron; published: after them
    activation: Literal["gelu", "relu"] = "gelu"  # of the layers
    dropout: float = 0.0
    position_hidden: int = 128  # inner width of the position embedding
    rotary: float = 2.5  # shortest wavelength of rotary phases in attention, in tokens; 0: none, as published
    # Pre-training
    mask_ratio: float = 0.4  # share of a tile's tokens that is hidden
    mask: str = "random"  # random | stratified: see `benchmark.ops.masks`
    decoder_width: int = 96
    decoder_depth: int = 2
    decoder_heads: int = 4
    decoder_hidden: int = 256
    # none: hidden voxels are predicted directly, as published | smooth: as a change to a smooth filling
    residual: Literal["none", "smooth"] = "smooth"
    refine: int = 16  # channels of the convolutions that join predicted tokens to their surroundings; 0: none
    token_weight: float = 0.5  # weight of the error before these convolutions
    # Head of segmentation
    head: Literal["conv", "linear"] = "conv"  # linear: a map from a token to its voxels, the head of mode `frozen`
    head_channels: int = 24

    def __post_init__(self) -> None:
        for width, heads in ((self.width, self.heads), (self.decoder_width, self.decoder_heads)):
            if width % heads:
                raise ValueError(f"width={width} does not divide into heads={heads}. A multiple was expected.")
        if self.rotary and min(self.width // self.heads, self.decoder_width // self.decoder_heads) < 6:
            raise ValueError(f"rotary={self.rotary} needs heads of at least 6 channels. Fewer heads were expected.")
        if not 0 < self.mask_ratio < 1:
            raise ValueError(f"mask_ratio={self.mask_ratio} is not possible. A number between 0 and 1 was expected.")
        if self.mask not in MASKS:
            raise ValueError(f"mask={self.mask!r} is not known. One of {', '.join(MASKS)} was expected.")


class Decoder(nn.Module):
    """Predicts the voxels of hidden tokens from the encoder's outputs for the visible ones."""

    def __init__(self, config: VolumeMAEConfig) -> None:
        super().__init__()
        c, n_voxels = config, int(np.prod(config.patch))
        self.smooth = c.residual == "smooth"
        self.mask_token = nn.Parameter(torch.zeros(c.width))
        self.enter = nn.Linear(c.width, c.decoder_width)
        self.layers = nn.ModuleList(
            Layer(c.decoder_width, c.decoder_heads, c.decoder_hidden, c.dropout, True, c.activation)
            for _ in range(c.decoder_depth)
        )
        self.norm = nn.LayerNorm(c.decoder_width)
        self.leave = nn.Linear(c.decoder_width, n_voxels)
        nn.init.normal_(self.mask_token, std=0.02)
        self.refine = Refinement(c.patch[0], c.refine) if c.refine else None
        if self.smooth:  # the first prediction is the filling itself
            nn.init.zeros_(self.leave.weight)
            nn.init.zeros_(self.leave.bias)

    def forward(self, latents: Tensor, hidden: Tensor, positions: Tensor, phases: Tensor | None) -> Tensor:
        """(B, T, V) voxels of every token. latents (B, T, D), of which those of `hidden` (B, T) are ignored."""
        tokens = torch.where(hidden[:, :, None], self.mask_token.to(latents.dtype), latents)
        rows = self.enter(tokens + positions)
        for layer in self.layers:
            rows = layer(rows, phases, None)
        voxels: Tensor = self.leave(self.norm(rows))
        return voxels


class Refinement(nn.Module):
    """Convolutions over the slices of a tile, which change the hidden voxels of a filled-in image."""

    def __init__(self, n_slices: int, channels: int) -> None:
        super().__init__()
        self.n_slices = n_slices
        self.layers = nn.Sequential(
            nn.Conv2d(n_slices + 1, channels, 5, padding=2), nn.GELU(),
            nn.Conv2d(channels, channels, 3, padding=2, dilation=2), nn.GELU(),
            nn.Conv2d(channels, channels, 3, padding=4, dilation=4), nn.GELU(),
            nn.Conv2d(channels, n_slices, 3, padding=1),
        )  # fmt: skip
        last = self.layers[-1]
        nn.init.zeros_(last.weight)  # type: ignore[arg-type]
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]

    def forward(self, volume: Tensor, hidden: Tensor) -> Tensor:
        """(B, Z, Y, X) the refined image; hidden (B, Z, Y, X) bool."""
        slabs, shape = volume.reshape(-1, self.n_slices, *volume.shape[2:]), volume.shape
        marked = hidden.reshape(slabs.shape)[:, :1].to(volume.dtype)
        changed: Tensor = slabs + self.layers(torch.cat([slabs, marked], dim=1))
        return changed.view(shape)


class ConvHead(nn.Module):
    """Scores of voxels, from token features spread over their voxels, and the voxels."""

    def __init__(self, config: VolumeMAEConfig, n_outputs: int) -> None:
        super().__init__()
        z, y, x = config.patch
        n = config.head_channels
        self.n_slices, self.n_outputs = z, n_outputs
        self.spread = nn.ConvTranspose2d(config.width, n, (y, x), stride=(y, x))
        self.layers = nn.Sequential(
            nn.Conv2d(n + z, n, 3, padding=1), nn.GroupNorm(1, n), nn.GELU(),
            nn.Conv2d(n, n, 3, padding=1), nn.GroupNorm(1, n), nn.GELU(),
            nn.Conv2d(n, z * n_outputs, 3, padding=1),
        )  # fmt: skip

    def forward(self, features: Tensor, volume: Tensor) -> Tensor:
        """(B, n_outputs, Z, Y, X) from token features (B, Tz, Ty, Tx, D) and the volumes (B, Z, Y, X)."""
        n, layers = features.shape[:2]
        maps = self.spread(features.flatten(0, 1).movedim(-1, 1))  # (B Tz, n, Y, X)
        slabs = volume.reshape(n * layers, self.n_slices, *volume.shape[2:])
        scores: Tensor = self.layers(torch.cat([maps, slabs], dim=1))
        scores = scores.view(n, layers, self.n_outputs, self.n_slices, *volume.shape[2:])
        return scores.transpose(1, 2).flatten(2, 3)


class LinearHead(nn.Module):
    """Scores of voxels as a linear map of their token's features."""

    def __init__(self, config: VolumeMAEConfig, n_outputs: int) -> None:
        super().__init__()
        self.n_outputs = n_outputs
        self.map = nn.Linear(config.width, n_outputs * int(np.prod(config.patch)))

    def forward(self, features: Tensor, volume: Tensor) -> Tensor:
        """(B, n_outputs, Z, Y, X) from token features (B, Tz, Ty, Tx, D)."""
        grid = tuple(features.shape[1:4])
        scores = self.map(features).unflatten(-1, (self.n_outputs, -1)).movedim(-2, 1).flatten(2, 4)
        return unpatches(scores.flatten(0, 1), grid, volume.shape[1:]).unflatten(0, (-1, self.n_outputs))  # type: ignore[arg-type]


class VolumeMAE(VolumeModel):
    """Patches -> transformer encoder -> decoder (hidden tokens) or head (classes of voxels)."""

    def __init__(self, config: VolumeMAEConfig, inputs: Inputs, task: Task) -> None:
        super().__init__(task)
        self.config = c = config
        self.embed = nn.Linear(int(np.prod(c.patch)), c.width)
        n_tokens = max(inputs.frame.extent[1] / c.patch[1], inputs.frame.extent[0] / c.patch[2], 1.0)
        self.shortest = 2 * c.rotary / n_tokens  # a volume is 2 wide in position coordinates
        self.position = nn.Sequential(
            nn.Linear(3, c.position_hidden), nn.GELU(), nn.Linear(c.position_hidden, c.width)
        )  # fmt: skip
        self.encoder = nn.ModuleList(
            Layer(c.width, c.heads, c.hidden, c.dropout, c.norm_first, c.activation) for _ in range(c.depth)
        )
        self.norm = nn.LayerNorm(c.width)
        self.decoder = Decoder(c)
        self.head: nn.Module | None = None
        if not task.self_supervised:
            self.head = (ConvHead if c.head == "conv" else LinearHead)(c, task.n_outputs)

    def backbone(self) -> Iterable[nn.Module]:
        """The modules from patches to token features; with the decoder where the task predicts tokens."""
        encoder = (self.embed, self.position, self.encoder, self.norm)
        return (*encoder, self.decoder) if self.task.self_supervised else encoder

    def pretraining_only(self) -> Iterable[nn.Module]:
        """The decoder, unless the task predicts hidden tokens."""
        return () if self.task.self_supervised else (self.decoder,)

    def forward(self, batch: PointBatch) -> Tensor:
        """(B, n_outputs, Z, Y, X) scores of voxels, or (B, 1, Z, Y, X) the volumes with hidden tokens predicted."""
        volume: Any = batch.volumes.values
        if self.head is None:
            return self.predict_hidden(volume, batch.volumes.hidden)[:, None]
        features = self.norm(self.encode_layers(volume)[-1])
        scores: Tensor = self.head(features.unflatten(1, self.grid(volume)), volume)
        return scores

    def pretrain_loss(self, batch: PointBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Mean squared error of the voxels of hidden tokens, with a mask per volume."""
        volume: Any = batch.volumes.values if batch.volumes.hidden is None else batch.volumes.target
        hidden = self.draw_hidden(volume)
        voxels = _voxels(hidden, volume.shape)
        tokens, image = self.stages(torch.where(voxels, 0.0, volume), hidden)
        error = (image - volume)[voxels].square().mean()
        if self.decoder.refine is None:
            return error, {"mse": error}
        token_error = (tokens - volume)[voxels].square().mean()
        return error + self.config.token_weight * token_error, {"mse": error, "mse_tokens": token_error}

    def draw_hidden(self, volume: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """(B, Tz, Ty, Tx) bool tokens to hide, drawn by torch's generator."""
        noise = torch.rand((len(volume), *self.grid(volume)), generator=generator, dtype=torch.float64)
        hidden = hidden_tokens(noise.numpy(), self.config.mask_ratio, self.config.mask)
        return torch.from_numpy(hidden).to(volume.device)

    def predict_hidden(self, volume: Tensor, hidden: Tensor) -> Tensor:
        """(B, Z, Y, X) the volumes with the tokens `hidden` (B, Tz, Ty, Tx) predicted; their voxels are not used."""
        return self.stages(volume, hidden)[1]

    def stages(self, volume: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """The prediction before and after the refining convolutions."""
        grid = self.grid(volume)
        if tuple(hidden.shape[1:]) != grid:
            raise ValueError(
                f"The hidden tokens form a grid of {tuple(hidden.shape[1:])}, those of the model one of {grid}. The "
                f"same was expected. Give model.patch and preprocess.token the same sizes."
            )
        voxels, flat = _voxels(hidden, volume.shape), hidden.flatten(1)
        base = fill(volume, voxels)
        visible = self.encode_visible(torch.where(voxels, 0.0, volume), flat)
        added, phases = self.embed_positions(volume, self.config.decoder_width // self.config.decoder_heads)
        decoded = unpatches(self.decoder(self.norm(visible), flat, added, phases), grid, volume.shape[1:])  # type: ignore[arg-type]
        if self.decoder.smooth:
            decoded = base + decoded
        image = torch.where(voxels, decoded, volume)
        if self.decoder.refine is None:
            return image, image
        return image, torch.where(voxels, self.decoder.refine(image, voxels), volume)

    def grid(self, volume: Tensor) -> tuple[int, int, int]:
        """Tokens along z, y and x. Raises ValueError for volumes that do not divide into patches."""
        sizes = tuple(volume.shape[1:])
        if any(n % p for n, p in zip(sizes, self.config.patch, strict=True)):
            raise ValueError(
                f"Volumes of {' x '.join(map(str, sizes))} voxels do not divide into patches of "
                f"{' x '.join(map(str, self.config.patch))}. Whole patches were expected. Correct --set model.patch."
            )
        z, y, x = (n // p for n, p in zip(sizes, self.config.patch, strict=True))
        return z, y, x

    def embed_positions(self, volume: Tensor, head_width: int) -> tuple[Tensor, Tensor | None]:
        """Position vectors (T, D) of the tokens, and phases (B, T, d / 2) for heads of this width, or None."""
        centres = grid_centres(self.grid(volume), volume.device)
        phases = rotary_phases(centres, self.shortest, head_width) if self.config.rotary else None
        return self.position(centres), None if phases is None else phases.expand(len(volume), -1, -1)

    def encode_layers(self, volume: Tensor) -> list[Tensor]:
        """Inputs (B, T, D) of every encoder layer with all tokens visible, and the last one's outputs."""
        added, phases = self.embed_positions(volume, self.config.width // self.config.heads)
        rows = [self.embed(patches(volume, self.grid(volume))) + added]
        for layer in self.encoder:
            rows.append(layer(rows[-1], phases, None))
        return rows

    def encode_visible(self, volume: Tensor, hidden: Tensor) -> Tensor:
        """(B, T, D) the encoder's outputs for the visible tokens, its only inputs; 0 for those in `hidden` (B, T)."""
        n, tokens = len(volume), patches(volume, self.grid(volume))
        added, phases = self.embed_positions(volume, self.config.width // self.config.heads)
        lengths = (~hidden).sum(1)
        longest = max(1, int(lengths.max()))
        order = hidden.to(torch.uint8).argsort(dim=1, stable=True)[:, :longest]  # visible first, in order
        present = torch.arange(longest, device=volume.device) < lengths[:, None]
        index = order[:, :, None]
        rows = self.embed(tokens.gather(1, index.expand(-1, -1, tokens.shape[2]))) + added[order]
        if phases is not None:
            phases = phases.gather(1, index.expand(-1, -1, phases.shape[2]))
        mask = None if bool((lengths == longest).all()) else present | ~present.any(1, keepdim=True)
        for layer in self.encoder:
            rows = layer(rows, phases, mask)
        rows = rows * present[:, :, None]
        return rows.new_zeros(n, tokens.shape[1], rows.shape[2]).scatter(1, index.expand_as(rows), rows)

    @torch.inference_mode()
    def token_features(self, batch: PointBatch) -> Tensor:
        """(B, Tz, Ty, Tx, D) features of the encoder, every token visible."""
        self.eval()
        volume: Any = batch.volumes.values
        features: Tensor = self.norm(self.encode_layers(volume)[-1]).unflatten(1, self.grid(volume))
        return features

    @torch.inference_mode()
    def attention(self, batch: PointBatch, layer: int) -> Tensor:
        """(B, heads, T, T) attention weights of an encoder layer, every token visible."""
        self.eval()
        volume: Any = batch.volumes.values
        phases = self.embed_positions(volume, self.config.width // self.config.heads)[1]
        chosen: Any = self.encoder[layer]
        weights: Tensor = chosen.attention(self.encode_layers(volume)[layer], phases)
        return weights

    @torch.inference_mode()
    def reconstruct(self, batch: PointBatch, seed: int = 0) -> tuple[Tensor, Tensor]:
        """Volumes with hidden tokens, drawn by `seed`, predicted; and the mask."""
        self.eval()
        volume: Any = batch.volumes.values
        hidden = self.draw_hidden(volume, torch.Generator().manual_seed(seed))
        return self.predict_hidden(volume, hidden), hidden


def _voxels(hidden: Tensor, shape: torch.Size) -> Tensor:
    """(B, Z, Y, X) bool voxels of hidden tokens."""
    for axis in (1, 2, 3):
        hidden = hidden.repeat_interleave(shape[axis] // hidden.shape[axis], axis)
    return hidden


def build(config: VolumeMAEConfig, inputs: Inputs, task: Task) -> VolumeMAE:
    """A model with random weights."""
    return VolumeMAE(config, inputs, task)


_TINY = {
    "width": 24, "depth": 2, "heads": 2, "hidden": 32, "position_hidden": 8, "decoder_width": 24, "decoder_depth": 1,
    "decoder_heads": 2, "decoder_hidden": 32, "refine": 4, "head_channels": 8,
}  # fmt: skip
_PAPER_OPTIM = {
    "optimiser": "adam", "lr": 1e-4, "weight_decay": 1e-6, "decay": "everything", "warmup_fraction": 5 / 400,
    "final_lr_fraction": 0.1, "clip_norm": 0.0,
}  # fmt: skip
_PAPER_TRAINING = {"steps": 13_200, "batch_size": 64, "rotation": "none"}  # 400 epochs of 33 steps
PRESETS = {
    "default": Preset(optim={"lr": 1e-3}, pretrain_optim={"lr": 1e-3}),
    "tiny": Preset(model=_TINY, optim={"lr": 2e-3}, pretrain_optim={"lr": 2e-3}),
    "paper": Preset(
        model={
            "width": 384, "depth": 6, "heads": 4, "hidden": 1024, "norm_first": False, "activation": "relu",
            "dropout": 0.1, "position_hidden": 128, "rotary": 0.0, "mask_ratio": 0.2, "decoder_width": 1024,
            "decoder_depth": 2, "decoder_heads": 4, "decoder_hidden": 4096, "residual": "none", "refine": 0,
        },
        optim=_PAPER_OPTIM,
        pretrain_optim=_PAPER_OPTIM,
        train=_PAPER_TRAINING,
        pretrain=_PAPER_TRAINING,
    ),
}  # fmt: skip

SPEC = ModelSpec(
    name="volume_mae",
    summary="Masked autoencoder on tokens of light-sheet volumes",
    config=VolumeMAEConfig,
    build=build,
    presets=PRESETS,
    data=("volumes",),
    levels=("volume",),
    kinds=("classification", "regression"),
    pretrains=True,
    mode_overrides={"frozen": {"head": "linear"}},
    backbone_config=("patch", "heads", "norm_first", "activation", "rotary"),
    head_config=("head", "head_channels"),
    reference="Learning 3D Structure in Irradiated Lithium Fluoride via Masked Autoencoders",
)
