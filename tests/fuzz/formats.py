"""Every file that the suite reads back."""

from __future__ import annotations

from fuzz import calorimeter, lartpc
from fuzz.reader import Reader

READERS: tuple[Reader, ...] = (*lartpc.READERS, *calorimeter.READERS)
