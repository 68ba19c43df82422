"""Point Transformer V3: attention over patches of a space-filling curve, the strongest published supervised model.

Wu et al., "Point Transformer V3: Simpler, Faster, Stronger", CVPR 2024 (arXiv:2312.10035). `paper` is the semantic
segmentation of ScanNet (configs/scannet/semseg-pt-v3m1-0-base of Pointcept); `panda` is the PT-v3m2 that
Panda (arXiv:2512.01324) trains on PILArNet-M. The curves and patches are in `_serialisation`, the network in `_ptv3`.

The default is made for a CPU: the finest voxels have only the first convolution and the last copying back, no blocks;
one narrow block per stage, with perceptrons of twice its width instead of four times.

Points become voxels as in `sparse_uresnet`: points of one voxel share their mean features and its scores.

Differences to the authors' code: orders are shuffled in training only, so that evaluation is deterministic; voxels
of the coarser stages are those of the detector's frame; one learning rate for everything, where theirs is ten times
higher outside of the blocks (`paper`) or falls from layer to layer (`panda`); the warm-up starts at the schedule's
floor, not at a tenth or a twenty-fifth of the peak.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmark.contracts import Inputs, ModelSpec, PointBatch, Preset, Task
from benchmark.contracts.heads import PointModel
from benchmark.ops.host_tables import like
from benchmark.ops.segments import segment_mean
from benchmark.sparse import BACKENDS, choose, voxelise

from ._ptv3 import NORMS, Backbone
from ._ptv3_levels import Level
from ._ptv3_loss import lovasz_softmax
from ._serialisation import ORDERS

COUNTS = ("enc_depths", "enc_channels", "enc_heads", "dec_depths", "dec_channels", "dec_heads")


@dataclass(frozen=True)
class PTv3Config:
    """Sizes, from the finest stage to the coarsest, inputs and the backend of the convolutions."""

    enc_depths: tuple[int, ...] = (0, 1, 1, 1, 1)  # blocks of each stage; each stage halves the resolution
    enc_channels: tuple[int, ...] = (24, 32, 64, 96, 128)
    enc_heads: tuple[int, ...] = (1, 2, 4, 6, 8)  # of attention
    dec_depths: tuple[int, ...] = (0, 0, 1, 1)  # blocks on the way back, one stage fewer
    dec_channels: tuple[int, ...] = (24, 32, 64, 96)
    dec_heads: tuple[int, ...] = (1, 2, 4, 6)
    patch: int = 64  # voxels that attend to each other
    attention_from: int = 0  # first stage whose blocks have attention; finer ones' have the convolution and perceptron
    orders: tuple[str, ...] = ORDERS  # curves, which the blocks of a stage take in turn
    shuffle_orders: bool = True  # shuffle the curves in each stage, in training only
    stem_kernel: int = 5  # edge of the first convolution in voxels, odd; 1: a linear map, as in PT-v3m2
    mlp_ratio: float = 2.0  # hidden channels of a block's perceptron over its channels
    drop_path: float = 0.0  # rate of stochastic depth in the last block
    norm: str = "batch"  # of stem, pooling and copying back: batch (PT-v3m1; learns faster) | layer (PT-v3m2)
    norm_momentum: float = 0.1  # of batch norms: weight of a new batch in the running statistics; published: 0.01
    init_std: float = 0.0  # of the weights at the start, as in PT-v3m2 (0.02); 0: PyTorch's own, as in PT-v3m1
    grid: float = 1.0  # edge of the finest voxels in units of the coordinates
    stretch: tuple[float, float, float] = (1.0, 1.0, 1.0)  # of each coordinate, before it is cut into voxels
    unit: float = 0.0  # coordinates over this length are inputs too; 0: none
    occupancy: bool = False  # a constant 1 as input too: norm=layer hides the common size of all inputs around a voxel
    coordinates: bool = False  # normalised coordinates as input besides the features
    loss: str = "task"  # task: the task's loss and class weights | unweighted: mean cross-entropy
    lovasz: float = 0.0  # weight of the Lovász-Softmax loss of classifying points, added
    backend: str = "auto"  # of sparse convolution: auto | native | triton | spconv | spconv-triton | minkowski

    def __post_init__(self) -> None:
        self._check_stages()
        for name, least in (("patch", 1), ("attention_from", 0)):
            value = getattr(self, name)
            if value < least:
                raise ValueError(f"{name}={value} is not possible. A number from {least} on was expected.")
        if self.stem_kernel < 1 or self.stem_kernel % 2 == 0:
            raise ValueError(f"stem_kernel={self.stem_kernel} is not possible. An odd number was expected, such as 5.")
        for name in ("grid", "mlp_ratio"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)} is not possible. More than 0 was expected.")
        if not min(self.stretch) > 0:
            raise ValueError(f"stretch={self.stretch} is not possible. Three numbers above 0 were expected.")
        for name in ("init_std", "lovasz", "unit"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}={getattr(self, name)} is not possible. 0 or more was expected.")
        if not 0 <= self.drop_path < 1:
            raise ValueError(f"drop_path={self.drop_path} is not possible. A rate from 0 to below 1 was expected.")
        unknown = [order for order in self.orders if order not in ORDERS]
        if unknown or not self.orders:
            raise ValueError(f"orders={self.orders!r} is not known. Some of {', '.join(ORDERS)} were expected.")
        choices = {"norm": tuple(NORMS), "loss": ("task", "unweighted"), "backend": ("auto", *BACKENDS)}
        for name, valid in choices.items():
            value = getattr(self, name)
            if value not in valid:
                raise ValueError(f"{name}={value!r} is not known. One of {', '.join(valid)} was expected.")

    def _check_stages(self) -> None:
        n_stages = len(self.enc_channels)
        for name in COUNTS:
            values, expected = getattr(self, name), n_stages - name.startswith("dec")
            if len(values) != expected or not n_stages:
                raise ValueError(
                    f"{name}={values} has {len(values)} numbers. {expected} were expected, one for each of the "
                    f"{n_stages} stages of enc_channels{', but the last' if name.startswith('dec') else ''}."
                )
            least = 0 if name.endswith("depths") else 1
            if any(value < least for value in values):
                raise ValueError(f"{name}={values} is not possible. Numbers from {least} on were expected.")
        for part in ("enc", "dec"):
            widths, heads = getattr(self, f"{part}_channels"), getattr(self, f"{part}_heads")
            for width, n_heads in zip(widths, heads, strict=True):
                if width % n_heads:
                    raise ValueError(
                        f"{part}_channels={widths} do not share out over {part}_heads={heads}. Channels divisible by "
                        f"their heads were expected."
                    )


class Serialised(NamedTuple):
    """Voxels of the first stage, from which the others follow, and the row among them of each point's (N,)."""

    level: Level
    row: Tensor


