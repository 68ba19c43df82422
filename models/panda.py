"""Panda: Point Transformer V3 pre-trained by self-distillation, the best published model of small label budgets.

Panda (arXiv:2512.01324): the encoder of PT-v3m2 is trained as a student of its own moving average
(`pretexts/distillation.py`), without labels, on a million events. `paper` has its sizes, views, losses and schedules:
depths 3-3-3-9-3, channels 48 to 512, patches of 256, a grid of 0.001 of the detector's radius. In pre-training a learnt
token takes the place of the embedded features of voxels whose points are mostly hidden, and the heads read the three
coarsest stages, handed back to the finest of them (1,088 channels). Then, by mode:

- `frozen`: one linear map of all stages, handed back to the points (1,232 channels), on the fixed encoder;
- `peft`: a decoder (depths 2-2-2-2, channels 64-96-192-384) on the fixed encoder;
- `fft`: the same decoder, everything trained, the encoder's rate times 0.05;
- `scratch`: the same network, nothing pre-trained.

The publication's log energies have an epsilon of 0.01 MeV: `--set preprocess.log_eps_mev=0.01`. Differences to its code
are those of `ptv3`. `default` is the network of `ptv3`'s default, made for a CPU.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from benchmark.baselines._ptv3 import Backbone
from benchmark.baselines._ptv3_levels import Level
from benchmark.baselines._ptv3_model import PTv3, PTv3Config
from benchmark.contracts import Inputs, ModelSpec, PointBatch, Preset, Task
from benchmark.contracts.pretext import HIDDEN
from benchmark.sparse import choose


@dataclass(frozen=True)
class PandaConfig(PTv3Config):
    """The network of a PTv3, and what is read of it."""

    head: Literal["decoder", "linear"] = "decoder"  # linear: a map of all stages, the read-out of mode `frozen`
    up_levels: int = 2  # stages that the coarsest one is handed back by in pre-training

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.up_levels < len(self.enc_channels):
            raise ValueError(
                f"up_levels={self.up_levels} is not possible. A number from 0 to {len(self.enc_channels) - 1} was "
                f"expected."
            )


class Panda(PTv3):
    """The encoder is the backbone; decoder and head are trained on labels alone."""

    config: PandaConfig

    def __init__(self, config: PandaConfig, inputs: Inputs, task: Task) -> None:
        super().__init__(config, inputs, task)
        if config.head == "linear":
            self.add_head(sum(config.enc_channels))
        self.feature_width = sum(config.enc_channels)

    def make_network(self, inputs: Inputs) -> Backbone:
        """See PTv3; a hidden voxel has a token, no column."""
        c = self.config
        self.mask_token: nn.Linear | None = None
        if HIDDEN in inputs.columns:  # before the network, whose parts differ by mode
            self.mask_token = nn.Linear(1, c.enc_channels[0], bias=False)
            nn.init.trunc_normal_(self.mask_token.weight, std=0.02)
        n_in = inputs.n_features - (HIDDEN in inputs.columns) + c.occupancy + 3 * c.coordinates
        return Backbone(n_in, c, decoder=c.head == "decoder")

    def backbone(self) -> Iterable[nn.Module]:
        """The encoder."""
        token = [] if self.mask_token is None else [self.mask_token]
        return self.network.stem, self.network.encoder, self.network.down, *token

    @property
    def place_width(self) -> int:
        """Channels of the coarsest stages."""
        return sum(self.config.enc_channels[-self.config.up_levels - 1 :])

    def place_features(self, batch: PointBatch) -> tuple[Tensor, Tensor]:
        """(M, place_width) the coarsest stages, handed back by `up_levels`, and (N,) the row of each point's voxel."""
        stages, level, row = self._encode(batch)
        first = len(stages) - 1 - self.config.up_levels
        for _ in range(first):
            row = level.parent.index_select(0, row)
            level = level.coarser
        return handed_back(stages[first:], level), row

    def point_features(self, batch: PointBatch) -> Tensor:
        """(N, feature_width) all stages, handed back to the points."""
        stages, level, row = self._encode(batch)
        return handed_back(stages, level).index_select(0, row)

    def forward(self, batch: PointBatch) -> Tensor:
        """(N, n_outputs) scores of a point task, (B, n_outputs) of an event task."""
        if self.config.head == "linear":
            return self.read_out(self.point_features(batch), batch)
        stages, level, row = self._encode(batch)
        decoded = self.network.decode(stages, level, choose(self.config.backend, row.device))
        return self.read_out(decoded.index_select(0, row), batch)

    def _encode(self, batch: PointBatch) -> tuple[list[Tensor], Level, Tensor]:
        """Features of each stage, the finest voxels, and the row of each point among them."""
        batch = self.expand(batch)
        level, row = self.serialised(batch)
        inputs = self.merged_inputs(batch, level, row)
        if self.mask_token is None:
            x = self.network.stem(inputs, level)
        else:
            column = batch.columns.index(HIDDEN)
            hidden = inputs[:, column : column + 1] > 0.5  # most of the voxel's points
            x = self.network.stem(torch.cat([inputs[:, :column], inputs[:, column + 1 :]], dim=1), level)
            x = torch.where(hidden, self.mask_token.weight.T.to(x.dtype), x)
        return self.network.encode(x, level, choose(self.config.backend, x.device)), level, row


