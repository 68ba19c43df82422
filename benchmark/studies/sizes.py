"""Groups per event and points per group, before and after thinning to 32 (Figures 4 and 15).

PoLAr-MAE, arXiv 2502.02558: about 400 groups per event, most often 16 points in a group, a tail to 150 (r = 5 voxels,
read from its text and approximate). C-NMS + ball query at the given overlap factor; no limit on the number of groups.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np

from benchmark.ops.grouping import GroupingConfig, centres_of, members_of
from benchmark.plots.style import shown_name
from benchmark.studies.base import Events, Row, Study

PUBLISHED_GROUPS, PUBLISHED_MODE, PUBLISHED_TAIL = 400, 16, 150  # arXiv 2502.02558, Figures 4 and 15
CONTEXT_LENGTH = 512  # tokens per event of the published models
QUANTILES = (5, 25, 50, 75, 95, 99)  # percent


def sizes_study(events: Events, config: GroupingConfig | None = None) -> Study:
    """Statistics and histograms of groups per event, groups per 1,000 points, and points per group."""
    config = replace(config or GroupingConfig(), max_groups=None)
    clouds = events.coords()
    centres = centres_of(clouds, config)
    counts = [lists.counts for lists in members_of(clouds, centres, config)]
    n_points = np.array([len(points) for points in clouds])
    n_groups = np.array([len(c) for c in counts])
    n_members = np.concatenate(counts)
    samples = {
        "points per event": n_points,
        "groups per event": n_groups,
        "points per group": n_members,
        f"points per group, thinned to {config.n_points}": np.minimum(n_members, config.n_points),
    }
    rows = [_statistics(name, values) for name, values in samples.items()]
    findings = {
        "groups_per_1000_points": round(float(1000 * n_groups.sum() / n_points.sum()), 2),
        "share_of_groups_thinned": round(float((n_members > config.n_points).mean()), 6),
        "share_of_events_over_context": round(float((n_groups > CONTEXT_LENGTH).mean()), 6),
    }
    return Study(
        name="sizes",
        rows=rows,
        further={"histogram": _histogram(n_members)},
        settings={"grouping": asdict(config), "context_length": CONTEXT_LENGTH},
        draw=partial(_draw, n_groups, n_members, config, events),
        highlights=rows,
        findings=findings,
    )


def _statistics(name: str, values: np.ndarray) -> Row:
    """One row: mean, spread and quantiles; the mode is the smallest of the most frequent values."""
    quantiles = {f"q{q:02d}": round(float(np.percentile(values, q)), 1) for q in QUANTILES}
    return {
        "quantity": name,
        "n": len(values),
        "mean": round(float(values.mean()), 3),
        "sd": round(float(values.std()), 3),
        "mode": int(np.bincount(values).argmax()),
        "min": int(values.min()),
        **quantiles,
        "max": int(values.max()),
    }


def _histogram(sizes: np.ndarray) -> list[Mapping[str, int]]:
    """Number of groups of each size; sizes that do not occur are left out."""
    numbers = np.bincount(sizes)
    return [{"points_per_group": int(size), "n_groups": int(numbers[size])} for size in np.flatnonzero(numbers)]


def _draw(n_groups: np.ndarray, n_members: np.ndarray, config: GroupingConfig, events: Events, plt: Any) -> Any:
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    left.hist(n_groups, bins=_bins(n_groups, 40), color="#0072b2")
    _mark(left, float(np.median(n_groups)), f"median: {np.median(n_groups):.0f}", "-")
    _mark(left, PUBLISHED_GROUPS, f"published: about {PUBLISHED_GROUPS}", ":")
    left.set(xlabel="groups per event", ylabel="events", xlim=(0, None))
    left.yaxis.get_major_locator().set_params(integer=True)
    numbers, n_thinned = np.bincount(n_members), np.bincount(np.minimum(n_members, config.n_points))
    mode = int(numbers.argmax())
    right.bar(np.arange(len(numbers)), numbers, width=1.0, color="#0072b2", label="in the ball")
    edges = np.arange(len(n_thinned) + 1) - 0.5
    right.stairs(n_thinned, edges, color="#d55e00", lw=1.2, label=f"thinned to {config.n_points}")
    _mark(right, mode, f"mode: {mode}", "-")
    _mark(right, PUBLISHED_MODE, f"published mode: about {PUBLISHED_MODE}", ":")
    right.set_yscale("log")
    right.set(xlabel="points per group", ylabel="groups", xlim=(0, len(numbers)))
    for axis in (left, right):
        axis.legend(frameon=False, fontsize=8)
    source = f"{len(events)} events of {events.dataset.info.name} ({events.split})"
    title = f"C-NMS + ball query, r = {config.radius:g} voxels, f = {config.overlap:g}; {shown_name(source)}"
    figure.suptitle(title, fontsize=11)
    return figure


def _bins(values: np.ndarray, n_bins: int) -> Sequence[float]:
    """Edges on whole numbers, at most about `n_bins` of them."""
    width = max(1, int(np.ceil((values.max() + 1) / n_bins)))
    edges: list[float] = np.arange(0, values.max() + width + 1, width).tolist()
    return edges


def _mark(axis: Any, position: float, label: str, style: str) -> None:
    axis.axvline(position, color="black", lw=1.2, ls=style, label=label)
