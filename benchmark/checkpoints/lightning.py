"""Reads Lightning checkpoints safely: tensors and plain data only, no code is executed.

`torch.load(weights_only=True)` rebuilds tensors and containers and refuses every other class or function that a file
names; none is allowed in addition. Checkpoints of the published PoLAr-MAE code name three, all of them torch's or
Python's own: OrderedDict, the rebuilding of a tensor, and its storage.
"""

from __future__ import annotations

import pickle
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.contracts.released import Released
from benchmark.contracts.safetensors_io import check_finite
from benchmark.data.archives import check_archive
from benchmark.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

NEEDED = ("state_dict", "hyper_parameters")
KNOWN = {
    *NEEDED, "epoch", "global_step", "pytorch-lightning_version", "loops", "callbacks", "optimizer_states",
    "lr_schedulers", "hparams_name", "hparams_type", "datamodule_hparams_name", "datamodule_hparams_type",
    "datamodule_hyper_parameters", "MixedPrecision",
}  # fmt: skip
_MAX_DEPTH = 32  # of nested settings
_PLAIN = (str, int, float, bool, type(None))


def read_lightning(path: Path) -> Released:
    """The tensors and settings of a Lightning checkpoint. Raises CheckpointError for any other file."""
    content = _load(path)
    if not isinstance(content, dict) or not all(isinstance(k, str) for k in content):
        raise _error(path, f"holds a {type(content).__name__}, not a dictionary")
    missing, unknown = [k for k in NEEDED if k not in content], sorted(set(content) - KNOWN)
    if missing:
        raise _error(path, f"has no {missing[0]!r}")
    if unknown:
        raise _error(path, f"has the unknown entry {unknown[0]!r}")
    settings, data = content["hyper_parameters"], content.get("datamodule_hyper_parameters", {})
    for section, values in (("hyper_parameters", settings), ("datamodule_hyper_parameters", data)):
        if not isinstance(values, dict):
            raise _error(path, f"has {section} that are a {type(values).__name__}, not a dictionary")
        _check_plain(path, values, section, 0)
    state = content["state_dict"]
    _check_tensors(path, state)
    check_finite(path, state)
    return Released(state, settings, data)


def _load(path: Path) -> Any:
    import torch

    if not path.is_file():
        raise CheckpointError(f"There is no file {path}. A Lightning checkpoint (.ckpt) was expected. Check the path.")
    try:
        check_archive(path)
    except ValueError as error:
        raise _error(path, f"is damaged or no checkpoint: {error}") from error
    except OSError as error:
        raise _error(path, f"cannot be read: {error.strerror or 'the system refuses it'}") from error
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        match = re.search(r"GLOBAL ([\w.]+)", str(error))
        if match:
            raise CheckpointError(
                f"{path} was not loaded: besides tensors it names {match[1]}, which could run code. Tensors and plain "
                f"values were expected. Take the checkpoint from its authors, or save it again without that object."
            ) from error
        raise _error(path, "cannot be decoded") from error
    except Exception as error:  # damaged archives raise many types of errors
        raise _error(path, f"is damaged ({type(error).__name__})") from error


def _check_plain(path: Path, value: Any, where: str, depth: int) -> None:
    if depth > _MAX_DEPTH:
        raise _error(path, f"nests {where[:60]} too deeply")
    if isinstance(value, Mapping):
        for name, item in value.items():
            if not isinstance(name, str) or not name.isprintable():
                raise _error(path, f"has an entry in {where[:60]} whose name is no text ({type(name).__name__})")
            _check_plain(path, item, f"{where}.{name}", depth + 1)
    elif isinstance(value, list | tuple):
        for item in value:
            _check_plain(path, item, where, depth + 1)
    elif not isinstance(value, _PLAIN):
        raise _error(path, f"has a {type(value).__name__} in {where}")


def _check_tensors(path: Path, state: Any) -> None:
    import torch

    if not isinstance(state, dict) or not state:
        raise _error(path, "has an empty or wrong state_dict")
    for name, tensor in state.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise _error(path, f"has a {type(tensor).__name__} under {name!r} in its state_dict")
        if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized or not _is_stored(tensor):
            raise _error(path, f"has the tensor {name} of shape {tuple(tensor.shape)} without its values")


def _is_stored(tensor: Tensor) -> bool:
    """Whether every element is stored; strides can expand a single number to terabytes."""
    return tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def _error(path: Path, problem: str) -> CheckpointError:
    return CheckpointError(
        f"{path} {problem}. A checkpoint as Lightning writes it was expected. Fetch it again, or check the path."
    )
