"""SLURM and other batch systems, through submitit: the only file that imports it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmark.packages import missing_error


def executor(folder: Path, parameters: Mapping[str, Any]) -> Any:
    """A submitit executor with jobs and logs in `folder`, which every node must see.

    parameters: `cluster` ("slurm", "local", "debug"; None finds out) and submitit's own, e.g. slurm_partition,
    timeout_min, mem_gb. Raises MissingPackageError without submitit.
    """
    try:
        import submitit
    except ImportError as error:
        raise missing_error("submitit", "--executor submitit") from error
    settings = {"timeout_min": 240, "cpus_per_task": 1, **parameters}
    chosen = submitit.AutoExecutor(folder=str(folder), cluster=settings.pop("cluster", None))
    chosen.update_parameters(**settings)
    return chosen
