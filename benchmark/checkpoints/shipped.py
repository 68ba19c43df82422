"""Pre-trained weights shipped with the package: `weights/<model>.safetensors` and `.json` beside the model's file; of a
backbone and a pretext, `weights/<model>+<pretext>.safetensors`.

A newcomer's run starts from them instead of pre-training. `python -m benchmark pretrain` with --out writes such a pair.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark import registry
from benchmark.contracts import ModelSpec, Task
from benchmark.contracts.pretext import method_name
from benchmark.data.preparation import Preparation
from benchmark.errors import CheckpointError
from benchmark.io import sha256_file
from benchmark.json_files import read_json
from benchmark.records.schema import PretrainingRecord, fault
from benchmark.settings import as_dict

SHIPPED = "shipped"  # what --checkpoint takes for the package's weights
# of a training record, copied into records of runs
FACTS = ("steps", "n_steps", "resumed_at", "events", "wall_s", "first_loss", "last_loss", "grad_norm", "seed")
HARDWARE = ("device", "device_name", "precision", "threads", "processes")


@dataclass(frozen=True)
class Shipped:
    """A pair of files: weights and the record of the training that made them."""

    name: str
    path: Path  # of the weights
    record: Mapping[str, Any]

    @property
    def sha256(self) -> str:
        """Of the file of weights, as it was written."""
        return str(self.record["weights_sha256"])

    def checked(self) -> Path:
        """Path of the weights. Raises CheckpointError where they are missing or changed."""
        if not self.path.is_file() or sha256_file(self.path) != self.sha256:
            raise CheckpointError(
                f"The weights {self.path} that ship with the package are missing or damaged. The file with SHA-256 "
                f"{self.sha256[:16]}... was expected. Install the package again, or type --pretrain to make new ones."
            )
        return self.path


def find_shipped(model: str, pretext: str | None = None) -> Shipped | None:
    """The weights that ship with a model and pretext, if any. Raises CheckpointError for a damaged training record."""
    stem = method_name(registry.model_file(model).stem, None if pretext is None else registry.canonical(pretext))
    record_path = weights_folder(model) / f"{stem}.json"
    return read_pair(record_path) if record_path.is_file() else None


def read_pair(record_path: Path) -> Shipped:
    """A pair from its training record. Raises CheckpointError for a damaged one."""
    try:
        record = read_pretraining(record_path)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"The training record {record_path} is damaged ({error}). What `pretrain` writes was expected. Install the "
            f"package again, or type --pretrain to make new weights."
        ) from error
    return Shipped(record_path.stem, record_path.with_suffix(".safetensors"), record)


def read_pretraining(path: Path) -> dict[str, Any]:
    """The record of a pre-training. Raises OSError, and ValueError where it does not fit its schema."""
    values = read_json(path)
    problem = fault(PretrainingRecord, values) if isinstance(values, dict) else "no JSON object"
    if problem is not None:
        raise ValueError(problem)
    return dict(values)


def weights_folder(model: str) -> Path:
    """A model's weights folder: `weights` beside its file."""
    return registry.model_file(model).parent / "weights"


def seen_in_pretraining(spec: ModelSpec, model_config: Any) -> dict[str, Any]:
    """Those of a model's settings that decide its pre-training, as plain JSON values."""
    by_mode = {name for overrides in spec.mode_overrides.values() for name in overrides}
    return {k: v for k, v in as_plain(model_config).items() if k not in by_mode and k not in spec.head_config}


def as_plain(settings: Any) -> dict[str, Any]:
    """Settings as JSON holds them, lists instead of tuples."""
    plain: dict[str, Any] = json.loads(json.dumps(as_dict(settings)))
    return plain


def mismatched_settings(
    shipped: Shipped, spec: ModelSpec, model_config: Any, preprocess: Preparation, task: Task, dataset: str,
    pretext: str | None = None,
) -> list[str]:  # fmt: skip
    """Names of the settings in which a run differs from the weights' training; empty where they fit.

    Compared are the model's settings that pre-training uses, the pretext, the cuts and features, the classes whose
    points are dropped, and the dataset's name. Its revision and number of events are recorded, not compared.
    """
    config = shipped.record["config"]
    weights_settings = {k: v for k, v in config["model_config"].items() if k not in spec.head_config}
    run_settings = seen_in_pretraining(spec, model_config)
    pairs = {f"model.{k}": (run_settings.get(k), weights_settings.get(k)) for k in run_settings}
    cuts = as_plain(preprocess)
    pairs |= {f"preprocess.{k}": (v, config["preprocess"].get(k)) for k, v in cuts.items()}
    pairs["the pretext"] = (pretext, config.get("pretext"))
    pairs["the task's dropped classes"] = (list(task.drop_classes), config["task"].get("drop_classes"))
    pairs["the dataset"] = (dataset, shipped.record["dataset"]["name"])
    return [name for name, (run_value, weights_value) in pairs.items() if run_value != weights_value]


def fitting_weights(
    model: str, spec: ModelSpec, model_config: Any, preprocess: Preparation, task: Task, dataset: str,
    pretext: str | None = None,
) -> Shipped | None:  # fmt: skip
    """The weights that ship with a model, where they fit these settings. Raises CheckpointError for damaged ones."""
    shipped = find_shipped(model, pretext)
    if shipped is None or mismatched_settings(shipped, spec, model_config, preprocess, task, dataset, pretext):
        return None
    return shipped


def facts(record: Mapping[str, Any]) -> dict[str, Any]:
    """Facts of the weights' training record, for the record of a run."""
    environment = record["environment"]
    return {
        "weights_sha256": record["weights_sha256"],
        "fingerprint": record["fingerprint"],
        **{name: record[name] for name in FACTS if name in record},
        "dataset": {name: record["dataset"][name] for name in ("name", "revision")},
        "hardware": {name: environment[name] for name in HARDWARE if name in environment},
    }
