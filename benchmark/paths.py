"""The cache folder, for what can be created again: packed events, downloads, pre-trained weights."""

from __future__ import annotations

import os
from pathlib import Path

CACHE_VARIABLE = "PARTICLEBENCH_CACHE"


def checkout() -> Path:
    """The root of the checkout that this code runs from; for an installed wheel, site-packages."""
    return Path(__file__).resolve().parent.parent


def cache_dir() -> Path:
    """The cache folder: $PARTICLEBENCH_CACHE, else ~/.cache/particlebench. It is not created here."""
    chosen = os.environ.get(CACHE_VARIABLE, "").strip()
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "particlebench"
