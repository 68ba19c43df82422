"""Statistics of tokens as published, beside those of simulated events: told, not judged, as the events are others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from benchmark.ops.grouping import GroupingConfig, centres_of, members_of
from benchmark.paths import cache_dir
from benchmark.published import Published
from benchmark.studies.base import load_events
from benchmark.verify import Check

DATASET = "lartpc-sim"
N_EVENTS = 50  # a few seconds
PUBLISHED = ("groups_per_event", "group_size_mode")


def tokens(rows: Sequence[Published]) -> list[Check]:
    """One note per published statistic; without simulated events on this machine, how to get some."""
    wanted = {r.metric: r for r in rows if r.metric in PUBLISHED}
    measured = _measured() if _made_before() else {}
    return [
        Check(
            f"tokens: {metric.replace('_', ' ')} ({row.source}, {row.item})", True,
            measured.get(metric, "not measured: no simulated events here yet (python -m benchmark run makes them)"),
            f"about {row.value:g} on PILArNet-M", noted=True,
        )
        for metric, row in wanted.items()
    ]  # fmt: skip


def _made_before() -> bool:
    """Whether simulated events lie in the cache: a check of seconds does not make thousands."""
    return any((cache_dir() / "datasets" / DATASET).glob("*/simulation.json"))


def _measured() -> dict[str, str]:
    """With the published radius of 5 voxels and overlap of 0.73."""
    events = load_events(DATASET, n_events=N_EVENTS).chosen
    batch = events.batch(range(len(events)))
    coords = np.split(np.ascontiguousarray(batch.coords, np.float32), batch.offsets[1:-1])
    config = GroupingConfig(max_groups=None)
    centres = centres_of(coords, config)
    sizes = np.concatenate([found.counts for found in members_of(coords, centres, config)])
    per_event = np.array([len(c) for c in centres])
    where = f"{len(per_event)} simulated events"
    return {
        "groups_per_event": f"{per_event.mean():.0f} on {where} (10th to 90th percentile "
        f"{np.quantile(per_event, 0.1):.0f} to {np.quantile(per_event, 0.9):.0f})",
        "group_size_mode": f"{np.bincount(sizes).argmax()} on {where}",
    }
