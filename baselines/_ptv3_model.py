"""The settings of a Point Transformer V3, and the model: voxels, the network, and the shared heads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmark.contracts import Inputs, PointBatch, Task
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
    layer_scale: float = 0.0  # initial factor of each branch's channels, learnt (PT-v3m2: 1e-5); 0: none
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
        for name in ("init_std", "lovasz", "unit", "layer_scale"):
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
        self.network = self.make_network(inputs)
        self.add_head(self.network.width)

    def make_network(self, inputs: Inputs) -> Backbone:
        """The network with random weights. inputs: the columns that `features` gets."""
        c = self.config
        return Backbone(inputs.n_features + c.occupancy + 3 * c.coordinates, c)

    def backbone_layers(self) -> Sequence[nn.Module]:
        """Stem and blocks of the encoder; the map down to a stage belongs to the stage's first block."""
        network = self.network
        down: list[list[nn.Module]] = [[], *([part] for part in network.down)]
        parts: list[nn.Module] = [network.stem]
        for enter, stage in zip(down, network.encoder, strict=True):
            blocks = list(stage)
            parts += [nn.ModuleList([*enter, *blocks[:1]]), *blocks[1:]] if enter or blocks else []
        return parts

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
        level, row = self.serialised(batch)
        merged = self.merged_inputs(batch, level, row)
        on_sites: Tensor = self.network(merged, level, choose(self.config.backend, merged.device))
        return on_sites.index_select(0, row)

    def merged_inputs(self, batch: PointBatch, level: Level, row: Tensor) -> Tensor:
        """(M, n_in) the inputs of the finest voxels: means over their points."""
        c = self.config
        constant = [torch.ones_like(batch.feats[:, :1])] if c.occupancy else []
        inputs = torch.cat([batch.feats, *constant, *([batch.normalised_coords] if c.coordinates else [])], dim=1)
        return segment_mean(inputs, row, len(level.sites))

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
