"""The tasks of the suite. A change of its counting raises a task's version."""

from __future__ import annotations

from typing import Any

from benchmark import registry
from benchmark.contracts import DatasetSpec, Loss, Task
from benchmark.errors import unknown_name

# Voxels per class over the 1,210,080 events of PILArNet-M v1 (data set configuration of PoLAr-MAE).
_VOXELS = {"shower": 1926651899, "track": 2038240940, "michel": 34083197, "delta": 92015482, "low_energy": 1145363125}


def _root_inverse_frequency(*classes: str) -> tuple[float, ...]:
    """sqrt(total / n_c), scaled to a frequency-weighted mean of 1: rare classes count without drowning others."""
    counts = [_VOXELS[c] for c in classes]
    total = sum(counts)
    raw = [(total / n) ** 0.5 for n in counts]
    mean = sum(w * n for w, n in zip(raw, counts, strict=True)) / total
    return tuple(round(w / mean, 6) for w in raw)


LARTPC_SEGMENTATION = Task(
    name="lartpc-segmentation",
    version=1,
    summary="Semantic class of every voxel: shower, track, Michel, delta; low-energy scatters removed",
    data="points",
    level="point",
    kind="classification",
    label="semantic",
    classes=("shower", "track", "michel", "delta"),
    drop_classes=(4,),
    class_weights=_root_inverse_frequency("shower", "track", "michel", "delta"),
    reference="PoLAr-MAE, arXiv:2502.02558, section 5.2",
)

LARTPC_SEGMENTATION_5 = Task(
    name="lartpc-segmentation-5",
    version=1,
    summary="Semantic class of every voxel: shower, track, Michel, delta, low-energy scatter",
    data="points",
    level="point",
    kind="classification",
    label="semantic",
    classes=("shower", "track", "michel", "delta", "low_energy"),
    class_weights=_root_inverse_frequency("shower", "track", "michel", "delta", "low_energy"),
    reference="SPINE and Panda (arXiv:2512.01324) protocol",
)

LARTPC_TOKEN_PROBE = Task(
    name="lartpc-token-probe",
    version=1,
    summary="Which classes each token of a frozen encoder holds, read from its features by a linear SVM",
    data="points",
    level="token",
    kind="classification",
    label="semantic",
    classes=("shower", "track", "michel", "delta"),
    drop_classes=(4,),
    reference="PoLAr-MAE, arXiv:2502.02558, table 1",
)

# 800 steps of some thousand cells take about as long as the 300 steps of 8 events of liquid argon
_TRAIN = {"steps": 800, "batch_size": 48, "rotation": "mirror", "checkpoint_every": 200}
_PRETRAIN = {"steps": 400, "batch_size": 48, "rotation": "mirror", "checkpoint_every": 200, "events": 0}
_CALORIMETER: dict[str, Any] = {
    "data": "points", "version": 1, "detector": "calorimeter", "dataset": "calo-sim", "train": _TRAIN,
    "pretrain": _PRETRAIN,
}  # fmt: skip
_PIONS: dict[str, Any] = {
    **_CALORIMETER, "level": "event", "classes": ("pi0", "pipm"), "reference": "ATL-PHYS-PUB-2022-040",
}  # fmt: skip
_ENERGIES: dict[str, Any] = {
    **_PIONS, "kind": "regression", "label": "log_true_energy", "primary_metric": "iqr_over_2median",
    "smaller_is_better": True, "metrics": "response", "floor": "em_scale", "auxiliary": ("pion",),
    "loss": Loss(kind="mae"),
}  # fmt: skip
_ASSOCIATION: dict[str, Any] = {
    **_CALORIMETER, "level": "point", "kind": "classification", "primary_metric": "f1", "metrics": "association",
    "floor": "particle_flow", "sample": "association", "loss": Loss(kind="cross_entropy", energy_power=1.0),
    "reference": "ATL-SOFT-PROC-2025-018",
}  # fmt: skip

PION_CLASSIFICATION = Task(
    name="pion-classification",
    summary="Charged or neutral pion, from the cells of one cluster; classes matched in true energy",
    kind="classification",
    label="pion",
    primary_metric="rejection_90",
    metrics="pions",
    floor="p_em",
    sample="cluster",
    auxiliary=("log_true_energy",),
    loss=Loss(kind="cross_entropy"),
    **_PIONS,
)

