"""Views of events: crops around random points, turned, mirrored and jittered; hidden cubes; and where views match."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from benchmark.contracts import Links, PointBatch, TorchModel
from benchmark.contracts.parts import Views
from benchmark.contracts.pretext import HIDDEN
from benchmark.errors import ConfigError
from benchmark.ops.neighbours import k_nearest
from benchmark.ops.segments import segment_mean

GLOBAL, LOCAL = 0, 1  # kinds of views
MOTIONS = ("turn", "mirror", "none")
Rescale = Callable[[PointBatch[np.ndarray], np.ndarray], PointBatch[np.ndarray]]


@dataclass(frozen=True)
class ViewConfig:
    """How views are cut and moved. Lengths are in coordinate units."""

    n_global: int = 2  # large views of an event, that the targets are made of
    n_local: int = 2  # small views, in all pairs with the first large one
    global_share: tuple[float, float] = (0.4, 1.0)  # of an event's points in a large view, uniform between
    local_share: tuple[float, float] = (0.1, 0.4)  # in a small view
    max_points: int = 30_000  # of a view; the nearest to its centre stay
    energy_jitter: float = 0.05  # largest relative change of the energy scale, the same in all large views of an event
    energy_probability: float = 0.8  # of that change
    motion: str = "turn"  # turn: about z, x and y, and mirrored along each axis | mirror: the first two axes | none
    turn_probability: float = 0.8  # of each turn, by any angle
    mirror_probability: float = 0.5  # of each reflection
    jitter: float = 0.25  # standard deviation of each coordinate's displacement
    jitter_limit: float = 1.0  # largest displacement

    def __post_init__(self) -> None:
        self._check_views()

    def _check_views(self) -> None:
        if self.n_global < 2 or self.n_local < 0 or self.max_points < 1:
            raise ValueError(
                f"n_global={self.n_global}, n_local={self.n_local} and max_points={self.max_points} are not possible. "
                f"At least 2, 0 and 1 were expected."
            )
        for name in ("global_share", "local_share"):
            low, high = getattr(self, name)
            if not 0 < low <= high <= 1:
                raise ValueError(f"{name}={low, high} is not possible. Two shares above 0, at most 1, were expected.")
        if self.motion not in MOTIONS:
            raise ValueError(f"motion={self.motion!r} is not known. One of {', '.join(MOTIONS)} was expected.")
        if min(self.energy_jitter, self.jitter, self.jitter_limit) < 0 or self.energy_jitter >= 1:
            raise ValueError(
                f"energy_jitter={self.energy_jitter}, jitter={self.jitter} and jitter_limit={self.jitter_limit} are "
                f"not possible. Numbers from 0 on, and energy_jitter below 1, were expected."
            )


def cut_views(
    config: ViewConfig, batch: PointBatch[np.ndarray], rngs: Sequence[np.random.Generator], rescale: Rescale | None
) -> PointBatch[np.ndarray]:
    """The views of all events: first the large ones, event after event, then the small ones; HIDDEN is 0."""
    scaled = _rescaled(config, batch, rngs, rescale)
    large, small = [], []
    for event, rng in enumerate(rngs):
        begin, end = int(batch.offsets[event]), int(batch.offsets[event + 1])
        for i in range(config.n_global + config.n_local):
            is_large = i < config.n_global
            share = rng.uniform(*(config.global_share if is_large else config.local_share))
            rows = begin + crop(batch.coords[begin:end], share, config.max_points, rng)
            coords = move(batch.coords[rows], config, batch.frame.centre, rng)
            (large if is_large else small).append((event, rows, coords))
    parts = [*large, *small]
    rows, coords = (np.concatenate([part[i] for part in parts]) for i in (1, 2))
    n_large = sum(len(part[1]) for part in large)
    taken = _take(scaled, batch, rows, n_large)
    lengths = [len(part[1]) for part in parts]
    events = np.array([part[0] for part in parts])
    kinds = np.array([GLOBAL] * len(large) + [LOCAL] * len(small))
    hidden = np.zeros(len(rows), bool)
    return replace(
        _of_events(taken, batch, events),
        coords=coords.astype(np.float32),
        feats=np.concatenate([taken.feats, hidden[:, None]], axis=1, dtype=np.float32),
        columns=(*batch.columns, HIDDEN),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        links=_links(batch.links, [part[1] for part in parts], batch.n_points),
        views=Views(batch.coords[rows], hidden, None, events, kinds),
    )


def crop(coords: np.ndarray, share: float, max_points: int, rng: np.random.Generator) -> np.ndarray:
    """Ascending rows of the points (n, 3) nearest to a random one: a share of them, from one to `max_points`."""
    n = len(coords)
    n_kept = min(max(1, round(share * n)), max_points)
    centre = coords[rng.integers(n)]
    if n_kept == n:
        return np.arange(n)
    squared = np.square(coords - centre).sum(axis=1)
    return np.sort(np.argsort(squared, kind="stable")[:n_kept])


def move(
    coords: np.ndarray, config: ViewConfig, centre: Sequence[float], rng: np.random.Generator
) -> np.ndarray:  # fmt: skip
    """(n, 3) the points of a view centred in the detector, turned, mirrored and jittered as configured."""
    if config.motion == "turn":
        matrix = np.eye(3)
        for axis in (2, 0, 1):
            angle = rng.uniform(-np.pi, np.pi)
            if rng.random() < config.turn_probability:
                matrix = _about(axis, angle) @ matrix
        matrix = np.diag(np.where(rng.random(3) < config.mirror_probability, -1.0, 1.0)) @ matrix
        coords = (coords - coords.mean(axis=0, dtype=np.float64)) @ matrix.T + np.asarray(centre)
    elif config.motion == "mirror":
        signs = np.append(np.where(rng.random(2) < config.mirror_probability, -1.0, 1.0), 1.0)
        coords = (coords - np.asarray(centre)) * signs + np.asarray(centre)
    shift = np.clip(config.jitter * rng.standard_normal(coords.shape), -config.jitter_limit, config.jitter_limit)
    return coords + shift


def _about(axis: int, angle: float) -> np.ndarray:
    """(3, 3) rotation about an axis by an angle in radians."""
    i, j = (k for k in range(3) if k != axis)
    matrix = np.eye(3)
    matrix[i, i] = matrix[j, j] = np.cos(angle)
    matrix[i, j], matrix[j, i] = -np.sin(angle), np.sin(angle)
    return matrix


def _rescaled(
    config: ViewConfig, batch: PointBatch[np.ndarray], rngs: Sequence[np.random.Generator], rescale: Rescale | None
) -> PointBatch[np.ndarray]:
    """The batch with other energy scales, for the large views."""
    if not config.energy_jitter:
        return batch
    if rescale is None:
        raise ConfigError(
            f"pretext.energy_jitter={config.energy_jitter} changes energies, which this detector's columns do not "
            f"follow. 0 was expected. Type --set pretext.energy_jitter=0."
        )
    factors = [1 + rng.uniform(-1, 1) * config.energy_jitter for rng in rngs]
    changed = [rng.random() < config.energy_probability for rng in rngs]
    return rescale(batch, np.where(changed, factors, 1.0))


def _take(
    scaled: PointBatch[np.ndarray], batch: PointBatch[np.ndarray], rows: np.ndarray, n_large: int
) -> PointBatch[np.ndarray]:
    """The points of all views: of the first `n_large` rows with other energies."""
    large, small = rows[:n_large], rows[n_large:]
    return replace(
        batch,
        energy=np.concatenate([scaled.energy[large], batch.energy[small]]),
        feats=np.concatenate([scaled.feats[large], batch.feats[small]]),
        point_info={name: values[rows] for name, values in batch.point_info.items()},
        target=None,
        instance=None,
    )


def _of_events(
    taken: PointBatch[np.ndarray], batch: PointBatch[np.ndarray], events: np.ndarray
) -> PointBatch[np.ndarray]:
    """Quantities of whole events, for each view."""
    whole = batch.whole
    return replace(
        taken,
        event_ids=tuple(batch.event_ids[event] for event in events),
        event_info={name: values[events] for name, values in batch.event_info.items()},
        whole=replace(
            whole,
            feats=None if whole.feats is None else whole.feats[events],
            baseline=None if whole.baseline is None else whole.baseline[events],
            auxiliary=None,
        ),
    )


def _links(links: Links[np.ndarray], views: Sequence[np.ndarray], n_points: int) -> Links[np.ndarray]:
    """Links between points that are both in a view."""
    if links.ends is None:
        return links
    ends, kinds, start = [], [], 0
    for rows in views:
        place = np.full(n_points, -1)
        place[rows] = np.arange(start, start + len(rows))
        both = (place[links.ends] >= 0).all(axis=1)
        ends.append(place[links.ends[both]])
        kinds.append(None if links.kind is None else links.kind[both])
        start += len(rows)
    return replace(
        links, ends=np.concatenate(ends), kind=None if links.kind is None else np.concatenate([k for k in kinds])
    )  # type: ignore[arg-type]


def some_views(batch: PointBatch[Tensor], first: int, last: int) -> PointBatch[Tensor]:
    """The views first, ..., last - 1 of a batch."""
    begin, end = int(batch.offsets[first]), int(batch.offsets[last])
    views, whole, rows, events = batch.views, batch.whole, slice(begin, end), slice(first, last)

    def part(values: Any, which: slice) -> Any:
        return None if values is None else values[which]

    links = batch.links
    if links.ends is not None:
        inside = (links.ends[:, 0] >= begin) & (links.ends[:, 0] < end)
        links = replace(links, ends=links.ends[inside] - begin, kind=part(links.kind, inside))  # type: ignore[arg-type]
    return replace(
        batch,
        coords=batch.coords[rows], energy=batch.energy[rows], feats=batch.feats[rows],
        offsets=batch.offsets[first : last + 1] - begin, event_ids=batch.event_ids[first:last],
        point_info={name: values[rows] for name, values in batch.point_info.items()},
        event_info={name: values[events] for name, values in batch.event_info.items()},
        links=links,
        whole=replace(whole, feats=part(whole.feats, events), baseline=part(whole.baseline, events)),
        views=Views(
            part(views.coords, rows), part(views.hidden, rows), part(views.targets, rows), part(views.event, events),
            part(views.kind, events),
        ),
        prepared=None,
    )  # fmt: skip


def matches(coords: Tensor, others: Tensor, limit: float) -> tuple[Tensor, Tensor]:
    """Rows of points (n, 3), and the row of the nearest of the others (m, 3), for those nearer than `limit`."""
    nearest, squared = k_nearest(coords.cpu().numpy(), others.cpu().numpy(), 1)
    near = torch.from_numpy(np.flatnonzero(squared[:, 0] <= limit * limit))
    return near.to(coords.device), torch.from_numpy(nearest[:, 0])[near].to(coords.device)


class Places(NamedTuple):
    """Places of views with features: points, or what a backbone merges them to."""

    features: Tensor  # (M, C)
    coords: Tensor  # (M, 3) where they lie in their events, in coordinate units
    view: Tensor  # (M,) int64 view of each

    def rows(self, view: int) -> Tensor:
        """Rows of one view's places."""
        return (self.view == view).nonzero(as_tuple=True)[0]


def places(model: TorchModel, batch: PointBatch[Tensor]) -> Places:
    """The places of a batch of views, with a model's features."""
    features, place = model.place_features(batch)
    assert batch.views.coords is not None  # made by `cut_views`
    coords = segment_mean(batch.views.coords.double(), place, len(features)).to(batch.coords.dtype)
    view = torch.zeros(len(features), dtype=torch.int64, device=coords.device)
    return Places(features, coords, view.index_copy(0, place, batch.event_index))


def hidden_cubes(coords: np.ndarray, cube: float, ratio: float, rng: np.random.Generator) -> np.ndarray:
    """(n,) bool the points (n, 3) of one event in its hidden cubes: `ratio` of those that hold points, at least one.

    The cubes' lattice starts at a random place.
    """
    cells = np.floor(coords.astype(np.float64) / cube + rng.random(3)).astype(np.int64)
    _, cell = np.unique(cells, axis=0, return_inverse=True)
    is_hidden = np.zeros(int(cell.max(initial=-1)) + 1, bool)
    is_hidden[rng.permutation(len(is_hidden))[: max(1, round(ratio * len(is_hidden)))]] = True
    hidden: np.ndarray = is_hidden[cell.reshape(-1)]
    return hidden
