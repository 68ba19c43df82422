"""Conversion of a released checkpoint's settings to our config: sizes, tokens, cuts. Unknown settings are errors.

Facts of the published implementation (DeepLearnPhysics/PoLAr-MAE at 2fd3b80): the constructor arguments that Lightning
stores with PoLAr-MAE, Point-MAE and their segmentation models, and the defaults of those that are left out. Classes
that the settings name are compared as text and never imported.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from benchmark.contracts import Frame, Imported, Released
from benchmark.errors import CheckpointError
from benchmark.models._released import from_released

HALF_GRID = 384.0  # voxels: the centre of the detector along each axis
FRAME = Frame((HALF_GRID,) * 3, 1 / (HALF_GRID * 3**0.5), (2 * HALF_GRID,) * 3, "voxel of 3 mm")
ARCHITECTURES = {"vit_tiny": (192, 12, 6), "vit_small": (384, 12, 6), "vit_base": (768, 12, 12)}  # width, depth, heads
DECODER_DEPTH = 4  # as published, for checkpoints without a decoder
OVERLAP = 0.72  # default of the code; no published configuration sets it
THRESHOLD_MEV, MAX_MEV, MIN_POINTS = 0.13, 20.0, 1024
N_CLASSES = 5  # semantic classes, low-energy scatters included
_ENERGY = "energy_decoder.weight"
_ALWAYS: dict[str, Any] = {
    "behaviour": "reference", "group_points": 32, "max_tokens": 512, "rotary_wave": 0.0, "upsample_neighbours": 5,
    "head": "pointnet", "point_features": False, "member_features": False, "inverse_frequency_loss": True,
}  # fmt: skip
# Fields that define the backbone; the others belong to a stage, or to its regularisation.
BACKBONE = (
    "behaviour", "group_radius", "overlap", "strategy", "n_seeds", "group_points", "max_tokens", "width", "depth",
    "heads", "mlp_ratio", "embed_widths", "position_hidden", "rotary_wave",
)  # fmt: skip

# Fields that pre-training does not use.
HEAD = (
    "fetch_layers", "upsample_neighbours", "head", "head_widths", "head_dropout", "point_features", "member_features",
    "inverse_frequency_loss",
)  # fmt: skip


class Settings:
    """Nested settings, read one by one; `close` reports unread ones."""

    def __init__(self, values: Any, where: str = "") -> None:
        self.where = where
        self.left = dict(self._mapping(values))

    def part(self, name: str) -> Settings:
        """The settings below a name; none where it is absent."""
        value = self.left.pop(name, None)
        return Settings({} if value is None else value, f"{self.where}{name}.")

    def number(self, name: str, default: float, low: float, high: float) -> float:
        """A finite number in a range."""
        value = self.left.pop(name, None)
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise self.error(name, value, f"A number from {low} to {high}")
        return float(value)

    def count(self, name: str, default: int, high: int, low: int = 1) -> int:
        """A whole number in a range."""
        value = self.number(name, default, low, high)
        if value != int(value):
            raise self.error(name, value, f"A whole number from {low} to {high}")
        return int(value)

    def flag(self, name: str, default: bool) -> bool:
        """True or false."""
        value = self.left.pop(name, default)
        if not isinstance(value, bool):
            raise self.error(name, value, "True or False")
        return value

    def only(self, name: str, *allowed: Any) -> Any:
        """One of the supported values; defaults to the first."""
        value = self.left.pop(name, allowed[0])
        value = list(value) if isinstance(value, tuple) else value
        if not any(type(value) is type(a) and value == a for a in allowed):
            raise self.error(name, value, " or ".join(repr(a) for a in allowed))
        return value

    def whole_numbers(self, name: str, default: tuple[int, ...], high: int) -> tuple[int, ...]:
        """A list of whole numbers from 0 to below `high`."""
        value = self.left.pop(name, list(default))
        if not isinstance(value, list | tuple) or not value or not all(type(v) is int and 0 <= v < high for v in value):
            raise self.error(name, value, f"Whole numbers from 0 to {high - 1}")
        return tuple(value)

    def leave(self, *names: str) -> None:
        """Discard settings of training only."""
        for name in names:
            self.left.pop(name, None)

    def close(self) -> None:
        """Raises CheckpointError for unread settings, which may change the model."""
        if self.left:
            name = min(self.left, key=str)
            raise self.error(name, self.left[name], "Only settings that this suite knows")

    def error(self, name: str, value: Any, expected: str) -> CheckpointError:
        """The error for an unsupported value."""
        text = repr(value) if len(repr(value)) <= 80 else f"{repr(value)[:80]}..."
        return CheckpointError(
            f"the setting {self.where}{name}={text} is not supported. {expected} was expected. Use a checkpoint of the "
            f"published configurations."
        )

    def _mapping(self, values: Any) -> Mapping[str, Any]:
        if not isinstance(values, Mapping):
            raise self.error("", values, "A dictionary")
        return values


def import_released(released: Released, config: type, *, with_energy: bool) -> Imported:
    """A released checkpoint as a `config` of ours. `with_energy`: PoLAr-MAE, else Point-MAE, which lacks the infilling.

    Both share one segmentation architecture, which either model reads. Raises CheckpointError.
    """
    finetuned = any(name.startswith("seg_head.") for name in released.state)
    if not finetuned and (_ENERGY in released.state) != with_energy:
        name, model_name = ("Point-MAE", "pointmae") if with_energy else ("PoLAr-MAE", "polarmae")
        raise CheckpointError(
            f"these are the weights of {name}. Another model was expected. Give {model_name} as the model."
        )
    settings = Settings(released.settings)
    _check_frame(settings)
    settings.leave(*_TRAINING_ONLY)
    values = {**_ALWAYS, **_encoder_values(settings.part("encoder"), released.state)}
    values |= (
        _head_values(settings, values["depth"], released.state) if finetuned else _decoder_values(settings, with_energy)
    )
    if not finetuned:  # as published: a third, two thirds and the whole of the encoder
        values["fetch_layers"] = tuple(sorted({max(1, values["depth"] * i // 3) - 1 for i in (1, 2, 3)}))
    settings.close()
    data = _data_settings(Settings(released.data, "data."))
    n_classes = 4 if data.drops_scatters else N_CLASSES
    if finetuned and _axis_length(released.state, "seg_head.conv3.weight", 0) != n_classes:
        raise CheckpointError(
            f"its head has {_axis_length(released.state, 'seg_head.conv3.weight', 0)} classes. {n_classes} were "
            f"expected from its data settings. Use a checkpoint of the published configurations."
        )
    return Imported(
        model_config=config(**values),
        stage="finetune" if finetuned else "pretrain",
        task="lartpc-segmentation" if data.drops_scatters else "lartpc-segmentation-5",
        frame=FRAME,
        preprocess=data.preprocess,
        batch_size=data.batch_size,
        convert=lambda own: from_released(released.state, own, "segmentation" if finetuned else "pretrain"),
        training={"labels": data.n_events} if finetuned else {},
    )


@dataclass(frozen=True)
class _DataSettings:
    drops_scatters: bool
    preprocess: dict[str, Any]
    batch_size: int
    n_events: int | None  # labelled events at most; None for all


# Of the constructor arguments: optimiser, schedule, augmentation of training, and the probe during validation.
_TRAINING_ONLY = (
    "_instantiator", "learning_rate", "optimizer_adamw_weight_decay", "lr_scheduler_cosine_eta_min",
    "lr_scheduler_linear_warmup_epochs", "lr_scheduler_linear_warmup_start_lr", "lr_scheduler_stepping",
    "fix_estimated_stepping_batches", "freeze_last_layer_iters", "train_transformations",
    "transformation_rotate_degs", "transformation_rotate_dims", "svm_validation", "svm_validation_C",
    "svm_validation_max_tokens", "pretrained_ckpt_path", "loss_func",
)  # fmt: skip


def _check_frame(settings: Settings) -> None:
    """Check that coordinates are normalised as in the suite; older files have this in their data module."""
    settings.only("val_transformations", ["center_and_scale"], [], None)
    settings.only("transformation_center", list(FRAME.centre), None)
    scale = settings.number("transformation_scale_factor", FRAME.scale, 0.0, 1.0)
    if not math.isclose(scale, FRAME.scale, rel_tol=1e-6):
        raise settings.error("transformation_scale_factor", scale, f"{FRAME.scale}")


def _encoder_values(encoder: Settings, state: Mapping[str, Tensor]) -> dict[str, Any]:
    encoder.only("class_path", "polarmae.layers.encoder.TransformerEncoder")
    settings = encoder.part("init_args")
    encoder.close()
    width, depth, heads = ARCHITECTURES[settings.only("arch", "vit_small", "vit_tiny", "vit_base")]
    settings.only("num_channels", 4)
    settings.only("voxel_size", 5.0, 5)  # names the tokenizer: groups of 5 voxels without seeds
    settings.only("masking_type", "rand")
    settings.only("apply_relative_position_bias", False)
    mask_ratio = settings.number("masking_ratio", 0.6, 0.01, 0.99)
    tokens = settings.part("tokenizer_kwargs")
    radius = tokens.number("group_radius", 5.0 * FRAME.scale, 0.1 * FRAME.scale, 1.0) / FRAME.scale
    overlap = tokens.number("overlap_factor", OVERLAP, 0.01, 2.0)
    tokens.close()
    blocks = _transformer_settings(settings.part("transformer_kwargs"), depth, final_norm=False)
    settings.close()
    embedding, position = "encoder.tokenizer.embedding.", "encoder.pos_embed.pos_enc.0.weight"
    return {
        "group_radius": round(radius, 5),
        "overlap": overlap,
        "mask_ratio": mask_ratio,
        "width": width,
        "heads": heads,
        "depth": blocks.count("depth", depth, 200),
        "attention_dropout": blocks.number("attn_drop_rate", 0.0, 0.0, 0.99),
        "drop_path": blocks.number("drop_path_rate", 0.0, 0.0, 0.99),
        "mlp_ratio": _axis_length(state, "encoder.transformer.blocks.0.mlp.fc1.weight", 0) / width,
        "embed_widths": tuple(
            _axis_length(state, f"{embedding}{name}.weight", 0)
            for name in ("first_conv.0", "first_conv.3", "second_conv.0")
        ),
        "position_hidden": _axis_length(state, position, 0),
    }


def _transformer_settings(blocks: Settings, depth: int, final_norm: bool) -> Settings:
    """The settings of a transformer, without those common to all published ones."""
    blocks.only("add_pos_at_every_layer", True)
    blocks.only("drop_rate", 0.0, 0)
    blocks.only("postnorm", final_norm)
    blocks.leave("use_flash_self_attn")  # the same results
    known = {"depth", "attn_drop_rate", "drop_path_rate"}
    rest = Settings({k: v for k, v in blocks.left.items() if k not in known}, blocks.where)
    rest.close()
    return blocks


def _decoder_values(settings: Settings, with_energy: bool) -> dict[str, Any]:
    """Settings of a pre-training checkpoint."""
    decoder = settings.part("decoder")
    decoder.only("class_path", "polarmae.layers.decoder.TransformerDecoder")
    init_args = decoder.part("init_args")
    decoder.close()
    init_args.leave("arch")  # its width is the encoder's, as tensor shapes show
    init_args.only("header", None)
    blocks = _transformer_settings(init_args.part("transformer_kwargs"), DECODER_DEPTH, final_norm=True)
    init_args.close()
    settings.only("mae_prediction", "full")
    weights = settings.part("loss_weights")
    weights.only("ae", 0.0, 0)
    chamfer = weights.number("chamfer", 1.0, 0.0, 1e6)
    energy = weights.number("energy", 1.0, 0.0, 1e6)
    weights.close()
    depth = blocks.count("depth", DECODER_DEPTH, 200)
    return {"decoder_depth": depth, "chamfer_weight": chamfer} | ({"energy_weight": energy} if with_energy else {})


def _head_values(settings: Settings, depth: int, state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Settings of a segmentation checkpoint."""
    for name, value in (
        ("apply_local_attention", False), ("condition_global_features", True), ("seg_decoder", None),
        ("use_pos_enc_for_upsampling", False),
    ):  # fmt: skip
        settings.only(name, value)
    settings.count("num_classes", 4, N_CLASSES)
    settings.flag("encoder_freeze", False)
    width = settings.count("seg_head_dim", 512, 1 << 14)
    layers = settings.whole_numbers("seg_head_fetch_layers", (3, 7, 11), depth)
    return {
        "fetch_layers": layers,
        "head_widths": (width, _axis_length(state, "seg_head.conv2.weight", 0)),
        "head_dropout": settings.number("seg_head_dropout", 0.5, 0.0, 0.99),
        "decoder_depth": DECODER_DEPTH,
    }


