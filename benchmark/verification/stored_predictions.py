"""Comparison with predictions of a released model, stored with an event.

A verification is a list of checks, each with a measured and an expected value; the command line prints them and fails
if one fails. The other modules of `benchmark.verification` compare published tables, released weights and records.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.checkpoints.load import Checkpoint
from benchmark.contracts import Event, PointBatch, Task
from benchmark.errors import CheckpointError, ConfigError, DataError
from benchmark.hardware.environment import choose_device
from benchmark.metrics.segmentation import scores_from_counts
from benchmark.settings import override
from benchmark.verification.report import Check, Report

COORDS, ENERGY, TRUTH = ("coords", "voxels"), ("energy_MeV", "energy_mev", "energy"), ("motif", "semantic", "truth")

STORED = "_pred"  # suffix of the name of stored predictions

_MAX_BYTES = 1 << 28

_ROW = "row"  # label with a preprocessed point's row in the file


@dataclass(frozen=True)
class StoredEvent:
    """An event with stored predictions of the classes of its points."""

    name: str
    coords: np.ndarray  # (N, 3) float32, in the checkpoint's frame
    energy: np.ndarray  # (N,) float32, MeV
    stored: np.ndarray  # (N,) int64 predicted class, negative where the point was not evaluated
    truth: np.ndarray | None  # (N,) int64 semantic class, where the file has it


def read_stored_event(path: Path, key: str | None = None) -> StoredEvent:
    """Read an .npz with coords (N, 3), energy_MeV (N,), predictions (N,) and, if there, the truth under `motif`.

    key: name of the predictions; by default the only array whose name ends in `_pred`. Raises DataError.
    """
    arrays = _arrays(path)
    coords, energy = _array(path, arrays, COORDS), _array(path, arrays, ENERGY)
    names = [key] if key is not None else sorted(n for n in arrays if n.endswith(STORED))
    if len(names) != 1 or names[0] not in arrays:
        problem = f"{len(names)} arrays of predictions" if key is None else f"no array {key}"
        raise DataError(
            f"{path} has {problem}; it holds {', '.join(sorted(arrays))}. One array of predictions, with a name that "
            f"ends in {STORED}, was expected. Name it with --key."
        )
    stored = arrays[names[0]]
    truth = next((arrays[n] for n in TRUTH if n in arrays), None)
    n_points = energy.size
    for name, array, shape in (
        ("coordinates", coords, (n_points, 3)), ("energies", energy, (n_points,)), (names[0], stored, (n_points,)),
        ("truth", truth, (n_points,)),
    ):  # fmt: skip
        if array is not None and array.shape != shape:
            raise DataError(f"{path}: {name} have shape {array.shape}. {shape} was expected. Check the file.")
    for name, array in (("coordinates", coords), ("energies", energy)):
        if array.dtype.kind not in "fiu" or not np.isfinite(array).all():
            raise DataError(f"{path}: {name} are not finite. Finite numbers were expected. Check the file.")
    for name, array in ((names[0], stored), ("truth", truth)):
        if array is not None and array.dtype.kind not in "iu":
            raise DataError(f"{path}: {name} is of type {array.dtype}. Whole numbers were expected. Check the file.")
    return StoredEvent(
        path.stem,
        coords.astype(np.float32),
        energy.astype(np.float32),
        stored.astype(np.int64),
        None if truth is None else truth.astype(np.int64),
    )


def verify_predictions(
    checkpoint: Checkpoint, event: StoredEvent, min_agreement: float = 0.99, device: str = "auto"
) -> Report:
    """Predict an event with a checkpoint, under its own behaviour and cuts, and compare with the stored predictions.

    Only points with a stored prediction enter the model, in the file's order. min_agreement: share of them whose class
    must be equal. Raises CheckpointError, ConfigError, DataError.
    """
    if not 0 <= min_agreement <= 1:
        raise ConfigError(f"--min-agreement {min_agreement} is out of range. A share from 0 to 1 was expected.")
    task = checkpoint.manifest.known_task()
    if checkpoint.manifest.stage != "finetune" or task.level != "point":
        raise CheckpointError(
            f"{checkpoint.path} does not predict classes of points ({checkpoint.manifest.stage}, {task.name}). A "
            f"fine-tuned checkpoint was expected. Give the one that the predictions were made with."
        )
    batch = _batch(checkpoint, event, task)
    model = checkpoint.build().to(choose_device(device))
    predicted = model.predict(batch.without_target()).argmax(1)
    rows = np.asarray(batch.instance)
    return _compare(checkpoint, event, task, rows, predicted, min_agreement)


def _compare(
    checkpoint: Checkpoint,
    event: StoredEvent,
    task: Task,
    rows: np.ndarray,
    predicted: np.ndarray,
    min_agreement: float,
) -> Report:
    n_stored, n_equal = int((event.stored >= 0).sum()), int((predicted == event.stored[rows]).sum())
    share = n_equal / n_stored  # a point that the cuts removed counts as different
    checks = [
        Check("points evaluated", len(rows) == n_stored, f"{len(rows)}", f"{n_stored}, those with a stored prediction"),
        Check(
            "equal predictions",
            share >= min_agreement,
            f"{n_equal} of {n_stored} ({share:.4f})",
            f"at least {min_agreement:.4f}",
        ),
    ]
    details: dict[str, Any] = {
        "event": event.name,
        "checkpoint": dict(checkpoint.manifest.origin),
        "classes": list(task.classes),
        "n_points": len(event.stored),
        "n_stored": n_stored,
        "n_compared": len(rows),
        "n_equal": n_equal,
        "agreement": share,
        "confusion": _counts(event.stored[rows], predicted, task).tolist(),  # [stored, new]
    }
    if event.truth is not None:
        known = (event.truth[rows] >= 0) & (event.truth[rows] < task.n_outputs)
        truth = event.truth[rows][known]
        for name, classes in (("stored", event.stored[rows]), ("new", predicted)):
            details[f"f1_{name}"] = _f1(_counts(truth, classes[known], task), task)
    return Report(f"{event.name}: predictions of {checkpoint.path.name}", tuple(checks), details)


def _batch(checkpoint: Checkpoint, event: StoredEvent, task: Task) -> PointBatch:
    """The event's points that have a stored prediction, preprocessed for the checkpoint; `instance` is their row."""
    manifest = checkpoint.manifest
    evaluated = np.flatnonzero(event.stored >= 0)
    invalid = event.stored[evaluated][event.stored[evaluated] >= task.n_outputs]
    if len(invalid) or not len(evaluated):
        problem = f"the class {invalid[0]}" if len(invalid) else "no prediction"
        raise DataError(
            f"{event.name} stores {problem}. Classes from 0 to {task.n_outputs - 1}, and negative numbers where "
            f"nothing was predicted, were expected. Choose another file or --key."
        )
    # The stored classes replace the labels, which only `preprocess` needs: the model never sees them.
    labels = {task.label: event.stored[evaluated], _ROW: evaluated}
    if len(task.drop_classes):
        kept_classes = [c for c in range(task.n_outputs + len(task.drop_classes)) if c not in task.drop_classes]
        labels[task.label] = np.asarray(kept_classes)[event.stored[evaluated]]
    raw = Event(event.name, event.coords[evaluated], event.energy[evaluated], labels)
    prepared = override(manifest.preprocessing(), {"instance": _ROW}, "preprocess")
    return prepared.apply(raw, task, manifest.detector_frame())


