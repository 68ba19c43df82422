"""The energy at the electromagnetic scale as it was measured: what a regression must improve on.

Of one cluster its energy `cluster_E`; of a track the sum over the clusters near it, as in the published comparison
(ATL-PHYS-PUB-2022-040 and its code gn4pions). No calibration, nothing learnt.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmark.contracts import Inputs, ModelSpec, PointBatch, Preset, Task
from benchmark.contracts.cells import ABSENT_GEV

from ._classical import Unfitted, quantity


@dataclass(frozen=True)
class EmScaleConfig:
    """No settings."""


class EmScale(Unfitted):
    """log10 of the energy in the calorimeter, each cell at the electromagnetic scale."""

    def predict(self, batch: PointBatch) -> np.ndarray:
        """(B, 1) log10 of GeV; energies below ABSENT_GEV count as that."""
        energy_gev = quantity(batch, "cluster_e" if self.task.sample == "cluster" else "sum_e")
        log_energy: np.ndarray = np.log10(np.maximum(energy_gev, ABSENT_GEV)).astype(np.float32)
        return log_energy[:, None]


def build(config: EmScaleConfig, inputs: Inputs, task: Task) -> EmScale:
    """The baseline for a task."""
    return EmScale(task)


SPEC = ModelSpec(
    name="em_scale",
    summary="The measured energy at the electromagnetic scale, uncalibrated",
    config=EmScaleConfig,
    build=build,
    presets={"default": Preset(), "tiny": Preset()},
    levels=("event",),
    kinds=("regression",),
    detectors=("calorimeter",),
    tasks=("pion-regression", "pion-track-regression"),
    reference="ATL-PHYS-PUB-2022-040",
)
