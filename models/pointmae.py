"""Point-MAE: a masked autoencoder on the same volumetric tokens, which reconstructs points only.

Pang et al., arXiv 2203.06604, as set up for particle trajectories by Young, Jwa and Terao, arXiv 2502.02558, section
4.1: the tokens, encoder and decoder of PoLAr-MAE, and the Chamfer distance over positions and energy.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from benchmark.contracts import Inputs, ModelSpec, Task
from benchmark.models._masked_autoencoder import (
    CALORIMETER_PRESETS,
    PRESETS,
    MaskedAutoencoder,
    MaskedAutoencoderConfig,
)
from benchmark.models._reference import build as build_autoencoder
from benchmark.models._released_settings import BACKBONE, HEAD, import_released


@dataclass(frozen=True)
class PointMAEConfig(MaskedAutoencoderConfig):
    """Hyper-parameters of Point-MAE. The defaults are the `default` preset, made for minutes on a CPU."""


def build(config: PointMAEConfig, inputs: Inputs, task: Task) -> MaskedAutoencoder:
    """A model with random weights."""
    return build_autoencoder(config, inputs, task, energy_weight=0.0)


SPEC = ModelSpec(
    name="pointmae",
    summary="Masked autoencoder on volumetric tokens, reconstructing points only (Point-MAE)",
    config=PointMAEConfig,
    build=build,
    presets=PRESETS,
    levels=("point", "token", "event"),
    kinds=("classification", "regression"),
    detector_presets={"calorimeter": CALORIMETER_PRESETS},
    pretrains=True,
    mode_overrides={"frozen": {"head": "linear"}},
    backbone_config=BACKBONE,
    head_config=HEAD,
    import_released=partial(import_released, config=PointMAEConfig, with_energy=False),
    reference="arXiv:2203.06604; arXiv:2502.02558, section 4.1, tables 5 to 7",
)
