"""A dense network on what is known of a sample as a whole: energies of clusters, the track, no cells.

The deep neural network of the ATLAS comparison of pion energies (ATL-PHYS-PUB-2022-040, its code gn4pions): logarithms
of the leading clusters' energies, the track's quantities, three layers of 50 with ReLU, the mean absolute error of
log10 of the energy, Adam at 0.001 in batches of 1024. There the output is log10 of the energy; here it is what is added
to the batch's baseline (the cluster at the electromagnetic scale, or the track's momentum), and absent clusters have an
energy below all others, not the mean one. Inputs are those of the task (`preprocess.event_columns`). Of a single
cluster they are its energy and |eta|, so that its class is not to be known from them where classes are matched in
energy.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from benchmark.contracts import Inputs, ModelSpec, PointBatch, Preset, Task
from benchmark.contracts.torch_model import TorchModel

from ._dense import dense


@dataclass(frozen=True)
class DnnConfig:
    """Sizes."""

    layers: tuple[int, ...] = (50, 50, 50)  # channels of the hidden layers

    def __post_init__(self) -> None:
        if not self.layers or min(self.layers) < 1:
            raise ValueError(f"layers={self.layers} are not possible. At least one width from 1 on was expected.")


class Dnn(TorchModel):
    """Dense layers on the features of events."""

    def __init__(self, config: DnnConfig, inputs: Inputs, task: Task) -> None:
        super().__init__(task)
        if not inputs.n_event_features:
            raise ValueError(
                "event_columns=() give the network nothing to see. At least one feature of events was expected. Type "
                "for example --set preprocess.event_columns=log_cluster_e,abs_cluster_eta."
            )
        self.dense = dense((inputs.n_event_features, *config.layers))
        self.out = nn.Linear(config.layers[-1], task.n_outputs)

    def forward(self, batch: PointBatch) -> Tensor:
        """(B, n_outputs) scores, or what is added to the batch's baseline."""
        scores: Tensor = self.out(self.dense(batch.event_feats))
        return scores


def build(config: DnnConfig, inputs: Inputs, task: Task) -> Dnn:
    """The model for given inputs and task."""
    return Dnn(config, inputs, task)


SPEC = ModelSpec(
    name="dnn",
    summary="Dense layers on the energies of clusters and the track, without cells (ATLAS 2022)",
    config=DnnConfig,
    build=build,
    presets={
        "default": Preset(optim={"lr": 1e-2, "weight_decay": 1e-4}),  # from the search on validation tracks
        "tiny": Preset(model={"layers": (16, 16)}, optim={"lr": 3e-3, "weight_decay": 1e-4}),
        "paper": Preset(
            model={"layers": (50, 50, 50)},
            optim={
                "optimiser": "adam", "lr": 1e-3, "weight_decay": 0.0, "schedule": "constant", "warmup_fraction": 0.0,
                "clip_norm": 0.0,
            },
            train={"batch_size": 1024, "rotation": "none"},
        ),
    },
    levels=("event",),
    kinds=("classification", "regression"),
    detectors=("calorimeter",),
    reference="ATL-PHYS-PUB-2022-040",
)  # fmt: skip
