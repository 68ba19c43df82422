"""Principal components of a volume encoder's token features as colours, beside an encoder with random weights.

The grid of tokens is the same in every tile, so the mean at a grid position over other tiles (of the training split)
is what position alone predicts. "De-biased" features have it subtracted. The three leading principal components
over the tokens of the tiles shown become red, green and blue.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark.contracts import PointBatch
from benchmark.plots.style import shown_name
from benchmark.studies.base import Row, Study
from benchmark.studies.encoders import Bench
from benchmark.studies.features import principal_components, share_between
from benchmark.studies.tile_pictures import NAME, bare, draw_tile, outline, overlay, shades

if TYPE_CHECKING:
    from benchmark.contracts.volume_model import VolumeModel


@dataclass(frozen=True)
class _View:
    """One encoder's features of the tiles shown, as colours."""

    name: str
    colours: list[np.ndarray]  # (Tz, Ty, Tx, 3) of each tile
    row: Row


def volume_features_study(bench: Bench[VolumeModel], positions: Sequence[int], debias: bool = True) -> Study:
    """Token features as colours: the tile, untrained encoder, trained encoder, for the tiles at these positions."""
    tiles = list(bench.choose(positions))
    encoders = (("untrained", bench.untrained), ("pre-trained", bench.trained))
    views = [_colour_view(name, model, tiles, bench, debias) for name, model in encoders]
    return Study(
        name="features",
        rows=[view.row for view in views],
        settings={**bench.settings, "debias": debias, "fitting_events": len(bench.fitting),
                  "positions": list(positions)},
        draw=partial(_draw, tiles=tiles, views=views, names=[bench.name_of(p) for p in positions]),
    )  # fmt: skip


def features_of(model: VolumeModel, batch: PointBatch, device: str) -> np.ndarray:
    """(Tz, Ty, Tx, D) float32 of one tile, without its labels."""
    features: np.ndarray = model.token_features(batch.without_target().to_torch(device))[0].float().cpu().numpy()
    return features


def with_track(batch: PointBatch, grid: tuple[int, ...]) -> np.ndarray:
    """(Tz, Ty, Tx) int64 1 for tokens with a voxel of a track."""
    target = np.asarray(batch.volumes.target)[0]
    sizes = [n // g for n, g in zip(target.shape, grid, strict=True)]
    blocks = target.reshape(grid[0], sizes[0], grid[1], sizes[1], grid[2], sizes[2])
    has_track: np.ndarray = (blocks.max(axis=(1, 3, 5)) > 0).astype(np.int64)
    return has_track


def _colour_view(name: str, model: VolumeModel, tiles: Sequence[PointBatch], bench: Bench, debias: bool) -> _View:
    fitting = [(features_of(model, b, bench.device), b) for b in bench.fitting]
    position_mean = np.mean([f for f, _ in fitting], axis=0)  # (Tz, Ty, Tx, D)
    fitted = np.stack([f for f, _ in fitting])
    debiased = fitted - position_mean
    total = ((fitted - fitted.mean(axis=(0, 1, 2, 3))) ** 2).sum()
    classes = np.concatenate([with_track(b, f.shape[:3]).ravel() for f, b in fitting])
    measured = (debiased if debias else fitted).reshape(-1, fitted.shape[-1])
    shown = np.stack([features_of(model, b, bench.device) for b in tiles])
    coloured = shown - position_mean if debias else shown
    components = principal_components(coloured.reshape(-1, coloured.shape[-1]))
    colours = components.colours().reshape(*coloured.shape[:4], 3)
    row = {
        "encoder": name,
        "n_tiles_shown": len(tiles),
        "variance_in_3_components": components.share,
        "n_tiles_measured": len(fitting),
        "variance_from_position": float(1 - (debiased**2).sum() / total) if total > 0 else 0.0,
        "variance_between_track_and_background": share_between(measured, classes),
    }
    return _View(name, list(colours), row)


def _draw(plt: Any, tiles: Sequence[PointBatch], views: Sequence[_View], names: Sequence[str]) -> Any:
    """A row per tile: its image with the true tracks outlined, then a panel per encoder."""
    n = 1 + len(views)
    figure, axes = plt.subplots(
        len(tiles), n, figsize=(3.1 * n, 3.25 * len(tiles)), layout="constrained", squeeze=False
    )
    for i, (row, batch) in enumerate(zip(axes, tiles, strict=True)):
        volume, target = np.asarray(batch.volumes.values)[0], np.asarray(batch.volumes.target)[0]
        draw_tile(row[0], volume, shades(volume), f"{shown_name(names[i], NAME)}, true tracks outlined")
        outline(row[0], target)
        for axis, view in zip(row[1:], views, strict=True):
            overlay(axis, view.colours[i][0], volume.shape)
            outline(axis, target)
            bare(axis, f"{shown_name(view.name, NAME)} encoder")
    return figure
