"""Randomness from names: every stream is seeded by a hash of what it is for, never by order of execution."""

from __future__ import annotations

import hashlib

import numpy as np


def seed_from(*names: object) -> int:
    """63-bit seed from any number of names, the same on every machine and Python version."""
    text = "\x1f".join(str(name) for name in names)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def generator(*names: object) -> np.random.Generator:
    """Independent numpy generator for the stream with these names."""
    return np.random.default_rng(seed_from(*names))
