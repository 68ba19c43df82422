"""The manifest of a checkpoint, in the metadata of its safetensors file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from benchmark import tasks
from benchmark.contracts import Frame, Task
from benchmark.data.preparation import Preparation, preparation
from benchmark.errors import BenchmarkError, CheckpointError
from benchmark.hardware.environment import versions
from benchmark.records.schema import MAX_SIZE, largest_number
from benchmark.settings import as_dict, override

FORMAT = "particlebench checkpoint"
FORMAT_VERSION = 1
STAGES = ("pretrain", "finetune")
_MAX_BATCH = 1_000_000


@dataclass(frozen=True)
class Manifest:
    """All that is needed to build and feed the model; texts in the file, JSON for nested values."""

    model: str  # registry name
    stage: str  # pretrain: its head is untrained or absent; finetune: it predicts
    task: str
    task_version: int
    model_config: Mapping[str, Any]
    preprocess: Mapping[str, Any]  # fields of the preprocessing; `columns` are the model's feature columns
    frame: Mapping[str, Any]  # fields of `Frame`: how the model normalises coordinates
    batch_size: int  # events per batch when it is scored
    origin: Mapping[str, Any]  # fingerprint of the run, or name and sha256 of the released file
    training: Mapping[str, Any] = field(default_factory=dict)  # preset, mode, labels, draw, seed, dataset, if known
    versions: Mapping[str, str] = field(default_factory=versions)
    pretext: str = ""  # what the backbone was pre-trained on; empty: nothing, or the model's own

    def metadata(self) -> dict[str, str]:
        """As safetensors stores it: names and texts."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        texts = {k: v if isinstance(v, str) else json.dumps(as_dict(v), sort_keys=True) for k, v in values.items()}
        return {"format": FORMAT, "format_version": str(FORMAT_VERSION), **texts}

    def known_task(self) -> Task:
        """The task of the head. Raises CheckpointError if its version has changed since."""
        task = tasks.task(self.task)
        if task.version != self.task_version:
            raise CheckpointError(
                f"The checkpoint's task {self.task} has version {self.task_version}. Version {task.version} was "
                f"expected. Use the release of particlebench that wrote it ({self.versions.get('particlebench')})."
            )
        return task

    def detector_frame(self) -> Frame:
        """The detector's frame."""
        values = dict(self.frame)
        return Frame(tuple(values["centre"]), values["scale"], tuple(values["extent"]), values["unit"])

    def preprocessing(self) -> Preparation:
        """Cuts and feature columns."""
        return override(preparation(tasks.task(self.task)), self.preprocess, "preprocess")


def describes_itself(metadata: Mapping[str, str]) -> bool:
    """Whether a safetensors file has a manifest; weights of earlier versions have none."""
    return metadata.get("format") == FORMAT


def from_metadata(path: Path, metadata: Mapping[str, str]) -> Manifest:
    """The manifest of a file. Raises CheckpointError where it is absent, of a newer format, or damaged."""
    if not describes_itself(metadata):
        raise CheckpointError(
            f"{path} does not say which model it is of. A checkpoint with its configuration in it was expected. Score "
            f"older weights with `python -m benchmark transfer RECORD --weights {path}`."
        )
    version = metadata.get("format_version", "")
    if version != str(FORMAT_VERSION):
        raise CheckpointError(
            f"{path} has the checkpoint format {version!r}. Format {FORMAT_VERSION} was expected. Update particlebench."
        )
    try:
        metadata = {"pretext": "", **metadata}  # there was none in earlier versions
        values = {f.name: _parse_field(f.type, metadata[f.name]) for f in fields(Manifest)}
        manifest = Manifest(**values)
        for name in (manifest.model, manifest.pretext):
            if name.endswith(".py"):
                raise ValueError(f"it names the file {name[:60]!r}, and a checkpoint may only name a model or pretext")
        if manifest.stage not in STAGES:
            raise ValueError(f"{manifest.stage[:40]!r} is no stage")
        if largest_number(manifest.model_config) > MAX_SIZE:
            raise ValueError(f"a size of the model is above {MAX_SIZE}")
        manifest.preprocessing()
        manifest.detector_frame()
    except (KeyError, ValueError, TypeError, BenchmarkError) as error:
        raise CheckpointError(
            f"{path} has a damaged description ({type(error).__name__}: {error}). The one that was written was "
            f"expected. Fetch or make the checkpoint again."
        ) from error
    return manifest


def _parse_field(annotation: Any, text: str) -> Any:
    """A field from its text; `annotation` as written in the class."""
    if annotation == "str":
        return text
    value = from_json(text, allow_inf_nan=False)
    is_valid = (
        1 <= value <= _MAX_BATCH
        if annotation == "int" and type(value) is int
        else isinstance(value, dict) and annotation != "int"
    )
    if not is_valid:
        raise ValueError(f"{text[:40]} does not fit")
    return value
