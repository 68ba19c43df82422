"""A transformer on volumetric tokens, trained from scratch: PoLAr-MAE's tokens, encoder and head, nothing pre-trained.

The control that separates pre-training from architecture. Sizes are those of Young, Jwa and Terao, arXiv 2502.02558,
sections 3.1, 3.2 and 4.2 and table 6; preset by preset the same as PoLAr-MAE's.
"""

from __future__ import annotations

from dataclasses import dataclass

from benchmark.contracts import Inputs, ModelSpec, Preset, Task
from benchmark.models._token_transformer import (
    CALORIMETER,
    CALORIMETER_SIZES,
    CALORIMETER_WAVE,
    FINE_TUNING,
    FINE_TUNING_WARMUP,
    PAPER,
    PAPER_OPTIM,
    TINY,
    TokenTransformer,
    TokenTransformerConfig,
)


@dataclass(frozen=True)
class TransformerConfig(TokenTransformerConfig):
    """Hyper-parameters of the transformer. The defaults are the `default` preset, made for minutes on a CPU."""


class SupervisedTransformer(TokenTransformer):
    """Tokens -> mini-PointNet -> transformer encoder -> head, trained on labels."""

    def __init__(self, config: TransformerConfig, inputs: Inputs, task: Task) -> None:
        super().__init__(config, inputs, task)
        self.add_head()


def build(config: TransformerConfig, inputs: Inputs, task: Task) -> SupervisedTransformer:
    """A model with random weights."""
    return SupervisedTransformer(config, inputs, task)


SPEC = ModelSpec(
    name="transformer",
    summary="Transformer on volumetric tokens, trained from scratch: PoLAr-MAE's network without pre-training",
    config=TransformerConfig,
    build=build,
    presets={
        # tuned on validation events for this network, as mode `scratch` of PoLAr-MAE: see docs/pretraining.md
        "default": Preset(optim={"lr": 3e-3}),
        "tiny": Preset(model=TINY, optim={"lr": 2e-3}),
        # Not published from scratch: the recipe of PoLAr-MAE's fine-tuning.
        "paper": Preset(
            model=PAPER,
            optim={**PAPER_OPTIM, "warmup_fraction": FINE_TUNING_WARMUP},
            train={"rotation": "event", **FINE_TUNING},
        ),
    },
    levels=("point", "event"),
    has_point_features=True,
    mode_overrides={"frozen": {"head": "linear"}},
    kinds=("classification", "regression"),
    detector_presets={
        "calorimeter": {
            "default": Preset(model=CALORIMETER_SIZES),
            "tiny": Preset(model={**CALORIMETER, "rotary_wave": CALORIMETER_WAVE}),
            "paper": Preset(model=CALORIMETER, train={"rotation": "mirror"}),
        }
    },
    reference="arXiv:2502.02558, sections 3.1, 3.2 and 4.2, tables 5 and 6",
)
