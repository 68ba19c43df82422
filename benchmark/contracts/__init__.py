"""The contracts for authors of models, baselines and datasets. Torch is imported on first use."""

from typing import Any

from benchmark.contracts.data import Event, Frame, PointBatch, concatenate
from benchmark.contracts.dataset import Dataset, DatasetInfo, DatasetSpec, EventSource
from benchmark.contracts.model import MODES, Inputs, Mode, Model, ModelSpec, OptimConfig, Preset
from benchmark.contracts.parts import Links, Volumes, WholeEvents
from benchmark.contracts.released import Imported, Released
from benchmark.contracts.task import Loss, Task

__all__ = [
    "MODES", "Dataset", "DatasetInfo", "DatasetSpec", "Event", "EventSource", "Frame", "Imported", "Inputs", "Links",
    "Loss", "Mode", "Model", "ModelSpec", "OptimConfig", "PointBatch", "Preset", "Reconstruction", "Released", "Task",
    "TokenFeatures", "TokenModel", "TorchModel", "VolumeModel", "Volumes", "WholeEvents", "concatenate",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "TorchModel":
        from benchmark.contracts.torch_model import TorchModel

        return TorchModel
    if name in ("TokenModel", "TokenFeatures", "Reconstruction"):
        from benchmark.contracts import token_model

        return getattr(token_model, name)
    if name == "VolumeModel":
        from benchmark.contracts.volume_model import VolumeModel

        return VolumeModel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
