"""Principal components of token features as colours, without the part predicted from position.

PoLAr-MAE (arXiv:2502.02558), figures 8 and 16, beside an encoder with random weights. The encoder knows where a token
is, and much of its features may encode only that. "De-biased" here means: a linear map from functions of the token's
centre to the features is fitted by ridge regression on other events (of the training split; the penalty is chosen by
two-fold cross-validation), and its prediction is subtracted from the features of the events shown. The functions are
all products of up to three of x, y, z, and the sine and cosine of pi k x, pi k y, pi k z for k = 1, 2, 4, in
coordinates that map the detector into the unit ball. Then the three leading principal components over all tokens of the
events shown become red, green and blue, each spread from its 2nd to its 98th percentile, with the sign that makes the
largest entry of its axis positive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations_with_replacement
from typing import Any

import numpy as np

from benchmark.contracts import Frame
from benchmark.contracts.colours import COLOURS
from benchmark.errors import ConfigError
from benchmark.plots.scene import Panel, class_colours, draw_panels
from benchmark.plots.scene_page import Choice, page
from benchmark.studies.base import Row, Study
from benchmark.studies.encoders import Bench, EventTokens, each

DEGREE = 3
WAVES = (1, 2, 4)
N_COLOURS = 3
TAILS = (2.0, 98.0)  # percentiles that become 0 and 1 of a colour
RIDGES = (1e-6, 1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0)  # penalties to choose from, times the number of tokens


@dataclass(frozen=True)
class PositionBias:
    """The part of the features that is linear in functions of the centre."""

    coefficients: np.ndarray  # (n_functions, D)
    frame: Frame

    def remove(self, tokens: EventTokens) -> np.ndarray:
        """(T, D) features minus the predicted part."""
        debiased: np.ndarray = tokens.features - position_functions(tokens.centres, self.frame) @ self.coefficients
        return debiased


def position_functions(centres: np.ndarray, frame: Frame) -> np.ndarray:
    """(T, n_functions) of centres (T, 3): a constant, monomials up to DEGREE, waves."""
    x = (centres.astype(np.float64) - np.asarray(frame.centre)) * frame.scale
    columns = [np.ones(len(x))]
    for degree in range(1, DEGREE + 1):
        columns += [x[:, list(axes)].prod(1) for axes in combinations_with_replacement(range(3), degree)]
    for k in WAVES:
        columns += [*np.sin(np.pi * k * x).T, *np.cos(np.pi * k * x).T]
    return np.stack(columns, axis=1)


def position_bias(events: Sequence[EventTokens], frame: Frame) -> PositionBias:
    """Ridge regression over the tokens of these events; the penalty comes from two-fold cross-validation.

    Tokens of one event are correlated, so with few events many functions would overfit.
    """
    halves = events[::2], events[1::2]
    errors = (
        [sum(_error(_fit(a, frame, r), b) for a, b in (halves, halves[::-1])) for r in RIDGES] if all(halves) else [0]
    )
    return _fit(events, frame, RIDGES[int(np.argmin(errors))])


def _fit(events: Sequence[EventTokens], frame: Frame, ridge: float) -> PositionBias:
    functions = np.concatenate([position_functions(e.centres, frame) for e in events])
    features = np.concatenate([e.features for e in events]).astype(np.float64)
    penalty = np.full(functions.shape[1], ridge * len(functions))
    penalty[0] = 0.0  # the constant is not penalised
    normal_matrix = functions.T @ functions + np.diag(penalty)
    return PositionBias(np.linalg.solve(normal_matrix, functions.T @ features), frame)


def _error(bias: PositionBias, events: Sequence[EventTokens]) -> float:
    return float(sum((bias.remove(e) ** 2).sum() for e in events))


@dataclass(frozen=True)
class Components:
    """The leading principal components of token features."""

    values: np.ndarray  # (T, 3)
    share: float  # of the variance, in the three together

    def colours(self) -> np.ndarray:
        """(T, 3) red, green and blue."""
        low, high = np.percentile(self.values, TAILS, axis=0)
        width = high - low
        spread: np.ndarray = np.clip((self.values - low) / np.where(width > 0, width, 1.0), 0, 1)
        return np.where(width > 0, spread, 0.5)


def principal_components(features: np.ndarray) -> Components:
    """The three leading components of features (T, D), T and D above 3, with signs that do not depend on the solver."""
    centred = features.astype(np.float64) - features.mean(0)
    scores, sizes, axes = np.linalg.svd(centred, full_matrices=False)
    leading = axes[:N_COLOURS]
    signs = np.sign(leading[np.arange(len(leading)), np.abs(leading).argmax(1)])
    variance = sizes**2
    total = variance.sum()
    values = scores[:, :N_COLOURS] * sizes[:N_COLOURS] * signs
    return Components(values, float(variance[:N_COLOURS].sum() / total) if total > 0 else 0.0)


def share_between(values: np.ndarray, labels: np.ndarray) -> float:
    """Share of the variance of values (T, C) that lies between the means of the labelled groups.

    0: all groups have the same mean; 1: each group has a single value. Labels below 0 are left out.
    """
    labelled = labels >= 0
    values, labels = values[labelled].astype(np.float64), labels[labelled]
    if len(values) == 0:
        return 0.0
    total = ((values - values.mean(0)) ** 2).sum()
    groups = [values[labels == label] for label in np.unique(labels)]
    between = sum(len(g) * ((g.mean(0) - values.mean(0)) ** 2).sum() for g in groups)
    return float(between / total) if total > 0 else 0.0


@dataclass(frozen=True)
class Coloured:
    """The events shown, coloured by one encoder."""

    name: str
    events: list[EventTokens]
    colours: list[np.ndarray]  # (T, 3) each
    row: Row


def features_study(bench: Bench, positions: Sequence[int], debias: bool = True) -> Study:
    """Token features as colours: truth, untrained encoder, trained encoder, for the events at these positions."""
    shown = bench.choose(positions)
    encoders = [("untrained", bench.untrained), ("pre-trained", bench.trained)]
    views = []
    frame = shown.dataset.info.frame
    for name, model in encoders:
        events, fitted = (list(each(model, selection, bench.device)) for selection in (shown, bench.fitting))
        view = _colour_tokens(name, events, position_bias(fitted, frame), debias)
        views.append(replace(view, row={**view.row, **_measure_variance(fitted, frame, debias)}))
    panels = _panels(bench, views)
    return Study(
        name="features",
        rows=[view.row for view in views],
        settings={
            **bench.settings,
            "debias": debias,
            "fitting_events": len(bench.fitting),
            "positions": list(positions),
        },
        draw=partial(_draw, panels=panels, bench=bench, names=[bench.name_of(p) for p in positions]),
        html=page(
            f"{bench.config.model}: {'de-biased ' if debias else ''}features of tokens as colours",
            [Choice(views[0].events[i].event_id, row) for i, row in enumerate(panels)],
            bench.unit,
            "Features of tokens by an encoder with random weights and by the pre-trained one: three principal "
            "components as red, green and blue" + (", without what position alone predicts." if debias else "."),
        ),
        dpi=100,
    )  # fmt: skip


def _colour_tokens(name: str, events: list[EventTokens], bias: PositionBias, debias: bool) -> Coloured:
    features = np.concatenate([e.features for e in events])
    debiased = np.concatenate([bias.remove(e) for e in events])
    if len(features) <= N_COLOURS:
        raise ConfigError(
            f"The events have {len(features)} tokens in all. More than 3 were expected. Name more --event."
        )
    components = principal_components(debiased if debias else features)
    row = {
        "encoder": name,
        "n_events_shown": len(events),
        "n_tokens_shown": len(features),
        "variance_in_3_components": components.share,
    }
    cuts = np.cumsum([len(e) for e in events])[:-1]
    return Coloured(name, events, np.split(components.colours(), cuts), row)


def _measure_variance(events: Sequence[EventTokens], frame: Frame, debias: bool) -> Row:
    """Share of the variance explained by position and by class, with two-fold cross-validation over the events."""
    halves = events[::2], events[1::2]
    features = np.concatenate([e.features for half in halves for e in half])
    biases = position_bias(halves[1], frame), position_bias(halves[0], frame)
    debiased = np.concatenate([bias.remove(e) for half, bias in zip(halves, biases, strict=True) for e in half])
    classes = np.concatenate([e.majority(np.asarray(e.batch.target)) for half in halves for e in half])
    total = ((features - features.mean(0)) ** 2).sum()
    remaining = ((debiased - debiased.mean(0)) ** 2).sum()
    return {
        "n_events_measured": len(events),
        "n_tokens_measured": len(features),
        "variance_from_position": 1 - float(remaining / total) if total > 0 else 0.0,
        "variance_between_classes": share_between(debiased if debias else features, classes),
    }


def _panels(bench: Bench, views: Sequence[Coloured]) -> list[list[Panel]]:
    """A row per event: truth, then a panel per encoder."""
    rows = []
    for i, event in enumerate(views[0].events):
        batch = event.batch
        hover = event.hover(bench.task, batch.energy)
        truth = class_colours(np.asarray(batch.target), len(bench.task.classes))
        row = [Panel("truth", batch.coords, truth, hover)]
        for view in views:
            tokens = view.events[i]
            colours = tokens.spread(view.colours[i])
            row.append(Panel(f"{view.name} encoder", batch.coords, colours, tokens.hover(bench.task, batch.energy)))
        rows.append(row)
    return rows


def _draw(plt: Any, panels: list[list[Panel]], bench: Bench, names: Sequence[str]) -> Any:
    legend = dict(zip(bench.task.classes, COLOURS, strict=False))
    return draw_panels(plt, panels, bench.unit, legend=legend, row_labels=names)
