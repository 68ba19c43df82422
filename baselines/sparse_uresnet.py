"""Sparse UResNet: the supervised standard of liquid-argon imaging, as in SPINE.

Dominé & Terao, "Scalable deep convolutional neural networks for sparse, locally dense liquid argon time projection
chamber data" (arXiv:1903.05663); `paper` is the network and recipe of SPINE 1.4.3 (config/uresnet/uresnet_train.yaml):
depth 5, 32 filters, 2 blocks per level, leaky ReLU 0.33, the energy as only input; 10,956,229 parameters for 5 classes.

Points become voxels by rounding their coordinates. Detector coordinates are whole numbers, so that this is exact for
evaluation; after a rotation some points share a voxel, whose feature is their mean (`energy`: their sum), and all get
its scores. Where cells have other sizes along each axis, as in calorimeters, `stretch` says how many voxels a unit is.
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
from benchmark.sparse import BACKENDS, Sites, SparseTensor, choose, voxelise

from ._uresnet import Norms, UResNet


@dataclass(frozen=True)
class SparseUResNetConfig:
    """Sizes, inputs and the backend of the convolutions."""

    filters: int = 16  # channels of the finest level; level l has l + 1 times as many
    depth: int = 5  # levels; each halves the resolution
    repetitions: int = 1  # residual blocks per level, in the encoder and in the decoder; SPINE has 2
    slope: float = 0.33  # of the leaky ReLU
    norm_eps: float = 1e-4
    norm_momentum: float = 0.1  # weight of a new batch in the running statistics; 0.01 needs thousands of steps
    inputs: str = "features"  # features: the columns of the data | energy: the raw energy alone, in MeV
    stretch: tuple[float, float, float] = (1.0, 1.0, 1.0)  # voxels per coordinate unit, along each axis
    unit: float = 0.0  # coordinates over this length are inputs too, with `features`; 0: none
    constant: bool = True  # a constant input 1, which separates a voxel with inputs near 0 from an empty one
    loss: str = "task"  # task: the task's loss and class weights | unweighted: mean cross-entropy (SPINE)
    backend: str = "auto"  # of sparse convolution: auto | native | triton | spconv | spconv-triton | minkowski

    def __post_init__(self) -> None:
        for name in ("filters", "depth", "repetitions"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} is not possible. A number from 1 on was expected.")
        if not (min(self.stretch) > 0 and self.unit >= 0):
            raise ValueError(
                f"stretch={self.stretch} with unit={self.unit} is not possible. Three numbers above 0, and a length "
                f"from 0 on, were expected."
            )
        choices = {"inputs": ("features", "energy"), "loss": ("task", "unweighted"), "backend": ("auto", *BACKENDS)}
        for name, valid in choices.items():
            value = getattr(self, name)
            if value not in valid:
                raise ValueError(f"{name}={value!r} is not known. One of {', '.join(valid)} was expected.")


class Voxels(NamedTuple):
    """Active voxels, and the row among them of each point's (N,)."""

    sites: Sites
    row: Tensor