class PTv3(PointModel):
    """Point Transformer V3 on voxels, and the shared heads."""

    def __init__(self, config: PTv3Config, inputs: Inputs, task: Task) -> None:
        super().__init__(task)
        self.config = config
        if config.backend != "auto":
            choose(config.backend, "cuda" if torch.cuda.is_available() else "cpu")  # raises before any training
        inputs = self.expand_inputs(inputs, config.unit)
        self.network = Backbone(inputs.n_features + config.occupancy + 3 * config.coordinates, config)
        self.add_head(self.network.width)

    def prepare(self, batch: PointBatch, stage: str, generator: torch.Generator) -> Any:
        """The voxels of all stages, their patches, and what the convolutions connect."""
        serialised = self.serialised(batch, generator)
        choose(self.config.backend, batch.coords.device).connect(serialised.level.sites, len(self.config.enc_channels))
        self.network.prepare(serialised.level)
        return serialised

    def serialised(self, batch: PointBatch, generator: torch.Generator | None = None) -> Serialised:
        """The voxels of a batch. `generator` shuffles the orders of the curves; without it, torch's own."""
        if isinstance(batch.prepared, Serialised):
            return batch.prepared
        c = self.config
        stretched = batch.coords * like(c.stretch, batch.coords)
        sites, row = voxelise(stretched / c.grid, batch.event_index, batch.n_events)
        shuffled = c.shuffle_orders and self.training
        return Serialised(Level.finest(sites, c.orders, shuffled, len(c.enc_channels), generator), row)

    def features(self, batch: PointBatch) -> Tensor:
        """(N, width) for each point, those of its voxel."""
        c = self.config
        level, row = self.serialised(batch)
        constant = [torch.ones_like(batch.feats[:, :1])] if c.occupancy else []
        inputs = torch.cat([batch.feats, *constant, *([batch.normalised_coords] if c.coordinates else [])], dim=1)
        merged = segment_mean(inputs, row, len(level.sites))
        on_sites: Tensor = self.network(merged, level, choose(c.backend, merged.device))
        return on_sites.index_select(0, row)

    def loss(self, batch: PointBatch, scores: Tensor) -> Tensor:
        """The task's loss or the mean cross-entropy, and the Lovász-Softmax loss."""
        c, target = self.config, batch.target
        if self.task.kind != "classification" or self.task.soft or target is None:
            return super().loss(batch, scores)
        ignored = self.task.ignore_index
        if c.loss == "unweighted":
            total = nn.functional.cross_entropy(scores, target, ignore_index=ignored)
        else:
            total = super().loss(batch, scores)
        if c.lovasz and self.task.level == "point":
            total = total + c.lovasz * lovasz_softmax(scores, target, ignored)
        return total

    @property
    def backends(self) -> Mapping[str, str]:
        """See Model."""
        return {"sparse convolution": choose(self.config.backend, next(self.parameters()).device).name}


