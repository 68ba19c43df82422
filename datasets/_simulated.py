"""Folders of simulated data sets: simulated once into the cache or any folder, opened when complete.

A folder made by an earlier version under an alias of the same content (`_identity`) is opened too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from benchmark.contracts import DatasetInfo
from benchmark.data.digests import file_digest
from benchmark.errors import DataError
from benchmark.paths import cache_dir

from ._folders import MANIFEST, read_manifest, remove_work
from ._simulation import Plan, Simulation

_log = logging.getLogger("particlebench")


C = TypeVar("C", contravariant=True)  # settings of the data set
P = TypeVar("P", bound=Plan)
D = TypeVar("D", covariant=True)  # the data set, opened


@dataclass(frozen=True)
class Simulated(Generic[C, P, D]):
    """From settings to a data set: `open` and `prepare` of its `DatasetSpec`."""

    info: DatasetInfo
    simulation: Simulation[P, Any]
    plan: Callable[[C], P]
    open_folder: Callable[[C, Path, str], D]  # settings, a complete folder, its revision

    def open(self, config: C, root: Path | None) -> D:
        """A simulated folder: the given one, or the cached one of these settings, simulated if missing."""
        if root is not None:
            return self._read(config, root)
        plan = self.plan(config)
        folder = self._cached_folder(plan)
        if not (folder / MANIFEST).is_file():
            _log.warning("%s They are made once and kept in %s.", self.simulation.notice, folder)
            self.simulation.simulate(plan, folder)
        return self._read(config, folder)

    def prepare(self, config: C, root: Path | None) -> D:
        """Simulate into the given folder, or into the cache; a complete folder of the same settings is only opened."""
        plan = self.plan(config)
        if root is None or self._is_complete(root, plan):
            return self.open(config, root)
        _log.warning("%s", self.simulation.notice)
        self.simulation.simulate(plan, root)
        return self._read(config, root)

    def _cached_folder(self, plan: P) -> Path:
        """The folder of the plan's revision, or a complete one of an alias."""
        parent = cache_dir() / "datasets" / self.info.name
        folders = [parent / name for name in (plan.revision(), *plan.aliases())]
        return next((folder for folder in folders if (folder / MANIFEST).is_file()), folders[0])

    def _is_complete(self, root: Path, plan: P) -> bool:
        return (root / MANIFEST).is_file() and self._revision(read_manifest(root)) == plan.revision()

    def _revision(self, manifest: Mapping[str, Any]) -> str:
        return self.simulation.content.revision_of_manifest(manifest)

    def _read(self, config: C, root: Path) -> D:
        if not root.is_dir():
            raise DataError(
                f"There is no folder {root}. A folder made by `data prepare {self.info.name}` was expected. "
                f"Type `python -m benchmark data prepare {self.info.name} --data {root}`, or leave --data away."
            )
        manifest = read_manifest(root)
        missing = sorted(name for name in manifest.get("files", {}) if not (root / name).is_file())
        if missing or "revision" not in manifest:
            raise DataError(
                f"{root} lacks {missing[0] if missing else 'its revision'}. A whole simulated data set was expected. "
                f"Delete the folder and simulate it again."
            )
        if not self.simulation.content.is_named_right(manifest):
            raise DataError(
                f"{root / MANIFEST} has been changed: its revision does not follow from its settings. The file as it "
                f"was written was expected. Delete the folder and simulate it again."
            )
        _check_contents(root, manifest.get("files", {}))
        remove_work(root)
        return self.open_folder(config, root, self._revision(manifest))


def _check_contents(root: Path, checksums: Mapping[str, str]) -> None:
    """Raises DataError for a file that is not as it was simulated: its scores would go under the revision's name.

    Checksums are computed once per state of a file (`file_digest`). Files over 1 GiB have sampled ones, which the
    manifest has not; those are not compared.
    """
    for name, checksum in sorted(checksums.items()):
        digest = file_digest(root / name)
        if digest != checksum and not digest.startswith("sampled-"):
            raise DataError(
                f"{root / name} has been changed since it was simulated: it does not have its checksum in {MANIFEST}. "
                f"The file as it was written was expected. Delete the folder and simulate it again."
            )
