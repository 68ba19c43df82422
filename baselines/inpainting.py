"""Hidden tokens filled in from what is visible, without training: the references of `lif-reconstruction` as models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from benchmark.contracts import Inputs, ModelSpec, PointBatch, Preset, Task
from benchmark.ops import harmonic

from ._classical import Unfitted


def _harmonic(volume: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    voxels = harmonic.unblocks(hidden[..., None], volume.shape)
    return harmonic.inpaint(volume, voxels)


METHODS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "harmonic": _harmonic,
    "neighbour_mean": harmonic.neighbour_mean,
    "global_mean": harmonic.global_mean,
}


@dataclass(frozen=True)
class InpaintingConfig:
    """How tokens are filled in."""

    # harmonic: Laplace's equation | neighbour_mean: of the visible tokens around | global_mean: of all visible voxels
    method: str = "harmonic"

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"method={self.method!r} is not known. One of {', '.join(METHODS)} was expected.")


class Inpainting(Unfitted):
    """Each tile by itself, from its visible voxels."""

    def __init__(self, config: InpaintingConfig, task: Task) -> None:
        super().__init__(task)
        self.fill = METHODS[config.method]

    def predict(self, batch: PointBatch) -> np.ndarray:
        """(B, 1, Z, Y, X) float32 the volumes with their hidden tokens filled in."""
        volumes = zip(np.asarray(batch.volume), np.asarray(batch.hidden), strict=True)
        return np.stack([self.fill(volume, hidden)[None] for volume, hidden in volumes])


def build(config: InpaintingConfig, inputs: Inputs, task: Task) -> Inpainting:
    """The baseline for a task."""
    return Inpainting(config, task)


SPEC = ModelSpec(
    name="inpainting",
    summary="Hidden tokens filled in without training: harmonic, or means of neighbours or of everything visible",
    config=InpaintingConfig,
    build=build,
    presets={
        "default": Preset(),
        "tiny": Preset(),
        "neighbour_mean": Preset(model={"method": "neighbour_mean"}),
        "global_mean": Preset(model={"method": "global_mean"}),
    },
    data=("volumes",),
    levels=("volume",),
    kinds=("regression",),
)