def handed_back(stages: Sequence[Tensor], level: Level) -> Tensor:
    """(M, sum of C_s) features of consecutive stages (M_s, C_s) at the voxels of the first, whose level is given."""
    parents = []
    for _ in stages[1:]:
        parents.append(level.parent)
        level = level.coarser
    result = stages[-1]
    for stage, parent in zip(reversed(stages[:-1]), reversed(parents), strict=True):
        result = torch.cat([stage, result.index_select(0, parent)], dim=1)
    return result


def build(config: PandaConfig, inputs: Inputs, task: Task) -> Panda:
    """The model for given inputs and task."""
    return Panda(config, inputs, task)


_PAPER: dict[str, Any] = {
    "enc_depths": (3, 3, 3, 9, 3), "enc_channels": (48, 96, 192, 384, 512), "enc_heads": (3, 6, 12, 24, 32),
    "dec_depths": (2, 2, 2, 2), "dec_channels": (64, 96, 192, 384), "dec_heads": (4, 6, 12, 24), "patch": 256,
    "mlp_ratio": 4.0, "drop_path": 0.3, "layer_scale": 1e-5, "stem_kernel": 1, "norm": "layer", "init_std": 0.02,
    "grid": 0.6651, "coordinates": True, "loss": "unweighted", "lovasz": 0.05,
}  # fmt: skip
_OPTIM: dict[str, Any] = {"lr": 3e-3, "weight_decay": 0.05}
# Two strips of EMB1 share a voxel; neighbours in EMB2 are 4 voxels apart in eta, 1 in phi; layers 1 to 3 in depth.
_CELLS: dict[str, Any] = {"stretch": (4.0, 1.0, 0.25), "unit": 8.0}

SPEC = ModelSpec(
    name="panda",
    summary="Point Transformer V3 pre-trained by self-distillation (Panda)",
    config=PandaConfig,
    build=build,
    presets={
        "default": Preset(optim=_OPTIM),
        "tiny": Preset(
            model={
                "enc_depths": (0, 1, 1),
                "enc_channels": (8, 8, 16),
                "enc_heads": (1, 1, 2),
                "dec_depths": (0, 1),
                "dec_channels": (8, 8),
                "dec_heads": (1, 1),
                "patch": 16,
                "stem_kernel": 3,
                "up_levels": 1,
            },
            optim=_OPTIM,
        ),
        "paper": Preset(
            model=_PAPER,
            optim={
                "lr": 2.6e-3,
                "weight_decay": 0.04,
                "warmup_fraction": 0.05,
                "final_lr_fraction": 1e-4,
                "clip_norm": 0.0,
                "decay": "everything",
                "backbone_lr_scale": 0.05,
            },
            train={"steps": 416_667, "batch_size": 48},  # 20 epochs of 1,000,000 events
        ),
    },
    levels=("point", "event"),
    kinds=("classification", "regression"),
    detector_presets={
        "calorimeter": {
            "default": Preset(
                model={
                    **_CELLS,
                    "patch": 32,
                    "enc_depths": (0, 1, 1, 1),
                    "enc_channels": (24, 48, 64, 96),
                    "enc_heads": (1, 3, 4, 6),
                    "dec_depths": (0, 0, 1),
                    "dec_channels": (32, 48, 64),
                    "dec_heads": (1, 3, 4),
                },
                optim={"lr": 1e-3},
            ),
            "tiny": Preset(model=_CELLS),
            "paper": Preset(model={"stretch": (4.0, 1.0, 0.25), "grid": 1.0, "loss": "task", "lovasz": 0.0}),
        }
    },
    has_point_features=True,
    pretext="distillation",
    mode_overrides={"frozen": {"head": "linear"}},
    # what a head needs, and what its loss is
    head_config=("dec_depths", "dec_channels", "dec_heads", "head", "loss", "lovasz"),
    reference="arXiv:2512.01324",
)
