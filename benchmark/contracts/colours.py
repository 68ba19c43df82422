"""Colours of classes by their number, the same in every figure and on every page."""

from __future__ import annotations

COLOURS = ("#d1495b", "#30638e", "#edae49", "#c77dff", "#999999")  # distinct without red-green vision
