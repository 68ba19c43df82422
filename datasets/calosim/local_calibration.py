"""Local calibration of clusters in the way of ATLAS's local cell weighting, from look-up tables of this simulation.

A cluster's bin in (E, |eta|, log10 CENTER_LAMBDA, log10 FIRST_ENG_DENS) gives the probability P of an electromagnetic
shower, a hadronic weight, and factors for energy out of clusters and in dead matter (EPJC 77 (2017) 490, section 5,
with one weight per cluster instead of one per cell). HAD_WEIGHT = P + (1 - P) w; cluster_E_LCCalib = E HAD_WEIGHT
OOC_WEIGHT DM_WEIGHT. `calibrate` fills the tables from single pions of a seed of their own.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter

from .geometry import Floats

TABLES = Path(__file__).resolve().parent / "data" / "local_calibration.npz"
LOG_E = np.linspace(np.log10(0.5), 3.4, 13)
ABS_ETA = np.array([0.0, 0.4, 0.8, 1.1, 1.4])
LOG_LAMBDA = np.linspace(1.5, 3.5, 21)
LOG_DENSITY = np.linspace(-9.0, -3.0, 19)  # GeV / mm3
_EDGES = (LOG_E, ABS_ETA, LOG_LAMBDA, LOG_DENSITY)
_SHAPE = tuple(len(e) - 1 for e in _EDGES)
_SMOOTHING = (0.6, 0.4, 0.7, 0.7)  # bins: fills empty ones
_PRIOR = 2.0  # prior clusters per bin of each class


class Weights(NamedTuple):
    """(K,) each."""

    em_probability: Floats
    had_weight: Floats
    ooc_weight: Floats
    dm_weight: Floats
    calibrated: Floats  # GeV


def _places(clusters: dict[str, Floats]) -> tuple[np.ndarray, ...]:
    """Bin numbers of clusters in the four dimensions; values outside go to the border bin."""
    values = (
        np.log10(np.maximum(clusters["E"], 1e-3)),
        np.abs(clusters["Eta"]),
        np.log10(np.maximum(clusters["CENTER_LAMBDA"], 1.0)),
        np.log10(np.maximum(clusters["FIRST_ENG_DENS"], 1e-12)),
    )
    pairs = zip(values, _EDGES, strict=True)
    return tuple(np.clip(np.searchsorted(e, v, side="right") - 1, 0, len(e) - 2) for v, e in pairs)


def fill_tables(clusters: dict[str, Floats], is_charged: np.ndarray) -> dict[str, Floats]:
    """Tables from K calibration clusters (columns `E`, `Eta`, `CENTER_LAMBDA`, `FIRST_ENG_DENS`, `ENG_CALIB_*`).

    is_charged: (K,) bool, from a charged pion. Both classes have equal weight in every (E, |eta|) bin.
    """
    bins = _places(clusters)
    counts = [_smooth(np.histogramdd(np.stack(bins, 1)[c], _bins())[0]) for c in (~is_charged, is_charged)]
    shares = [(n + _PRIOR / n[0, 0].size) / (n.sum(axis=(2, 3), keepdims=True) + _PRIOR) for n in counts]
    energy, total = clusters["E"], np.maximum(clusters["ENG_CALIB_TOT"], 0.0)
    return {
        "em_probability": (shares[0] / (shares[0] + shares[1])).astype(np.float32),
        "had_weight": np.clip(_ratio(bins, total, energy, is_charged), 0.3, 3.0).astype(np.float32),
        **{
            f"{name}_{shower_type}": np.clip(1.0 + _ratio(bins[:3], lost, total, c), 1.0, 3.0).astype(np.float32)
            for shower_type, c in (("em", ~is_charged), ("had", is_charged))
            for name, lost in (("ooc", clusters["ENG_CALIB_OUT_T"]), ("dm", clusters["ENG_CALIB_DEAD_TOT"]))
        },
    }


def _bins() -> tuple[Floats, ...]:
    return tuple(np.arange(n + 1) - 0.5 for n in _SHAPE)


def _smooth(values: Floats) -> Floats:
    return gaussian_filter(values, _SMOOTHING[: values.ndim], mode="nearest")


def _ratio(indices: tuple[np.ndarray, ...], above: Floats, below: Floats, chosen: np.ndarray) -> Floats:
    """Smoothed ratio of sums per bin; bins with few clusters shrink towards the ratio of their (E, |eta|), or of all.

    Both energies are relative to the bin's energy, so that a bin's clusters have equal weight.
    """
    bins = _bins()[: len(indices)]
    points, scale = np.stack(indices, 1)[chosen], 10.0 ** -LOG_E[indices[0][chosen]]
    sums = [_smooth(np.histogramdd(points, bins, weights=v[chosen] * scale)[0]) for v in (above, below)]
    axes = tuple(range(2, len(indices)))
    coarse = [s.sum(axis=axes, keepdims=True) for s in sums]
    overall = sums[0].sum() / sums[1].sum()
    fallback = (coarse[0] + overall) / (coarse[1] + 1.0)
    return (sums[0] + 2.0 * fallback) / (sums[1] + 2.0)


@cache
def tables() -> dict[str, Floats]:
    """The packaged tables."""
    with np.load(TABLES, allow_pickle=False) as data:
        return {name: data[name].astype(np.float64) for name in data.files}


def calibrated(clusters: dict[str, Floats], custom_tables: dict[str, Floats] | None = None) -> Weights:
    """Weights of K clusters (`E`, `Eta`, `CENTER_LAMBDA`, `FIRST_ENG_DENS`) by packaged or `custom_tables`."""
    table, bins = custom_tables or tables(), _places(clusters)
    p = table["em_probability"][bins]
    had = p + (1.0 - p) * table["had_weight"][bins]
    ooc, dm = ((p * table[f"{n}_em"][bins[:3]] + (1.0 - p) * table[f"{n}_had"][bins[:3]]) for n in ("ooc", "dm"))
    return Weights(p, had, ooc, dm, clusters["E"] * had * ooc * dm)
