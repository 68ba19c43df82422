"""P(EM): the probability that a cluster is electromagnetic, as the local cell weighting of ATLAS gives it.

EPJC 77 (2017) 490, section 5: a lookup in the cluster's energy, |eta|, depth and cell density. It is the baseline of
the published comparison (ATL-PHYS-PUB-2022-040), where a charged pion's score is 1 - P(EM). Comes with the data;
nothing is learnt.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmark.contracts import Inputs, ModelSpec, PointBatch, Preset, Task
from benchmark.errors import DataError

from ._classical import Unfitted, log_probabilities, quantity

_LEAST = 1e-9  # nearer to 0 than float32 comes to 1: no two probabilities become equal


@dataclass(frozen=True)
class PEmConfig:
    """No settings."""


class PEm(Unfitted):
    """Scores whose softmax is (P(EM), 1 - P(EM)): neutral, charged pion."""

    def predict(self, batch: PointBatch) -> np.ndarray:
        """(B, 2) log probabilities. Raises DataError for values that are no probabilities."""
        p = quantity(batch, "em_probability")
        wrong = (p < 0) | (p > 1)
        if wrong.any():
            raise DataError(
                f"Sample {batch.event_ids[int(np.argmax(wrong))]} has the em_probability {p[wrong][0]:g}. A number "
                f"from 0 to 1 was expected. Repair the file."
            )
        return log_probabilities(np.stack([p, 1 - p], axis=1), _LEAST)


def build(config: PEmConfig, inputs: Inputs, task: Task) -> PEm:
    """The baseline for a task."""
    return PEm(task)


SPEC = ModelSpec(
    name="p_em",
    summary="The electromagnetic probability of the cluster, as the data give it",
    config=PEmConfig,
    build=build,
    presets={"default": Preset(), "tiny": Preset()},
    levels=("event",),
    detectors=("calorimeter",),
    tasks=("pion-classification",),
    reference="EPJC 77 (2017) 490, section 5; ATL-PHYS-PUB-2022-040",
)
