"""Masked autoencoders on volumetric tokens, shared by PoLAr-MAE and Point-MAE.

Young, Jwa and Terao, arXiv 2502.02558, sections 3 and 4. The clean behaviour follows the paper: LayerNorm per
token, no effect of padding, no neighbour cap, deterministic evaluation; pre-training encodes visible tokens only. The
published implementation's differences are in `_reference.py`; tokens, encoder and head are in
`_token_transformer.py`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from benchmark.contracts import Inputs, PointBatch, Preset, Reconstruction, Task, TokenModel
from benchmark.models._masking import EnergyInfill, Masked, MaskedDecoder, random_mask
from benchmark.models._token_transformer import (
    CALORIMETER,
    CALORIMETER_SIZES,
    CALORIMETER_WAVE,
    FINE_TUNING,
    FINE_TUNING_WARMUP,
    PAPER,
    PAPER_OPTIM,
    TINY,
    TokenTransformer,
    TokenTransformerConfig,
    evaluating,
    features_of,
)

Behaviour = Literal["clean", "reference"]
OVERLAP: dict[Behaviour, float] = {"clean": 0.73, "reference": 0.72}  # the paper's f; the published code's
ROTARY_WAVE: dict[Behaviour, float] = {"clean": 40.0, "reference": 0.0}


class BehaviourDefault(float):
    """A default that depends on `behaviour`, marked as not set by the user."""


@dataclass(frozen=True)
class MaskedAutoencoderConfig(TokenTransformerConfig):
    """Hyper-parameters of a masked autoencoder. The defaults are the `default` preset, made for minutes on a CPU."""

    # "clean": an event's score depends on its points alone; "reference": as the published code
    behaviour: Behaviour = "clean"
    # Defaults depend on the behaviour
    overlap: float = BehaviourDefault(OVERLAP["clean"])  # f of C-NMS; 0.73, or 0.72 under "reference"
    rotary_wave: float = BehaviourDefault(
        ROTARY_WAVE["clean"]
    )  # shortest rotary wavelength; 40, or none under "reference"
    # Pre-training
    mask_ratio: float = 0.6  # share of an event's tokens that is hidden
    decoder_depth: int = 2  # decoder blocks
    chamfer_weight: float = 1.0  # weight of the reconstruction of points

    def __post_init__(self) -> None:
        for name, defaults in (("overlap", OVERLAP), ("rotary_wave", ROTARY_WAVE)):
            if isinstance(getattr(self, name), BehaviourDefault):
                object.__setattr__(self, name, BehaviourDefault(defaults[self.behaviour]))
        super().__post_init__()
        if not 0 < self.mask_ratio < 1:
            raise ValueError(f"mask_ratio={self.mask_ratio} is not possible. A number between 0 and 1 was expected.")


class MaskedAutoencoder(TokenTransformer, TokenModel):
    """A token transformer with a decoder, which learns to predict hidden tokens from the visible ones."""

    config: MaskedAutoencoderConfig
    decoder_type: ClassVar[type[MaskedDecoder]] = MaskedDecoder  # `_reference.py` changes its behaviour

    def __init__(self, config: MaskedAutoencoderConfig, inputs: Inputs, task: Task, energy_weight: float = 0.0) -> None:
        """`energy_weight` above 0 adds the energy infilling, with this weight, where the data have a log energy."""
        super().__init__(config, inputs, task)
        self.energy_weight = energy_weight
        c, n_channels = config, 3 + inputs.n_features
        decoder = self.transformer(c.decoder_depth)
        infill = None
        if energy_weight > 0 and "log_energy" in inputs.columns:
            shape = self.mini_pointnet(3, c.embed_widths, c.width, c.group_points, ordered=True)
            infill = EnergyInfill(shape, c.width, 3 + inputs.columns.index("log_energy"))
        self.decoder = self.decoder_type(c.width, decoder, self.block.norm(c.width), c.group_points, n_channels, infill)
        self.add_head()

    def parts_to_compile(self) -> Iterable[nn.Module]:
        """The blocks of encoder and decoder."""
        return (*self.encoder.blocks, *self.decoder.transformer.blocks)

    def pretraining_only(self) -> Iterable[nn.Module]:
        """The decoder with its heads and mask token."""
        return (self.decoder,)

    def encode_visible(self, masked: Masked) -> Tensor:
        """(V, D) the encoder's last outputs for the visible tokens, its only inputs."""
        return self.encode(masked.visible)[0][-1]

    def prepare(self, batch: PointBatch, stage: str, generator: torch.Generator) -> Any:
        """The tokens; in pre-training with a mask."""
        return self.masked(batch, generator) if stage == "pretrain" else self.tokens(batch)

    def pretrain_loss(self, batch: PointBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Chamfer distance and energy error of hidden tokens, given the visible ones."""
        return self.masked_loss(self.masked(batch))

    def masked(self, batch: PointBatch, generator: torch.Generator | None = None) -> Masked:
        """The batch's tokens with a random mask."""
        if isinstance(batch.prepared, Masked):
            return batch.prepared
        tokens = self.tokens(batch)
        hidden = random_mask(tokens.lengths, self.config.mask_ratio, tokens.centres.device, generator)
        return Masked.of(tokens, hidden)

    def masked_loss(self, masked: Masked) -> tuple[Tensor, dict[str, Tensor]]:
        """The pre-training loss of masked tokens."""
        parts = self.decoder.losses(self.decode(self.encode_visible(masked), masked), masked.target)
        total = self.config.chamfer_weight * parts["chamfer"]
        if "energy" in parts:
            total = total + self.energy_weight * parts["energy"]
        return total, parts

    def decode(self, visible: Tensor, masked: Masked) -> Tensor:
        """(H, D) decoder outputs of the hidden tokens, from the encoder's (V, D) for the others."""
        positions = self.position(masked.tokens.centres)
        decoded: Tensor = self.decoder(visible, masked.hidden, positions, masked.tokens, self.drops_in_evaluation)
        return decoded

    @torch.inference_mode()
    def reconstruct(self, batch: PointBatch, seed: int = 0) -> Reconstruction:
        """Hide the share `mask_ratio` of each event's tokens and predict as many points as each of them has."""
        generator = torch.Generator().manual_seed(seed)
        with evaluating(self):
            masked = self.masked(batch, generator)
            tokens, hidden, _, target = masked
            visible = self.encode_visible(masked)
            # As in the Chamfer distance, a group of n points uses the first n predictions.
            predicted = self.decoder.reconstruct(self.decode(visible, masked))[target.token, target.slot]
        features = visible.new_zeros(len(tokens), visible.shape[1])
        features[~hidden] = visible
        centres = batch.coords[target.centre][target.token]
        has_energy = "log_energy" in self.columns
        return Reconstruction(
            tokens=features_of(batch, tokens, features),
            hidden=hidden,
            token=torch.nonzero(hidden)[target.token, 0],
            coords=centres + predicted[:, :3] * self.config.group_radius,
            log_energy=predicted[:, 3 + self.columns.index("log_energy")] if has_energy else None,
        )


def _published(rotation: str, **model: Any) -> Preset:
    """The published sizes, optimiser and schedule (tables 5 and 6 and appendix); decay as in the published code."""
    return Preset(
        model={**PAPER, "decoder_depth": 4, **model},
        optim={**PAPER_OPTIM, "warmup_fraction": FINE_TUNING_WARMUP},
        pretrain_optim={**PAPER_OPTIM, "warmup_fraction": 0.025},
        train={"rotation": rotation, **FINE_TUNING},
        pretrain={"rotation": rotation, "steps": 500_000, "batch_size": 32, "events": 0},
    )


PRESETS = {
    "default": Preset(
        optim={"lr": 3e-3, "backbone_lr_scale": 0.2},  # tuned on validation events, by mode: see docs/pretraining.md
        pretrain_optim={"lr": 1e-3},
        pretrain={"steps": 5000, "events": 0},
    ),
    "tiny": Preset(model={**TINY, "decoder_depth": 1}, optim={"lr": 2e-3}, pretrain_optim={"lr": 2e-3}),
    "paper": _published("event"),
    "reference": _published("batch", behaviour="reference"),
}
_MIRROR = {"rotation": "mirror"}  # the only symmetry of a calorimeter
CALORIMETER_PRESETS = {
    "default": Preset(model=CALORIMETER_SIZES, pretrain={"steps": 1000}),
    "tiny": Preset(model={**CALORIMETER, "rotary_wave": CALORIMETER_WAVE}),
    "paper": Preset(model=CALORIMETER, train=_MIRROR, pretrain=_MIRROR),
    "reference": Preset(model=CALORIMETER, train=_MIRROR, pretrain=_MIRROR),
}
