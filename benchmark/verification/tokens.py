"""Published statistics of tokens beside those of simulated events: noted, not judged, since the events differ."""

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
NONE = "not measured: no simulated events here yet (`python -m benchmark data prepare lartpc-sim` makes them)"


def tokens(rows: Sequence[Published]) -> list[Check]:
    """A check that the suite uses the published overlap factor; one note per published statistic."""
    published = {r.metric: r for r in rows if r.task == "lartpc-tokenisation"}
    measured, reason = _measure_cached()
    checks = []
    for metric, unit in (
        ("groups_per_event", "groups"), ("masked_tokens", "hidden tokens"), ("group_size_mode", "points"),
        ("group_size_tail", "points"),
    ):  # fmt: skip
        if row := published.get(metric):
            name = f"{metric.replace('_', ' ')} ({row.source}, {row.item})"
            expected = f"{'about ' * (metric != 'masked_tokens')}{row.value:,.0f} {unit} on PILArNet-M"
            checks.append(Check(name, True, measured.get(metric, reason), expected, noted=True, group=GROUP))
    if row := published.get("best_overlap_factor"):
        default_overlap = GroupingConfig().overlap
        name = f"overlap factor ({row.source}, {row.item})"
        checks.append(Check(name, default_overlap == row.value, f"{default_overlap:g}", f"{row.value:g}", group=GROUP))
    return checks


def _measure_cached() -> tuple[dict[str, str], str]:
    """The statistics, and the text to show where there are none."""
    folder = _cached_folder()
    try:
        return ({} if folder is None else _measure(folder)), NONE
    except BenchmarkError as error:
        return {}, f"not measured: {error}"


def _cached_folder() -> Path | None:
    """A folder of simulated events in the cache, if any: a quick check does not simulate thousands."""
    folders = sorted(path.parent for path in (cache_dir() / "datasets" / DATASET).glob("*/simulation.json"))
    return next((folder for folder in folders if (folder / "test").is_dir()), None)


def _measure(folder: Path) -> dict[str, str]:
    """With the published radius of 5 voxels and overlap of 0.73."""
    events = load_events(DATASET, folder, n_events=N_EVENTS).chosen
    batch = events.batch(range(len(events)))
    coords = np.split(np.ascontiguousarray(batch.coords, np.float32), batch.offsets[1:-1])
    config = GroupingConfig(max_groups=None)
    centres = centres_of(coords, config)
    sizes = np.concatenate([lists.counts for lists in members_of(coords, centres, config)])
    per_event = np.array([len(c) for c in centres])
    source = f"on {len(per_event)} simulated events"
    low, high = np.quantile(per_event, [0.1, 0.9])
    return {
        "groups_per_event": f"{per_event.mean():.0f} {source} (10th to 90th percentile {low:.0f} to {high:.0f})",
        "masked_tokens": f"{HIDDEN * BATCH * per_event.mean():,.0f} of {BATCH} events, by the mean {source}",
        "group_size_mode": f"{np.bincount(sizes).argmax()} {source}",
        "group_size_tail": f"largest {sizes.max()}, 99.9th percentile {np.quantile(sizes, 0.999):.0f} {source}",
    }
