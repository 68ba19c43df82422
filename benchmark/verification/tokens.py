"""Statistics of tokens as published, beside those of simulated events: told, not judged, as the events are others."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmark.errors import BenchmarkError
from benchmark.ops.grouping import GroupingConfig, centres_of, members_of
from benchmark.paths import cache_dir
from benchmark.records.published import Published
from benchmark.studies.base import load_events
from benchmark.verification.report import Check

DATASET = "lartpc-sim"
N_EVENTS = 50  # a few seconds
GROUP = "tokens of 5 voxels"
HIDDEN, BATCH = 0.6, 32  # share of hidden tokens, and events, of the published batch
NONE = "not measured: no simulated events here yet (python -m benchmark data prepare lartpc-sim makes them)"


def tokens(rows: Sequence[Published]) -> list[Check]:
    """The published overlap factor is the suite's own; one note per published statistic."""
    wanted = {r.metric: r for r in rows if r.task == "lartpc-tokenisation"}
    measured, instead = _measured_if_made()
    checks = []
    for metric, unit in (
        ("groups_per_event", "groups"), ("masked_tokens", "hidden tokens"), ("group_size_mode", "points"),
        ("group_size_tail", "points"),
    ):  # fmt: skip
        if row := wanted.get(metric):
            name = f"{metric.replace('_', ' ')} ({row.source}, {row.item})"
            expected = f"{'about ' * (metric != 'masked_tokens')}{row.value:,.0f} {unit} on PILArNet-M"
            checks.append(Check(name, True, measured.get(metric, instead), expected, noted=True, group=GROUP))
    if row := wanted.get("best_overlap_factor"):
        own = GroupingConfig().overlap
        name = f"overlap factor ({row.source}, {row.item})"
        checks.append(Check(name, own == row.value, f"{own:g}", f"{row.value:g}", group=GROUP))
    return checks


def _measured_if_made() -> tuple[dict[str, str], str]:
    """The statistics, and what stands in their place where there are none."""
    folder = _made_before()
    try:
        return ({} if folder is None else _measured(folder)), NONE
    except BenchmarkError as error:
        return {}, f"not measured: {error}"


def _made_before() -> Path | None:
    """A folder of simulated events in the cache: a check of seconds does not make thousands."""
    found = sorted(path.parent for path in (cache_dir() / "datasets" / DATASET).glob("*/simulation.json"))
    return next((folder for folder in found if (folder / "test").is_dir()), None)


def _measured(folder: Path) -> dict[str, str]:
    """With the published radius of 5 voxels and overlap of 0.73."""
    events = load_events(DATASET, folder, n_events=N_EVENTS).chosen
    batch = events.batch(range(len(events)))
    coords = np.split(np.ascontiguousarray(batch.coords, np.float32), batch.offsets[1:-1])
    config = GroupingConfig(max_groups=None)
    centres = centres_of(coords, config)
    sizes = np.concatenate([found.counts for found in members_of(coords, centres, config)])
    per_event = np.array([len(c) for c in centres])
    where = f"on {len(per_event)} simulated events"
    low, high = np.quantile(per_event, [0.1, 0.9])
    return {
        "groups_per_event": f"{per_event.mean():.0f} {where} (10th to 90th percentile {low:.0f} to {high:.0f})",
        "masked_tokens": f"{HIDDEN * BATCH * per_event.mean():,.0f} of {BATCH} events, by the mean {where}",
        "group_size_mode": f"{np.bincount(sizes).argmax()} {where}",
        "group_size_tail": f"largest {sizes.max()}, 99.9th percentile {np.quantile(sizes, 0.999):.0f} {where}",
    }
