"""Every file that the suite reads back."""

from __future__ import annotations

from fuzz import caches, calorimeter, lartpc, predictions, records, scans, weights
from fuzz.reader import Reader

READERS: tuple[Reader, ...] = (
    *lartpc.READERS, *calorimeter.READERS, *scans.READERS, *weights.READERS, *records.READERS, *caches.READERS,
    *predictions.READERS,
)  # fmt: skip
