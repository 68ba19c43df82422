"""The released checkpoints' tensor names, one for one, and ours.

Facts of the published implementation (DeepLearnPhysics/PoLAr-MAE at 2fd3b80, state dicts of its PoLAr-MAE, Point-MAE
and segmentation models). What differs is the naming, a trailing axis of length 1 on shared perceptrons (stored there as
convolutions of width 1), two leading axes on the transformer's norms, and the order of what enters the segmentation
head: [point, maximum, mean] there, [maximum, mean, point] here.
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
# Tensors of released checkpoints that are no weights: the class weights of the loss.
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
_PARTS = {  # our prefix: (theirs, names inside)
    "embed.": ("encoder.tokenizer.embedding.", _MINI_POINTNET),
    "decoder.infill.shape.": ("equivariant_patch_encoder.", _MINI_POINTNET),
    "encoder.blocks.": ("encoder.transformer.blocks.", _BLOCK),
    "decoder.transformer.blocks.": ("decoder.transformer.blocks.", _BLOCK),
}
_IN_NORM = {"weight": "gamma", "bias": "beta"}  # the transformer's norms name their factors otherwise


def released_name(name: str) -> str | None:
    """What a tensor of ours is called in a released checkpoint, or None where it has no counterpart there."""
    if name == "decoder.mask_token":
        return "mask_token"
    module, _, leaf = name.rpartition(".")
    if module in _WHOLE:
        return f"{_WHOLE[module]}.{_IN_NORM[leaf] if module == 'decoder.norm' else leaf}"
    for ours, (theirs, inside) in _PARTS.items():
        if not module.startswith(ours):
            continue
        block, rest = "", module[len(ours) :]
        if inside is _BLOCK:
            number, _, rest = rest.partition(".")
            block = f"{number}."
        if rest in inside:
            return f"{theirs}{block}{inside[rest]}.{_IN_NORM[leaf] if rest in ('norm1', 'norm2') else leaf}"
    return None


def released_shape(name: str, shape: torch.Size) -> tuple[int, ...]:
    """The shape that a released checkpoint stores for a tensor whose released name and own shape are given."""
    if name.endswith((".gamma", ".beta")):
        return (1, 1, *shape)
    is_convolution = len(shape) == 2 and not any(part in name for part in (".blocks.", "pos_embed", "time_embed"))
    return (*shape, 1) if is_convolution else tuple(shape)


def from_released(
    state: Mapping[str, Tensor], model_state: Mapping[str, Tensor], stage: Stage = "pretrain"
) -> dict[str, Tensor]:
    """Our tensors, by name, from the state dict of a released checkpoint; nothing may be missing, unknown or misshaped.

    `model_state` is the state dict of a model of ours with the checkpoint's architecture: it gives the names, shapes
    and types that are wanted. `stage` tells which kind the checkpoint is; the other stage's own part (the head, or the
    decoder with the mask token) is not in the result. Raises CheckpointError.
    """
    names = _names(model_state, stage)
    found = {k: v for k, v in state.items() if k not in IGNORED}
    _check(found, {names[k]: released_shape(names[k], model_state[k].shape) for k in names}, stage)
    return {k: _ours(k, found[names[k]], model_state[k]) for k in names}


def to_released(model_state: Mapping[str, Tensor], stage: Stage = "pretrain") -> dict[str, Tensor]:
    """The opposite of `from_released`: a state dict of ours under the released names and shapes."""
    released = {}
    for ours, theirs in _names(model_state, stage).items():
        tensor = model_state[ours]
        if ours == "head.join.weight":
            tensor = torch.roll(tensor, len(model_state["head.enter.weight"]), dims=1)
        released[theirs] = tensor.reshape(released_shape(theirs, tensor.shape)).clone()
    return released


def _names(model_state: Mapping[str, Tensor], stage: Stage) -> dict[str, str]:
    """Released name of each tensor of ours that the stage's checkpoints hold."""
    names = {}
    for ours in model_state:
        if ours.startswith(ABSENT[stage]):
            continue
        theirs = released_name(ours)
        if theirs is None:
            raise CheckpointError(
                f"The model's tensor {ours} has no counterpart in released checkpoints. A model in the published "
                f"architecture was expected. Give --preset paper or --preset reference."
            )
        names[ours] = theirs
    return names


def _ours(name: str, tensor: Tensor, like: Tensor) -> Tensor:
    """A released tensor in our shape, order of inputs and type."""
    ours = tensor.detach().reshape(like.shape).to(like.dtype)
    # The point's features, as many as the head's width, stand first there and last here.
    return torch.roll(ours, -(like.shape[1] // 3), dims=1) if name == "head.join.weight" else ours.clone()


def _check(found: Mapping[str, object], expected: Mapping[str, tuple[int, ...]], stage: Stage) -> None:
    missing, unknown = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    misshaped = [
        f"{k} is {_shape(found[k])}, not {shape}"
        for k, shape in expected.items()
        if k in found and _shape(found[k]) != shape
    ]
    for bad, what in ((missing, "lacks"), (unknown, "holds unknown"), (misshaped, "has misshaped")):
        if bad:
            raise CheckpointError(
                f"The released checkpoint {what} {len(bad)} tensors (first: {bad[0]}). A {stage} checkpoint of the "
                f"model's own architecture was expected. Choose the model and sizes of the checkpoint, or its stage."
            )


def _shape(value: object) -> tuple[int, ...] | None:
    return tuple(value.shape) if isinstance(value, Tensor) else None