def _data_settings(settings: Settings) -> _DataSettings:
    """Cuts and maps of the training data; the published ones by default."""
    settings.leave("_class_path", "_instantiator", "data_path", "num_workers", "test_dataset_kwargs")
    batch_size = settings.count("batch_size", 32, 100_000)
    events = settings.part("dataset_kwargs")
    settings.close()
    threshold = events.number("energy_threshold", THRESHOLD_MEV, -1.0, 1e6)
    floor = events.number("emin", 0.01, 1e-12, 1e6)
    n_events = events.count("maxlen", -1, 10**9, low=-1)
    preprocess = {
        "energy_min_mev": max(threshold, 0.0),
        "log_eps_mev": threshold if threshold > 0 else floor,
        "log_max_mev": events.number("emax", MAX_MEV, 1e-6, 1e9),
        "min_points": events.count("min_points", MIN_POINTS, 10**9, low=0),
        "columns": ("log_energy",),
        "coords": "detector",
    }
    drops = events.flag("remove_low_energy_scatters", True)
    events.close()
    return _DataSettings(drops, preprocess, batch_size, n_events if n_events > 0 else None)


def _axis_length(state: Mapping[str, Tensor], name: str, axis: int) -> int:
    """Length of a tensor's axis. Raises CheckpointError where there is no such tensor."""
    if name not in state or state[name].dim() <= axis:
        raise CheckpointError(
            f"the tensor {name} is missing or has no axis {axis}. A checkpoint of PoLAr-MAE, Point-MAE or their "
            f"segmentation models was expected. Fetch it again."
        )
    return int(state[name].shape[axis])
