"""From a plan to a whole folder: what every simulation does, whatever its pieces and files are."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numba
import numpy as np

from benchmark import __version__
from benchmark.errors import BenchmarkError, ConfigError
from benchmark.io import atomic_write_json
from benchmark.progress import progress

from ._folders import MANIFEST, PLAN, WORK, check_folder, locked, read_manifest, remove_partial_files
from ._identity import Content
from ._pieces import Executor, Piece, available_cores, run_pieces


class Plan(Protocol):
    """A data set to be. Equal plans give equal events on any number of workers."""

    def describe(self) -> dict[str, Any]:
        """JSON-able statement of all that decides the files."""
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
    """How one simulation makes the pieces of a plan, and files of them."""

    title: str  # of the progress bar
    notice: str  # kept in the manifest
    content: Content
    check: Callable[[L, Path], None]  # refuses a plan that makes no sense, or does not fit into the folder
    pieces: Callable[[L], Sequence[P]]  # in order
    make: Callable[[L, P, Path], int]  # a piece in the folder of work, whole or not at all; its number of events
    is_finished: Callable[[P, Path], bool]  # whether the piece is stored there, as it was written
    publish: Callable[[L, Path, Path], Mapping[str, str]]  # from all pieces to the files; relative path -> SHA-256
    warm_up: tuple[Callable[[], object], ...] = ()  # compile, or load what is compiled

    def simulate(
        self,
        plan: L,
        out: Path,
        *,
        workers: int | None = None,
        executor: Executor = "local",
        cluster: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Make the data set of `plan` in the folder `out`, or continue it, and return its manifest.

        workers: processes, or jobs of the executor submitit; None for one per core. cluster: parameters for submitit.
        What an earlier version began under another name of the same content is continued too. Raises BenchmarkError,
        one sentence, for settings that make no sense, a folder that holds anything else, a full disk, an interruption.
        """
        self.check(plan, out)
        if workers is not None and workers < 1:
            raise ConfigError(
                f"{workers} workers were asked for. At least 1 was expected. Give another number with --workers."
            )
        description = plan.describe()
        check_folder(description, self.content, out)
        work = out / WORK
        with locked(work):
            if (out / MANIFEST).is_file():  # another process has just finished it
                return read_manifest(out)
            check_folder(description, self.content, out)
            atomic_write_json(work / PLAN, description)
            remove_partial_files(out)
            try:
                self._make_pieces(plan, work, workers or available_cores(), executor, cluster or {})
                files = self.publish(plan, out, work)
            except KeyboardInterrupt as error:
                raise BenchmarkError(
                    f"The simulation into {out} was interrupted. Finished events are kept there, and no unfinished "
                    f"file. Repeat the same command to continue, or delete the folder."
                ) from error
            manifest = {**description, "revision": plan.revision(), "files": dict(files), "notice": self.notice}
            manifest["versions"] = _versions()
            atomic_write_json(out / MANIFEST, manifest)
        shutil.rmtree(work, ignore_errors=True)
        return manifest

    def _make_pieces(
        self, plan: L, work: Path, workers: int, executor: Executor, cluster: Mapping[str, Any]
    ) -> None:  # fmt: skip
        pieces = self.pieces(plan)
        missing = [p for p in pieces if not self.is_finished(p, work)]
        total = sum(p.n_events for p in pieces)
        done = total - sum(p.n_events for p in missing)
        first = "(the first run on a machine compiles first)" if self.warm_up else ""
        make = partial(self.make, plan)
        with progress(self.title, total) as bar:
            bar.update(done, "(continued)" if done else first)
            for count in run_pieces(make, missing, work, workers, executor, cluster, self.warm_up):
                done += count
                bar.update(done)


def _versions() -> dict[str, str]:
    return {"particlebench": __version__, "numpy": np.__version__, "numba": numba.__version__}
