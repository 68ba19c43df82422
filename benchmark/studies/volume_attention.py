"""Attention of one token of a tile, in every layer and head of an encoder of volumes.

A weight is shown as a multiple of the uniform weight. The correlation with the map of the same token in other tiles
tells whether a map depends on the tile. The published maps of the masked autoencoder on lithium fluoride showed noise,
from an untrained encoder.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark.contracts import PointBatch
from benchmark.errors import BenchmarkError, ConfigError
from benchmark.plots.style import shown_name
from benchmark.studies.attention import LABEL, MEAN, RANGES
from benchmark.studies.base import Row, Study
from benchmark.studies.encoders import Bench
from benchmark.studies.tile_pictures import NAME, bare, draw_tile, outline, overlay, shades
from benchmark.studies.volume_features import with_track

if TYPE_CHECKING:
    from benchmark.contracts.volume_model import VolumeModel

N_OTHERS = 8  # tiles that a map is compared with


@dataclass(frozen=True)
class _VolumeMap:
    """Attention of the chosen token in one layer and head."""

    layer: int
    head: str  # a number, or MEAN
    weights: np.ndarray  # (Tz, Ty, Tx), they sum to 1
    likeness: float  # mean correlation with the maps of the same token in other tiles


def volume_attention_study(
    bench: Bench[VolumeModel], position: int, token: int | None = None, layer: int | None = None,
    head: str | None = None,
) -> Study:  # fmt: skip
    """Attention from one token of one tile, given by number; default: the brightest one.

    `layer` and `head` (a number or `mean`): only these. Raises ConfigError for any of them that does not exist.
    """
    batch = next(iter(bench.choose([position])))
    grid = _grid(bench, batch)
    query = _brightest_token(batch, grid) if token is None else token
    n_tokens = int(np.prod(grid))
    if not 0 <= query < n_tokens:
        raise ConfigError(f"There is no token {query}. A tile has {n_tokens}, numbered from 0. Correct --token.")
    maps = _maps(bench, batch, position, query, grid, layer, head)
    return Study(
        name="attention",
        rows=[_row(batch, query, m) for m in maps],
        settings={**bench.settings, "position": position, "token": query, "grid": list(grid)},
        draw=partial(_draw, batch=batch, query=query, maps=maps, name=bench.name_of(position)),
        dpi=100,
    )


def _grid(bench: Bench[VolumeModel], batch: PointBatch) -> tuple[int, int, int]:
    a, b, c = bench.trained.token_features(batch.without_target().to_torch(bench.device)).shape[1:4]
    return int(a), int(b), int(c)


def _brightest_token(batch: PointBatch, grid: tuple[int, ...]) -> int:
    volume = np.asarray(batch.volumes.values)[0]
    voxel = np.unravel_index(int(volume.argmax()), volume.shape)
    token = [p * g // n for p, g, n in zip(voxel, grid, volume.shape, strict=True)]
    return int(np.ravel_multi_index(token, grid))


def _maps(
    bench: Bench[VolumeModel], batch: PointBatch, position: int, query: int, grid: tuple[int, int, int],
    layer: int | None, head: str | None,
) -> list[_VolumeMap]:  # fmt: skip
    depth = int(bench.config.model_config.depth)
    if layer is not None and not 0 <= layer < depth:
        raise ConfigError(
            f"There is no layer {layer}. The encoder has {depth}, numbered from 0. Correct --layer, or leave it out."
        )
    other_positions = [i for i in range(min(len(bench.events), N_OTHERS + 1)) if i != position][:N_OTHERS]
    other_tiles = list(bench.choose(other_positions)) if other_positions else []
    maps = []
    for number in range(depth) if layer is None else [layer]:
        rows = _attention_rows(bench, batch, number, query)
        other_rows = [_attention_rows(bench, b, number, query) for b in other_tiles]
        names = [*map(str, range(len(rows) - 1)), MEAN]
        if head not in (None, *names):
            raise ConfigError(
                f"There is no head {head}. The encoder has {len(rows) - 1}, numbered from 0, and `mean`. Correct "
                f"--head, or leave it out."
            )
        for i, name in enumerate(names):
            if head in (None, name):
                correlations = [float(np.corrcoef(rows[i], o[i])[0, 1]) for o in other_rows]
                maps.append(
                    _VolumeMap(
                        number,
                        name,
                        rows[i].reshape(grid),
                        float(np.mean(correlations)) if correlations else float("nan"),
                    )
                )
    return maps


def _attention_rows(bench: Bench[VolumeModel], batch: PointBatch, layer: int, query: int) -> np.ndarray:
    """(heads + 1, T) attention weights of the token in each head, and their mean."""
    weights = bench.trained.attention(batch.without_target().to_torch(bench.device), layer)[0, :, query]
    rows = weights.float().cpu().numpy()
    if not np.isfinite(rows).all():
        raise BenchmarkError(
            f"The attention weights of {batch.event_ids[0]} hold NaN. Finite numbers were expected. Give another "
            f"--checkpoint."
        )
    return np.concatenate([rows, rows.mean(0, keepdims=True)])


def _row(batch: PointBatch, query: int, attention_map: _VolumeMap) -> Row:
    weights = attention_map.weights.astype(np.float64)
    positive = weights[weights > 0]
    track = with_track(batch, weights.shape) > 0
    return {
        "event": batch.event_ids[0],
        "token": query,
        "layer": attention_map.layer,
        "head": attention_map.head,
        "effective_tokens": float(np.exp(-(positive * np.log(positive)).sum())),
        "weight_on_tracks": float(weights[track].sum()),
        "tokens_with_tracks": float(track.mean()),
        "correlation_with_other_tiles": attention_map.likeness,
    }


def _draw(plt: Any, batch: PointBatch, query: int, maps: list[_VolumeMap], name: str) -> Any:
    """A row per layer, a column per head, the mean last; the tile itself in the first column."""
    layers = sorted({m.layer for m in maps})
    n = 1 + max(sum(m.layer == layer for m in maps) for layer in layers)
    figure, axes = plt.subplots(
        len(layers), n, figsize=(2.2 * n, 2.3 * len(layers)), layout="constrained", squeeze=False
    )
    volume, target = np.asarray(batch.volumes.values)[0], np.asarray(batch.volumes.target)[0]
    relative = np.concatenate([m.weights.ravel() * m.weights.size for m in maps])
    end = next((r for r in RANGES if r >= np.percentile(relative, 99)), RANGES[-1])
    grid = maps[0].weights.shape
    cell = np.unravel_index(query, grid)
    y, x = ((cell[a] + 0.5) * volume.shape[a] / grid[a] - 0.5 for a in (1, 2))
    image = None
    for row, layer in zip(axes, layers, strict=True):
        draw_tile(row[0], volume, shades(volume), shown_name(name, NAME) if layer == layers[0] else "")
        for axis, attention_map in zip(row[1:], (m for m in maps if m.layer == layer), strict=False):
            from matplotlib.colors import LogNorm

            values = np.maximum(attention_map.weights[cell[0]] * attention_map.weights.size, 1 / end)
            image = overlay(axis, values, volume.shape, cmap="coolwarm", norm=LogNorm(1 / end, end))
            bare(
                axis,
                f"layer {layer}, " + ("mean of heads" if attention_map.head == MEAN else f"head {attention_map.head}"),
            )
        for axis in row:
            outline(axis, target)
            axis.plot(x, y, "o", markersize=7, fillstyle="none", color="black", markeredgewidth=1.4)
            axis.set(xticks=[], yticks=[])
    figure.colorbar(image, ax=axes, label=LABEL, shrink=0.6)
    figure.suptitle(f"attention of token {query} (circle); true tracks outlined in red", fontsize=10, color="black")
    return figure
