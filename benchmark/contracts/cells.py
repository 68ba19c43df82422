"""What calorimeter samples agree on: kinds of points, and what stands for an absent cluster. No torch needed."""

from __future__ import annotations

FOCUS_HIT, CELL, OTHER_HIT = 0, 1, 2  # `point_info["category"]`: hits are where the sample's track, or others, pass
N_LEADING = 10  # clusters whose energies an event's scalars name: cluster_e_0 ... cluster_e_9, 0 where there are fewer
ABSENT_GEV = 0.1  # what an absent cluster's energy is set to: below every real one, never the mean