def build(config: PTv3Config, inputs: Inputs, task: Task) -> PTv3:
    """The model for given inputs and task."""
    return PTv3(config, inputs, task)


_OPTIM: dict[str, Any] = {"lr": 3e-3, "weight_decay": 0.05}

SPEC = ModelSpec(
    name="ptv3",
    summary="Point Transformer V3: attention over patches of space-filling curves (Wu et al. 2024)",
    config=PTv3Config,
    build=build,
    presets={
        "default": Preset(optim=_OPTIM),
        "tiny": Preset(
            model={
                "enc_depths": (0, 1, 1), "enc_channels": (8, 8, 16), "enc_heads": (1, 1, 2),
                "dec_depths": (0, 1), "dec_channels": (8, 8), "dec_heads": (1, 1), "patch": 16, "stem_kernel": 3,
            },
            optim=_OPTIM,
        ),
        "paper": Preset(
            model={
                "enc_depths": (2, 2, 2, 6, 2), "enc_channels": (32, 64, 128, 256, 512),
                "enc_heads": (2, 4, 8, 16, 32), "dec_depths": (2, 2, 2, 2), "dec_channels": (64, 64, 128, 256),
                "dec_heads": (4, 4, 8, 16), "patch": 1024, "mlp_ratio": 4.0, "drop_path": 0.3, "norm_momentum": 0.01,
                "loss": "unweighted", "lovasz": 1.0,
            },
            optim={
                "lr": 6e-4, "weight_decay": 0.05, "warmup_fraction": 0.05, "final_lr_fraction": 1e-4, "clip_norm": 0.0,
                "decay": "everything",
            },
            # 800 epochs of 1,201 scenes
            train={"steps": 80_000, "batch_size": 12},
        ),
        "panda": Preset(
            model={
                "enc_depths": (3, 3, 3, 9, 3), "enc_channels": (48, 96, 192, 384, 512),
                "enc_heads": (3, 6, 12, 24, 32), "dec_depths": (2, 2, 2, 2), "dec_channels": (64, 96, 192, 384),
                "dec_heads": (4, 6, 12, 24), "patch": 256, "mlp_ratio": 4.0, "drop_path": 0.3, "stem_kernel": 1,
                "norm": "layer", "init_std": 0.02, "grid": 0.6651, "coordinates": True, "loss": "unweighted",
                "lovasz": 0.05,
            },
            optim={
                "lr": 2.6e-3, "weight_decay": 0.04, "warmup_fraction": 0.05, "final_lr_fraction": 1e-4,
                "clip_norm": 0.0, "decay": "everything",
            },
            # 20 epochs of 1,000,000 events
            train={"steps": 416_667, "batch_size": 48},
        ),
    },
    levels=("point", "event"),
    has_point_features=True,
    kinds=("classification", "regression"),
    # Two strips of EMB1 share a voxel; neighbours in EMB2 are 4 voxels apart in eta, 1 in phi; layers 1 to 3 in depth.
    detector_presets={
        "calorimeter": {
            "default": Preset(
                model={
                    "stretch": (4.0, 1.0, 0.25), "unit": 8.0, "patch": 32,
                    "enc_depths": (0, 1, 1, 1), "enc_channels": (24, 48, 64, 96), "enc_heads": (1, 3, 4, 6),
                    "dec_depths": (0, 0, 1), "dec_channels": (32, 48, 64), "dec_heads": (1, 3, 4),
                },
                optim={"lr": 1e-3},  # the rate from the search on validation clusters
            ),
            "tiny": Preset(model={"stretch": (4.0, 1.0, 0.25), "unit": 8.0}),
            "paper": Preset(model={"stretch": (4.0, 1.0, 0.25), "loss": "task", "lovasz": 0.0}),
            "panda": Preset(model={"stretch": (4.0, 1.0, 0.25), "grid": 1.0, "loss": "task", "lovasz": 0.0}),
        }
    },
    reference="arXiv:2312.10035, sections 4 and 5; Panda: arXiv:2512.01324",
)  # fmt: skip
