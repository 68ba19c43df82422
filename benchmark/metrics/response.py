"""Energy response of a regression: R = predicted / true energy, its median, its width, and both versus energy.

The width is half the spread between the 16th and 84th percentile, over the median: iqr_over_2median. Published plots of
the same name show twice that (the code of caloml-atlas divides by the median, that of gn4pions by two medians), so both
are given under separate names. Percentiles interpolate linearly between events (numpy's default); in a resample they
are those of the repeated rows. Fine bins are the 40 of gn4pions' published curves, 0.1 to 1000 GeV.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmark.errors import BenchmarkError, unknown_name
from benchmark.metrics.few_events import MadeOf
from benchmark.metrics.pions import CLASSES, DECADES_GEV, Scores, bin_labels, blockwise, columns_of, in_bins
from benchmark.metrics.summary import plain

COLUMNS = ("predicted_gev", "true_gev", "label", "abs_eta")
NAMES = (
    "median_response", "iqr_over_2median", "iqr_over_median", "mean_response", "mae_log10", "share_within_10_percent"
)  # fmt: skip
SECTIONS = ("overall", "per_class", "by_energy", "fine_bins")
MIN_ROWS = 5  # of a fine bin, below which it has no score
WITHIN = 0.1
_PERCENT = (16, 50, 84)


def fine_edges() -> np.ndarray:
    """(41,) edges of the fine bins, GeV. The last is 999.999999999998, as in the published code."""
    return np.asarray(10 ** np.arange(-1, 3.1, 0.1))


def state(predicted_gev: np.ndarray, true_gev: np.ndarray, target_class: np.ndarray, abs_eta: np.ndarray) -> np.ndarray:
    """(B, 4) float32 per event, columns COLUMNS.

    predicted_gev, true_gev: (B,) energies, GeV. target_class: (B,) 0 neutral, 1 charged pion; others count overall but
    in no class. abs_eta: (B,) |pseudorapidity|. Raises BenchmarkError for shapes that differ, and for energies that are
    not finite or not above 0 (after rounding to float32).
    """
    with np.errstate(over="ignore"):  # energies beyond float32 raise below
        columns = columns_of(predicted_gev, true_gev=true_gev, label=target_class, abs_eta=abs_eta)
    for number, (name, remedy) in enumerate((
        ("predicted", "The training probably diverged: type for example --set optim.lr=1e-4."),
        ("true", "Check the data set's selection of events."),
    )):  # fmt: skip
        n_bad = int((~(np.isfinite(columns[:, number]) & (columns[:, number] > 0))).sum())
        if n_bad:
            raise BenchmarkError(
                f"{n_bad} of {len(columns)} {name} energies are not finite or not above 0 GeV. Positive energies were "
                f"expected. {remedy}"
            )
    return columns


def rows(section: str) -> tuple[str, ...]:
    """Labels of a section's rows; none of `overall`. Raises UnknownNameError."""
    labels: Mapping[str, tuple[str, ...]] = {
        "overall": (),
        "per_class": CLASSES,
        "by_energy": bin_labels(DECADES_GEV),
        "fine_bins": bin_labels(fine_edges()),
    }
    if section not in labels:
        raise unknown_name("section", section, labels, "Choose one of them.")
    return labels[section]


def scores(state: np.ndarray, times: np.ndarray) -> Scores:
    """Every score of (B, 4) events that are each drawn times[r] times: section -> NAMES -> (R,) or (R, rows).

    times: (R, B) integers; a row of ones gives the plain scores. Percentiles equal np.percentile of the repeated rows.
    NaN without events, and of fine bins with fewer than MIN_ROWS drawn. Raises BenchmarkError for multiplicities of
    another shape.
    """
    values = np.asarray(state, dtype=np.float64)
    response = values[:, 0] / values[:, 1]
    order = np.argsort(response, kind="stable")
    response, values = response[order], values[order]
    log_error = np.abs(np.log10(values[:, 0]) - np.log10(values[:, 1]))
    terms = np.stack([response, log_error, np.abs(response - 1) <= WITHIN], axis=1)  # (B, 3): terms of means
    masks = _row_masks(values)

    def block(drawn: np.ndarray) -> Scores:
        drawn = drawn[:, order]
        result: Scores = {"overall": _statistics(response, terms, drawn)}
        for section, mask in masks.items():
            min_rows = MIN_ROWS if section == "fine_bins" else 1
            of_rows = [_statistics(response[row], terms[row], drawn[:, row], min_rows) for row in mask]
            result[section] = {name: np.stack([row_scores[name] for row_scores in of_rows], axis=1) for name in NAMES}
        return result

    return blockwise(times, len(values), block)


