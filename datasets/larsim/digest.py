"""Digest of fixed events: whether the simulation still makes the content of its revisions (`plan.CONTENT`)."""

from __future__ import annotations

from benchmark.datasets._identity import content_digest

from .plan import SimulationSettings
from .shards import simulate_image

N_EVENTS = 80


def digest() -> str:
    """Digest of points, clusters and their particles in fixed events."""
    images = [simulate_image(SimulationSettings(), 0, "digest", k) for k in range(N_EVENTS)]
    # One column at a time: each has its own unit.
    return content_digest([
        (f"event {k} {name} {c}", getattr(image, name)[:, c])
        for k, image in enumerate(images)
        for name in image._fields
        for c in range(getattr(image, name).shape[1])
    ])  # fmt: skip
