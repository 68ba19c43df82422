"""Predicted values of hidden tokens of a volume: errors, and skill relative to fillings without training.

A token is "signal" where one of its true voxels is more than 5 robust sigmas above the tile's median: defined by the
image, so equal for real and simulated data. Few tokens are, and a mean over all tokens hides them; errors are therefore
given for all, background and signal tokens. Every record holds the same errors of four fillings: the mean of visible
voxels, the mean of the neighbouring tokens, each token's true mean (an oracle), and harmonic inpainting. Skill is
1 - error / error of harmonic inpainting: 0 is smooth interpolation, 1 is perfect. Sums over events are divided once, so
tiles are weighted by their hidden voxels.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmark.metrics.few_events import MadeOf
from benchmark.metrics.pions import Scores, blockwise
from benchmark.metrics.summary import ratio
from benchmark.ops.robust import median_and_sigma

PREDICTORS = ("model", "global_mean", "neighbour_mean", "oracle_token_mean", "harmonic")
REFERENCES = PREDICTORS[1:]
IMAGES = ("model", "harmonic")  # predictors whose whole images are compared
SIGNAL_SIGMAS = 5.0
# of an event: hidden voxels in background and in signal tokens, hidden signal tokens, 1 for the event
COUNTS = ("n_background", "n_signal", "n_peaks", "n_events")
COLUMNS = (
    *COUNTS,
    *(f"{part}_{name}" for name in PREDICTORS for part in ("background", "signal")),  # sums of squared errors
    *(f"{part}_{name}" for name in IMAGES for part in ("peaks", "psnr", "ssim")),  # sums of ratios; of the image
)
SECTIONS = ("overall", "reference")
WINDOW_SIGMA, REACH = 1.5, 5  # of SSIM's Gaussian window, in voxels: 11 x 11 as published
K1, K2 = 0.01, 0.03


def signal_tokens(volume: np.ndarray, grid: tuple[int, ...]) -> np.ndarray:
    """(Tz, Ty, Tx) bool: tokens with a voxel more than SIGNAL_SIGMAS robust sigmas above the median of (Z, Y, X)."""
    from benchmark.ops.harmonic import blocks

    median, sigma = median_and_sigma(volume)
    bright: np.ndarray = blocks(volume, grid).max(axis=3) > median + SIGNAL_SIGMAS * sigma
    return bright


def state(predicted: np.ndarray, true: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """(B, len(COLUMNS)) float32 from volumes (B, Z, Y, X) and the hidden tokens (B, Tz, Ty, Tx).

    Only hidden voxels of the prediction are used.
    """
    events = zip(predicted, true, hidden, strict=True)
    return np.stack([_event_values(p, t, h) for p, t, h in events]).astype(np.float32)


def _event_values(predicted: np.ndarray, true: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    from benchmark.ops import harmonic

    tokens = harmonic.blocks(true.astype(np.float64), hidden.shape)
    voxels = harmonic.unblocks(hidden[..., None], true.shape)
    visible = np.where(voxels, np.float32(0), true)
    images = {
        "model": np.where(voxels, predicted, true),
        "global_mean": harmonic.global_mean(visible, hidden),
        "neighbour_mean": harmonic.neighbour_mean(visible, hidden),
        "oracle_token_mean": harmonic.own_mean(true, hidden),
        "harmonic": harmonic.inpaint(visible, voxels),
    }
    signal = signal_tokens(true, hidden.shape)
    values: dict[str, float] = {"n_events": 1.0, "n_peaks": float((hidden & signal).sum())}
    parts = {"background": hidden & ~signal, "signal": hidden & signal}
    for part, is_part in parts.items():
        values[f"n_{part}"] = float(is_part.sum() * tokens.shape[3])
        for name, image in images.items():
            error = harmonic.blocks(image.astype(np.float64), hidden.shape)[is_part] - tokens[is_part]
            values[f"{part}_{name}"] = float((error**2).sum())
    median = float(np.median(true))
    peaks = tokens[parts["signal"]].max(axis=1) - median  # above 0 by the definition of signal
    for name in IMAGES:
        predicted_peaks = (
            harmonic.blocks(images[name].astype(np.float64), hidden.shape)[parts["signal"]].max(axis=1) - median
        )
        values[f"peaks_{name}"] = float((predicted_peaks / peaks).sum())
        values[f"psnr_{name}"] = psnr(images[name], true)
        values[f"ssim_{name}"] = ssim(images[name], true)
    return np.array([values[name] for name in COLUMNS])


def psnr(image: np.ndarray, true: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of a volume; with the range of the true values. 100 where equal."""
    error = float(((image.astype(np.float64) - true) ** 2).mean())
    width = float(true.max()) - float(true.min())
    return 100.0 if error <= 0 or width <= 0 else min(100.0, 10 * np.log10(width**2 / error))


