"""Masked reconstruction: the points that a masked autoencoder predicts for hidden tokens, and their error.

PoLAr-MAE (arXiv:2502.02558), section 3.3. The Chamfer distance reported here is, per hidden token, the mean distance
from a true point to the nearest predicted one, plus the mean distance from a predicted point to the nearest true one,
in voxels, averaged over the hidden tokens of an event (the training loss has squared distances, the energy as a
fourth coordinate, and lengths in units of the group's radius). The model knows the centres of hidden tokens, and so do
three reference predictions without training: all points at the centre; the mean shape of a group, which is a
32-means of the members' offsets in training events; and the shape of the nearest visible token, moved to the centre.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from benchmark.contracts import PointBatch
from benchmark.errors import BenchmarkError
from benchmark.ops.fps import farthest_points
from benchmark.plots.scene import GREY, Panel, Scale, draw_panels, length_text
from benchmark.plots.scene_page import Choice, colour_steps, page
from benchmark.plots.style import pyplot
from benchmark.seeding import generator, seed_from
from benchmark.studies.base import Row, Study
from benchmark.studies.encoders import Bench, EventTokens, as_arrays, each

PREDICTORS = ("model", "token_centre", "mean_shape", "nearest_visible")
N_SHAPE_POINTS = 20_000  # at most so many members' offsets define the mean shape
N_SHAPE_STEPS = 25  # of the k-means
INK = (0.2, 0.2, 0.2)  # of predicted points without an energy
FAINT = 0.35  # size of visible points in panels of hidden ones
CLOSE = 40.0  # half the side of the close-up's cube, in the unit of the coordinates
TAILS = (1.0, 99.0)  # percentiles of the true energies that the colour bar spans


@dataclass(frozen=True)
class Masked:
    """One event, the tokens that were hidden, and the points predicted for them."""

    tokens: EventTokens
    hidden: np.ndarray  # (T,) bool
    token: np.ndarray  # (P,) hidden token of each predicted point
    coords: np.ndarray  # (P, 3)
    energy: np.ndarray | None  # (P,) MeV

    @property
    def batch(self) -> PointBatch:
        """The event."""
        return self.tokens.batch

    def members(self, hidden: bool) -> np.ndarray:
        """Rows of the points that are in a hidden token, or in a visible one; some are in both."""
        rows: np.ndarray = np.unique(self.tokens.point[self.hidden[self.tokens.token] == hidden])
        return rows


def reconstruction_study(bench: Bench, positions: Sequence[int]) -> Study:
    """Hide tokens of the events at these positions, predict their points, and measure their error."""
    events = bench.choose(positions)
    shape = mean_shape(list(each(bench.trained, bench.fitting, bench.device)), bench.config.seed)
    masked = [reconstruct(bench, batch) for batch in events]
    rows = [_row(event, shape) for event in masked]
    return Study(
        name="reconstruction",
        rows=rows,
        settings={**bench.settings, "fitting_events": len(bench.fitting), "positions": list(positions)},
        draw=partial(_draw, bench=bench, masked=masked, rows=rows, names=[bench.name_of(p) for p in positions]),
        html=_page(bench, masked, rows),
        findings={f"mean_chamfer_{name}": _mean(rows, name) for name in PREDICTORS},
        dpi=88,
    )


def _mean(rows: Sequence[Row], name: str) -> float:
    return float(np.mean([row[f"chamfer_{name}"] for row in rows]))


def reconstruct(bench: Bench, batch: PointBatch) -> Masked:
    """Run the model. Raises BenchmarkError where it hides nothing or predicts NaN."""
    seed = seed_from("mask", bench.config.seed) % 2**31
    reconstruction = bench.trained.reconstruct(batch.without_target().to_torch(bench.device), seed)
    tokens = as_arrays(batch, reconstruction.tokens)
    hidden, token, coords = (
        t.cpu().numpy() for t in (reconstruction.hidden, reconstruction.token, reconstruction.coords.float())
    )
    log_energy = None if reconstruction.log_energy is None else reconstruction.log_energy.float().cpu().numpy()
    if not hidden.any() or hidden.all():
        raise BenchmarkError(
            f"Event {batch.event_ids[0]} has {int(hidden.sum())} of {len(hidden)} tokens hidden. Some hidden and some "
            f"visible ones were expected. Change --mask-ratio, or choose a larger --event."
        )
    if not np.isfinite(coords).all() or (log_energy is not None and not np.isfinite(log_energy).all()):
        raise BenchmarkError(
            f"The model's reconstruction of event {batch.event_ids[0]} holds NaN or infinity. Finite numbers were "
            f"expected. Give another --checkpoint."
        )
    energy = None if log_energy is None else bench.config.preprocess.energy_of(log_energy)
    return Masked(tokens, hidden, token, coords, energy)


def mean_shape(events: Sequence[EventTokens], seed: int) -> np.ndarray:
    """(K, 3) mean shape of a group: K-means of the members' offsets from their token's centre, far ones first.

    K is the size of the largest group.
    """
    offsets = np.concatenate([e.batch.coords[e.point] - e.centres[e.token] for e in events]).astype(np.float64)
    k = max(int(np.bincount(e.token).max()) for e in events)
    if len(offsets) > N_SHAPE_POINTS:
        offsets = offsets[generator("mean shape", seed).choice(len(offsets), N_SHAPE_POINTS, replace=False)]
    centres = offsets[_spread_indices(offsets, k)]
    for _ in range(N_SHAPE_STEPS):
        nearest = ((offsets[:, None, :] - centres[None]) ** 2).sum(2).argmin(1)
        counts = np.bincount(nearest, minlength=len(centres))
        sums = np.stack([np.bincount(nearest, offsets[:, axis], len(centres)) for axis in range(3)], axis=1)
        centres = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], centres)
    shape: np.ndarray = centres[_spread_indices(centres, len(centres))].astype(np.float32)
    return shape


def _spread_indices(points: np.ndarray, n: int) -> np.ndarray:
    """Indices of `n` points far from each other, the one nearest to the origin first; every prefix is spread out."""
    return farthest_points(points.astype(np.float32), n, int((points**2).sum(1).argmin()))


def chamfer(predicted: np.ndarray, true: np.ndarray) -> float:
    """Mean distance from each true point to the nearest predicted one, plus the reverse; (P, 3) and (N, 3)."""
    distance = np.sqrt(((true[:, None, :].astype(np.float64) - predicted[None]) ** 2).sum(2))
    return float(distance.min(1).mean() + distance.min(0).mean())


def _row(event: Masked, shape: np.ndarray) -> Row:
    """Chamfer distance of the model and of the reference predictions, with equal numbers of points."""
    tokens, coords = event.tokens, event.batch.coords
    by_token = {int(t): coords[tokens.point[tokens.token == t]] for t in range(len(tokens))}
    visible = np.flatnonzero(~event.hidden)
    distances: dict[str, list[float]] = {name: [] for name in PREDICTORS}
    for t in np.flatnonzero(event.hidden):
        centre, true, model = tokens.centres[t], by_token[int(t)], event.coords[event.token == t]
        nearest = visible[((tokens.centres[visible] - centre) ** 2).sum(1).argmin()]
        predictions = {
            "model": model,
            "token_centre": centre[None],
            "mean_shape": centre + shape[: len(model)],
            "nearest_visible": centre + (by_token[int(nearest)] - tokens.centres[nearest])[: len(model)],
        }
        for name, prediction in predictions.items():
            distances[name].append(chamfer(prediction, true))
    hidden_points, visible_points = event.members(True), event.members(False)
    return {
        "event": tokens.event_id,
        "n_tokens": len(tokens),
        "n_hidden": int(event.hidden.sum()),
        "hidden_points_also_in_visible_tokens": len(np.intersect1d(hidden_points, visible_points)) / len(hidden_points),
        **{f"chamfer_{name}": float(np.mean(values)) for name, values in distances.items()},
    }


def _scale(masked: Sequence[Masked]) -> Scale:
    low, high = np.percentile(np.concatenate([event.batch.energy for event in masked]), TAILS)
    return Scale("energy (MeV)", float(low), float(max(high, 1.01 * low)), "viridis", logarithmic=True)


@dataclass(frozen=True)
class _Points:
    """Some points of an event: those in visible tokens, those in hidden ones only, the predicted ones."""

    title: str
    coords: np.ndarray
    energy: np.ndarray | None
    below: np.ndarray  # (n, 3) visible points to draw in grey below them
    hover: list[str]

    def panel(self, plt: Any, scale: Scale, within: tuple[np.ndarray, float] | None = None) -> Panel:
        """All points, or those inside a cube given by centre and half side."""
        chosen, below = np.ones(len(self.coords), dtype=bool), self.below
        if within is not None:
            chosen = _inside(self.coords, *within)
            below = below[_inside(below, *within)]
        coords = self.coords[chosen]
        ink = np.tile(np.array([INK]), (len(coords), 1))
        colours = ink if self.energy is None else scale.colours(plt, self.energy[chosen])
        grey = np.tile(np.array([GREY]), (len(below), 1))
        size = np.concatenate([np.full(len(below), FAINT), np.ones(len(coords))])
        hover = [""] * len(below) + [h for h, c in zip(self.hover, chosen, strict=False) if c] if self.hover else []
        title = self.title if within is None else ""
        return Panel(title, np.concatenate([below, coords]), np.concatenate([grey, colours]), hover, size)


def _inside(coords: np.ndarray, middle: np.ndarray, half: float) -> np.ndarray:
    inside: np.ndarray = (np.abs(coords - middle) <= half).all(1)
    return inside


def _columns(event: Masked, row: Row, bench: Bench, with_hover: bool) -> list[_Points]:
    """Visible points, true hidden points, and the prediction."""
    batch, visible_rows = event.batch, event.members(False)
    hidden_rows = np.setdiff1d(event.members(True), visible_rows)
    hover = event.tokens.hover(bench.task, batch.energy) if with_hover else []
    texts = [[hover[i] for i in rows] if hover else [] for rows in (visible_rows, hidden_rows)]
    names = [f"predicted for token {t}" for t in event.token] if with_hover else []
    if names and event.energy is not None:
        names = [f"{name}\n{energy:.3g} MeV" for name, energy in zip(names, event.energy, strict=True)]
    n_hidden, n_tokens = int(event.hidden.sum()), len(event.tokens)
    no_points, visible = batch.coords[:0], batch.coords[visible_rows]
    title = f"predicted: Chamfer distance {length_text(round(row['chamfer_model'], 2), bench.unit)}"
    return [
        _Points(
            f"shown: {n_tokens - n_hidden} of {n_tokens} tokens",
            visible,
            batch.energy[visible_rows],
            no_points,
            texts[0],
        ),
        _Points("truth of the hidden tokens", batch.coords[hidden_rows], batch.energy[hidden_rows], visible, texts[1]),
        _Points(title, event.coords, event.energy, visible, names),
    ]


def _close_up_centre(event: Masked) -> np.ndarray:
    """(3,) the hidden token with the most hidden tokens inside the close-up around it."""
    centres = event.tokens.centres[event.hidden]
    n_neighbours = [int(_inside(centres, centre, CLOSE).sum()) for centre in centres]
    densest: np.ndarray = centres[int(np.argmax(n_neighbours))]
    return densest


def _draw(plt: Any, bench: Bench, masked: Sequence[Masked], rows: Sequence[Row], names: Sequence[str]) -> Any:
    """Two rows per event: the whole event and a close-up."""
    scale, panels, labels = _scale(masked), [], []
    for event, row, name in zip(masked, rows, names, strict=True):
        columns, middle = _columns(event, row, bench, False), _close_up_centre(event)
        panels.append([column.panel(plt, scale) for column in columns])
        panels.append([column.panel(plt, scale, (middle, CLOSE)) for column in columns])
        labels += [name, "close-up"]
    return draw_panels(plt, panels, bench.unit, scale=scale, row_labels=labels)


def _page(bench: Bench, masked: Sequence[Masked], rows: Sequence[Row]) -> str:
    plt, scale = pyplot(), _scale(masked)
    choices = [
        Choice(event.tokens.event_id, [c.panel(plt, scale) for c in _columns(event, row, bench, True)])
        for event, row in zip(masked, rows, strict=True)
    ]
    return page(
        f"{bench.config.model}: masked reconstruction",
        choices,
        bench.unit,
        "Points in tokens that the model was shown, the truth in those that were hidden, and its prediction. Grey: "
        "points that were shown.",
        scale=(scale, colour_steps(plt, scale)),
    )
