"""Every event of a small dataset, as plain values."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from benchmark import registry
from benchmark.settings import override

CACHE = "cache"  # of each folder, beside its data


def use_cache_of(folder: Path) -> None:
    """Packs, digests and everything else that is cached goes into the folder."""
    os.environ["PARTICLEBENCH_CACHE"] = str(folder.absolute() / CACHE)


def every_event(name: str, folder: Path, samples: tuple[str, ...] = ("event",), **settings: Any) -> list[Any]:
    """Ids, coordinates, energies, labels and features of all events of `folder/data`, split by split."""
    use_cache_of(folder)
    spec = registry.dataset_spec(name)
    dataset = spec.open(override(spec.config(), settings, "data"), folder / "data")
    values = []
    for split in getattr(dataset, "splits", spec.info.splits):
        for sample in samples:
            source = dataset.events(split, sample) if len(samples) > 1 else dataset.events(split)
            values += [_plain(source[i]) for i in range(len(source))]
    return values


def _plain(event: Any) -> dict[str, Any]:
    names = ("event_id", "coords", "energy", "volume", "features", "scalars", "links")
    found = {name: getattr(event, name) for name in names if getattr(event, name, None) is not None}
    return {**found, "labels": {name: event.labels[name] for name in event.labels}}
