"""SLURM and other batch systems, through submitit: the only file that imports it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmark.errors import BenchmarkError


def executor(folder: Path, parameters: Mapping[str, Any]) -> Any:
    """A submitit executor with jobs and logs in `folder`, which every node must see.

    parameters: `cluster` ("slurm", "local", "debug"; None finds out) and submitit's own, e.g. slurm_partition,
    timeout_min, mem_gb. Raises BenchmarkError without submitit.
    """
    try:
        import submitit
    except ImportError as error:
        raise BenchmarkError(
            "The executor submitit needs the package 'submitit', which is missing. The extra `cluster` was expected. "
            "Type `pip install 'particlebench[cluster]'`, or use --executor local."
        ) from error
    settings = {"timeout_min": 240, "cpus_per_task": 1, **parameters}
    chosen = submitit.AutoExecutor(folder=str(folder), cluster=settings.pop("cluster", None))
    chosen.update_parameters(**settings)
    return chosen
