"""Uncertainty over events: percentile intervals from resampled sums of any counts that add up over events.

B. Efron and R. Tibshirani, An Introduction to the Bootstrap (1993), chapter 13. Events are the independent units, not
points, and where one event or scan gives several samples they are drawn together. These intervals exclude training
randomness, which draws and seeds show. Which scores have an interval: `benchmark.metrics.few_events`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np

from benchmark.errors import BenchmarkError

N_RESAMPLES = 1000
LEVEL = 0.95
_ROUNDING = 1e-9  # relative
_BLOCK_ELEMENTS = 1 << 20  # multiplicities drawn at once: 8 MiB


def resampled_sums(
    counts: np.ndarray, rng: np.random.Generator, n_resamples: int = N_RESAMPLES, units: np.ndarray | None = None
) -> np.ndarray:
    """(R, ...) float64 sums of (B, ...) per-event counts, each over B events drawn with replacement.

    Drawing B events with replacement is drawing how often each occurs from a multinomial, and the sums are then one
    matrix product. units: (B,) as of `multiplicities`. Raises BenchmarkError without events.
    """
    counts = np.asarray(counts, dtype=np.float64)
    n_events = len(counts)
    if n_events == 0:
        raise BenchmarkError("There are no events to resample. At least one was expected. Check the test split.")
    flat = counts.reshape(n_events, -1)
    units = np.arange(n_events) if units is None else units
    sums = [times @ flat for times in multiplicities(units, rng, n_resamples)]
    return np.concatenate(sums).reshape(n_resamples, *counts.shape[1:])


def multiplicities(units: np.ndarray, rng: np.random.Generator, n_resamples: int = N_RESAMPLES) -> Iterator[np.ndarray]:
    """Blocks (r, B) float64 of each sample's multiplicity in a resample, n_resamples rows in total.

    units: (B,) number, from 0 on, of the independent event of each sample: samples of one event are drawn together.
    """
    n_units = int(units.max()) + 1
    chances = np.full(n_units, 1.0 / n_units)
    block = max(1, _BLOCK_ELEMENTS // len(units))
    for begin in range(0, n_resamples, block):
        # no name for what is drawn, so that it is freed before the block is used
        yield rng.multinomial(n_units, chances, size=min(block, n_resamples - begin))[:, units].astype(np.float64)


def intervals(
    counts: np.ndarray,
    score: Callable[[np.ndarray], Mapping[str, np.ndarray]],
    rng: np.random.Generator,
    n_resamples: int = N_RESAMPLES,
    level: float = LEVEL,
    units: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Percentile interval of every score: name -> (2, ...) lower and upper ends.

    counts: (B, ...) per event. units: (B,) as of `multiplicities`. score: maps (R, ...) summed counts to name ->
    (R, ...) scores, for example `segmentation.scores_from_counts`. A resample in which a score is undefined (NaN) is
    left out of that score's interval; a score that is undefined in all of them has a NaN interval.
    """
    scores = score(resampled_sums(counts, rng, n_resamples, units))
    return {name: percentiles(np.asarray(values), level) for name, values in scores.items()}


def interval(values: np.ndarray, level: float = LEVEL) -> np.ndarray:
    """(2, ...) ends of the central `level` of (R, ...) resampled scores; NaN where all of them are equal."""
    with np.errstate(invalid="ignore"):
        spread = np.nanmax(values, axis=0, initial=-np.inf) - np.nanmin(values, axis=0, initial=np.inf)
        scale = np.maximum(1.0, np.abs(np.nanmin(values, axis=0, initial=np.inf)))
        return np.where(spread <= _ROUNDING * scale, np.nan, percentiles(values, level))


def percentiles(values: np.ndarray, level: float = LEVEL) -> np.ndarray:
    """(2, ...) lower and upper ends of the central `level` of (R, ...) resampled scores, without NaN.

    Infinite scores, such as a rejection without a false positive, count: an end among them is infinite.
    """
    columns = values.reshape(len(values), -1)  # (R, scores)
    result = np.full((2, columns.shape[1]), np.nan)
    for i, column in enumerate(columns.T):
        defined = column[~np.isnan(column)]
        if len(defined):
            ends = [(1 - level) / 2, (1 + level) / 2]
            with np.errstate(invalid="ignore"):
                quantiles = np.quantile(defined, ends)
            # no quantile between two infinite scores
            result[:, i] = np.where(np.isnan(quantiles), np.quantile(defined, ends, method="higher"), quantiles)
    return result.reshape(2, *values.shape[1:])
