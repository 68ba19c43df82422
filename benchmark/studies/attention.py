"""The attention weights of one token, in every layer and head, over the points of its event.

PoLAr-MAE (arXiv:2502.02558), figure 9. A weight is shown as a multiple of the uniform weight (1 over the number of
tokens), so that events of different sizes share a colour bar.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from benchmark.errors import BenchmarkError, ConfigError
from benchmark.plots.scene import Panel, Scale, class_colours, draw_panels, widest_view
from benchmark.plots.scene_page import Choice, colour_steps, page
from benchmark.plots.style import pyplot, shown_name
from benchmark.studies.base import Row, Study
from benchmark.studies.encoders import Bench, EventTokens, tokens_of

MEAN = "mean"
LABEL = "attention weight x number of tokens (1: all alike)"
RANGES = (3.0, 10.0, 30.0, 100.0)  # ends of the colour bar: the first above nearly all weights
WIDTH = 2.3  # of a panel, in inches


@dataclass(frozen=True)
class Map:
    """Attention of the chosen token in one layer and head."""

    layer: int
    head: str  # a number, or MEAN
    weights: np.ndarray  # (T,), they sum to 1

    @property
    def title(self) -> str:
        """Title of a panel."""
        return f"layer {self.layer}, " + ("mean of heads" if self.head == MEAN else f"head {self.head}")


def attention_study(
    bench: Bench, position: int, token: int | None = None, point: tuple[float, float, float] | None = None,
    layer: int | None = None, head: str | None = None,
) -> Study:  # fmt: skip
    """Attention from one token of one event, given by number or by a position (the nearest token).

    Default: the token nearest to the centre of the event's largest particle. `layer` and `head` (a
    number or `mean`): only these; without them, all layers, or all heads and their mean. Raises ConfigError for any of
    them that does not exist.
    """
    chosen = bench.choose([position])
    event = tokens_of(bench.trained, next(iter(chosen)), bench.device)
    query = _choose_token(event, token, point)
    maps = _maps(bench, event, query, layer, head)
    instance = None if event.batch.instance is None else event.majority(np.asarray(event.batch.instance))
    same_particle = None if instance is None or instance[query] < 0 else instance == instance[query]
    distance = np.sqrt(((event.centres - event.centres[query]) ** 2).sum(1))
    return Study(
        name="attention",
        rows=[_row(event, query, m, distance, same_particle) for m in maps],
        settings={**bench.settings, "position": position, "token": query},
        draw=partial(_draw, bench=bench, event=event, query=query, maps=maps, name=bench.name_of(position)),
        html=_page(bench, event, query, maps),
        dpi=88,
    )


def _choose_token(event: EventTokens, token: int | None, point: tuple[float, float, float] | None) -> int:
    if token is not None and point is not None:
        raise ConfigError("--token and --point were both given. One of the two was expected. Leave one out.")
    if point is not None:
        if not np.isfinite(point).all():
            raise ConfigError(f"--point {point} is no position. Three finite numbers were expected. Correct --point.")
        return int(event.nearest(np.array([point], dtype=np.float32))[0])
    if token is not None:
        if not 0 <= token < len(event):
            raise ConfigError(
                f"There is no token {token}. Event {event.event_id} has {len(event)} tokens, numbered from 0. Correct "
                f"--token."
            )
        return token
    return _token_in_largest_particle(event)


def _token_in_largest_particle(event: EventTokens) -> int:
    coords, instance = event.batch.coords, event.batch.instance
    if instance is not None and (np.asarray(instance) >= 0).any():
        particles = np.asarray(instance)
        ids, counts = np.unique(particles[particles >= 0], return_counts=True)
        coords = coords[particles == ids[counts.argmax()]]
    return int(event.nearest(coords.mean(0, keepdims=True))[0])


def _maps(bench: Bench, event: EventTokens, query: int, layer: int | None, head: str | None) -> list[Map]:
    depth = _depth(bench)
    if layer is not None and not 0 <= layer < depth:
        raise ConfigError(
            f"There is no layer {layer}. The encoder has {depth}, numbered from 0. Correct --layer, or leave it out."
        )
    tensors = event.batch.without_target().to_torch(bench.device)
    maps: list[Map] = []
    for number in range(depth) if layer is None else [layer]:
        rows = bench.trained.attention(tensors, number)[0][:, query, :].float().cpu().numpy()  # (heads, T)
        if not np.isfinite(rows).all():
            raise BenchmarkError(
                f"The attention weights of event {event.event_id} hold NaN. Finite numbers were expected. Give another "
                f"--checkpoint."
            )
        _check_head(head, len(rows))
        named_rows = [*((str(i), row) for i, row in enumerate(rows)), (MEAN, rows.mean(0))]
        maps += [Map(number, name, row) for name, row in named_rows if head in (None, name)]
    return maps


def _depth(bench: Bench) -> int:
    """Number of encoder blocks: a field that every model on tokens has."""
    return int(bench.config.model_config.depth)


def _check_head(head: str | None, n_heads: int) -> None:
    if head not in (None, MEAN, *map(str, range(n_heads))):
        raise ConfigError(
            f"There is no head {head}. The encoder has {n_heads}, numbered from 0, and `mean`. Correct --head, or "
            f"leave it out."
        )


def _row(
    event: EventTokens, query: int, attention_map: Map, distance: np.ndarray, same_particle: np.ndarray | None
) -> Row:
    weights = attention_map.weights.astype(np.float64)
    positive = weights[weights > 0]
    return {
        "event": event.event_id,
        "token": query,
        "layer": attention_map.layer,
        "head": attention_map.head,
        "mean_distance": float(weights @ distance),  # in the unit of the coordinates
        "mean_distance_all_alike": float(distance.mean()),
        "effective_tokens": float(np.exp(-(positive * np.log(positive)).sum())),
        "weight_on_own_particle": None if same_particle is None else float(weights[same_particle].sum()),
        "tokens_of_own_particle": None if same_particle is None else float(same_particle.mean()),
    }


def _scale(maps: Sequence[Map]) -> Scale:
    """From 1/r to r around the uniform weight, in a diverging colour map."""
    weights = np.concatenate([m.weights * len(m.weights) for m in maps])
    widest = float(np.percentile(weights, 99))
    end = next((r for r in RANGES if r >= widest), RANGES[-1])
    return Scale(LABEL, 1 / end, end, "coolwarm", logarithmic=True)


def _panels(plt: Any, bench: Bench, event: EventTokens, query: int, maps: Sequence[Map], scale: Scale) -> list[Panel]:
    """A panel per map; all share the points and hover texts."""
    mark, hover = event.centres[query], event.hover(bench.task, event.batch.energy)
    panels = []
    for attention_map in maps:
        weights = event.spread(attention_map.weights * len(event))
        colours = scale.colours(plt, weights)
        panels.append(Panel(attention_map.title, event.batch.coords, colours, hover, mark=mark, values=weights))
    return panels


def _truth(bench: Bench, panel: Panel, event: EventTokens, query: int) -> Panel:
    colours = class_colours(np.asarray(event.batch.target), len(bench.task.classes))
    return replace(panel, title=f"truth, token {query} marked", colours=colours, values=None)


def _draw(plt: Any, bench: Bench, event: EventTokens, query: int, maps: Sequence[Map], name: str) -> Any:
    """A row per layer, a column per head, the mean last."""
    scale = _scale(maps)
    panels = _panels(plt, bench, event, query, maps, scale)
    layers = sorted({m.layer for m in maps})
    rows = [[p for p, m in zip(panels, maps, strict=True) if m.layer == layer] for layer in layers]
    width = WIDTH
    if len(panels) <= 2:
        rows, width = [[_truth(bench, panels[0], event, query), *panels]], 3.4
    view = widest_view(event.batch.coords)
    title = f"{shown_name(bench.config.model)}, {shown_name(name)}: attention of token {query} (circle)"
    return draw_panels(plt, rows, bench.unit, views=[view] * len(rows), scale=scale, width=width, title=title)


def _page(bench: Bench, event: EventTokens, query: int, maps: Sequence[Map]) -> str:
    plt, scale = pyplot(), _scale(maps)
    panels = _panels(plt, bench, event, query, maps, scale)
    truth = _truth(bench, panels[0], event, query)
    return page(
        f"{bench.config.model}: attention of token {query} in event {event.event_id}",
        [Choice(panel.title, [truth, panel]) for panel in panels],
        bench.unit,
        "The mark is the chosen token. Colours: its attention weight times the number of tokens, 1 where all tokens "
        "are attended to alike.",
        scale=(scale, colour_steps(plt, scale)),
    )
