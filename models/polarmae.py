"""PoLAr-MAE: a masked autoencoder on volumetric tokens of particle trajectories, with energy infilling.

Young, Jwa and Terao, arXiv 2502.02558, sections 3 and 4.
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
class PolarMAEConfig(MaskedAutoencoderConfig):
    """Hyper-parameters of PoLAr-MAE. The defaults are the `default` preset, made for minutes on a CPU."""

    energy_weight: float = 1.0  # weight of the energy infilling in pre-training; 0 leaves it out


def build(config: PolarMAEConfig, inputs: Inputs, task: Task) -> MaskedAutoencoder:
    """A model with random weights."""
    return build_autoencoder(config, inputs, task, config.energy_weight)


SPEC = ModelSpec(
    name="polarmae",
    summary="Masked autoencoder on volumetric tokens, with energy infilling (PoLAr-MAE)",
    config=PolarMAEConfig,
    build=build,
    presets=PRESETS,
    levels=("point", "token", "event"),
    kinds=("classification", "regression"),
    detector_presets={"calorimeter": CALORIMETER_PRESETS},
    pretrains=True,
    mode_overrides={"frozen": {"head": "linear"}},
    backbone_config=BACKBONE,
    head_config=HEAD,
    import_released=partial(import_released, config=PolarMAEConfig, with_energy=True),
    reference="arXiv:2502.02558, sections 3 and 4, tables 5 to 7",
)
