"""From a plan to a complete folder: the steps common to all simulations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numba
import numpy as np

from benchmark import __version__
from benchmark.errors import ConfigError
from benchmark.hardware.locks import LOCK, locked
from benchmark.io import atomic_write_json
from benchmark.progress import progress

from ._folders import MANIFEST, PLAN, WORK, check_folder, finished, remove_partial_files, remove_work
from ._identity import Content
from ._pieces import Executor, Piece, available_cores, run_pieces


class Plan(Protocol):
    """Description of a data set. Equal plans give equal events on any number of workers."""

    def describe(self) -> dict[str, Any]:
        """JSON-able statement of everything that determines the files."""
        ...

    def revision(self) -> str:
        """Name of the content."""
        ...

    def aliases(self) -> tuple[str, ...]:
        """Names that earlier versions gave to the same content."""
        ...


L = TypeVar("L", bound=Plan)
P = TypeVar("P", bound=Piece)


@dataclass(frozen=True)
class Simulation(Generic[L, P]):
    """How one simulation makes the pieces of a plan, and files from them."""

    title: str  # of the progress bar
    notice: str  # kept in the manifest
    content: Content
    check: Callable[[L, Path], None]  # raises for an invalid plan, or one too large for the disk
    pieces: Callable[[L], Sequence[P]]  # in order
    make: Callable[[L, P, Path], int]  # writes a piece atomically into the work folder; returns its number of events
    is_finished: Callable[[P, Path], bool]  # whether the piece is stored there and intact
    publish: Callable[[L, Path, Path], Mapping[str, str]]  # from all pieces to the files; relative path -> SHA-256
    warm_up: tuple[Callable[[], object], ...] = ()  # compile, or load compiled code

    def simulate(
        self,
        plan: L,
        out: Path,
        *,
        workers: int | None = None,
        executor: Executor = "local",
        cluster: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Make or resume the data set of `plan` in the folder `out`, and return its manifest; a finished one is found.

        workers: processes, or jobs of the executor submitit; None for one per core. cluster: parameters for submitit. A
        folder started by an earlier version under an alias is resumed too. Raises BenchmarkError for invalid settings,
        a folder with other content, a full disk.
        """
        self.check(plan, out)
        if workers is not None and workers < 1:
            raise ConfigError(
                f"{workers} workers were requested. At least 1 was expected. Give another number with --workers."
            )
        description = plan.describe()
        manifest = finished(description, self.content, out)
        if manifest is not None:
            return manifest
        check_folder(description, self.content, out)
        work = out / WORK
        with locked(work / LOCK, f"the simulation {out}"):
            manifest = finished(description, self.content, out)
            if manifest is not None:  # by the process that this one has waited for
                return manifest
            check_folder(description, self.content, out)
            atomic_write_json(work / PLAN, description)
            remove_partial_files(out)
            self._make_pieces(plan, work, workers or available_cores(), executor, cluster or {})
            files = self.publish(plan, out, work)
            manifest = {**description, "revision": plan.revision(), "files": dict(files), "notice": self.notice}
            manifest["versions"] = _versions()
            atomic_write_json(out / MANIFEST, manifest)
            remove_work(out)
        return manifest

    def _make_pieces(
        self, plan: L, work: Path, workers: int, executor: Executor, cluster: Mapping[str, Any]
    ) -> None:  # fmt: skip
        pieces = self.pieces(plan)
        missing = [p for p in pieces if not self.is_finished(p, work)]
        total = sum(p.n_events for p in pieces)
        n_done = total - sum(p.n_events for p in missing)
        note = "(the first run on a machine compiles first)" if self.warm_up else ""
        make = partial(self.make, plan)
        with progress(self.title, total) as bar:
            bar.update(n_done, "(continued)" if n_done else note)
            for count in run_pieces(make, missing, work, workers, executor, cluster, self.warm_up):
                n_done += count
                bar.update(n_done)


def _versions() -> dict[str, str]:
    return {"particlebench": __version__, "numpy": np.__version__, "numba": numba.__version__}
