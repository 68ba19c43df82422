"""Hidden tokens of volumes predicted by a masked autoencoder, beside untrained reference fillings.

Every tile is shown in full, as the model gets it, and as the model and harmonic inpainting fill it in. Its row has the
error of each in background and in signal tokens (`benchmark.metrics.reconstruction`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmark.contracts import PointBatch
from benchmark.metrics.reconstruction import COLUMNS, PREDICTORS, scores, state
from benchmark.ops import harmonic
from benchmark.plots.style import shown_name
from benchmark.seeding import seed_from
from benchmark.studies.base import Row, Study
from benchmark.studies.encoders import Bench
from benchmark.studies.tile_pictures import NAME, bare, cover, draw_tile, outline, shades

if TYPE_CHECKING:
    from benchmark.contracts.volume_model import VolumeModel

SHOWN = ("event", "hidden_signal_tokens", "mse_background_model", "mse_background_harmonic", "mse_signal_model",
         "mse_signal_harmonic")  # fmt: skip


@dataclass(frozen=True)
class _Filled:
    """A tile, its hidden tokens, and two fillings."""

    batch: PointBatch
    hidden: np.ndarray  # (Tz, Ty, Tx)
    model: np.ndarray  # (Z, Y, X)
    smooth: np.ndarray

    @property
    def true(self) -> np.ndarray:
        """(Z, Y, X)."""
        volume: np.ndarray = np.asarray(self.batch.volumes.values)[0]
        return volume


def volume_reconstruction_study(bench: Bench[VolumeModel], positions: Sequence[int]) -> Study:
    """Hidden tokens of the tiles at these positions, predicted by the pre-trained model."""
    filled = [_fill(bench, batch) for batch in bench.choose(positions)]
    states = np.concatenate([state(f.model[None], f.true[None], f.hidden[None]) for f in filled])
    rows = [_row(f, s) for f, s in zip(filled, states, strict=True)]
    together = scores(states, np.ones((1, len(states))))["overall"]
    return Study(
        name="reconstruction",
        rows=rows,
        highlights=[{name: row[name] for name in SHOWN} for row in rows],
        settings={**bench.settings, "positions": list(positions)},
        findings={name: None if np.isnan(v[0]) else float(v[0]) for name, v in together.items()},
        draw=partial(_draw, filled=filled, names=[bench.name_of(p) for p in positions]),
        dpi=100,
    )


def _fill(bench: Bench[VolumeModel], batch: PointBatch) -> _Filled:
    seed = seed_from("hidden tokens", bench.config.seed, *batch.event_ids)
    image, hidden = bench.trained.reconstruct(batch.without_target().to_torch(bench.device), seed)
    tokens = hidden[0].cpu().numpy()
    true = np.asarray(batch.volumes.values)[0]
    voxels = harmonic.unblocks(tokens[..., None], true.shape)
    smooth = harmonic.inpaint(np.where(voxels, np.float32(0), true), voxels)
    return _Filled(batch, tokens, image[0].float().cpu().numpy(), smooth)


def _row(filled: _Filled, state_: np.ndarray) -> Row:
    column = dict(zip(COLUMNS, state_.tolist(), strict=True))
    row: dict[str, Any] = {"event": filled.batch.event_ids[0], "hidden_tokens": int(filled.hidden.sum()),
                           "hidden_signal_tokens": int(column["n_peaks"])}  # fmt: skip
    for part in ("background", "signal"):
        n = column[f"n_{part}"]
        row |= {f"mse_{part}_{name}": column[f"{part}_{name}"] / n if n else None for name in PREDICTORS}
    return row


def _draw(plt: Any, filled: Sequence[_Filled], names: Sequence[str]) -> Any:
    """A row per tile: truth, visible part, model, harmonic inpainting, and residual of the model."""
    titles = ("{}, true tracks outlined", "what the model sees", "model", "harmonic inpainting", "truth - model")
    figure, axes = plt.subplots(
        len(filled), len(titles), figsize=(2.7 * len(titles), 2.85 * len(filled)), layout="constrained", squeeze=False
    )
    for row, filling, name in zip(axes, filled, names, strict=True):
        true, ends = filling.true, shades(filling.true)
        for axis, image, title in zip(row, (true, true, filling.model, filling.smooth), titles, strict=False):
            draw_tile(axis, image, ends, title.format(shown_name(name, NAME)))
        if filling.batch.volumes.target is not None:
            outline(row[0], np.asarray(filling.batch.volumes.target)[0])
        cover(row[1], filling.hidden, true.shape)
        residual = true - filling.model
        strongest = np.take_along_axis(residual, np.abs(residual).argmax(axis=0)[None], axis=0)[0]
        width = ends[1] - ends[0]
        row[4].imshow(strongest, cmap="RdBu_r", vmin=-width / 2, vmax=width / 2, origin="lower")
        bare(row[4], titles[4])
    return figure
