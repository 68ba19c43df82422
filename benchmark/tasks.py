"""The tasks of the suite. A change of what is counted raises a task's version."""

from __future__ import annotations

from benchmark.contracts import Task
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

TASKS: dict[str, Task] = {t.name: t for t in (LARTPC_SEGMENTATION, LARTPC_SEGMENTATION_5, LARTPC_TOKEN_PROBE)}


def task(name: str) -> Task:
    """The task of this name. Raises UnknownNameError."""
    key = name.replace("_", "-")
    if key not in TASKS:
        raise unknown_name("task", name, TASKS, "Type `python -m benchmark list tasks`.")
    return TASKS[key]
