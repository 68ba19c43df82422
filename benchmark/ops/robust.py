"""Level and spread of a background, robust against a few bright voxels."""

from __future__ import annotations

import numpy as np

SIGMA_PER_MAD = 1.4826  # of a normal distribution


def median_and_sigma(values: np.ndarray) -> tuple[float, float]:
    """Median, and 1.4826 x the median absolute deviation from it: the standard deviation where values are normal."""
    median = float(np.median(values))
    return median, SIGMA_PER_MAD * float(np.median(np.abs(values - median)))
