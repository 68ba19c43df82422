"""LCW, the calibration that ATLAS uses: local cell weighting of clusters (EPJC 77 (2017) 490, section 5).

The true energy of one cluster is what was deposited inside it, so the weight for hadrons alone is what compares with
it: cluster_E x HAD_WEIGHT. A pion's energy has left the cluster too, so for tracks the sum of cluster_E_LCCalib is
taken, which corrects for energy outside the cluster and in dead material as well; that is what the published
comparison does (ATL-PHYS-PUB-2022-040 and its code gn4pions). The weights come with the data; nothing is learnt.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmark.contracts import Inputs, ModelSpec, PointBatch, Preset, Task
from benchmark.contracts.cells import ABSENT_GEV

from ._classical import Unfitted, quantity


@dataclass(frozen=True)
class LocalWeightingConfig:
    """No settings."""


class LocalWeighting(Unfitted):
    """log10 of the energy after local cell weighting."""

    def predict(self, batch: PointBatch) -> np.ndarray:
        """(B, 1) log10 of GeV; energies below ABSENT_GEV count as that."""
        if self.task.sample == "cluster":
            energy_gev = quantity(batch, "cluster_e") * quantity(batch, "hadronic_weight")
        else:
            energy_gev = quantity(batch, "sum_lc_e")
        log_energy: np.ndarray = np.log10(np.maximum(energy_gev, ABSENT_GEV)).astype(np.float32)
        return log_energy[:, None]


def build(config: LocalWeightingConfig, inputs: Inputs, task: Task) -> LocalWeighting:
    """The baseline for a task."""
    return LocalWeighting(task)


SPEC = ModelSpec(
    name="local_weighting",
    summary="The energy after local cell weighting (LCW), as the data give it",
    config=LocalWeightingConfig,
    build=build,
    presets={"default": Preset(), "tiny": Preset()},
    levels=("event",),
    kinds=("regression",),
    detectors=("calorimeter",),
    tasks=("pion-regression", "pion-track-regression"),
    reference="EPJC 77 (2017) 490, section 5; ATL-PHYS-PUB-2022-040",
)