def _counts(rows: np.ndarray, columns: np.ndarray, task: Task) -> np.ndarray:
    n = task.n_outputs
    return np.bincount(rows * n + columns, minlength=n * n).reshape(n, n)


def _f1(counts: np.ndarray, task: Task) -> dict[str, float | None]:
    scores = scores_from_counts(counts)
    values = [*zip(task.classes, scores["f1"], strict=True), ("macro", scores["macro_f1"])]
    return {name: None if np.isnan(value) else float(value) for name, value in values}


def _arrays(path: Path) -> dict[str, np.ndarray]:
    if not path.is_file():
        raise DataError(f"There is no file {path}. An .npz with an event was expected. Check the path.")
    try:
        with zipfile.ZipFile(path) as archive:
            n_bytes = sum(member.file_size for member in archive.infolist())
        if n_bytes > _MAX_BYTES:
            raise DataError(
                f"{path} unpacks to {n_bytes} bytes. One event of at most {_MAX_BYTES} was expected. Check the file."
            )
        with np.load(path, allow_pickle=False) as content:
            return {name: content[name] for name in content.files}
    except DataError:
        raise
    except Exception as error:  # damaged archives raise many types of errors
        raise DataError(
            f"{path} could not be read ({type(error).__name__}). An .npz of plain arrays was expected. Check the file."
        ) from error


def _array(path: Path, arrays: Mapping[str, np.ndarray], names: tuple[str, ...]) -> np.ndarray:
    for name in names:
        if name in arrays:
            return arrays[name]
    raise DataError(
        f"{path} has no array {names[0]}; it holds {', '.join(sorted(arrays)) or 'none'}. {' or '.join(names)} was "
        f"expected. Check the file."
    )
