"""The tensor names of released checkpoints and of this suite, one for one.

Facts of the published implementation (DeepLearnPhysics/PoLAr-MAE at 2fd3b80, state dicts of its PoLAr-MAE, Point-MAE
and segmentation models). They differ in naming, a trailing axis of length 1 on shared perceptrons (stored there as
convolutions of width 1), two leading axes on the transformer's norms, and the input order of the segmentation head:
[point, maximum, mean] there, [maximum, mean, point] here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor

from benchmark.errors import CheckpointError

Stage = Literal["pretrain", "segmentation"]

# Which of our tensors a released checkpoint of a stage does not hold: the other stage's own part.
ABSENT: dict[Stage, str] = {"pretrain": "head.", "segmentation": "decoder."}
# Tensors of released checkpoints that are not weights: class weights of the loss.
IGNORED = frozenset({"loss_func.weight"})

_MINI_POINTNET = {
    "first.0": "first_conv.0", "first.1": "first_conv.1", "lift": "first_conv.3", "mix": "second_conv.0",
    "second.0": "second_conv.1", "second.2": "second_conv.3", "order.0": "position_encoder.time_embed.1",
}  # fmt: skip
_BLOCK = {
    "norm1": "norm1", "qkv": "attn.qkv", "project": "attn.proj", "norm2": "norm2", "mlp.0": "mlp.fc1",
    "mlp.2": "mlp.fc2",
}  # fmt: skip
_WHOLE = {
    "position.layers.0": "encoder.pos_embed.pos_enc.0",
    "position.layers.2": "encoder.pos_embed.pos_enc.2",
    "decoder.norm": "decoder.transformer.norm",
    "decoder.points": "increase_dim",
    "decoder.infill.energy": "energy_decoder",
    "head.enter": "upsampler.mlp_convs.0",
    "head.lift.0": "upsampler.mlp_bns.0",
    "head.lift.2": "upsampler.mlp_convs.1",
    "head.lift.3": "upsampler.mlp_bns.1",
    "head.join": "seg_head.conv1",
    "head.score.0": "seg_head.bn1",
    "head.score.3": "seg_head.conv2",
    "head.score.4": "seg_head.bn2",
    "head.score.6": "seg_head.conv3",
}
_PARTS = {  # prefix here: (released prefix, names of parts)
    "embed.": ("encoder.tokenizer.embedding.", _MINI_POINTNET),
    "decoder.infill.shape.": ("equivariant_patch_encoder.", _MINI_POINTNET),
    "encoder.blocks.": ("encoder.transformer.blocks.", _BLOCK),
    "decoder.transformer.blocks.": ("decoder.transformer.blocks.", _BLOCK),
}
_IN_NORM = {"weight": "gamma", "bias": "beta"}  # the transformer's norms name their factors otherwise


def released_name(name: str) -> str | None:
    """The released name of a tensor, or None where it has no counterpart."""
    if name == "decoder.mask_token":
        return "mask_token"
    module, _, leaf = name.rpartition(".")
    if module in _WHOLE:
        return f"{_WHOLE[module]}.{_IN_NORM[leaf] if module == 'decoder.norm' else leaf}"
    for prefix, (released_prefix, names) in _PARTS.items():
        if not module.startswith(prefix):
            continue
        block, part = "", module[len(prefix) :]
        if names is _BLOCK:
            number, _, part = part.partition(".")
            block = f"{number}."
        if part in names:
            return f"{released_prefix}{block}{names[part]}.{_IN_NORM[leaf] if part in ('norm1', 'norm2') else leaf}"
    return None


def released_shape(name: str, shape: torch.Size) -> tuple[int, ...]:
    """The released shape of a tensor, from its released name and its shape here."""
    if name.endswith((".gamma", ".beta")):
        return (1, 1, *shape)
    is_convolution = len(shape) == 2 and not any(part in name for part in (".blocks.", "pos_embed", "time_embed"))
    return (*shape, 1) if is_convolution else tuple(shape)


def from_released(
    state: Mapping[str, Tensor], model_state: Mapping[str, Tensor], stage: Stage = "pretrain"
) -> dict[str, Tensor]:
    """Our tensors, by name, from the state dict of a released checkpoint; nothing may be missing, unknown or misshaped.

    `model_state` is the state dict of a model with the checkpoint's architecture: it gives the names, shapes
    and dtypes. `stage` is the checkpoint's; the other stage's own part (the head, or the
    decoder with the mask token) is not in the result. Raises CheckpointError.
    """
    names = _released_names(model_state, stage)
    tensors = {k: v for k, v in state.items() if k not in IGNORED}
    _check_tensors(tensors, {names[k]: released_shape(names[k], model_state[k].shape) for k in names}, stage)
    return {k: _convert_tensor(k, tensors[names[k]], model_state[k]) for k in names}


def to_released(model_state: Mapping[str, Tensor], stage: Stage = "pretrain") -> dict[str, Tensor]:
    """The opposite of `from_released`: a state dict of this suite under the released names and shapes."""
    released = {}
    for name, target in _released_names(model_state, stage).items():
        tensor = model_state[name]
        if name == "head.join.weight":
            tensor = torch.roll(tensor, len(model_state["head.enter.weight"]), dims=1)
        released[target] = tensor.reshape(released_shape(target, tensor.shape)).clone()
    return released


def _released_names(model_state: Mapping[str, Tensor], stage: Stage) -> dict[str, str]:
    """Released name of each tensor that the stage's checkpoints hold."""
    names = {}
    for name in model_state:
        if name.startswith(ABSENT[stage]):
            continue
        target = released_name(name)
        if target is None:
            raise CheckpointError(
                f"The model's tensor {name} has no counterpart in released checkpoints. A model in the published "
                f"architecture was expected. Give --preset paper or --preset reference."
            )
        names[name] = target
    return names


def _convert_tensor(name: str, tensor: Tensor, like: Tensor) -> Tensor:
    """A released tensor in our shape, order of inputs and type."""
    converted = tensor.detach().reshape(like.shape).to(like.dtype)
    # The point's features (head width) are first there and last here.
    return torch.roll(converted, -(like.shape[1] // 3), dims=1) if name == "head.join.weight" else converted.clone()


def _check_tensors(tensors: Mapping[str, object], expected: Mapping[str, tuple[int, ...]], stage: Stage) -> None:
    missing, unknown = sorted(set(expected) - set(tensors)), sorted(set(tensors) - set(expected))
    misshaped = [
        f"{k} is {_tensor_shape(tensors[k])}, not {shape}"
        for k, shape in expected.items()
        if k in tensors and _tensor_shape(tensors[k]) != shape
    ]
    for names, problem in ((missing, "lacks"), (unknown, "holds unknown"), (misshaped, "has misshaped")):
        if names:
            raise CheckpointError(
                f"The released checkpoint {problem} {len(names)} tensors (first: {names[0]}). A {stage} checkpoint of "
                f"this architecture was expected. Choose the model and sizes of the checkpoint, or its stage."
            )


def _tensor_shape(value: object) -> tuple[int, ...] | None:
    return tuple(value.shape) if isinstance(value, Tensor) else None