def ssim(image: np.ndarray, true: np.ndarray) -> float:
    """Mean structural similarity of the slices of two volumes (Z, Y, X), with the range of the true one's values.

    Wang et al., IEEE Trans. Image Process. 13 (2004) 600: Gaussian window of sigma 1.5 voxels, K1 = 0.01, K2 = 0.03.
    """
    from scipy.ndimage import gaussian_filter

    a, b = image.astype(np.float64), true.astype(np.float64)
    width = float(b.max() - b.min()) or 1.0
    first, second = (K1 * width) ** 2, (K2 * width) ** 2

    def mean(values: np.ndarray) -> np.ndarray:
        window = (0.0, WINDOW_SIGMA, WINDOW_SIGMA)
        smooth: np.ndarray = gaussian_filter(values, window, mode="reflect", radius=(0, REACH, REACH))
        return smooth

    mean_a, mean_b = mean(a), mean(b)
    spread_a, spread_b, both = mean(a * a) - mean_a**2, mean(b * b) - mean_b**2, mean(a * b) - mean_a * mean_b
    map_ = (2 * mean_a * mean_b + first) * (2 * both + second)
    return float((map_ / ((mean_a**2 + mean_b**2 + first) * (spread_a + spread_b + second))).mean())


def rows(section: str) -> tuple[str, ...]:
    """Labels of a section's rows; none of `overall`."""
    return REFERENCES if section == "reference" else ()


def scores(states: np.ndarray, times: np.ndarray) -> Scores:
    """Every score of (B, len(COLUMNS)) events that are each drawn times[r] times: section -> name -> (R,) or (R, rows).

    Without hidden signal tokens their scores are NaN.
    """
    values = np.asarray(states, dtype=np.float64)

    def block(drawn: np.ndarray) -> Scores:
        return _scores_from_sums(drawn @ values)

    return blockwise(times, len(values), block)


def made_of(states: np.ndarray) -> dict[str, list[MadeOf]]:
    """What the scores of (B, len(COLUMNS)) events are made of: all, and among them some with hidden signal."""
    score = MadeOf(np.ones(len(states), bool), (states[:, COLUMNS.index("n_signal")] > 0,))
    return {"overall": [score], "reference": [score] * len(REFERENCES)}


def truth(states: np.ndarray) -> np.ndarray:
    """(B, 4) COUNTS: equal for all models with the same hidden tokens."""
    return np.asarray(states[:, : len(COUNTS)].astype(np.int64))


def _scores_from_sums(sums: np.ndarray) -> Scores:
    """The scores of (R, len(COLUMNS)) sums over events."""
    column = {name: sums[:, i] for i, name in enumerate(COLUMNS)}
    model, harmonic = (_predictor_scores(column, name) for name in IMAGES)
    skill = {
        f"skill_{part}": 1 - ratio(model[f"mse_{part}"], harmonic[f"mse_{part}"], harmonic[f"mse_{part}"] > 0)
        for part in ("all", "background", "signal")
    }
    references = [_predictor_scores(column, name) for name in REFERENCES]
    undefined = np.full(len(sums), np.nan)
    return {
        "overall": {**skill, **model},
        "reference": {name: np.stack([r.get(name, undefined) for r in references], axis=1) for name in model},
    }


def _predictor_scores(column: dict[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    n = {part: column[f"n_{part}"] for part in ("background", "signal")}
    error = {part: column[f"{part}_{name}"] for part in n}
    both = n["background"] + n["signal"]
    scores = {
        "mse_all": ratio(error["background"] + error["signal"], both, both > 0),
        **{f"mse_{part}": ratio(error[part], n[part], n[part] > 0) for part in n},
    }
    if name in IMAGES:
        n_peaks, n_events = column["n_peaks"], column["n_events"]
        scores["peak_recovery"] = ratio(column[f"peaks_{name}"], n_peaks, n_peaks > 0)
        scores |= {part: ratio(column[f"{part}_{name}"], n_events, n_events > 0) for part in ("psnr", "ssim")}
    return scores


def extra(states: np.ndarray) -> dict[str, Any]:
    """Plain values beside the scores: numbers of hidden voxels and signal tokens, and the signal threshold."""
    total = np.asarray(states, dtype=np.float64).sum(axis=0)
    return {
        "hidden_voxels": {part: int(total[COLUMNS.index(f"n_{part}")]) for part in ("background", "signal")},
        "hidden_signal_tokens": int(total[COLUMNS.index("n_peaks")]),
        "signal_sigmas": SIGNAL_SIGMAS,
    }
