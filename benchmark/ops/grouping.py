"""Turn one event into tokens: centres, the points around each, thinned by farthest point sampling.

PoLAr-MAE (arXiv 2502.02558), section 3.1 and table 5; the four strategies are those of its table 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np

from benchmark.ops._jit import Bool, Float32, Int64, as_points
from benchmark.ops.engine import Engine
from benchmark.ops.native import NATIVE
from benchmark.ops.neighbours import Neighbours
from benchmark.ops.thinning import thin

__all__ = ["STRATEGIES", "GroupingConfig", "Groups", "Strategy", "group_event", "group_events", "thin"]

Strategy = Literal["cnms_ball", "fps_cnms_ball", "fps_ball", "fps_knn"]
STRATEGIES: tuple[Strategy, ...] = get_args(Strategy)


@dataclass(frozen=True)
class GroupingConfig:
    """How an event is split into groups; lengths in the unit of the coordinates."""

    radius: float = 5.0  # radius of a group; 5 voxels of 3 mm in the paper
    overlap: float = 0.73  # f: centres are kept at least 2 x radius x f apart
    n_points: int = 32  # points per group, K; a fuller ball is thinned
    max_groups: int | None = 512  # context length; None: no limit
    overflow: Literal["first", "spread"] = "first"  # centres kept of more than that: the first, or far apart
    n_seeds: int | None = None  # farthest points that become candidates of C-NMS or, without it, centres
    max_candidate_neighbours: int | None = None  # cap of the neighbour lists inside C-NMS, None: no cap
    max_ball: int | None = None  # cap of a ball before it is thinned, first by index; None: no cap. For fps_knn: how
    # many nearest points are thinned to `n_points`; None: `n_points`
    strategy: Strategy | None = None  # None: fps_cnms_ball where `n_seeds` is given, else cnms_ball

    @property
    def chosen_strategy(self) -> Strategy:
        """The strategy, with None resolved."""
        return self.strategy or ("cnms_ball" if self.n_seeds is None else "fps_cnms_ball")

    def check(self) -> None:
        """Raise ValueError for settings that are out of range or inconsistent."""
        if self.max_groups is not None and self.max_groups < 1:
            raise ValueError(f"max_groups is {self.max_groups}. At least 1 group per event, or None, was expected.")
        if self.chosen_strategy not in STRATEGIES:
            raise ValueError(f"strategy is {self.strategy!r}. One of {', '.join(STRATEGIES)} was expected.")
        if (self.chosen_strategy == "cnms_ball") != (self.n_seeds is None):
            raise ValueError(
                f"n_seeds is {self.n_seeds} with the strategy {self.chosen_strategy}. A number of seeds was expected "
                f"for the strategies that begin with fps, and none for cnms_ball."
            )


class Groups(NamedTuple):
    """The T groups of one event. Points may belong to several groups or to none."""

    centres: Int64  # (T,) index of each group's central point, ascending
    indices: Int64  # (T, K) member points in the order of sampling; empty slots repeat the first member
    mask: Bool  # (T, K) True where the slot holds a distinct point


def centres_of(events: Sequence[Float32], config: GroupingConfig, engine: Engine = NATIVE) -> list[Int64]:
    """Indices of the centres of each event's groups, ascending, at most `config.max_groups` of them."""
    config.check()
    n_seeds = config.n_seeds or 0
    if config.chosen_strategy in ("fps_ball", "fps_knn"):
        n_centres = n_seeds if config.max_groups is None else min(n_seeds, config.max_groups)
        return [np.unique(chosen) for chosen in engine.farthest(events, n_centres)]  # a prefix is already spread
    suppression = (config.radius, config.overlap, config.max_candidate_neighbours)
    if config.chosen_strategy == "cnms_ball":
        centres = engine.suppressed(events, *suppression)
    else:
        seeds = engine.farthest(events, n_seeds)
        survivors = engine.suppressed([p[s] for p, s in zip(events, seeds, strict=True)], *suppression)
        centres = [s[k] for s, k in zip(seeds, survivors, strict=True)]
    if config.max_groups is None:
        return centres
    if config.overflow == "first":
        return [k[: config.max_groups] for k in centres]
    full = [e for e, k in enumerate(centres) if len(k) > config.max_groups]
    spread = engine.farthest([events[e][centres[e]] for e in full], config.max_groups)
    for e, chosen in zip(full, spread, strict=True):
        centres[e] = centres[e][np.sort(chosen)]
    return centres


def members_of(
    events: Sequence[Float32], centres: Sequence[Int64], config: GroupingConfig, engine: Engine = NATIVE
) -> list[Neighbours]:
    """The members of each group before it is thinned: a ball by ascending index, or the nearest, nearest first."""
    queries = [points[c] for points, c in zip(events, centres, strict=True)]
    if config.chosen_strategy == "fps_knn":
        return engine.nearest(queries, events, config.max_ball or config.n_points)
    return engine.balls(queries, events, config.radius, config.max_ball)


def group_events(events: Sequence[Float32], config: GroupingConfig, engine: Engine = NATIVE) -> list[Groups]:
    """The groups of several events, each `coords` (n, 3) in the unit of `config.radius`, independent of each other.

    `engine`: see `benchmark.ops.engines`; all give the same indices. Raises ValueError for inconsistent settings.
    """
    clouds = [as_points(coords) for coords in events]
    centres = centres_of(clouds, config, engine)
    thinned = engine.thinned(clouds, members_of(clouds, centres, config, engine), config.n_points)
    return [Groups(c, *slots) for c, slots in zip(centres, thinned, strict=True)]


def group_event(coords: Float32, config: GroupingConfig, engine: Engine = NATIVE) -> Groups:
    """The groups of one event, `coords` (n, 3) in the unit of `config.radius`. An empty event has no groups.

    Ties in distance or score are broken by the order of the points; sort them first for a result that does not depend
    on it. Raises ValueError for inconsistent settings.
    """
    return group_events([coords], config, engine)[0]
