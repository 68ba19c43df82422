"""How well groups cover an event: points in no group against points in several groups (Figures 3, 12, 14).

PoLAr-MAE, arXiv 2502.02558. Its text gives the optimum, f = 0.73 at r = 5 voxels, but no formula; the definitions here:

    missed      share of the points that are in no group
    duplicated  memberships beyond a point's first, per point (0.1: every tenth point is in a second group)
    balance     the overlap factor f at which missed = duplicated, on a straight line between the steps of the sweep

Sums run over all points of all events. Membership is counted before a group is thinned to at most 32 points, unless a
column's name says `thinned`; the number of groups is not limited. Intervals follow `benchmark.metrics.few_events`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np

from benchmark.errors import BenchmarkError
from benchmark.metrics.bootstrap import resampled_sums
from benchmark.metrics.few_events import MIN_EVENTS, MadeOf, allowed_interval
from benchmark.ops.engine import Engine
from benchmark.ops.grouping import STRATEGIES, GroupingConfig, Strategy, centres_of, members_of
from benchmark.ops.native import NATIVE
from benchmark.ops.neighbours import Neighbours
from benchmark.plots.style import shown_name
from benchmark.reports.score_text import NO_INTERVAL
from benchmark.seeding import generator
from benchmark.studies.base import Events, Row, Study

LABELS: Mapping[str, str] = {
    "cnms_ball": "C-NMS + ball query",
    "fps_cnms_ball": "FPS + C-NMS + ball query",
    "fps_ball": "FPS + ball query",
    "fps_knn": "FPS + kNN",
}
COLOURS = {"cnms_ball": "#0072b2", "fps_cnms_ball": "#009e73", "fps_ball": "#e69f00", "fps_knn": "#cc79a7"}
MARKERS = {"cnms_ball": "o", "fps_cnms_ball": "s", "fps_ball": "^", "fps_knn": "D"}
RADII = (2.5, 4.0, 5.0, 7.5, 10.0)  # voxels
OVERLAPS = tuple(round(0.5 + 0.05 * i, 2) for i in range(11))
SEEDS = (1024, 2048)  # farthest points that C-NMS chooses from
GROUPS = (64, 128, 256, 512, 1024)  # farthest points that are centres
NEAREST = (8, 16, 32, 64)
PUBLISHED_OVERLAP = 0.73  # arXiv 2502.02558, Figure 14
SWEEP_RADIUS = 5.0  # voxels
SWEEP = tuple(round(0.5 + 0.01 * i, 2) for i in range(51))
COUNTS = ("points", "missed", "extra", "shared", "missed_thinned", "extra_thinned", "groups")
N_RESAMPLES = 1000
COMMON = GroupingConfig(max_groups=None)


def published_like() -> dict[Strategy, GroupingConfig]:
    """One setting per strategy: the published one where stated, else one with a similar number of groups."""
    return {
        "cnms_ball": replace(COMMON, strategy="cnms_ball"),
        "fps_cnms_ball": replace(COMMON, strategy="fps_cnms_ball", n_seeds=2048),
        "fps_ball": replace(COMMON, strategy="fps_ball", n_seeds=256),
        "fps_knn": replace(COMMON, strategy="fps_knn", n_seeds=256),
    }


def grid() -> Iterator[GroupingConfig]:
    """Every setting of the comparison."""
    for radius in RADII:
        for overlap in OVERLAPS:
            yield replace(COMMON, radius=radius, overlap=overlap, strategy="cnms_ball")
            for n_seeds in SEEDS:
                yield replace(COMMON, radius=radius, overlap=overlap, n_seeds=n_seeds, strategy="fps_cnms_ball")
        for n_seeds in GROUPS:
            yield replace(COMMON, radius=radius, n_seeds=n_seeds, strategy="fps_ball")
    for n_seeds in GROUPS:
        for k in NEAREST:
            yield replace(COMMON, n_seeds=n_seeds, n_points=k, strategy="fps_knn")


def count(events: Sequence[np.ndarray], config: GroupingConfig, engine: Engine = NATIVE) -> np.ndarray:
    """(E, 7) counts of COUNTS per event, whose points are (n, 3) in the unit of the radius."""
    centres = centres_of(events, config, engine)
    members = members_of(events, centres, config, engine)
    thinned = engine.thinned(events, members, config.n_points)
    rows = zip(events, members, thinned, strict=True)
    return np.array([_count(len(p), m, indices[mask]) for p, m, (indices, mask) in rows], dtype=np.int64)


def _count(n_points: int, members: Neighbours, thinned: np.ndarray) -> list[int]:
    memberships = np.bincount(members.indices, minlength=n_points)
    thinned_memberships = np.bincount(thinned, minlength=n_points)
    extra, extra_thinned = (
        memberships.sum() - (memberships > 0).sum(),
        thinned_memberships.sum() - (thinned_memberships > 0).sum(),
    )
    missed, missed_thinned = (memberships == 0).sum(), (thinned_memberships == 0).sum()
    return [n_points, missed, extra, (memberships > 1).sum(), missed_thinned, extra_thinned, len(members.counts)]


def shares(counts: np.ndarray) -> dict[str, np.ndarray]:
    """Missed and duplicated from summed counts (..., 7): name -> (...)."""
    columns = {name: counts[..., i] / counts[..., 0] for i, name in enumerate(COUNTS)}
    return {
        "missed": columns["missed"],
        "duplicated": columns["extra"],
        "in_several": columns["shared"],
        "missed_thinned": columns["missed_thinned"],
        "duplicated_thinned": columns["extra_thinned"],
    }


def balance(overlaps: Sequence[float], missed: np.ndarray, duplicated: np.ndarray) -> float:
    """The f at which missed = duplicated: the first change of sign, on a straight line; NaN where there is none.

    overlaps (F,) ascending; missed and duplicated (F,).
    """
    difference = np.asarray(missed) - np.asarray(duplicated)
    crossings = np.flatnonzero((difference[:-1] < 0) & (difference[1:] >= 0))
    if not len(crossings):
        return float("nan")
    i = crossings[0]
    fraction = -difference[i] / (difference[i + 1] - difference[i])
    return float(overlaps[i] + fraction * (overlaps[i + 1] - overlaps[i]))


def on_front(missed: np.ndarray, duplicated: np.ndarray) -> np.ndarray:
    """(n,) True for settings on the Pareto front of the two numbers, both to be minimised."""
    no_worse = (missed[None, :] <= missed[:, None]) & (duplicated[None, :] <= duplicated[:, None])
    better = (missed[None, :] < missed[:, None]) | (duplicated[None, :] < duplicated[:, None])
    return np.logical_not((no_worse & better).any(axis=1))


def grouping_study(
    events: Events, seed: int = 0, configs: Sequence[GroupingConfig] | None = None, overlaps: Sequence[float] = SWEEP
) -> Study:
    """Missed against duplicated over the grid of settings, and the sweep of f with its balance and 95% intervals."""
    clouds = events.coords()
    table = _grid_table(clouds, list(grid()) if configs is None else list(configs))
    per_event = np.stack(
        [count(clouds, replace(COMMON, radius=SWEEP_RADIUS, overlap=f)) for f in overlaps], axis=1
    )  # (E, F, 7)
    resampled = resampled_sums(per_event, generator("grouping study", seed), N_RESAMPLES)  # (R, F, 7)
    sweep = _sweep_table(overlaps, per_event, resampled)
    findings = _findings(overlaps, per_event, resampled)
    highlights = [
        {"what": "balance: f at which missed = duplicated", **findings["balance"]},
        {"what": "the same after thinning to 32 points", **findings["balance_thinned"]},
    ]
    typical = [_row(c, count(clouds, c)) for c in published_like().values()]
    return Study(
        name="grouping",
        rows=table,
        further={"sweep": sweep, "typical": typical},
        settings={"seed": seed, "n_resamples": N_RESAMPLES, "sweep_radius": SWEEP_RADIUS, "common": asdict(COMMON)},
        draw=partial(_draw, table, sweep, findings, events),
        highlights=[*(_highlight(row) for row in typical), *(_highlight(h) for h in highlights)],
        findings=findings,
    )


def _highlight(row: Row) -> Row:
    if "what" in row:
        return {"what": row["what"], "missed": "", "duplicated": "", "groups": "", "f": f"{row['f']:.3f}",
                "95% interval": _interval_text(row)}  # fmt: skip
    label = LABELS[row["strategy"]] + (f", {row['n_seeds']} seeds" if row["n_seeds"] else "")
    return {"what": label, "missed": f"{row['missed']:.2%}", "duplicated": f"{row['duplicated']:.2%}",
            "groups": f"{row['groups_per_event']:.0f}", "f": row["overlap"], "95% interval": ""}  # fmt: skip


def _interval_text(found: Mapping[str, Any]) -> str:
    return NO_INTERVAL if found["low"] is None else f"{found['low']:.3f} to {found['high']:.3f}"


def _row(config: GroupingConfig, counts: np.ndarray) -> dict[str, Any]:
    """One row of the table; settings that a strategy does not use are empty."""
    strategy = config.chosen_strategy
    total = counts.sum(axis=0)
    return {
        "strategy": strategy,
        "radius": "" if strategy == "fps_knn" else config.radius,
        "overlap": config.overlap if "cnms" in strategy else "",
        "n_seeds": config.n_seeds or "",
        "k": config.n_points if strategy == "fps_knn" else "",
        "groups_per_event": round(float(counts[:, -1].mean()), 2),
        **{name: round(float(value), 6) for name, value in shares(total).items()},
    }


def _grid_table(clouds: Sequence[np.ndarray], configs: Sequence[GroupingConfig]) -> list[dict[str, Any]]:
    rows = [_row(config, count(clouds, config)) for config in configs]
    missed, duplicated = (np.array([row[name] for row in rows]) for name in ("missed", "duplicated"))
    strategies = np.array([row["strategy"] for row in rows])
    front = np.zeros(len(rows), dtype=bool)
    for strategy in STRATEGIES:
        members = np.flatnonzero(strategies == strategy)
        front[members] = on_front(missed[members], duplicated[members])
    for row, in_strategy, in_all in zip(rows, front, on_front(missed, duplicated), strict=True):
        row.update(pareto_of_strategy=int(in_strategy), pareto_of_all=int(in_all))
    return rows


def _sweep_table(overlaps: Sequence[float], per_event: np.ndarray, resampled: np.ndarray) -> list[dict[str, Any]]:
    means = shares(per_event.sum(axis=0))
    ends = {name: _ends(values, len(per_event)) for name, values in shares(resampled).items()}  # (2, F) each
    rows: list[dict[str, Any]] = []
    for i, overlap in enumerate(overlaps):
        row: dict[str, Any] = {"overlap": overlap, "groups_per_event": round(float(per_event[:, i, -1].mean()), 2)}
        for name, values in means.items():
            low, high = ends[name][:, i]
            row |= {
                name: round(float(values[i]), 6),
                f"{name}_low": _rounded(low, 6),
                f"{name}_high": _rounded(high, 6),
            }
        rows.append(row)
    return rows


def _ends(resampled: np.ndarray, n_events: int) -> np.ndarray:
    """(2, ...) ends of the 95% intervals over events of (R, ...) resampled numbers; NaN where there may be none."""
    return allowed_interval(MadeOf(np.ones(n_events, bool)), np.arange(n_events), resampled)


def _rounded(end: float, places: int) -> float | None:
    return None if np.isnan(end) else round(float(end), places)


def _findings(overlaps: Sequence[float], per_event: np.ndarray, resampled: np.ndarray) -> dict[str, Any]:
    """The balance before and after thinning, its interval, and whether this holds the published f; None without one."""
    means, spread = shares(per_event.sum(axis=0)), shares(resampled)
    findings: dict[str, Any] = {"published_overlap": PUBLISHED_OVERLAP}
    for suffix in ("", "_thinned"):
        names = (f"missed{suffix}", f"duplicated{suffix}")
        resampled_f = np.array([balance(overlaps, m, d) for m, d in zip(*(spread[n] for n in names), strict=True)])
        resampled_f = resampled_f[~np.isnan(resampled_f)]
        f_balance = balance(overlaps, *(means[n] for n in names))
        if np.isnan(f_balance) or not len(resampled_f):
            raise BenchmarkError(
                f"Missed and duplicated points do not balance between f = {overlaps[0]} and {overlaps[-1]}. A sweep in "
                f"which missed overtakes duplicated was expected. Take more events, or a wider sweep."
            )
        low, high = (_rounded(end, 4) for end in _ends(resampled_f, len(per_event)))
        inside = None if low is None or high is None else low <= PUBLISHED_OVERLAP <= high
        findings[f"balance{suffix}"] = {
            "f": round(f_balance, 4), "low": low, "high": high, "published_f_inside": inside,
        }  # fmt: skip
    return findings


def _draw(table: Sequence[Row], sweep: Sequence[Row], findings: Mapping[str, Any], events: Events, plt: Any) -> Any:
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    for strategy in STRATEGIES:
        rows = [r for r in table if r["strategy"] == strategy]
        x, y = (np.array([100 * r[name] for r in rows]) for name in ("duplicated", "missed"))
        front = np.array([bool(r["pareto_of_strategy"]) for r in rows], dtype=bool)
        colour, marker = COLOURS[strategy], MARKERS[strategy]
        left.scatter(x, y, s=14, marker=marker, color=colour, alpha=0.3, linewidths=0)
        order = np.argsort(x[front])
        left.plot(x[front][order], y[front][order], marker=marker, ms=4.5, lw=1.2, color=colour, label=LABELS[strategy])
    left.set_xscale("symlog", linthresh=1.0)
    left.set_yscale("symlog", linthresh=1.0)
    left.set_xlim(-0.1, None)
    left.set_ylim(-0.1, 100)
    left.set(xlabel="duplicated: further memberships per 100 points", ylabel="missed: points in no group (%)")
    for axis in (left.xaxis, left.yaxis):
        axis.set_major_formatter(plt.FuncFormatter(lambda value, _: f"{value:g}"))
    left.set_title("All settings; lines: Pareto fronts", fontsize=10)
    left.legend(frameon=False, fontsize=8, loc="upper right")
    _draw_sweep(right, sweep, findings["balance"])
    source = f"{len(events)} events of {events.dataset.info.name} ({events.split})"
    figure.suptitle(f"Coverage of events by groups, {shown_name(source)}", fontsize=11)
    return figure


def _draw_sweep(axis: Any, sweep: Sequence[Row], interval: Mapping[str, Any]) -> None:
    overlaps = [row["overlap"] for row in sweep]
    for name, colour, label in (
        ("missed", "#d55e00", "missed: points in no group"),
        ("duplicated", "#0072b2", "duplicated: further memberships"),
    ):
        values, low, high = (
            100 * np.array([row[name + s] for row in sweep], dtype=np.float64) for s in ("", "_low", "_high")
        )  # fmt: skip
        axis.plot(overlaps, values, color=colour, label=label, lw=1.6)
        axis.fill_between(overlaps, low, high, color=colour, alpha=0.2, linewidth=0)
    text, bands = f"balance: f = {interval['f']:.3f}", f"no bands: fewer than {MIN_EVENTS} events"
    if interval["low"] is not None:
        axis.axvspan(interval["low"], interval["high"], color="#999999", alpha=0.35, linewidth=0)
        text, bands = f"{text} ({_interval_text(interval)})", "bands: 95% over events"
    axis.axvline(interval["f"], color="#333333", lw=1.2, label=text)
    axis.axvline(PUBLISHED_OVERLAP, color="black", lw=1.2, ls=":", label=f"published: f = {PUBLISHED_OVERLAP}")
    axis.set(xlabel="overlap factor f", ylabel="per 100 points", xlim=(overlaps[0], overlaps[-1]), ylim=(0, None))
    axis.set_title(f"C-NMS + ball query, r = {SWEEP_RADIUS:g} voxels; {bands}", fontsize=10)
    axis.legend(frameon=False, fontsize=8)
