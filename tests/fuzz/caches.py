"""What the suite keeps for itself: packs, digests, resamples, pieces and manifests of simulations."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmark import registry
from benchmark.data.digests import file_digest
from benchmark.datasets._folders import PLAN, WORK, check_folder
from benchmark.datasets._pilarnet_download import LEDGER, _is_complete, _read_ledger
from benchmark.datasets.larsim.plan import Plan
from benchmark.datasets.larsim.production import SIMULATION
from benchmark.datasets.larsim.shards import Shard, is_finished, read_shard
from benchmark.errors import DataError
from benchmark.hub import RemoteFile
from benchmark.io import atomic_write_json, sha256_file
from benchmark.reports import resampling
from benchmark.verification.stored_predictions import read_stored_event
from builders import many_records, pilarnet_files
from fuzz import calorimeter, lartpc, scans
from fuzz.arrays import NPZ
from fuzz.events import every_event, use_cache_of
from fuzz.mutations import JSON
from fuzz.reader import Reader


def _pack(name: str, make: Callable[[Path], object], read: Callable[[Path], Any]) -> list[Reader]:
    """The columns and the manifest of a pack, which is built again where they have changed."""

    def make_packed(folder: Path) -> None:
        make(folder)
        read(folder)

    return [
        Reader(f"pack-{name}", make_packed, "cache/*/*/*.bin", read, is_sealed=True),
        Reader(
            f"pack-{name}-manifest", make_packed, "cache/*/*/manifest.json", read, JSON, is_text=True, is_sealed=True
        ),
    ]


# --- digests ---


def _make_digests(folder: Path) -> None:
    (folder / "a.bin").write_bytes(bytes(1000))


def _read_digests(folder: Path) -> str:
    use_cache_of(folder)
    return file_digest(folder / "a.bin")


# --- resamples ---


def _rows() -> list[tuple[Any, ...]]:
    rng = np.random.default_rng(6)
    return [(many_records.made_up(model, 10, 0, 0, rng, n_events=20),) for model in ("gnn", "pointnet")]


def _read_resamples(folder: Path) -> Any:
    use_cache_of(folder)
    resampling.CACHE_FROM = 1
    drawn = resampling.resampled(_rows())
    return [{"/".join(name): values for name, values in row.items()} for row in drawn if row is not None]


# --- simulations ---


def _make_simulated(folder: Path) -> None:
    rng = np.random.default_rng(1)
    files = {}
    for split in ("train", "val", "test"):
        events = pilarnet_files.make_events(rng, 2)
        path = pilarnet_files.write_file(folder / "data" / split / "events_v2.h5", events, "v2")
        for written in (path, path.with_name("events_v2_points.npy")):
            files[written.relative_to(folder / "data").as_posix()] = sha256_file(written)
    simulated = Plan({"train": 2, "val": 2, "test": 2}, seed=1)
    about = {"revision": simulated.revision(), "files": files, "notice": SIMULATION.notice, "versions": {}}
    atomic_write_json(folder / "data" / "simulation.json", {**simulated.describe(), **about})


def _read_simulated(folder: Path) -> Any:
    use_cache_of(folder)
    spec = registry.dataset_spec("lartpc-sim")
    return spec.open(spec.config(), folder / "data").revision, every_event("lartpc-sim", folder)


def _images() -> dict[str, np.ndarray]:
    events = pilarnet_files.make_events(np.random.default_rng(1), 3)
    return {
        "counts": np.array([[len(e.point), len(e.cluster)] for e in events]),
        "point": np.concatenate([e.point for e in events]), "cluster": np.concatenate([e.cluster for e in events]),
        "cluster_extra": np.concatenate([e.extra for e in events]),
    }  # fmt: skip


SHARD = Shard("train", 0, 3)


def _make_shard(folder: Path) -> None:
    path = SHARD.path(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, **_images())


def _read_shard(folder: Path) -> Any:
    if not is_finished(SHARD, folder):
        _replace(SHARD.path(folder))
        _make_shard(folder)  # simulated again
    return [tuple(image) for image in read_shard(SHARD, folder)]


def _replace(path: Path) -> None:
    if path.is_dir():
        raise DataError("a folder is in the way")
    path.unlink(missing_ok=True)


def _make_plan(folder: Path) -> None:
    (folder / WORK).mkdir()
    atomic_write_json(folder / WORK / PLAN, Plan({"train": 2}, seed=1).describe())


def _read_plan(folder: Path) -> None:
    check_folder(Plan({"train": 2}, seed=1).describe(), SIMULATION.content, folder)


# --- downloads ---

REMOTE = RemoteFile("a.h5", 1000, "0" * 64, None)


def _make_ledger(folder: Path) -> None:
    _make_digests(folder)
    (folder / "a.bin").rename(folder / "a.h5")
    entry = {"hash": "0" * 64, "mtime_ns": (folder / "a.h5").stat().st_mtime_ns}
    (folder / LEDGER).write_text(json.dumps({"a.h5": entry, "b.h5": entry}))


def _read_ledger_entry(folder: Path) -> bool:
    return _is_complete(REMOTE, folder, _read_ledger(folder))


# --- stored predictions ---


def _make_predictions(folder: Path) -> None:
    rng = np.random.default_rng(7)
    np.savez(folder / "a.npz", coords=rng.normal(size=(9, 3)), energy_MeV=rng.random(9), x_pred=np.arange(9) % 4,
             motif=np.arange(9) % 4)  # fmt: skip


def _read_predictions(folder: Path) -> Any:
    return read_stored_event(folder / "a.npz")


def _warm(make: Callable[[Path], object], read: Callable[[Path], object]) -> Callable[[Path], None]:
    def both(folder: Path) -> None:
        make(folder)
        read(folder)

    return both


READERS = (
    *_pack("lartpc", partial(lartpc.make, version="v3"), partial(lartpc.read, version="v3")),
    *_pack("calorimeter", calorimeter.make_npy, calorimeter.read),
    *_pack("scans", partial(scans.make_table, suffix=".csv"), scans.read),
    Reader("digests", _warm(_make_digests, _read_digests), "cache/digests/*.json", _read_digests, JSON, is_text=True,
           is_sealed=True),
    Reader("resamples", _read_resamples, "cache/resamples/*.npz", _read_resamples, is_sealed=True),
    Reader("resamples-members", _read_resamples, "cache/resamples/*.npz", _read_resamples, NPZ, only_own=True),
    Reader("simulation", _make_simulated, "data/simulation.json", _read_simulated, JSON, is_text=True, is_sealed=True),
    Reader("simulation-plan", _make_plan, f"{WORK}/{PLAN}", _read_plan, JSON, is_text=True),
    Reader("simulated-files", _make_simulated, "data/test/*", _read_simulated, is_sealed=True),
    Reader("shard", _make_shard, str(SHARD.path(Path())), _read_shard, is_sealed=True),
    Reader("shard-members", _make_shard, str(SHARD.path(Path())), _read_shard, NPZ, only_own=True),
    Reader("download-ledger", _make_ledger, LEDGER, _read_ledger_entry, JSON, is_text=True),
    Reader("stored-predictions", _make_predictions, "a.npz", _read_predictions, NPZ),
)  # fmt: skip