PION_REGRESSION = Task(
    name="pion-regression",
    summary="True energy inside one cluster, from its cells",
    sample="cluster",
    **_ENERGIES,
)

PION_TRACK_REGRESSION = Task(
    name="pion-track-regression",
    summary="Energy of a charged pion, from its track and the clusters within dR < 1.2",
    sample="track",
    **{**_ENERGIES, "train": {**_TRAIN, "batch_size": 32}, "pretrain": {**_PRETRAIN, "batch_size": 32}},
)

CELL_TO_TRACK = Task(
    name="cell-to-track",
    summary="Shares of each cell's energy that are the track's, other charged particles' and neutral ones'",
    label="fractions",
    classes=("focus", "other", "neutral"),
    soft=True,
    **_ASSOCIATION,
)

CELL_TO_TRACK_BINARY = Task(
    name="cell-to-track-binary",
    summary="Whether more than half of each cell's energy is the track's",
    label="focus",
    classes=("rest", "focus"),
    **_ASSOCIATION,
)

_HIDDEN = {"steps": 600, "batch_size": 8, "rotation": "mirror", "checkpoint_every": 200}  # predicting hidden tokens
_LIF: dict[str, Any] = {
    "data": "volumes", "version": 1, "detector": "lif", "dataset": "lif-sim", "level": "volume",
    "train": {"steps": 200, "batch_size": 4, "rotation": "mirror", "checkpoint_every": 100},
    "pretrain": {**_HIDDEN, "events": 0},
    "reference": "Learning 3D Structure in Irradiated Lithium Fluoride via Masked Autoencoders",
}  # fmt: skip

LIF_RECONSTRUCTION = Task(
    name="lif-reconstruction",
    summary="Values of the hidden tokens of a tile, from the visible ones",
    kind="regression",
    label="volume",
    self_supervised=True,
    primary_metric="skill_signal",
    metrics="reconstruction",
    floor="inpainting",
    loss=Loss(kind="mse"),
    **{**_LIF, "train": _HIDDEN},
)

LIF_SEGMENTATION = Task(
    name="lif-segmentation",
    summary="Which voxels of a tile belong to a track: voxel by voxel, and as whole tracks",
    kind="classification",
    label="track",
    classes=("background", "track"),
    primary_metric="f1",
    metrics="tracks",
    floor="intensity_threshold",
    loss=Loss(kind="dice_cross_entropy"),
    **_LIF,
)

TASKS: dict[str, Task] = {
    t.name: t
    for t in (
        LARTPC_SEGMENTATION, LARTPC_SEGMENTATION_5, LARTPC_TOKEN_PROBE, PION_CLASSIFICATION, PION_REGRESSION,
        PION_TRACK_REGRESSION, CELL_TO_TRACK, CELL_TO_TRACK_BINARY, LIF_RECONSTRUCTION, LIF_SEGMENTATION,
    )
}  # fmt: skip


def task(name: str) -> Task:
    """The task of this name. Raises UnknownNameError."""
    key = name.replace("_", "-")
    if key in TASKS:
        return TASKS[key]
    known = every()
    if key not in known:
        raise unknown_name("task", name, known, "Type `python -m benchmark list tasks`.")
    return known[key]


def every() -> dict[str, Task]:
    """The suite's tasks, and those of datasets outside it (loaded by path so far, or installed)."""
    return {**TASKS, **{name: t for name, (t, _) in _outside_tasks().items()}}


def bringer(task: Task) -> DatasetSpec | None:
    """The outside dataset that defines a task; None for the suite's own tasks."""
    if task.name in TASKS:
        return None
    return _outside_tasks().get(task.name, (task, None))[1]


def _outside_tasks() -> dict[str, tuple[Task, DatasetSpec]]:
    """Name -> task and its dataset. The suite's own names take precedence, then the first dataset's."""
    outside_tasks: dict[str, tuple[Task, DatasetSpec]] = {}
    for spec in registry.outside_datasets():
        for task in spec.own_tasks:
            if task.name not in TASKS:
                outside_tasks.setdefault(task.name, (task, spec))
    return outside_tasks
