"""Point Transformer V3: attention over patches of a space-filling curve, the strongest published supervised model.

Wu et al., "Point Transformer V3: Simpler, Faster, Stronger", CVPR 2024 (arXiv:2312.10035). `paper` is the semantic
segmentation of ScanNet (configs/scannet/semseg-pt-v3m1-0-base of Pointcept); `panda` is the PT-v3m2 that
Panda (arXiv:2512.01324) trains on PILArNet-M. The curves and patches are in `_serialisation`, the network in `_ptv3`.

The default is made for a CPU: the finest voxels have only the first convolution and the last copying back, no blocks;
one narrow block per stage, with perceptrons of twice its width instead of four times.

Points become voxels as in `sparse_uresnet`: points of one voxel share their mean features and its scores.

Differences to the authors' code: orders are shuffled in training only, so that evaluation is deterministic; voxels
of the coarser stages are those of the detector's frame; one learning rate for everything, where theirs is ten times
higher outside of the blocks (`paper`) or falls from layer to layer (`panda`); the warm-up starts at the schedule's
floor, not at a tenth or a twenty-fifth of the peak.
"""

from __future__ import annotations

from typing import Any

from benchmark.contracts import Inputs, ModelSpec, Preset, Task

from ._ptv3_model import PTv3, PTv3Config


def build(config: PTv3Config, inputs: Inputs, task: Task) -> PTv3:
    """The model for given inputs and task."""
    return PTv3(config, inputs, task)


_OPTIM: dict[str, Any] = {"lr": 3e-3, "weight_decay": 0.05}

SPEC = ModelSpec(
    name="ptv3",
    summary="Point Transformer V3: attention over patches of space-filling curves (Wu et al. 2024)",
    config=PTv3Config,
    build=build,
    presets={
        "default": Preset(optim=_OPTIM),
        "tiny": Preset(
            model={
                "enc_depths": (0, 1, 1), "enc_channels": (8, 8, 16), "enc_heads": (1, 1, 2),
                "dec_depths": (0, 1), "dec_channels": (8, 8), "dec_heads": (1, 1), "patch": 16, "stem_kernel": 3,
            },
            optim=_OPTIM,
        ),
        "paper": Preset(
            model={
                "enc_depths": (2, 2, 2, 6, 2), "enc_channels": (32, 64, 128, 256, 512),
                "enc_heads": (2, 4, 8, 16, 32), "dec_depths": (2, 2, 2, 2), "dec_channels": (64, 64, 128, 256),
                "dec_heads": (4, 4, 8, 16), "patch": 1024, "mlp_ratio": 4.0, "drop_path": 0.3, "norm_momentum": 0.01,
                "loss": "unweighted", "lovasz": 1.0,
            },
            optim={
                "lr": 6e-4, "weight_decay": 0.05, "warmup_fraction": 0.05, "final_lr_fraction": 1e-4, "clip_norm": 0.0,
                "decay": "everything",
            },
            # 800 epochs of 1,201 scenes
            train={"steps": 80_000, "batch_size": 12},
        ),
        "panda": Preset(
            model={
                "enc_depths": (3, 3, 3, 9, 3), "enc_channels": (48, 96, 192, 384, 512),
                "enc_heads": (3, 6, 12, 24, 32), "dec_depths": (2, 2, 2, 2), "dec_channels": (64, 96, 192, 384),
                "dec_heads": (4, 6, 12, 24), "patch": 256, "mlp_ratio": 4.0, "drop_path": 0.3, "stem_kernel": 1,
                "norm": "layer", "init_std": 0.02, "grid": 0.6651, "coordinates": True, "loss": "unweighted",
                "lovasz": 0.05,
            },
            optim={
                "lr": 2.6e-3, "weight_decay": 0.04, "warmup_fraction": 0.05, "final_lr_fraction": 1e-4,
                "clip_norm": 0.0, "decay": "everything",
            },
            # 20 epochs of 1,000,000 events
            train={"steps": 416_667, "batch_size": 48},
        ),
    },
    levels=("point", "event"),
    has_point_features=True,
    kinds=("classification", "regression"),
    # Two strips of EMB1 share a voxel; neighbours in EMB2 are 4 voxels apart in eta, 1 in phi; layers 1 to 3 in depth.
    detector_presets={
        "calorimeter": {
            "default": Preset(
                model={
                    "stretch": (4.0, 1.0, 0.25), "unit": 8.0, "patch": 32,
                    "enc_depths": (0, 1, 1, 1), "enc_channels": (24, 48, 64, 96), "enc_heads": (1, 3, 4, 6),
                    "dec_depths": (0, 0, 1), "dec_channels": (32, 48, 64), "dec_heads": (1, 3, 4),
                },
                optim={"lr": 1e-3},  # the rate from the search on validation clusters
            ),
            "tiny": Preset(model={"stretch": (4.0, 1.0, 0.25), "unit": 8.0}),
            "paper": Preset(model={"stretch": (4.0, 1.0, 0.25), "loss": "task", "lovasz": 0.0}),
            "panda": Preset(model={"stretch": (4.0, 1.0, 0.25), "grid": 1.0, "loss": "task", "lovasz": 0.0}),
        }
    },
    reference="arXiv:2312.10035, sections 4 and 5; Panda: arXiv:2512.01324",
)  # fmt: skip
