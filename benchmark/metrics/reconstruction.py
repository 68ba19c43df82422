"""Predicted values of hidden tokens of a volume: errors, and what they are worth beside fillings without training.

A token is "signal" where one of its true voxels stands more than 5 robust sigmas above the tile's median: the image
alone decides, so that it means the same in real and in simulated data. Few tokens are, and a mean over all tokens says
next to nothing of them; every error therefore stands for all, background and signal tokens. Every record holds the same
errors of four fillings: the mean of what is visible, the mean of the neighbouring tokens, each token's own mean (which
only an oracle knows), and harmonic inpainting. Skill is 1 - error / error of harmonic inpainting: 0 is smooth
interpolation, 1 is perfect. Sums over events are divided once, so a tile counts by its hidden voxels.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmark.metrics.pions import Scores, blockwise
from benchmark.metrics.summary import ratio
from benchmark.ops.robust import median_and_sigma

PREDICTORS = ("model", "global_mean", "neighbour_mean", "oracle_token_mean", "harmonic")
REFERENCES = PREDICTORS[1:]
IMAGES = ("model", "harmonic")  # whose whole images are compared too
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
    """(B, len(COLUMNS)) float32 from volumes (B, Z, Y, X) and the tokens that were hidden (B, Tz, Ty, Tx).

    Only hidden voxels of the prediction are looked at.
    """
    return np.stack([_of_event(p, t, h) for p, t, h in zip(predicted, true, hidden, strict=True)]).astype(np.float32)


def _of_event(predicted: np.ndarray, true: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    from benchmark.ops import harmonic

    tokens = harmonic.blocks(true.astype(np.float64), hidden.shape)
    voxels = harmonic.unblocks(hidden[..., None], true.shape)
    given = np.where(voxels, np.float32(0), true)
    images = {
        "model": np.where(voxels, predicted, true),
        "global_mean": harmonic.global_mean(given, hidden),
        "neighbour_mean": harmonic.neighbour_mean(given, hidden),
        "oracle_token_mean": harmonic.own_mean(true, hidden),
        "harmonic": harmonic.inpaint(given, voxels),
    }
    signal = signal_tokens(true, hidden.shape)
    found: dict[str, float] = {"n_events": 1.0, "n_peaks": float((hidden & signal).sum())}
    parts = {"background": hidden & ~signal, "signal": hidden & signal}
    for part, chosen in parts.items():
        found[f"n_{part}"] = float(chosen.sum() * tokens.shape[3])
        for name, image in images.items():
            error = harmonic.blocks(image.astype(np.float64), hidden.shape)[chosen] - tokens[chosen]
            found[f"{part}_{name}"] = float((error**2).sum())
    median = float(np.median(true))
    peaks = tokens[parts["signal"]].max(axis=1) - median  # above 0: that is what makes them signal
    for name in IMAGES:
        answers = harmonic.blocks(images[name].astype(np.float64), hidden.shape)[parts["signal"]].max(axis=1) - median
        found[f"peaks_{name}"] = float((answers / peaks).sum())
        found[f"psnr_{name}"] = psnr(images[name], true)
        found[f"ssim_{name}"] = ssim(images[name], true)
    return np.array([found[name] for name in COLUMNS])


def psnr(image: np.ndarray, true: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB of a volume; the range is that of the true one's values. 100 where equal."""
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


def _scores_from_sums(sums: np.ndarray) -> Scores:
    """The same of (R, len(COLUMNS)) sums over events."""
    column = {name: sums[:, i] for i, name in enumerate(COLUMNS)}
    own, harmonic = (_of_predictor(column, name) for name in IMAGES)
    skill = {
        f"skill_{part}": 1 - ratio(own[f"mse_{part}"], harmonic[f"mse_{part}"], harmonic[f"mse_{part}"] > 0)
        for part in ("all", "background", "signal")
    }
    references = [_of_predictor(column, name) for name in REFERENCES]
    nothing = np.full(len(sums), np.nan)
    return {
        "overall": {**skill, **own},
        "reference": {name: np.stack([r.get(name, nothing) for r in references], axis=1) for name in own},
    }


def _of_predictor(column: dict[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    n = {part: column[f"n_{part}"] for part in ("background", "signal")}
    error = {part: column[f"{part}_{name}"] for part in n}
    both = n["background"] + n["signal"]
    found = {
        "mse_all": ratio(error["background"] + error["signal"], both, both > 0),
        **{f"mse_{part}": ratio(error[part], n[part], n[part] > 0) for part in n},
    }
    if name in IMAGES:
        n_peaks, n_events = column["n_peaks"], column["n_events"]
        found["peak_recovery"] = ratio(column[f"peaks_{name}"], n_peaks, n_peaks > 0)
        found |= {part: ratio(column[f"{part}_{name}"], n_events, n_events > 0) for part in ("psnr", "ssim")}
    return found


def extra(states: np.ndarray) -> dict[str, Any]:
    """Plain values beside the scores: how much was hidden, and what makes a token one of signal."""
    total = np.asarray(states, dtype=np.float64).sum(axis=0)
    return {
        "hidden_voxels": {part: int(total[COLUMNS.index(f"n_{part}")]) for part in ("background", "signal")},
        "hidden_signal_tokens": int(total[COLUMNS.index("n_peaks")]),
        "signal_sigmas": SIGNAL_SIGMAS,
    }