class SparseUResNet(PointModel):
    """UResNet on voxels; the shared heads read the features of a point's voxel."""

    def __init__(self, config: SparseUResNetConfig, inputs: Inputs, task: Task) -> None:
        super().__init__(task)
        c = config
        self.config = c
        if c.backend != "auto":
            choose(c.backend, "cuda" if torch.cuda.is_available() else "cpu")  # raises before any training
        inputs = self.expand_inputs(inputs, c.unit)
        n_in = 1 if c.inputs == "energy" else inputs.n_features
        n_in += c.constant
        self.network = UResNet(n_in, c.filters, c.depth, c.repetitions, Norms(c.norm_eps, c.norm_momentum, c.slope))
        self.add_head(c.filters)

    def prepare(self, batch: PointBatch, stage: str, generator: torch.Generator) -> Any:
        """The voxels, and the pairs that the network's convolutions connect."""
        voxels = self.voxels(batch)
        choose(self.config.backend, batch.coords.device).connect(voxels.sites, self.config.depth)
        return voxels

    def voxels(self, batch: PointBatch) -> Voxels:
        """The voxels of a batch."""
        if isinstance(batch.prepared, Voxels):
            return batch.prepared
        stretched = batch.coords * like(self.config.stretch, batch.coords)
        return Voxels(*voxelise(stretched, batch.event_index, batch.n_events))

    def features(self, batch: PointBatch) -> Tensor:
        """(N, filters) of each point: those of its voxel."""
        sites, row = self.voxels(batch)
        if self.config.inputs == "energy":
            merged = batch.energy.new_zeros(len(sites), 1).index_add(0, row, batch.energy[:, None])
        else:
            merged = segment_mean(batch.feats, row, len(sites))
        if self.config.constant:
            merged = torch.cat([merged, merged.new_ones(len(sites), 1)], dim=1)
        on_sites: Tensor = self.network(SparseTensor(merged, sites), choose(self.config.backend, merged.device))
        return on_sites[row]

    def loss(self, batch: PointBatch, scores: Tensor) -> Tensor:
        """The task's loss, or the mean cross-entropy without weights that SPINE trains with."""
        if self.config.loss == "task" or self.task.kind != "classification" or self.task.soft:
            return super().loss(batch, scores)
        target: Any = batch.target
        return nn.functional.cross_entropy(scores, target, ignore_index=self.task.ignore_index)

    @property
    def backends(self) -> Mapping[str, str]:
        """See Model."""
        return {"sparse convolution": choose(self.config.backend, next(self.parameters()).device).name}


def build(config: SparseUResNetConfig, inputs: Inputs, task: Task) -> SparseUResNet:
    """The model for given inputs and task."""
    return SparseUResNet(config, inputs, task)


# Settings tried on validation events at 100 labels. With 300 steps the network has not yet learnt the rare classes, of
# its own training events either; rates from 2e-3 to 1e-2 and rotations of the lattice alone change that little.
_OPTIM: dict[str, Any] = {"lr": 3e-3, "weight_decay": 1e-4}

SPEC = ModelSpec(
    name="sparse_uresnet",
    summary="U-shaped residual network of sparse convolutions (Dominé & Terao 2019; SPINE)",
    config=SparseUResNetConfig,
    build=build,
    presets={
        "default": Preset(optim=_OPTIM),
        "tiny": Preset(model={"filters": 4, "depth": 3, "repetitions": 1}, optim=_OPTIM),
        "paper": Preset(
            model={
                "filters": 32, "repetitions": 2, "norm_momentum": 0.01, "inputs": "energy", "constant": False,
                "loss": "unweighted",
            },
            optim={
                "lr": 1e-3, "weight_decay": 0.0, "warmup_fraction": 0.0, "schedule": "constant", "clip_norm": 0.0,
            },
            # 25 epochs of about 125,000 events
            train={"rotation": "none", "steps": 12_200, "batch_size": 256},
        ),
    },
    levels=("point", "event"),
    has_point_features=True,
    kinds=("classification", "regression"),
    # Two strips of EMB1 share a voxel; neighbours in EMB2 are 4 voxels apart in eta, 1 in phi; layers 1 to 3 in depth.
    detector_presets={
        "calorimeter": {
            # the rate from the search on validation clusters
            "default": Preset(model={"stretch": (4.0, 1.0, 0.25), "depth": 4, "unit": 8.0}, optim={"lr": 1e-2}),
            "tiny": Preset(model={"stretch": (4.0, 1.0, 0.25), "unit": 8.0}),
            "paper": Preset(model={"stretch": (4.0, 1.0, 0.25), "inputs": "features", "loss": "task"}),
        }
    },
    reference="arXiv:1903.05663; SPINE 1.4.3, config/uresnet/uresnet_train.yaml",
)  # fmt: skip
