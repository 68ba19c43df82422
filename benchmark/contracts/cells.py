"""Conventions of calorimeter samples: categories of points, and the energy of absent clusters. No torch needed."""

from __future__ import annotations

FOCUS_HIT, CELL, OTHER_HIT = 0, 1, 2  # `point_info["category"]`: hits of the sample's track, or of others
N_LEADING = 10  # clusters whose energies an event's scalars name: cluster_e_0 ... cluster_e_9, 0 where there are fewer
ABSENT_GEV = 0.1  # energy of an absent cluster: below every real one