def made_of(state: np.ndarray) -> dict[str, list[MadeOf]]:
    """What the scores of (B, 4) events are made of: the events of each row."""
    masks = _row_masks(np.asarray(state, dtype=np.float64))
    return {
        "overall": [MadeOf(np.ones(len(state), bool))],
        **{section: [MadeOf(row) for row in rows_of] for section, rows_of in masks.items()},
    }


def truth(state: np.ndarray) -> np.ndarray:
    """(B,) true classes: equal for all models on the same samples."""
    return np.asarray(state[:, 2].astype(np.int64))


def _row_masks(values: np.ndarray) -> dict[str, np.ndarray]:
    """Section -> (rows, B) bool, the events of each row."""
    return {
        "per_class": values[:, 2] == np.arange(len(CLASSES))[:, None],
        "by_energy": in_bins(values[:, 1], DECADES_GEV),
        "fine_bins": in_bins(values[:, 1], fine_edges(), last_closed=True),
    }


def _statistics(response: np.ndarray, terms: np.ndarray, times: np.ndarray, min_rows: int = 1) -> dict[str, np.ndarray]:
    """NAMES -> (R,). response: (n,) rising. terms: (n, 3). times: (R, n). NaN where fewer than `min_rows` are drawn."""
    q16, median, q84 = repeated_percentiles(response, times, _PERCENT).T
    n_drawn = times.sum(axis=1)
    means = (times @ terms) / np.maximum(n_drawn, 1)[:, None]  # (R, 3)
    width = (q84 - q16) / median
    values = (median, width / 2, width, *means.T)
    names = (*NAMES[:3], "mean_response", "mae_log10", "share_within_10_percent")
    return {name: np.where(n_drawn >= min_rows, value, np.nan) for name, value in zip(names, values, strict=True)}


def repeated_percentiles(rising: np.ndarray, times: np.ndarray, percent: tuple[int, ...]) -> np.ndarray:
    """(R, len(percent)) np.percentile of the values repeated times[r] times, without repeating; NaN without values.

    rising: (n,) sorted. times: (R, n) float64 integers.
    """
    n_resamples, n = times.shape
    if not n:
        return np.full((n_resamples, len(percent)), np.nan)
    running = np.cumsum(times)  # over all resamples, so that one search finds every rank
    ends = running[n - 1 :: n]
    begins = np.concatenate([[0.0], ends[:-1]])
    size = ends - begins  # (R,)
    rank = np.maximum(size - 1, 0)[:, None] * (np.asarray(percent) / 100)  # (R, P)
    lower = np.floor(rank)
    upper = np.minimum(lower + 1, np.maximum(size - 1, 0)[:, None])
    first = np.arange(n_resamples)[:, None] * n

    def value_at(rank_: np.ndarray) -> np.ndarray:
        position = np.searchsorted(running, begins[:, None] + rank_, side="right") - first
        values: np.ndarray = rising[np.clip(position, 0, n - 1)]
        return values

    low, high, share = value_at(lower), value_at(upper), rank - lower
    step = high - low
    between = np.where(share >= 0.5, high - step * (1 - share), low + step * share)  # rounds as numpy does
    return np.where(size[:, None] > 0, between, np.nan)


def extra(state: np.ndarray) -> dict[str, Any]:
    """Plain values beside the scores: counts, 16th and 84th percentiles, and errors in GeV of every part.

    mae_gev and mse_gev2 are means of |predicted - true| and of its square, r2 is one minus the latter over the true
    energies' variance: dominated by the highest energies; for comparison with publications.
    """
    values = np.asarray(state, dtype=np.float64)
    parts = _row_masks(values)
    return {
        "n_outside_bins": {s: int((~parts[s].any(axis=0)).sum()) for s in ("by_energy", "fine_bins")},
        "overall": _summary(values),
        **{
            section: {label: _summary(values[row]) for label, row in zip(rows(section), inside, strict=True)}
            for section, inside in parts.items()
        },
    }


def _summary(values: np.ndarray) -> dict[str, Any]:
    if not len(values):
        return {"n": 0}
    predicted, true = values[:, 0], values[:, 1]
    q16, q84 = np.percentile(predicted / true, [16, 84])
    square, variance = np.mean((predicted - true) ** 2), true.var()
    return {
        "n": len(values),
        "q16": float(q16),
        "q84": float(q84),
        "mae_gev": float(np.abs(predicted - true).mean()),
        "mse_gev2": float(square),
        "r2": plain(1 - square / variance if variance > 0 else np.nan),
    }
