"""Writes checkpoints in the layout of the published code; tests then change them one way at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from benchmark import registry, tasks
from benchmark.contracts import Inputs
from benchmark.models._released import to_released
from benchmark.models._released_settings import FRAME

# The smallest published architecture, one block deep. Text and numbers only: what Lightning stores of the arguments.
ENCODER = {
    "class_path": "polarmae.layers.encoder.TransformerEncoder",
    "init_args": {
        "apply_relative_position_bias": False, "arch": "vit_tiny", "masking_ratio": 0.6, "masking_type": "rand",
        "num_channels": 4, "tokenizer_kwargs": {"group_radius": 5 * FRAME.scale}, "voxel_size": 5.0,
        "transformer_kwargs": {
            "add_pos_at_every_layer": True, "attn_drop_rate": 0.05, "depth": 1, "drop_path_rate": 0.25,
            "drop_rate": 0.0, "postnorm": False,
        },
    },
}  # fmt: skip
DECODER = {
    "class_path": "polarmae.layers.decoder.TransformerDecoder",
    "init_args": {
        "arch": "vit_tiny", "header": None,
        "transformer_kwargs": {
            "add_pos_at_every_layer": True, "attn_drop_rate": 0.05, "depth": 1, "drop_path_rate": 0.25,
            "drop_rate": 0.0, "postnorm": True, "use_flash_self_attn": True,
        },
    },
}  # fmt: skip
COMMON = {
    "_instantiator": "pytorch_lightning.cli.instantiate_module", "encoder": ENCODER, "learning_rate": 1e-4,
    "train_transformations": ["center_and_scale", "rotate"], "val_transformations": ["center_and_scale"],
    "transformation_center": [384.0] * 3, "transformation_scale_factor": FRAME.scale,
}  # fmt: skip
SETTINGS = {
    "pretrain": {**COMMON, "decoder": DECODER, "mae_prediction": "full", "svm_validation": {}},
    "finetune": {
        **COMMON, "num_classes": 4, "seg_head_dim": 64, "seg_head_dropout": 0.5, "seg_head_fetch_layers": [0],
        "seg_decoder": None, "condition_global_features": True, "apply_local_attention": False,
        "use_pos_enc_for_upsampling": False, "encoder_freeze": False, "loss_func": "focal",
    },
}  # fmt: skip
DATA = {
    "_class_path": "polarmae.datasets.PILArNetDataModule", "batch_size": 2, "data_path": "/data/events.h5",
    "num_workers": 0, "test_dataset_kwargs": {},
    "dataset_kwargs": {
        "emax": 20.0, "emin": 0.01, "energy_threshold": 0.13, "maxlen": 100, "min_points": 0,
        "remove_low_energy_scatters": True,
    },
}  # fmt: skip


def built(model: str = "polarmae", seed: int = 3) -> Any:
    """Our model in the architecture of these files, with random weights."""
    spec = registry.model_spec(model)
    config = spec.config(
        behaviour="reference", width=192, depth=1, heads=6, decoder_depth=1, embed_widths=(128, 256, 512),
        rotary_wave=0.0, fetch_layers=(0,), head_widths=(64, 32), point_features=False, member_features=False,
    )  # fmt: skip
    torch.manual_seed(seed)
    return spec.build(config, Inputs(("log_energy",), FRAME), tasks.task("lartpc-segmentation"))


def content(model: str = "polarmae", stage: str = "finetune") -> dict[str, Any]:
    """What Lightning would save of that model."""
    state = to_released(built(model).state_dict(), "segmentation" if stage == "finetune" else "pretrain")
    if stage == "finetune":
        state["loss_func.weight"] = torch.ones(4)
    return {
        "epoch": 0, "global_step": 1, "pytorch-lightning_version": "2.5.0", "state_dict": state, "loops": {},
        "callbacks": {}, "optimizer_states": [{"state": {}, "param_groups": []}], "lr_schedulers": [{"last_epoch": 1}],
        "hparams_name": "kwargs", "hyper_parameters": dict(SETTINGS[stage]), "datamodule_hparams_name": "kwargs",
        "datamodule_hyper_parameters": dict(DATA),
    }  # fmt: skip


def write(path: Path, values: dict[str, Any]) -> Path:
    """One Lightning checkpoint."""
    torch.save(values, path)
    return path
